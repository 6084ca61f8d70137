"""What torch.ao's quantisation is told of a module that it does not know."""

from __future__ import annotations

import warnings
from typing import Any


class NotQuantised:
    """A module of stepfold's that torch.ao's quantisation passes by, which is said where it does so:
    `quantize_dynamic`, `prepare` and `convert` set `qconfig` on every module of a model."""

    @property
    def qconfig(self) -> Any:
        """How torch.ao was told to quantise the module, which it does not do."""
        try:
            return self.__dict__["qconfig"]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute 'qconfig'") from None

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        name = type(self).__name__
        if "qconfig" not in self.__dict__:
            warnings.warn(
                f"torch.ao's quantisation knows torch.nn.{name} and not stepfold.torch.{name}, which stays "
                "in floating point; to quantise it call stepfold.torch.restore(model) first",
                UserWarning,
                stacklevel=2,
            )
        self.__dict__["qconfig"] = value

    @qconfig.deleter
    def qconfig(self) -> None:
        del self.__dict__["qconfig"]
