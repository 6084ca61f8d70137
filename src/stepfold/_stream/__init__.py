"""One timestep at a time with carried state: one sequence, or thousands that join and leave.

A stream of one sequence holds two rows of memory between which a kernel goes to and fro. As soon as
sequences join or leave, their states lie in a table of slots (`_memory` has both); `_rows` knows which rows
there are, by numbers that are given once, and their slots. `_stored` is a stream's state as bytes."""

from ._rows import Indices, Rows
from ._stored import StoredState, read_state, written_state
from ._stream import Stream
from ._turn import Turn

__all__ = ["Indices", "Rows", "StoredState", "Stream", "Turn", "read_state", "written_state"]
