"""Worker processes, as an event loop has them. Their program is in `child.py`.

anyio has worker processes too, which the event loop starts and reads from. A run that lives in a
background task, as a plainly iterated stream's does, cannot use them when the program ends after a
`break`:

- `asyncio.run` then cancels all tasks, among them one of asyncio's own that connects the pipes of
  a process that is just being started. Such a process is never seen to end, and `asyncio.run`
  waits for its end for ever (python/cpython#125502, #103847).
- On trio, anyio's task that ends the workers loops over a set of them while calls that end at the
  same time take theirs out, and a system task that fails is a `TrioInternalError`
  (`_shutdown_process_pool` in anyio's `_backends/_trio.py`, seen in anyio 4.16).
- An idle worker that Ctrl-C reaches answers with a `KeyboardInterrupt`, and the next call gets it.

So these are plain processes and sockets: no task and no part of the event loop knows of them
between two calls.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any

from anyio import (
    BrokenWorkerProcess,
    CancelScope,
    get_cancelled_exc_class,
    wait_readable,
    wait_writable,
)
from anyio.lowlevel import RunVar, checkpoint_if_cancelled

from .child import LENGTH
from .outcome import unpack

MOST_IDLE = 300.0  # seconds after which a worker that nobody needs is ended
GRACE = 2.0  # seconds that workers have to end by themselves, once the loop ends
MOMENT = 0.2  # seconds between the end of a process's connections and its own, at most
CHUNK = 1 << 20  # bytes read at once, at most

PROGRAM = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from conveyor._engine.offload.child import main; main({})"
)


class Processes:
    """Makes calls in the worker processes of the running event loop, each in one of its own.

    Args:
        abandon: Whether cancellation kills the worker instead of waiting for it.
    """

    def __init__(self, *, abandon: bool) -> None:
        self._abandon = abandon

    async def send(self, name: str, packed: bytes, item: Any) -> bytes:
        """Have the function in `packed` called with an item, and return the outcome.

        Without an item (`Ellipsis`) it is only tried whether the function can be called.

        Raises:
            BrokenWorkerProcess: If the worker dies.
            RuntimeError: If a worker cannot be started.
        """
        dumped = None if item is ... else pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        await checkpoint_if_cancelled()
        pool = await _pool()
        worker = pool.take()
        try:
            if not worker.is_ready:
                await worker.prepare()
            now = time.monotonic()
            worker.begin(pickle.dumps((name, packed, dumped, _is_interruptible(), now)))
            outcome = await (worker.answer() if self._abandon else _undisturbed(worker))
        except EOFError:
            what = f"that was to call {name!r}" if worker.is_ready else "that was being started"
            fate = worker.fate()
            raise BrokenWorkerProcess(f"the worker process {what} {fate}") from None
        except BaseException:
            pool.discard(worker)  # it may be in the middle of a call
            raise
        pool.give_back(worker)
        return outcome


async def _undisturbed(worker: _Worker) -> bytes:
    """Wait for an answer, whoever is cancelled."""
    outcome = b""
    try:
        with CancelScope(shield=True):
            outcome = await worker.answer()
    except get_cancelled_exc_class():
        # A shield does not keep off `Task.cancel()`, which `asyncio.run` calls at its end on every
        # task that is left. The function is not to run on when the run is over.
        with CancelScope(shield=True):
            await worker.answer()  # noqa: ASYNC102 - as long as the call
        raise
    return outcome


def _is_interruptible() -> bool:
    """Return whether Ctrl-C raises `KeyboardInterrupt` in this program.

    If so it may interrupt the functions in the workers as well, which a terminal tells too. Where
    the program does something else, `Stream.stop` say, they have to go on.
    """
    handler: Any = signal.getsignal(signal.SIGINT)
    module = getattr(getattr(handler, "func", handler), "__module__", None)
    return module in ("_signal", "signal", "asyncio.runners", "trio._core._ki")


# --- the workers of one event loop

_pools: RunVar[tuple[_Pool, object] | None] = RunVar("conveyor_processes", default=None)


async def _pool() -> _Pool:
    there = _pools.get()
    if there is None:
        pool = _Pool()
        keeper = _keep(pool)
        _pools.set((pool, keeper))
        await anext(keeper)  # this does not wait
        return pool
    return there[0]


async def _keep(pool: _Pool) -> AsyncGenerator[None, None]:  # noqa: ASYNC900, ASYNC124 - see below
    """End the workers with the event loop.

    At its end, when no task is left, an event loop closes the async generators that are open. It
    offers nothing else that works on asyncio and on trio and needs no task of its own.
    """
    try:
        yield
    finally:
        _pools.set(None)
        pool.close()


class _Pool:
    """The workers that wait for a call, and those that have been killed."""

    def __init__(self) -> None:
        self._idle: deque[tuple[_Worker, float]] = deque()
        self._killed: list[_Worker] = []
        self._closed = False
        # For a loop that is not closed in order.
        weakref.finalize(self, _end, self._idle, self._killed, os.getpid())

    def take(self) -> _Worker:
        """Return a worker: the one that was used last, or a new one."""
        while self._idle:
            worker, _ = self._idle.pop()
            if worker.is_alive():
                return worker
            worker.end()
        return _Worker()

    def give_back(self, worker: _Worker) -> None:
        now = time.monotonic()
        while self._idle and now - self._idle[0][1] > MOST_IDLE:
            self.discard(self._idle.popleft()[0])
        self._idle.append((worker, now))
        self._settle()

    def discard(self, worker: _Worker) -> None:
        """Kill a worker. It may take a while to be gone, which nobody has to wait for."""
        worker.kill()
        self._killed.append(worker)
        self._settle()

    def _settle(self) -> None:
        if self._closed:
            self.close()
        elif self._killed:
            self._killed[:] = [worker for worker in self._killed if worker.is_alive()]

    def close(self) -> None:
        self._closed = True
        _end(self._idle, self._killed, os.getpid())


def _end(idle: deque[tuple[_Worker, float]], killed: list[_Worker], pid: int) -> None:
    if os.getpid() != pid:
        return  # a child that was forked has no business with them
    workers = [*killed, *(worker for worker, _ in idle)]
    idle.clear()
    killed.clear()
    for worker in workers:
        worker.dismiss()
    deadline = time.monotonic() + GRACE
    for worker in workers:
        worker.end(max(0.0, deadline - time.monotonic()))


class _Worker:
    """One worker process, with one request at a time."""

    def __init__(self) -> None:
        path = [str(place) for place in sys.path]  # whatever somebody has put there
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._process: subprocess.Popen[bytes]
        with theirs:
            if sys.platform == "win32":  # where a process cannot inherit a socket
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
                command = [sys.executable, "-c", PROGRAM.format("()"), *path]
                self._process = subprocess.Popen(command, **pipes)
                assert self._process.stdin is not None
                with self._process.stdin as stdin:
                    stdin.write(theirs.share(self._process.pid))
            else:
                with _uninterrupted() as held:
                    command = [sys.executable, "-c", PROGRAM.format(held), *path]
                    self._process = subprocess.Popen(
                        command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL
                    )
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self.is_ready = False

    def is_alive(self) -> bool:
        return self._process.poll() is None

    async def prepare(self) -> None:
        """Have it import the main module.

        Raises:
            RuntimeError: If that fails.
        """
        kind, main = _main_module()
        self.begin(pickle.dumps((sys.argv, kind, main), pickle.HIGHEST_PROTOCOL))
        answer = await self.answer()
        try:
            unpack(answer)
        except BaseException as error:  # noqa: ASYNC103 - it comes from the worker
            raise RuntimeError(_why_main_fails(str(main), error)) from error  # noqa: ASYNC104 - as above
        self.is_ready = True

    def begin(self, request: bytes) -> None:
        """Have a request sent, by `answer`."""
        self._unsent = memoryview(LENGTH.pack(len(request)) + request)
        self._received = bytearray()

    async def answer(self) -> bytes:
        """Wait for the answer, also if this has been cancelled before.

        Raises:
            EOFError: If there is none, as the worker has died.
        """
        try:
            while self._unsent:
                try:
                    sent = self._socket.send(self._unsent)
                except BlockingIOError:
                    await wait_writable(self._socket)
                else:
                    self._unsent = self._unsent[sent:]
            while missing := self._missing():
                await wait_readable(self._socket)
                chunk = self._socket.recv(min(missing, CHUNK))
                if not chunk:
                    raise EOFError
                self._received += chunk
        except (BrokenPipeError, ConnectionError):
            raise EOFError from None
        return bytes(memoryview(self._received)[LENGTH.size :])

    def _missing(self) -> int:
        if len(self._received) < LENGTH.size:
            return LENGTH.size - len(self._received)
        (length,) = LENGTH.unpack_from(self._received)
        missing: int = LENGTH.size + length - len(self._received)
        return missing

    def fate(self) -> str:
        """Say how it ended, or else has to end now: it does not answer any more."""
        self.end(MOMENT)
        status = self._process.returncode
        if status >= 0:
            return f"has ended, with exit status {status}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        hint = ", as the system does where memory runs out" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"

    def dismiss(self) -> None:
        """Let it end: there are no more requests."""
        self._socket.close()

    def kill(self) -> None:
        self.dismiss()
        self._process.kill()

    def end(self, grace: float = 0.0) -> None:
        """End it, if it has not ended by itself in `grace` seconds."""
        self.dismiss()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _uninterrupted() -> Generator[tuple[int, ...], None, None]:
    """Have what is started here not hear Ctrl-C until it says so.

    An interpreter that Ctrl-C reaches while it starts prints a traceback, or a fatal error, before
    there is any handler of ours. A process inherits what its parent's thread holds back, across
    `exec`. Gives the numbers of the signals that it is to let through.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield tuple(int(number) for number in {signal.SIGINT} - before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- the main module, which workers import


NO_GUARD = (
    "a worker process imports the main module of the program, and this starts the program over "
    'again there: put what starts it under `if __name__ == "__main__":`'
)


def _main_module() -> tuple[str | None, str | None]:
    """Return how workers get at the main module: by name, by path, or not at all."""
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        # The `__main__` of a package has nothing to offer but its program.
        return (None, None) if name.rpartition(".")[2] == "__main__" else ("name", name)
    path = getattr(main, "__file__", None)
    return ("path", path) if path and os.path.isfile(path) else (None, None)  # noqa: PTH113


def _why_main_fails(main: str, error: BaseException) -> str:
    if NO_GUARD in str(error):
        return f"{NO_GUARD} ({main})"
    return (
        f"a worker process imports the main module of the program, {main}, which failed there "
        f"with {type(error).__name__}: {error}"
    )


def main_without_guard() -> str | None:
    """Return the file of a main module that does not ask for its name, if it is such a one."""
    kind, main = _main_module()
    path = getattr(sys.modules["__main__"], "__file__", None) if kind == "name" else main
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return None if "__name__" in file.read() else path
    except (OSError, UnicodeDecodeError):
        return None
