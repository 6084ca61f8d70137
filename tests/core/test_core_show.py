"""Views of cells as text."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import stepfold
from stepfold import Cell, cell
from stepfold._llvm import target, target_names
from stepfold._show._maths import equations
from stepfold._show._names import forward_names
from stepfold._show._patterns import Matcher
from stepfold._show._print import Printer
from tests.kinds import UNIFORM
from tests.strategies import cells, parameters
from tests.targets import PLAINEST

SIMPLE_RNN = """\
simple_rnn: The plain recurrent network (Elman 1990, Finding structure in time).

One timestep: x is the input, h the state before, h' the state after; h' is also the output.

  h' = tanh(W @ x + U @ h + b)

Parameters
      kind               shape               initial value
  W   kernel             (units, features)   Glorot-uniform
  U   recurrent kernel   (units, units)      orthogonal
  b   vector             (units,)            0
  in total units * features + units**2 + units

Computed outside the time loop, for many timesteps at once
  W @ x + b

Residuals, saved at every timestep for the backward pass
  h'"""

LSTM = """\
lstm: Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

One timestep: x is the input, h and c the states before, h' and c' the states after; h' is also the
output.

  i  = sigmoid(W_i @ x + U_i @ h + b_i)
  f  = sigmoid(W_f @ x + U_f @ h + b_f)
  c~ = tanh(W_c @ x + U_c @ h + b_c)
  o  = sigmoid(W_o @ x + U_o @ h + b_o)
  c' = f * c + i * c~
  h' = o * tanh(c')

Parameters
                       kind               shape               initial value    elements
  W_i, W_f, W_c, W_o   kernel             (units, features)   Glorot-uniform   4 × 512
  U_i, U_f, U_c, U_o   recurrent kernel   (units, units)      orthogonal       4 × 1,024
  b_i, b_c, b_o        vector             (units,)            0                3 × 32
  b_f                  vector             (units,)            1                32
  in total 4 * units * features + 4 * units**2 + 4 * units = 6,272 with 32 units and 16 features

Computed outside the time loop, for many timesteps at once
  W_o @ x + b_o
  W_f @ x + b_f
  W_i @ x + b_i
  W_c @ x + b_c

Residuals, saved at every timestep for the backward pass
  h', c', o, f, i, c~, tanh(c')"""

LSTM_LATEX = r"""\begin{aligned}
i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i) \\
f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f) \\
\tilde{c}_t &= \tanh(W_c x_t + U_c h_{t-1} + b_c) \\
o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o) \\
c_t &= f_t \odot c_{t-1} + i_t \odot \tilde{c}_t \\
h_t &= o_t \odot \tanh(c_t)
\end{aligned}"""

LSTM_GRADIENT = """\
Backward pass
  v1      = d_c' + d_h' * o * (1 - tanh(c')**2)
  delta_c = v1 * i * (1 - c~**2)
  delta_i = v1 * c~ * i * (1 - i)
  delta_f = v1 * c * f * (1 - f)
  delta_o = d_h' * tanh(c') * o * (1 - o)
  d_h     = U_c.T @ delta_c + U_i.T @ delta_i + U_f.T @ delta_f + U_o.T @ delta_o
  d_c     = v1 * f
  d_x     = W_c.T @ delta_c + W_i.T @ delta_i + W_f.T @ delta_f + W_o.T @ delta_o

Summed over all rows and timesteps
  d_W_i += outer(delta_i, x)
  d_U_i += outer(delta_i, h)
  d_b_i += delta_i
"""

SIMPLE_RNN_GRADIENT = """\
simple_rnn: The plain recurrent network (Elman 1990, Finding structure in time).

One timestep of the backward pass: d_h is the gradient of h. d_h' arrives from the timestep after,
the gradient of this timestep's output is added to d_h'.

From the forward pass
  h' = tanh(W @ x + U @ h + b)

Backward pass
  delta = d_h' * (1 - h'**2)
  d_h   = U.T @ delta
  d_x   = W.T @ delta

Summed over all rows and timesteps
  d_W += outer(delta, x)
  d_U += outer(delta, h)
  d_b += delta"""

SIMPLE_RNN_GRAPH = """\
flowchart LR
    x(["x, the input"])
    h(["h, from the timestep before"])
    h_new["h' = tanh(W @ x + U @ h + b)"]
    x --> h_new
    h --> h_new
    h_new -. next timestep .-> h
    h_new --> output(["output of this timestep"])"""


def test_maths() -> None:
    assert stepfold.cells.simple_rnn.show() == SIMPLE_RNN
    assert stepfold.cells.lstm.show("maths", units=32, features=16) == LSTM


def test_a_loaded_cell_shows_all_but_its_docstring() -> None:
    loaded = Cell.from_json(stepfold.cells.simple_rnn.to_json())
    assert loaded.show() == "simple_rnn\n" + SIMPLE_RNN.partition("\n")[2]


