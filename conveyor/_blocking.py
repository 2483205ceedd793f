"""Streams for code without an event loop: it waits while one runs."""

from __future__ import annotations

import signal
from _thread import start_new_thread
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from threading import get_ident
from time import sleep
from typing import Any, TypeVar
from weakref import ReferenceType, ref

import anyio

from ._engine.loop import host
from ._loop_thread import LoopThread
from ._stream import Stream

T = TypeVar("T")


def check(method: str, instead: str, backend: object) -> None:
    """Refuse what cannot work.

    Raises:
        TypeError: If `backend` is no string.
        ValueError: If there is no such backend.
        RuntimeError: If an event loop runs in this thread: it would stand still.
    """
    allowed = "backend must be 'asyncio' or 'trio'"
    if not isinstance(backend, str):
        raise TypeError(f"{allowed}, not {backend!r}")
    if backend not in ("asyncio", "trio"):
        raise ValueError(f"{allowed}, not {backend!r}")
    if host.is_running():
        raise RuntimeError(
            f"{method}() waits in a thread without an event loop, and one runs in this thread: "
            f"use {instead}"
        )


def run(stream: Stream[T], backend: str, options: Mapping[str, Any] | None) -> list[T]:
    """Run a stream to its end, in an event loop in this thread, and return all results."""
    start = partial(anyio.run, backend=backend, backend_options=dict(options or {}))
    return host.apart().run(start, stream.collect)


def iterate(
    stream: Stream[T], backend: str, options: Mapping[str, Any] | None
) -> Generator[T, None, None]:
    """Yield the results of a stream that runs in an event loop in a thread of its own.

    All is over when the generator has ended or is closed: the run and the thread.
    """
    itself: list[ReferenceType[object]] = []
    results = _results(LoopThread(stream, backend, options), itself)
    itself.append(ref(results))
    return results


class _Probe:
    """Held by a generator's frame alone."""

    __slots__ = ("__weakref__",)


def _results(
    run: LoopThread[T], itself: Sequence[ReferenceType[object]]
) -> Generator[T, None, None]:
    # Weak references say how a generator is closed. When it is dropped, those to itself have been
    # cleared. When it was found by the garbage collector so have been those to what it holds, if
    # they have a callback.
    probe = _Probe()
    probed = ref(probe, id)
    interrupted = False
    try:
        results = run.take()
        while True:  # CPython 3.14 goes back to a condition outside of the `try`
            if not results:
                results = run.take()
                if not results:
                    break
            yield results.popleft()
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        try:
            # The collector may be at work in any thread, whatever locks that holds. The end of the
            # run may need them, so it is not waited for then.
            run.end() if probed() is None else run.close()
        except KeyboardInterrupt:
            if interrupted:  # again: the caller will not wait
                raise
            run.close()
            if itself[0]() is not None:
                raise
            # From a generator that is being dropped it would only be printed. So it is sent once
            # more, when this has been left.
            if callable(signal.getsignal(signal.SIGINT)):
                start_new_thread(_interrupt, (get_ident(),))


def _interrupt(thread: int) -> None:
    """Have Ctrl-C raised in `thread`, the main one, also where it waits."""
    sleep(0.01)  # until it does: it would not notice what comes just before
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(thread, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)
