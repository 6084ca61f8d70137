"""What works with torch.nn's modules works: half precision, tracing, scripting, export, torch.nn.utils."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch_helpers import twins

import stepfold.torch

NAMES = ["RNN", "LSTM", "GRU"]
HALF = [torch.bfloat16, torch.float16]


class Tagger(nn.Module):
    """A recurrent module in a user's model."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Linear(4, 2, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, 3) → (batch, 2)."""
        return self.head(self.recurrent(x)[0][:, -1])


@pytest.fixture(params=NAMES)
def models(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    theirs, ours = twins(request.param, 3, 4, batch_first=True, dtype=torch.float32)
    first, second = Tagger(theirs), Tagger(ours)
    second.load_state_dict(first.state_dict())
    return first, second


X = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("name", [*NAMES, "projected"])
def test_half_precision_computes_in_float32(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    if name == "projected":
        name, options = "LSTM", {**options, "proj_size": 2}
    module = getattr(stepfold.torch, name)(3, 4, dtype=dtype, **options)
    wide = getattr(stepfold.torch, name)(3, 4, **options)
    wide.load_state_dict(module.state_dict())
    x = torch.randn(5, 2, 3).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no slow path
        found, last = module(x)
    expected, _ = wide(x.float())
    assert found.dtype == dtype
    assert {state.dtype for state in (last if isinstance(last, tuple) else [last])} == {dtype}
    single = not options.get("num_layers")  # between layers the values are rounded
    torch.testing.assert_close(found, expected.to(dtype), rtol=0, atol=0 if single else 0.02)
    found.float().sum().backward()
    wide_gradient = torch.autograd.grad(expected.sum(), wide.weight_hh_l0)[0]
    torch.testing.assert_close(module.weight_hh_l0.grad.float(), wide_gradient, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_returns_what_torch_returns(name: str, given: torch.dtype) -> None:
    theirs, ours = twins(name, 3, 4, dtype=torch.float32)
    x = torch.randn(5, 2, 3).to(given)
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = theirs(x), ours(x)
    torch.testing.assert_close(found[0], expected[0], rtol=0.05, atol=0.05)  # and the same dtype
    torch.testing.assert_close(found[1], expected[1], rtol=0.05, atol=0.05)


def scripted(model: nn.Module) -> Any:
    return torch.jit.script(model)


def to_onnx(model: nn.Module) -> Callable[[Tensor], Tensor]:
    import onnx
    import onnxruntime

    file = io.BytesIO()
    torch.onnx.export(model, (X,), file, dynamo=False, input_names=["x"])
    session = onnxruntime.InferenceSession(file.getvalue())
    graph = onnx.load_from_string(file.getvalue()).graph
    assert {node.op_type for node in graph.node} & set(NAMES)
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


WAYS: dict[str, Callable[[nn.Module], Any]] = {
    "jit.trace": lambda m: torch.jit.trace(m, X),
    "jit.script": scripted,
    "fx": torch.fx.symbolic_trace,
    "export": lambda m: torch.export.export(m, (X,)).module(),
    "onnx": to_onnx,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # shapes are compared, as torch.nn does
@pytest.mark.parametrize("way", WAYS)
def test_traced_scripted_and_exported(models: tuple[nn.Module, nn.Module], way: str) -> None:
    theirs, ours = models
    other = WAYS[way](ours)
    torch.testing.assert_close(other(X), theirs(X), rtol=1e-5, atol=1e-6)
    if way != "onnx":
        other(X).sum().backward()
        assert ours.recurrent.weight_hh_l0.grad is not None or way == "export"


def test_fx_takes_them_as_one_operation(models: tuple[nn.Module, nn.Module]) -> None:
    graph = torch.fx.symbolic_trace(models[1]).graph
    assert [node.target for node in graph.nodes if node.op == "call_module"] == ["recurrent", "head"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_own_cells_name_the_exporter_that_knows_them() -> None:
    module = stepfold.torch.Recurrent("layer_norm_lstm", 3, 4)
    with pytest.raises(
        RuntimeError, match=r'the cell layer_norm_lstm; stepfold.export\(model, "model.onnx"\)'
    ):
        torch.onnx.export(module, (torch.randn(5, 2, 3),), io.BytesIO(), dynamo=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_the_exporter_through_torch_export(models: tuple[nn.Module, nn.Module]) -> None:
    pytest.importorskip("onnxscript")
    import onnxruntime

    theirs, ours = models
    program = torch.onnx.export(ours.eval(), (X,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), theirs(X).detach(), rtol=1e-5, atol=1e-6)


class OneStep(nn.Module):
    """A loop over a cell of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = stepfold.torch.RecurrentCell("layer_norm_lstm", 3, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        assert state is not None
        return state[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize(
    "module",
    [
        stepfold.torch.Recurrent("layer_norm_lstm", 3, 4, batch_first=True),
        stepfold.torch.LSTM(3, 4, layer_norm=True),
        OneStep(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_both_exporters_refuse_own_cells(module: nn.Module, dynamo: bool) -> None:
    text = r'the cell layer_norm_lstm; stepfold.export\(model, "model.onnx"\)'
    with pytest.raises(RuntimeError, match=text):
        torch.onnx.export(module.eval(), (X,), io.BytesIO(), dynamo=dynamo, verbose=False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "module",
    [
        stepfold.torch.Recurrent("gru", 3, 4),
        stepfold.torch.RecurrentCell("gru", 3, 4),
        stepfold.torch.LSTM(3, 4, zoneout=0.1),
    ],
    ids=lambda module: type(module).__name__,
)
def test_script_refuses_what_torch_has_not(module: nn.Module) -> None:
    with pytest.raises(
        RuntimeError, match=r"cannot compile .*\(.*3, 4.*\), which torch.nn has not; torch.jit.tra"
    ):
        torch.jit.script(module)


class Encoded(torch.utils.data.Dataset[Tensor]):
    """Examples that a model makes."""

    def __init__(self) -> None:
        self.model = stepfold.torch.LSTM(3, 4)
        self[0]  # kernels, threads and programs are there before workers are made

    def __len__(self) -> int:
        return 4

    @torch.no_grad()
    def __getitem__(self, index: int) -> Tensor:
        return self.model(torch.full((5, 2, 3), float(index)))[0]


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX, if it is loaded, warns
@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_data_loader(start: str) -> None:
    data = Encoded()
    loader = torch.utils.data.DataLoader(
        data, batch_size=2, num_workers=2, multiprocessing_context=start, timeout=120
    )
    torch.testing.assert_close(torch.cat(list(loader)), torch.stack([data[k] for k in range(4)]))


UTILITIES: dict[str, Callable[[nn.Module], Any]] = {
    "weight_norm": lambda m: parametrizations.weight_norm(m, "weight_hh_l0"),
    "spectral_norm": lambda m: parametrizations.spectral_norm(m, "weight_hh_l0"),
    "orthogonal": lambda m: parametrizations.orthogonal(m, "weight_ih_l0"),
    "prune": lambda m: prune.l1_unstructured(m, "weight_hh_l0", 0.5),
    "vector": lambda m: nn.utils.vector_to_parameters(
        nn.utils.parameters_to_vector(m.parameters()) * 0.5, m.parameters()
    ),
    "share_memory": lambda m: m.share_memory(),
}


@pytest.mark.parametrize("name", UTILITIES)
def test_torch_nn_utils(models: tuple[nn.Module, nn.Module], name: str) -> None:
    results = []
    for model in models:
        torch.manual_seed(1)  # spectral_norm starts at random vectors
        UTILITIES[name](model.recurrent)
        results.append(model(X))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
