"""A stream's state as bytes: continued elsewhere bit for bit, and checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepfold import Stream, cells

CELL = cells.lstm
PARAMS = CELL.init(4, 9, seed=0)
INPUTS = np.random.default_rng(0).standard_normal((8, 3, 4)).astype("float32")


def single() -> Stream:
    stream = Stream(CELL, PARAMS)
    for x in INPUTS[:4, 0]:
        stream.step(x)
    return stream


def table() -> Stream:
    stream = single()
    stream.leave(stream.join(3)[1])
    for x in INPUTS[:4]:
        stream.step(x)
    return stream


STATE = table().save_state()


@pytest.mark.parametrize(("make", "rows"), [(single, 1), (table, 3)])
def test_another_stream_goes_on_bit_for_bit(make, rows: int) -> None:
    stream = make()
    for other in (Stream(CELL, PARAMS), Stream(CELL, PARAMS, batch=5), table()):
        other.load_state(stream.save_state())
        assert other.rows.tolist() == stream.rows.tolist()
        for x in INPUTS[4:, :rows]:
            np.testing.assert_array_equal(other.step(x), stream.step(x))
        assert other.save_state() == stream.save_state()
        assert other.join().tolist() == [stream._rows.following]


def test_what_does_not_fit_is_refused() -> None:
    stream = Stream(CELL, PARAMS)
    for other, what in (
        (Stream(cells.gru, cells.gru.init(4, 9, seed=0)), "cell"),
        (Stream(CELL, CELL.init(4, 8, seed=0)), "units"),
        (Stream(CELL, CELL.init(4, 9, seed=0, dtype="float64")), "dtype"),
    ):
        with pytest.raises(ValueError, match=f"the state is of another stream: its {what} is "):
            other.load_state(STATE)
    for wrong in (b"", b"stepfold stream 1\n", STATE[:40], b"x" + STATE):
        with pytest.raises(ValueError, match="these bytes are no state of a stream"):
            stream.load_state(wrong)
    for wrong in (STATE[:-1], STATE + b"0"):
        with pytest.raises(ValueError, match=r"the state is \d+ bytes, expected"):
            stream.load_state(wrong)
    with pytest.raises(TypeError, match="a stream's state is bytes"):
        stream.load_state("state")  # type: ignore[arg-type]
    assert stream.rows.tolist() == [0]


@given(st.integers(0, len(STATE) - 1), st.binary(min_size=1, max_size=9), st.booleans())
def test_a_damaged_state_is_refused_or_other_numbers(at: int, instead: bytes, longer: bool) -> None:
    stream = DAMAGED
    data = STATE[:at] + instead + STATE[at if longer else at + len(instead) :]
    try:
        stream.load_state(data)
    except ValueError:
        return
    stream.step(np.zeros((len(stream), 4), "float32"))


DAMAGED = Stream(CELL, PARAMS)

CONTINUE = """
import sys
import numpy as np
from stepfold import Stream, cells

stream = Stream(cells.lstm, cells.lstm.init(4, 9, seed=0))
stream.load_state(open(sys.argv[1], "rb").read())
for x in np.random.default_rng(0).standard_normal((8, 3, 4)).astype("float32")[4:]:
    stream.step(x)
open(sys.argv[1], "wb").write(stream.save_state())
"""


@pytest.mark.slow
def test_another_process_goes_on_bit_for_bit(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(STATE)
    subprocess.run([sys.executable, "-c", CONTINUE, str(tmp_path / "state")], check=True)
    here = table()
    for x in INPUTS[4:]:
        here.step(x)
    assert (tmp_path / "state").read_bytes() == here.save_state()


FORK = """
import os, sys
import numpy as np
from stepfold import Stream, cells
from stepfold._runtime import _engine

_engine._SMALL = -1
stream = Stream(cells.gru, cells.gru.init(4, 16, seed=0), batch=400, threads=2)
x = np.ones((400, 4), "float32")
stream.step(x)
child = os.fork()
stream.step(x)
if not child:
    stream.leave(stream.join(3))
    os._exit(0 if np.isfinite(stream.step(x)).all() else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_goes_on() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=60)


LONG = """
import gc
import numpy as np
from stepfold import Stream, cells

def memory():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1])

stream = Stream(cells.simple_rnn, cells.simple_rnn.init(2, 4, seed=0))
x = np.ones((1, 2), "float32")
for k in range(10_000_001):
    stream.step(x)
    if k == 1000:
        before = memory()
print((memory() - before) * 4096)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_ten_million_steps_take_no_memory() -> None:
    done = subprocess.run([sys.executable, "-c", LONG], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 1 << 20, f"{done.stdout} bytes more after ten million steps"
