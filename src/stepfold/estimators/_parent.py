"""What a process that trains for another one knows of it, and how it tells itself to stop."""

from __future__ import annotations

import _thread
import os
import signal
import sys


def has_parent(parent: int) -> bool:
    """Return whether the process that began this one, by its number, is still there.

    Windows does not tell: a process keeps the number of whoever began it, and in a virtual environment that
    is another process, which passes on what it is asked. There the answer is always yes.
    """
    return sys.platform == "win32" or os.getppid() == parent


def terminate_self() -> None:
    """Send SIGTERM to this process, from any thread; its handler runs in the main thread."""
    if sys.platform == "win32":  # where os.kill would end the process at once
        _thread.interrupt_main(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)