def test_latex() -> None:
    assert stepfold.cells.lstm.show("latex") == LSTM_LATEX
    normed = stepfold.cells.layer_norm_gru.show("latex")
    assert r"z_t &= \sigma(\text{layer\_norm}(W_z x_t + U_z h_{t-1}, g_z, b_z, 0.001)) \\" in normed
    assert (
        r"\text{layer\_norm}(v, \text{gain}, \text{bias}, \epsilon) &= \frac{v - \text{mean}(v)}{\sqrt{"
        in normed
    )


def test_gradient() -> None:
    assert stepfold.cells.simple_rnn.show("gradient") == SIMPLE_RNN_GRADIENT
    assert LSTM_GRADIENT in stepfold.cells.lstm.show("gradient")


def test_graph() -> None:
    assert stepfold.cells.simple_rnn.show("graph") == SIMPLE_RNN_GRAPH
    lstm = stepfold.cells.lstm.show("graph").splitlines()
    assert "    c_new -. next timestep .-> c" in lstm
    assert "    c_new --> h_new" in lstm
    assert sum("-->" in line for line in lstm) == 15


def test_gates_are_found_through_other_gates() -> None:
    text = stepfold.cells.gru.show()
    assert "  h~ = tanh(W_h @ x + b_h + r * (U_h @ h + c_h))\n" in text
    text = stepfold.cells.gru_reset_before.show()
    assert "  h~ = tanh(W_h @ x + U_h @ (r * h) + b_h)\n" in text
    text = stepfold.cells.layer_norm_lstm.show()
    assert "  s  = tanh(layer_norm(c', g_s, b_s, 0.001))\n" in text
    assert "  o2 = o1 - mean(o1)\n" in text


def test_activations_belong_to_their_gate() -> None:
    hard = stepfold.cells.lstm_with(stepfold.silu, stepfold.hard_sigmoid).show()
    assert "  i  = hard_sigmoid(W_i @ x + U_i @ h + b_i)\n" in hard
    assert "  c~ = silu(W_c @ x + U_c @ h + b_c)\n" in hard
    assert "  hard_sigmoid(v) = clip(v * 0.166667 + 0.5, 0, 1)\n" in hard


def test_parentheses() -> None:
    @cell
    def step(x, h, k, *, W, U, b):
        y = (W @ x) * (h - k) / (h * (k / (h + 1.0))) - (h - (b - k)) + b * (h + (k + b))
        z = -(h + k) - (k - h) - -1.5 * h
        return y, stepfold.where(h < (k + 1), U @ (z * h), -h) ** 2

    text = step.show()
    assert "  h' = (W @ x) * (h - k) / (h * k / (h + 1)) - (h - (b - k)) + b * (h + k + b)\n" in text
    assert "where(h < k + 1, U @ ((-(h + k) - (k - h) - (-1.5) * h) * h), -h)" in text
    check_equations(step)


def test_states_that_are_only_copied() -> None:
    @cell
    def delay(x, h, before, *, W):
        return stepfold.tanh(W @ x) + before, h

    assert "  h'      = tanh(W @ x) + before\n  before' = h\n" in delay.show()
    assert "    h --> before_new\n" in delay.show("graph")
    assert "  d_h      = d_before'\n  d_before = d_h'\n" in delay.show("gradient")

    @cell
    def still(x, h):
        return h

    assert still.show().endswith(
        "Parameters\n  none\n\nResiduals, saved at every timestep for the backward pass\n  nothing"
    )


def test_powers_of_ten_in_latex() -> None:
    @cell
    def tiny(x, h, *, W):
        return 2.5e9 * (h + 1e-6) - (W @ x - 1e-30) ** 2

    assert tiny.show("latex").splitlines()[1] == (
        r"h_t &= 2.5 \cdot 10^{9} \, (h_{t-1} + 10^{-6}) - (W x_t - 10^{-30})^2"
    )


def test_names_that_are_keywords_of_mermaid_or_latex() -> None:
    @cell
    def step(x, end, *, W_1, alpha, W_end):
        return stepfold.tanh(W_1 @ x + alpha * end) + stepfold.sigmoid(W_end @ end)

    graph = step.show("graph")
    assert '    end_(["end, from the timestep before"])' in graph
    assert re.search(r"\bend -->", graph) is None
    assert r"W_1 x_t + \alpha \odot \text{end}_{t-1}" in step.show("latex")


@pytest.mark.parametrize("kernel", ["infer", "train", "backward", "project"])
def test_code(kernel: str) -> None:
    cell = stepfold.cells.gru
    text = cell.show("llvm", units=5, dtype="float64", target=PLAINEST, kernel=kernel)
    assert "define void @" in text
    assert "x double>" in text
    options = {"units": 5, "dtype": "float32", "kernel": kernel}
    if target().architecture == "x86_64":
        assert re.search(r"vfmadd.*ymm", cell.show("asm", target="haswell", **options))
    elif target().architecture == "aarch64":
        assert re.search(r"fmla\s+v\d+\.4s", cell.show("asm", target="generic", **options))


