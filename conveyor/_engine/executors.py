"""Calling a plain function away from the event loop: in a thread, a process, an executor.

Whatever it is, a stage gets an async function in its place. A call that has begun cannot be
interrupted from here: who is cancelled meanwhile waits for it, shielded, or abandons it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import nullcontext
from contextvars import copy_context
from functools import partial
from threading import Lock
from typing import Any

from anyio import (
    BrokenWorkerProcess,
    CancelScope,
    CapacityLimiter,
    Event,
    get_cancelled_exc_class,
    to_interpreter,
    to_process,
    to_thread,
)
from anyio.lowlevel import checkpoint_if_cancelled

from .._spec import Spec
from . import host
from .log import annotate
from .parcel import Parcel, accept, call, nothing, try_out, with_path

Send = Callable[..., Coroutine[Any, Any, Any]]  # of a function and its arguments


async def offloaded(
    spec: Spec, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    """Return an async function that has the task's own called where its executor says.

    Where the function has to travel, this tries the way with a call that does nothing: so what
    cannot travel is found out before anything is read.

    Raises:
        TypeError: If the function or a side input cannot be pickled.
        Exception: Whatever else keeps the executor from calling the function.
    """
    executor = spec.executor
    if executor == "thread":
        send = _Threads(spec.limit).send if spec.abandon_on_cancel else _in_threads(spec.limit)
        return partial(send, Parcel(spec.func, args, kwargs))
    if executor == "process":
        in_processes = _killing_processes if spec.abandon_on_cancel else _in_processes
        send = in_processes(spec.limit)
        return await _packed(send, spec, Parcel(spec.func, args, kwargs, main=True))
    if executor == "interpreter":
        send = _in_interpreters(spec.limit)
        return await _packed(send, spec, Parcel(spec.func, args, kwargs))
    assert isinstance(executor, Executor)
    send = _Submitted(executor, abandon=spec.abandon_on_cancel).send
    if isinstance(executor, ProcessPoolExecutor):
        return await _packed(send, spec, Parcel(spec.func, args, kwargs, main=True))
    parcel = Parcel(spec.func, args, kwargs)
    if isinstance(executor, ThreadPoolExecutor):
        if type(executor).__name__ != "InterpreterPoolExecutor":  # which is one to Python 3.14
            return partial(_in_context, send, parcel)
        return await _packed(send, spec, parcel)
    # How this one sends a function is its own affair: it may well send more than pickle can.
    await _tried(send, spec, accept, parcel)
    return partial(send, parcel)


async def _packed(send: Send, spec: Spec, parcel: Parcel) -> Callable[[Any], Any]:
    """Pickle what is the same for all items once, and see that a worker can unpickle it."""
    try:
        packed = parcel.pack()
    except TypeError as error:
        raise TypeError(f"task {spec.name!r} cannot run in {spec.executor!r}: {error}") from error
    await _tried(send, spec, try_out, packed)
    return partial(send, call, packed)


async def _tried(send: Send, spec: Spec, *call: Any) -> None:
    try:
        await send(*call)
    except (BrokenExecutor, BrokenWorkerProcess):
        pass  # a worker has died, which is for the items to meet, with their policies
    except Exception as error:
        annotate(error, f"task {spec.name!r} cannot run in {spec.executor!r}")
        raise


def _in_threads(limit: float) -> Send:
    limiter = CapacityLimiter(limit)

    async def send(*call: Any) -> Any:
        result = await to_thread.run_sync(*call, limiter=limiter)
        await checkpoint_if_cancelled()  # a time-out that has passed meanwhile is one
        return result

    return send


class _Threads:
    """Calls in threads that may be abandoned. One that is still counts, until it returns.

    With anyio's own limiter that would be so on trio alone.
    """

    def __init__(self, limit: float) -> None:
        self._limiter = CapacityLimiter(limit)
        self._unlimited = CapacityLimiter(float("inf"))
        self._soon = host.soon()

    async def send(self, *call: Any) -> Any:
        borrower = object()
        give_back = partial(self._limiter.release_on_behalf_of, borrower)
        await self._limiter.acquire_on_behalf_of(borrower)
        lock = Lock()
        taken = False  # by the thread that makes the call, or by us, who do not want it any more

        def take() -> bool:
            nonlocal taken
            with lock:
                first, taken = not taken, True
                return first

        def make_call() -> Any:
            if not take():
                return None
            try:
                return call[0](*call[1:])
            finally:
                self._soon(give_back)

        try:
            return await to_thread.run_sync(
                make_call, abandon_on_cancel=True, limiter=self._unlimited
            )
        finally:
            if take():
                give_back()


def _in_processes(limit: float) -> Send:
    limiter = CapacityLimiter(limit)

    async def send(*call: Any) -> Any:
        result = None
        # All of it, for anyio shields the call alone: cancelled while it starts a worker, it
        # would leave that behind.
        with CancelScope(shield=True):
            result = await to_process.run_sync(*call, limiter=limiter)
        await checkpoint_if_cancelled()
        return result

    return send


def _killing_processes(limit: float) -> Send:
    """Return what makes calls in processes that may be abandoned, which kills them."""
    limiter = CapacityLimiter(limit)
    unlimited: Any = nullcontext()  # which does not let others run, as a limiter would

    async def send(*call: Any) -> Any:
        async with limiter:
            with CancelScope(shield=True):
                # A worker may have to be started, and is idle when this returns. So it is the one
                # that the next line takes, and starts none, which must not be cancelled.
                await to_process.run_sync(nothing, limiter=unlimited)
            return await to_process.run_sync(*call, cancellable=True, limiter=unlimited)

    return send


def _in_interpreters(limit: float) -> Send:
    limiter = CapacityLimiter(limit)

    async def send(*call: Any) -> Any:
        result = await to_interpreter.run_sync(partial(with_path, sys.path), *call, limiter=limiter)
        await checkpoint_if_cancelled()
        return result

    return send


async def _in_context(send: Send, *call: Any) -> Any:
    return await send(copy_context().run, *call)


class _Submitted:
    """Calls that are futures of an executor. It may set them in any thread, and at any time."""

    def __init__(self, executor: Executor, *, abandon: bool) -> None:
        self._executor = executor
        self._abandon = abandon
        self._soon = host.soon()

    async def send(self, *call: Any) -> Any:
        future: Future[Any] = self._executor.submit(*call)
        settled = Event()
        future.add_done_callback(lambda _: self._soon(settled.set))
        try:
            try:
                await settled.wait()
            except get_cancelled_exc_class():
                if not (future.cancel() or self._abandon):
                    with CancelScope(shield=True):
                        await settled.wait()  # noqa: ASYNC102 - as long as the call: see above
                raise
            return future.result()
        finally:
            del future  # its error's traceback holds this frame: a reference cycle
