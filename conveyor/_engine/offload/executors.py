"""Calling a plain function away from the event loop: in a thread, a process, an executor.

Whatever it is, a stage gets an async function in its place. A call that has begun cannot be
interrupted from here: who is cancelled meanwhile waits for it, shielded, or abandons it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
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
    to_thread,
)
from anyio.lowlevel import checkpoint_if_cancelled

from ..._model.spec import Spec
from ..log import annotate
from ..loop import host
from .child import is_preparing
from .outcome import Carrier, unpack
from .parcel import OF_SESSION, Parcel, Sealed, accept, call, is_of_session, try_out, with_path
from .processes import NO_GUARD, Processes, main_without_guard
from .threads import in_thread

Send = Callable[..., Coroutine[Any, Any, Any]]  # of a function and its arguments


async def offloaded(
    spec: Spec, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    """Return an async function that runs the task's function in its executor.

    Where the function has to travel, this tries the way with a call that does nothing: so what
    cannot travel is found out before anything is read.

    Raises:
        TypeError: If the function or a side input cannot be pickled.
        RuntimeError: If this is a worker that is importing the main module.
        Exception: Whatever else keeps the executor from calling the function.
    """
    executor = spec.executor
    if is_preparing() and (executor == "process" or isinstance(executor, ProcessPoolExecutor)):
        raise RuntimeError(NO_GUARD)
    if executor == "thread":
        send = _Threads(spec.limit).send if spec.abandon_on_cancel else _in_threads(spec.limit)
        return partial(_returned, send, Parcel(spec.func, args, kwargs))
    if executor == "process":
        main = not is_of_session(spec.func)
        packed = _packed(spec, Parcel(spec.func, args, kwargs, main=main))
        return await _in_processes(spec, packed)
    if executor == "interpreter":
        packed = _packed(spec, Parcel(spec.func, args, kwargs))
        return await _in_workers(_in_interpreters(spec.limit), spec, packed)
    assert isinstance(executor, Executor)
    send = _Submitted(executor, abandon=spec.abandon_on_cancel).send
    if isinstance(executor, ProcessPoolExecutor):
        packed = _packed(spec, Parcel(spec.func, args, kwargs, main=True))
        return await _in_workers(_in_pool(send, executor), spec, packed)
    if isinstance(executor, ThreadPoolExecutor):
        if type(executor).__name__ != "InterpreterPoolExecutor":  # which is one to Python 3.14
            send = partial(_in_context, send)
            return partial(_returned, send, Parcel(spec.func, args, kwargs))
        packed = _packed(spec, Parcel(spec.func, args, kwargs))
        return await _in_workers(send, spec, packed)
    # How this one sends a function is its own affair: it may well send more than pickle can.
    parcel = Parcel(spec.func, args, kwargs, carried=True)
    with _explained(spec):
        await send(accept, parcel)
    return partial(_carried, send, parcel)


def _packed(spec: Spec, parcel: Parcel) -> bytes:
    """Pickle once what is the same for all items."""
    try:
        return parcel.pack()
    except TypeError as error:
        raise TypeError(f"task {spec.name!r} cannot run in {spec.executor!r}: {error}") from error


@contextmanager
def _explained(spec: Spec) -> Generator[None, None, None]:
    """Say which task it is that an executor cannot call."""
    try:
        yield
    except (BrokenExecutor, BrokenWorkerProcess):
        pass  # a worker has died, which is for the items to meet, with their policies
    except Exception as error:
        if isinstance(error, LookupError) and is_of_session(spec.func):
            error.add_note(f"{spec.name!r} {OF_SESSION}")
        annotate(error, f"task {spec.name!r} cannot run in {spec.executor!r}")
        raise


async def _in_workers(send: Send, spec: Spec, packed: bytes) -> Callable[[Any], Any]:
    """Return what calls a function that is pickled, once a worker has unpickled it."""
    name = spec.name
    with _explained(spec):
        unpack(await send(try_out, name, packed))

    async def away(item: Any) -> Any:
        return unpack(await send(call, name, packed, Sealed(item)))

    return away


async def _in_processes(spec: Spec, packed: bytes) -> Callable[[Any], Any]:
    name = spec.name
    send = Processes(abandon=spec.abandon_on_cancel).send
    with _explained(spec):
        unpack(await send(name, packed, ...))

    async def away(item: Any) -> Any:
        outcome = await send(name, packed, item)
        await checkpoint_if_cancelled()  # a timeout that has passed meanwhile is one
        return unpack(outcome)

    return away


class _Outcome:
    """What came of a call in a thread. It is emptied when it is taken."""

    __slots__ = ("error", "result")

    def __init__(self, parcel: Parcel, item: Any) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        try:
            self.result = parcel(item)
        except Exception as error:
            self.error = error

    def take(self) -> Any:
        """Return the result, or raise the exception."""
        result, error = self.result, self.error
        self.result = self.error = None
        if error is None:
            return result
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a reference cycle


async def _returned(send: Send, parcel: Parcel, item: Any) -> Any:
    """Make a call in a thread, from which an exception is returned, and raised here.

    One that is raised passes frames of the libraries in between, which hold it in turn: the item,
    and all that the function had made of it, would be garbage for the cyclic collector alone. And
    trio cannot bring an exception here that refuses to have its traceback set.
    """
    outcome: _Outcome = await send(_Outcome, parcel, item)
    return outcome.take()


async def _carried(send: Send, parcel: Parcel, item: Any) -> Any:
    try:
        return await send(parcel, item)
    except Carrier as carrier:
        error = carrier.error
    try:
        raise error
    finally:
        del error  # its traceback holds this frame: a reference cycle


def _in_threads(limit: float) -> Send:
    limiter = CapacityLimiter(limit)

    async def send(*call: Any) -> Any:
        result = await in_thread(limiter, *call)
        await checkpoint_if_cancelled()  # a timeout that has passed meanwhile is one
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


def _in_interpreters(limit: float) -> Send:
    limiter = CapacityLimiter(limit)

    async def send(*call: Any) -> Any:
        result = await to_interpreter.run_sync(partial(with_path, sys.path), *call, limiter=limiter)
        await checkpoint_if_cancelled()
        return result

    return send


def _in_pool(send: Send, executor: ProcessPoolExecutor) -> Send:
    """Say what the likeliest reason is if a pool breaks before it has done anything."""
    context: Any = getattr(executor, "_mp_context", None)
    imports_main = context is not None and context.get_start_method() != "fork"
    works = False

    async def send_or_explain(*call: Any) -> Any:
        nonlocal works
        try:
            result = await send(*call)
        except BrokenExecutor as error:
            if imports_main and not works and (main := main_without_guard()):
                annotate(error, f"{NO_GUARD} ({main})")
            raise
        works = True
        return result

    return send_or_explain


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
