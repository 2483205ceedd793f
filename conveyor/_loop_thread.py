"""A stream that is read from outside of its event loop, which has a thread of its own.

The hard part is the end. An interruption (Ctrl-C) may be raised anywhere in the thread that
reads: whatever had been done by then, `close` must know what is left to wait for. And the
interpreter waits for no thread of this kind, but for the worker threads that the run may use:
if the program leaves a run open, somebody has to end it before.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from functools import partial
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, final

import anyio

from ._engine.loop import host
from ._stream import Stream

T = TypeVar("T")

# Seconds after which a wait is begun anew. An interruption that comes just before it would be
# noticed only behind it otherwise, and on Windows so would one that comes while it lasts.
NOTICED = 0.5

# The runs of this process that are not over, which the interpreter ends when it exits. A run does
# not know the generator that reads it, so being listed here keeps none alive.
_open: set[LoopThread[Any]] = set()


@final
class LoopThread(Generic[T]):
    """One stream in an event loop in a thread, which begins with the first `take`.

    Attributes:
        reader: The thread that has called `take` last.
    """

    def __init__(self, stream: Stream[T], backend: str, options: Mapping[str, Any] | None) -> None:
        self._stream: Stream[T] | None = stream  # until its loop has it
        self._backend = backend
        self._options = dict(options or {})
        self._context: Context | None = None
        self._thread: threading.Thread | None = None
        self._process = 0
        self.reader: threading.Thread | None = None
        # Who came first: the thread that has begun, or whoever ended the run before that. Starting
        # a thread may be interrupted at any point, and only one of the two can be the first.
        self._first: dict[str, str] = {}
        # What `join` alone cannot tell: interrupted, it takes the thread for over (on 3.11).
        self._over = False
        self._running = threading.Lock()  # held until then
        self._running.acquire()
        # From the loop: results, the error that the run ended in, or that it was ended.
        self._answers: SimpleQueue[deque[T] | BaseException | None] = SimpleQueue()
        self._ending = False
        # What works from any thread, once the loop runs.
        self._ask: Callable[[], None] | None = None
        self._cancel: Callable[[], None] | None = None

    # The reader's side

    def take(self) -> deque[T]:
        """Wait for results, and return those that are there: none at the end.

        Raises:
            RuntimeError: In a forked process, which has no copy of the thread, and once the
                interpreter exits.
            Exception: What the run failed with.
        """
        self.reader = threading.current_thread()
        if self._thread is None:
            self._start()
        elif self.is_elsewhere():
            raise RuntimeError(
                "this run was begun by the process that this one was forked from, and goes on "
                "there: call iterate() again here"
            )
        elif self._ask is not None:
            self._ask()
        answer = self._wait()
        try:
            if answer is None:
                self._answers.put(None)
                if self.reader.daemon:  # it is to be stopped anyway, and in silence
                    raise SystemExit
                raise RuntimeError("the run was ended, since the interpreter exits")
            if isinstance(answer, BaseException):
                raise answer
            return answer
        finally:
            del answer  # the traceback of an error holds this frame: a reference cycle

    def _wait(self) -> deque[T] | BaseException | None:
        while True:
            with suppress(Empty):
                return self._answers.get(timeout=NOTICED)

    def _start(self) -> None:
        self._process = os.getpid()
        self._context = host.apart()
        # A daemon, or the interpreter would wait for it before it ends what is left open.
        self._thread = threading.Thread(target=self._serve, name="conveyor run", daemon=True)
        _open.add(self)
        start_new_thread(self._launch, ())

    def _launch(self) -> None:
        """Start the thread, in one that is not interrupted: that could leave it half started."""
        assert self._thread is not None
        try:
            self._thread.start()
        except BaseException as error:  # noqa: ASYNC103 - the reader's thread raises it
            self._answers.put(error)

    def end(self) -> None:
        """Cancel the run, and do not wait. From any thread, and any number of times."""
        if self._thread is None or self.is_elsewhere():
            return
        self._ending = True
        if self._first.setdefault("came", "end") == "end":
            _open.discard(self)
        elif self._cancel is not None:
            self._cancel()

    def close(self) -> None:
        """Cancel the run, and wait until nothing of it is left.

        If this is interrupted, it may be called again. In the loop's own thread, and where the
        interpreter has stopped all threads, it cannot wait.
        """
        self.end()
        thread = self._thread
        if thread is None or self.is_elsewhere() or self._first["came"] == "end":
            return
        if thread is threading.current_thread() or sys.is_finalizing():
            return
        while not self._over:
            if self._running.acquire(timeout=NOTICED):
                self._running.release()
        thread.join()

    def is_elsewhere(self) -> bool:
        """Whether this is a copy in a forked process: there is no thread, and locks may be held."""
        return self._process != os.getpid()

    # The thread's side

    def _serve(self) -> None:
        if self._first.setdefault("came", "thread") != "thread":
            return
        answer: deque[T] | BaseException | None = None
        try:
            assert self._context is not None
            run = partial(anyio.run, backend=self._backend, backend_options=self._options)
            answer = self._context.run(run, self._read)
        except BaseException as error:  # noqa: ASYNC103 - the reader's thread raises it
            answer = error
        finally:
            self._stream = self._context = None
            _open.discard(self)
            self._answers.put(answer)
            del answer
            self._over = True
            self._running.release()

    async def _read(self) -> deque[T] | Exception | None:
        """Give the reader what it asks for, and return what it gets in the end."""
        stream, self._stream = self._stream, None
        assert stream is not None
        asked = anyio.Event()

        def ask() -> None:
            asked.set()  # the one that is waited for now

        with anyio.CancelScope() as scope:  # noqa: ASYNC912 - it is `end` that needs it
            call_soon = host.soon()
            self._ask = partial(call_soon, ask)
            self._cancel = partial(call_soon, scope.cancel)
            if self._ending:  # by someone who found no `_cancel` yet
                await stream.aclose()
                return None
            source: Any = stream  # what it has ready is no affair of its users
            try:
                async with stream:
                    while results := deque(await source._ready()):
                        asked = anyio.Event()
                        self._answers.put(results)
                        await asked.wait()
                return results
            except Exception as error:
                return error  # from here, its traceback has no frames of the loop's own
        return None


# The interpreter's end


def _end_all() -> None:
    """End all runs, and wait for those whose readers cannot read on.

    A thread for which the interpreter waits may read on until it ends.
    """
    here = threading.current_thread()
    ended = []
    for run in tuple(_open):
        reader = run.reader
        if run.is_elsewhere() or reader is None:
            continue
        reads_on = reader is not here and reader.is_alive() and not reader.daemon
        if not (reads_on and _end_later(reader, run)):
            run.end()
            ended.append(run)
    for run in ended:
        run.close()


def _end_later(reader: threading.Thread, run: LoopThread[Any]) -> bool:
    """End a run after its reader; return whether there can be a thread to wait for that.

    CPython 3.12.0 to 3.12.2 start none any more by now (python/cpython#113964).
    """
    thread = threading.Thread(target=_end_after, args=(reader, run), name="conveyor end")
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _end_after(reader: threading.Thread, run: LoopThread[Any]) -> None:
    reader.join()
    run.close()


atexit.register(_end_all)
# The same, before the interpreter waits for threads. The worker threads of an open run would keep
# it waiting for ever, and only now can they still be used to clean up. This is for CPython's own
# use, but `atexit` alone comes too late, and there is nothing else: `concurrent.futures` uses it as
# well. What was registered last is called first, so asyncio's worker threads are still there then.
with suppress(RuntimeError):  # both are refused once the interpreter exits
    import_module("concurrent.futures.thread")
    getattr(threading, "_register_atexit", atexit.register)(_end_all)
