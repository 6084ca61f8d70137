"""The arguments of every kernel: names and types, stated once.

A kernel takes one pointer, to its argument block: one 64-bit word an argument, in the order given here. Who
writes a kernel reads names and types from here (`_writer`, `_support`), who calls it reads the names."""

from __future__ import annotations

Signature = dict[str, str]
"""Argument name → LLVM type, `i64` or `ptr`, in the order of the argument block."""


def _signature(*, i64: str = "", ptr: str = "") -> Signature:
    return dict.fromkeys(i64.split(), "i64") | dict.fromkeys(ptr.split(), "ptr")


_SCAN = _signature(
    i64="steps rows chunk dense features row_stride",
    ptr="offsets slots source target row_numbers prefix_offsets inputs panels vectors states residuals "
    "scratch row_inputs step_inputs",
)
FORWARD = _SCAN | _signature(i64="ring start_row", ptr="projection input_panel starts outputs")
COOPERATIVE = FORWARD | _signature(i64="rank ranks", ptr="barrier")
BACKWARD = _SCAN | _signature(
    ptr="previous cotangents output_gradient deltas packed operands input_panel inputs_gradient "
    "table_gradient kernel_gradients recurrent_gradients column_gradients vector_gradients"
)


def named_gradients(count: int) -> Signature:
    """What the backward kernel is told besides if so many inputs with a name have gradients."""
    if not count:
        return {}
    return _signature(ptr=" ".join(["input_gradients", *(f"named_gradient{k}" for k in range(count))]))


PROJECT = _signature(i64="features", ptr="inputs source distinct_count input_panel input_bias projection")
TABLE = _signature(
    i64="features",
    ptr="inputs source distinct_count deltas packed input_panel inputs_gradient kernel_gradients",
)
STREAM = _signature(
    i64="features",
    ptr="inputs panels vectors before after scratch input_panel input_bias projection outputs",
)
HOIST = _signature(ptr="vectors scratch")
"""A stream's vectors are followed by what is made of them, which this kernel writes once."""
ROWS = _signature(i64="count block part parts", ptr="slots states") | STREAM
STEP_INPUTS = _signature(ptr="step_inputs")
"""What the kernels of a stream are told besides if there are inputs with a name."""

# ---- one timestep of a batch, on the caller's arrays -------------------------------------------------------

_ONE_TIMESTEP = _signature(i64="batch part parts", ptr="weights saved results scratch vectors")
"""`weights` and `results` are arrays of addresses; `saved` the rows of states and residuals."""
TIMESTEP = _ONE_TIMESTEP | _signature(ptr="inputs states projection")
"""`states`: the addresses of the states before; null: zeros."""
COOPERATIVE_TIMESTEP = TIMESTEP | _signature(i64="rank ranks", ptr="barrier")
TIMESTEP_BACKWARD = _ONE_TIMESTEP | _signature(
    ptr="inputs arriving cotangents inputs_gradient terms vector_gradients"
)
"""`arriving`: the addresses of the gradients of the states after, each null where there is none; `terms`: the
rows of deltas and operands of which gradients of matrices are made."""

# ---- the schedule of a batch ------------------------------------------------------------------------------

_BATCH = _signature(i64="batch time begin limit", ptr="status lengths counts time_offsets")
WHOLE = _BATCH | _signature(i64="time_stride")
LENGTHS = _BATCH | _signature(i64="time_stride", ptr="given_lengths clean_mask")
MASK = _BATCH | _signature(i64="time_stride reverse", ptr="mask clean_mask active_times")
PACKED = _BATCH | _signature(i64="places", ptr="batch_sizes")
SORT = _signature(i64="batch limit", ptr="counts rows sorted_counts starts")
SHARE = _signature(
    i64="batch time row_stride reverse vocabulary_size",
    ptr="status tokens time_offsets step_offsets rows sorted_counts index leaders totals longest depths "
    "starts",
)
PARTITION = _signature(
    i64="batch groups time vocabulary_size tasks arena_stride state_row residual_row",
    ptr="status rows sorted_counts headers group_rows group_counts step_offsets arena states residuals",
)
INDEX = _signature(i64="time begin row_stride reverse", ptr="group lengths time_offsets active_times")
DISTINCT = _signature(i64="vocabulary_size", ptr="status group tokens index")
_EXPECTED = _signature(i64="expected0 expected1 expected2 expected3 expected4 expected5")
CHECK_GROUP = _signature(i64="batch places row_stride vocabulary_size", ptr="status group")
SEAL = _EXPECTED | _signature(ptr="status headers residuals held_headers")
OPEN = _EXPECTED | _signature(
    i64="groups_most gradient_row",
    ptr="status headers residuals held_headers row_gradients output_gradient gathered",
)

# ---- rows of states and outputs ---------------------------------------------------------------------------

_PIECES = _signature(i64="pieces piece_stride")
"""A value in so many pieces of `width` elements, `piece_stride` apart where rows are padded."""
_ROWS = _signature(i64="width state_row", ptr="group states") | _PIECES
LOAD_STATES = _ROWS | _signature(i64="copies", ptr="source")
STORE_STATES = _ROWS | _signature(i64="ring", ptr="target")
STORE_GRADIENT = _ROWS | _signature(i64="accumulate", ptr="target")
_PADDING = _signature(i64="time width row_stride time_stride reverse", ptr="status group mask")
REPEAT = _PADDING | _signature(i64="start_row", ptr="start outputs")
GATHER = _PADDING | _signature(ptr="gradient gathered start")
BLANK = _PADDING | _signature(ptr="target")
ADD_ROWS = _signature(i64="width", ptr="group target")
PAD_ROWS = _signature(i64="count width row", ptr="row_numbers source target") | _PIECES

# ---- memory -----------------------------------------------------------------------------------------------

CLEAR = _signature(i64="bytes part parts", ptr="target")
CLEAR_ROWS = _signature(i64="row", ptr="group target")
COPY = _signature(i64="count", ptr="copies arrays")