@pytest.mark.parametrize(
    ("what", "options", "error", "text"),
    [
        (
            "math",
            {},
            ValueError,
            "there is no view 'math'; choose from maths, latex, graph, gradient, llvm, asm",
        ),
        ("maths", {"unit": 3}, TypeError, "the view 'maths' has no option unit; it takes units, features"),
        ("graph", {"units": 3}, TypeError, "the view 'graph' has no option units; it has no options"),
        (
            "maths",
            {"units": 3},
            ValueError,
            "parameters are counted for units and features; give both, or neither",
        ),
        (
            "maths",
            {"units": 0, "features": 3},
            ValueError,
            "units must be an integer of at least 1, not 0",
        ),
        (
            "llvm",
            {"kernel": "fast"},
            ValueError,
            "there is no kernel 'fast'; choose from infer, train, cooperative, backward, "
            "project, table, step, rows, hoist",
        ),
        (
            "asm",
            {"target": "6502"},
            ValueError,
            f"there is no target '6502' on {target().architecture}; use one of "
            + ", ".join(map(repr, target_names())),
        ),
        ("llvm", {"units": 0}, ValueError, "units must be an integer of at least 1, not 0"),
    ],
)
def test_what_cannot_be_shown(what: str, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        stepfold.cells.lstm.show(what, **options)
    assert str(caught.value) == text


@pytest.mark.parametrize("name", UNIFORM)
def test_every_built_in_cell_fits_on_a_page(name: str) -> None:
    cell = stepfold.cells.by_name(name)
    for what in ("maths", "gradient"):
        assert max(len(line) for line in cell.show(what).splitlines()) <= 110


def evaluated(cell: Cell, x: Any, states: list[Any], params: dict[str, Any]) -> list[Any]:
    """The new states, by running the equations of the view as Python."""
    text = cell.show()
    block = text.split("\n\n")[2]
    names = {name: getattr(stepfold, name) for name in stepfold.__all__}
    names["layer_norm"] = lambda v, gain, bias, epsilon: stepfold.layer_norm(v, gain, bias, epsilon=epsilon)
    names |= {"x": x, **dict(zip(cell.states, states, strict=True)), **params}
    joined = re.sub(r"\n\s+([+-])", r" \1", block).replace("'", "_new")
    for line in re.sub(r"(\w)~", r"\1_tilde", joined).splitlines():  # ~ before a condition is an operator
        exec(line.strip(), names)
    return [np.broadcast_to(names[f"{state}_new"], states[0].shape) for state in cell.states]


def check_equations(cell: Cell) -> None:
    random = np.random.default_rng(0)
    x, states = random.standard_normal(3), [random.standard_normal(4) for _ in cell.states]
    params = parameters(cell, 3, 4, seed=1)
    expected = cell(x[None], *(s[None] for s in states), **params)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for a, b in zip(evaluated(cell, x, states, params), expected, strict=True):
        np.testing.assert_allclose(a, b[0], rtol=1e-4, atol=1e-5)  # constants are printed with six digits


@pytest.mark.parametrize("name", UNIFORM)
def test_the_equations_of_built_in_cells_are_true(name: str) -> None:
    check_equations(stepfold.cells.by_name(name))


@settings(max_examples=60)
@given(cell=cells())
def test_the_equations_of_random_cells_are_true(cell: Cell) -> None:
    check_equations(cell)


@settings(max_examples=20)
@given(cell=cells())
def test_every_view_of_random_cells(cell: Cell) -> None:
    for what in ("latex", "graph", "gradient"):
        assert len(cell.show(what)) > 20


def deep(operations: int) -> Cell:
    """A cell with a chain of operations."""

    @cell
    def chain(x, h, *, W, U):
        y = W @ x + U @ h
        for _ in range(operations // 2):
            y = stepfold.tanh(y) * h
        return y

    return chain


@pytest.mark.parametrize("what", ["latex", "graph", "gradient"])
def test_a_chain_of_thousands_of_operations_is_shown(what: str) -> None:
    text = deep(4_000).show(what)
    # the inner values have names, so that no equation is long
    assert max(map(len, text.splitlines())) < 1_000
    assert text.count("tanh(") >= 2_000


def test_the_equations_of_a_chain_are_true() -> None:
    chain = deep(500).step
    matcher = Matcher()
    names, named = forward_names(chain, matcher)
    x, h, params = np.ones(2), np.full(3, 0.9), parameters(deep(500), 2, 3, seed=0)
    values = {"x": x, "h": h, "tanh": np.tanh, **params}
    for name, text in equations(chain, Printer(matcher, names), named).items():
        exec(f"{name} = {text}".replace("'", "_new"), values)
    np.testing.assert_allclose(values["h_new"], deep(500)(x, h, **params), rtol=1e-12)
