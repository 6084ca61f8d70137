"""Bad input: torch.nn's errors where it has one, and otherwise one that says what, with which shapes, and the
cure."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch_helpers import fresh_warnings  # noqa: F401

import stepfold.torch
from stepfold import cells
from stepfold.torch import GRU, LSTM, RNN, Recurrent, run

X = torch.zeros(4, 2, 3)


def states(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Any:
    zeros = torch.zeros(shape, dtype=dtype)
    return (zeros, zeros) if name == "LSTM" else zeros


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m, n: m(torch.zeros(3)), ": Expected input to be 2D or 3D, got 1D"),
        (
            lambda m, n: m(torch.zeros(4, 2, 5)),
            "input.size(-1) must be equal to input_size. Expected 3, got 5",
        ),
        (lambda m, n: m(X, states(n, 1, 2, 7)), "size (1, 2, 6), got [1, 2, 7]"),
        (lambda m, n: m(X, states(n, 1, 3, 6)), "size (1, 2, 6), got [1, 3, 6]"),
        (lambda m, n: m(X, states(n, 2, 6)), "For batched 3-D input"),
        (lambda m, n: m(X[0], states(n, 1, 2, 6)), "For unbatched 2-D input"),
        (lambda m, n: m(X.double()), "RNN input dtype (torch.float64) does not match weight dtype"),
        (lambda m, n: m(X[:0]), "Expected sequence length to be larger than 0 in RNN"),
        (lambda m, n: m(X.to("meta")), "Input and parameter tensors are not at the same device, found input"),
    ],
)
def test_as_torch_says_it(name: str, call: Any, text: str) -> None:
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        call(getattr(nn, name)(3, 6), name)
    with pytest.raises(type(theirs.value)) as ours:
        call(getattr(stepfold.torch, name)(3, 6), name)
    assert text in str(theirs.value)
    assert text in str(ours.value)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize(
    "options",
    [
        {"hidden_size": 0},
        {"input_size": 3.0},
        {"num_layers": 0},
        {"dropout": 1.5},
        {"bias": 1},
        {"proj_size": 9},
        {"nonlinearity": "sin"},
    ],
    ids=str,
)
def test_wrong_arguments_as_torch_says_it(name: str, options: dict[str, Any]) -> None:
    arguments = {"input_size": 3, "hidden_size": 6} | options
    with pytest.raises((TypeError, ValueError)) as theirs:
        getattr(nn, name)(**arguments)
    with pytest.raises(type(theirs.value)) as ours:
        getattr(stepfold.torch, name)(**arguments)
    if "nonlinearity" not in options or name == "RNN":
        assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("make", [lambda: GRU(3, 6), lambda: Recurrent("gru", 3, 6)])
@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda m: m(X, torch.zeros(1, 2, 6).double()),
            RuntimeError,
            "Input and hidden tensors are not the same dtype, found input tensor with torch.float32 and "
            "hidden tensor with torch.float64",
        ),
        (
            lambda m: m(X, torch.zeros(1, 2, 6, device="meta")),
            RuntimeError,
            "found input tensor at cpu and hidden tensor at meta",
        ),
        (
            lambda m: m(X, lengths=[1, 5]),
            ValueError,
            "lengths must lie in 0…4, the timesteps of the input; that of row 1 is 5",
        ),
        (
            lambda m: m(X, lengths=[-1, 4]),
            ValueError,
            "lengths must lie in 0…4, the timesteps of the input; that of row 0 is -1",
        ),
        (
            lambda m: m(X, lengths=[1, 2, 3]),
            ValueError,
            "lengths has shape (3,), expected one integer a row, (2,)",
        ),
        (lambda m: m(X, lengths=[1.0, 2.0]), TypeError, "lengths must be integers, not torch.float32"),
        (lambda m: m(X[:, 0], lengths=[1]), ValueError, "lengths= needs a batch, input of 3 axes"),
        (
            lambda m: m(pack_padded_sequence(X, [4, 2]), lengths=[4, 2]),
            ValueError,
            "a PackedSequence has its lengths inside: leave lengths= out",
        ),
        (lambda m: m(pack_padded_sequence(torch.zeros(4, 2, 5), [4, 1])), RuntimeError, "Expected 3, got 5"),
        (
            lambda m: m(PackedSequence(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))),
            IndexError,
            "the packed batch is empty",
        ),
        (
            lambda m: m(PackedSequence(torch.zeros(4, 3), torch.tensor([2, 1]))),
            RuntimeError,
            "the packed data has 4 places, but its batch_sizes add up to 3",
        ),
        (
            lambda m: m(PackedSequence(torch.zeros(3, 3), torch.tensor([1, 2]))),
            ValueError,
            "batch_sizes must be positive, never rise, and add up to the places of the packed data; "
            "at timestep 1 there are 2, at most 1 can be",
        ),
    ],
)
def test_errors_that_torch_does_not_have(make: Any, call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as found:
        call(make())
    assert text in str(found.value)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: LSTM(3, 6, proj_size=2, layer_norm=True), ValueError, "proj_size goes with none of"),
        (
            lambda: GRU(3, 6, recurrent_dropout=1.5),
            ValueError,
            "recurrent_dropout should be a number in range [0, 1]",
        ),
        (
            lambda: RNN(3, 6, zoneout="much"),
            ValueError,
            "zoneout should be a number in range [0, 1], got 'much'",
        ),
        (lambda: GRU(3, 6, colour="red"), TypeError, "unexpected keyword argument 'colour'"),
        (lambda: Recurrent(lambda x, h: h, 3, 6), TypeError, "put @stepfold.cell above the function"),
        (lambda: Recurrent("lstn", 3, 6), ValueError, "there is no cell 'lstn'; the cells are"),
        (lambda: Recurrent("gru", 3, 0), ValueError, "hidden_size must be greater than zero"),
        (lambda: Recurrent("gru", 3, 6.0), TypeError, "hidden_size should be of type int, got: float"),
        (lambda: Recurrent("gru", 3, 6, dropout=2), ValueError, "dropout should be a number in range [0, 1]"),
        (
            lambda: Recurrent("lstm", 3, 6)(X, (torch.zeros(1, 2, 6),)),
            RuntimeError,
            "Recurrent: Expected 2 initial states, got 1",
        ),
    ],
)
def test_wrong_arguments_of_our_own(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as found:
        make()
    assert text in str(found.value)


PARAMS = {"W": torch.zeros(6, 3), "U": torch.zeros(6, 6), "b": torch.zeros(6)}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((X, {"W": PARAMS["W"]}), {}, ValueError, "simple_rnn has the parameters W, U, b; got W"),
        (
            (X[0], PARAMS),
            {},
            ValueError,
            "inputs must have 3 axes, (batch, time, features), not shape (2, 3)",
        ),
        ((X[..., :2], PARAMS), {}, ValueError, "parameter 'W' must have shape (6, 2), not (6, 3)"),
        ((X.double(), PARAMS), {}, RuntimeError, "must have one dtype, not torch.float32 and torch.float64"),
        (
            (X, PARAMS, [torch.zeros(2, 6)]),
            {},
            ValueError,
            "initial_state must be 1 of shape (4, 6), not (2, 6)",
        ),
        (
            (X, PARAMS),
            {"mask": torch.ones(4, 3, dtype=torch.bool)},
            ValueError,
            "mask has shape (4, 3), expected",
        ),
        (
            (X, PARAMS),
            {"mask": torch.ones(4, 2)},
            TypeError,
            "mask must be of booleans, not torch.float32; write mask != 0",
        ),
    ],
)
def test_run(arguments: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as found:
        run(cells.simple_rnn, *arguments, **options)
    assert text in str(found.value)


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
def test_other_dtypes_run_as_torch_operations_and_say_so(fresh_warnings: type[Warning]) -> None:  # noqa: F811
    module, x = Recurrent("simple_rnn", 3, 6).to(torch.complex64), X.to(torch.complex64)
    with pytest.warns(
        fresh_warnings, match="runs the cell simple_rnn as a loop of torch operations.*torch.complex64"
    ):
        outputs, _ = module(x)
    assert outputs.dtype == torch.complex64
    module(x)  # a second warning would be an error


def test_other_devices(fresh_warnings: type[Warning], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """What a GPU would see, on a machine without one: no kernel serves the device."""
    from stepfold.torch import _scan

    torch.manual_seed(0)
    own, module, normed = LSTM(3, 6), Recurrent("gru", 3, 6), GRU(3, 6, layer_norm=True)
    x, lengths = torch.randn(4, 2, 3), torch.tensor([1, 4])
    expected = [own(x)[0], own(x, lengths=lengths)[0], module(x)[0], normed(x)[0]]
    monkeypatch.setattr(_scan, "KERNELS", {"cpu": ()})
    asked: list[type[nn.Module]] = []
    forward = nn.LSTM.forward

    def watched(self: nn.Module, *arguments: Any) -> Any:
        asked.append(type(self))
        return forward(self, *arguments)

    monkeypatch.setattr(nn.LSTM, "forward", watched)
    with pytest.warns(fresh_warnings) as said:
        found = [own(x)[0], own(x, lengths=lengths)[0], module(x)[0], normed(x)[0]]
    assert asked == [LSTM, LSTM]
    assert len(said) == 3  # torch's own LSTM on a CPU, and two cells as loops
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_shapes_without_values() -> None:
    with torch.device("meta"):
        module, x = LSTM(3, 6, 2, bidirectional=True), torch.zeros(4, 2, 3)
    outputs, (h, c) = module(x)
    assert (outputs.shape, h.shape, c.shape) == ((4, 2, 12), (4, 2, 6), (4, 2, 6))
    assert outputs.device.type == "meta"
