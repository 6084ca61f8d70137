"""Processes that train for another one: whether it is there, and how they are told to stop."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from stepfold.estimators import _parent


def test_a_process_knows_whether_its_parent_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _parent.has_parent(os.getppid())
    assert not _parent.has_parent(os.getpid())
    monkeypatch.setattr(_parent.sys, "platform", "win32")
    assert _parent.has_parent(os.getpid())


@pytest.mark.parametrize("system", ["linux", "win32"])
def test_sigterm_comes_to_the_main_thread(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[threading.Thread] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(threading.current_thread()))
    monkeypatch.setattr(_parent.sys, "platform", system)
    try:
        sender = threading.Thread(target=_parent.terminate_self)
        sender.start()
        sender.join(10)
        end = time.monotonic() + 10
        while not came and time.monotonic() < end:
            time.sleep(0.001)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [threading.main_thread()]
