"""How much processor time this process uses, and how much there is."""

from __future__ import annotations

import os
import sys
import time
from threading import get_ident


class CpuClock:
    """Measures the processor time of the process and of this thread, from now on.

    Child processes aside. It is right for one thread alone: asked from another one, it says what it
    knew before.
    """

    __slots__ = ("_began", "_last", "_stopped", "_thread")

    def __init__(self) -> None:
        self._thread = get_ident()
        self._stopped = False
        self._last = 0.0, 0.0
        self._began = time.process_time(), _thread_time()

    def read(self) -> tuple[float, float]:
        """Return the seconds of the whole process, and those of this thread alone."""
        if not self._stopped and get_ident() == self._thread:
            process, thread = self._began
            self._last = time.process_time() - process, _thread_time() - thread
        return self._last

    def stop(self) -> None:
        """Measure no more."""
        self.read()
        self._stopped = True


def _thread_time() -> float:
    # Not every system has it.
    return time.thread_time() if hasattr(time, "thread_time") else 0.0


def processors() -> int | None:
    """Return how many processors this process may use; ``None`` if nobody knows."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count()
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def is_free_threaded() -> bool:
    """Say whether threads run Python code side by side."""
    return not getattr(sys, "_is_gil_enabled", lambda: True)()
