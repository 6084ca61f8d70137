"""Locks that a forked child gets anew."""

from __future__ import annotations

import os
import threading

import pytest

from stepfold._locks import ForkSafeLock


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX, if it is loaded, warns
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_lock_that_another_thread_holds_is_free_in_a_forked_child(reentrant: bool) -> None:
    lock, taken, done = ForkSafeLock(reentrant=reentrant), threading.Event(), threading.Event()

    def hold() -> None:
        with lock.lock:
            taken.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert taken.wait(60)
        child = os.fork()
        if child == 0:
            os._exit(0 if lock.lock.acquire(blocking=False) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not lock.lock.acquire(blocking=False)  # here the other thread still has it
    finally:
        done.set()
        holder.join()
    with lock.lock:
        assert lock.lock.acquire(blocking=False) == reentrant
        if reentrant:
            lock.lock.release()
