"""Awaiting with a hook is awaiting: whatever comes or goes takes the same way."""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from types import coroutine
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from conveyor._engine.loop import host
from conveyor._engine.loop.drive import drive

Work = Coroutine[Any, Any, None]
Way = Callable[[Work], Work]


async def awaited(work: Work) -> None:
    await work


async def driven(work: Work) -> None:
    await drive(work, lambda request: None)


# What is asserted of one has to hold for the other, or it is not the same.
both_ways = pytest.mark.parametrize("way", [awaited, driven])


@coroutine
def asking(request: Any) -> Generator[Any, Any, Any]:
    """Suspend the task with `request`, as event loops do, and return what it goes on with."""
    return (yield request)


class Thrown(Exception):  # noqa: N818 - short, as it stands in every test
    """What a test throws in."""


class Raised(Exception):  # noqa: N818
    """What the work raises."""


def ended(step: Callable[[], object]) -> BaseException:
    """Return what a step of a coroutine ends it in."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whichever it is
        step()
    return caught.value


@contextmanager
def without_collector() -> Iterator[None]:
    """So that what is in a reference cycle stays."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# By hand, without a loop


@both_ways
def test_requests_go_out_and_values_come_in(way: Way) -> None:
    seen: list[Any] = []

    async def work() -> None:
        seen.append(await asking("a"))
        seen.append(await asking("b"))

    steps = way(work())
    assert steps.send(None) == "a"
    assert steps.send(1) == "b"
    assert isinstance(ended(lambda: steps.send(None)), StopIteration)
    assert seen == [1, None]


def test_the_hook_is_given_each_request_before_it_goes_out() -> None:
    seen: list[Any] = []

    async def inner() -> None:
        seen.append("begun")
        await asking("a")
        try:
            await asking("b")
        except Thrown:
            seen.append("caught")
        await asking("c")
        seen.append("done")

    steps = drive(inner(), lambda request: seen.append(("hook", request)))
    assert seen == []
    seen.append(steps.send(None))
    seen.append(steps.send(None))
    seen.append(steps.throw(Thrown()))
    ended(lambda: steps.send(None))
    assert seen == [
        "begun", ("hook", "a"), "a", ("hook", "b"), "b", "caught", ("hook", "c"), "c", "done",
    ]  # fmt: skip


@pytest.mark.parametrize("raises", [False, True])
def test_the_hook_is_not_called_when_nothing_suspends(raises: bool) -> None:
    async def deeper() -> None:
        if raises:
            raise Raised

    async def work() -> None:
        await deeper()

    calls: list[Any] = []
    error = ended(lambda: drive(work(), calls.append).send(None))
    assert type(error) is (Raised if raises else StopIteration)
    assert calls == []


@both_ways
def test_what_is_thrown_in_arrives_as_it_is(way: Way) -> None:
    thrown, cause, context = Thrown(), ValueError("cause"), ValueError("context")
    thrown.__cause__, thrown.__context__ = cause, context
    seen: list[BaseException] = []

    async def work() -> None:
        try:
            await asking("a")
        except Thrown as error:
            seen.append(error)
            raise

    steps = way(work())
    steps.send(None)
    assert ended(lambda: steps.throw(thrown)) is thrown
    assert seen == [thrown]
    assert thrown.__cause__ is cause
    assert thrown.__context__ is context


@both_ways
def test_a_traceback_tells_where_it_came_in_and_from_where(way: Way) -> None:
    async def deeper() -> None:
        await asking("a")

    async def work() -> None:
        await deeper()

    def origin() -> None:
        raise thrown

    steps = way(work())
    steps.send(None)
    thrown = Thrown()
    ended(origin)
    ended(lambda: steps.throw(thrown))
    names = [frame.name for frame in traceback.extract_tb(thrown.__traceback__)]
    assert names[names.index("work") :] == ["work", "deeper", "asking", "ended", "origin"]


@both_ways
def test_after_what_was_thrown_in_is_caught_it_goes_on(way: Way) -> None:
    seen: list[Any] = []

    async def work() -> None:
        for request in "abc":
            try:
                seen.append(await asking(request))
            except Thrown:
                seen.append(sys.exception())
        seen.append(sys.exception())

    steps = way(work())
    assert steps.send(None) == "a"
    thrown = Thrown()
    assert steps.throw(thrown) == "b"
    assert steps.send(1) == "c"
    again = Thrown()
    assert isinstance(ended(lambda: steps.throw(again)), StopIteration)
    # What is being handled is handled inside its `except` and nowhere else.
    assert seen == [thrown, 1, again, None]


@both_ways
@pytest.mark.parametrize("handling", [False, True])
def test_the_exception_being_handled_is_the_same(way: Way, handling: bool) -> None:
    """What ``sys.exception()`` says and ``raise`` raises, inside the work and outside of it."""
    seen: list[BaseException | None] = []
    outer, inner = ValueError("outer"), Thrown()

    async def work() -> None:
        seen.append(sys.exception())
        try:
            await asking("a")
        except Thrown:
            seen.append(sys.exception())
            await asking("b")
            seen.append(sys.exception())
        seen.append(sys.exception())
        await asking("c")
        raise Raised

    async def around() -> None:
        if not handling:
            await way(work())
            return
        try:
            raise outer
        except ValueError:
            try:
                await way(work())
            finally:
                seen.append(sys.exception())

    steps = around()
    steps.send(None)
    assert steps.throw(inner) == "b"
    assert sys.exception() is None  # nothing of it leaks to whoever runs the loop
    assert steps.send(None) == "c"
    raised = ended(lambda: steps.send(None))
    assert isinstance(raised, Raised)
    before = outer if handling else None
    assert seen == [before, inner, inner, before, *([raised] if handling else [])]
    assert raised.__context__ is before


@both_ways
def test_what_follows_from_what_was_thrown_in_tells_of_it(way: Way) -> None:
    thrown, cause = Thrown(), ValueError("cause")

    async def work() -> None:
        try:
            await asking("a")
        except Thrown:
            await asking("b")  # noqa: ASYNC120 - nothing cancels here
            raise Raised from cause

    steps = way(work())
    steps.send(None)
    steps.throw(thrown)
    raised = ended(lambda: steps.send(None))
    assert isinstance(raised, Raised)
    assert raised.__context__ is thrown
    assert raised.__cause__ is cause
    assert raised.__suppress_context__
    assert thrown.__context__ is None


@both_ways
@pytest.mark.parametrize("error", [StopIteration(1), StopAsyncIteration(1), KeyboardInterrupt()])
def test_exceptions_with_a_meaning_of_their_own(way: Way, error: BaseException) -> None:
    async def throwing() -> None:
        await asking("a")

    async def raising() -> None:
        raise error

    def check(raised: BaseException) -> None:
        if isinstance(error, StopIteration):  # a return, if it came out as it is
            assert isinstance(raised, RuntimeError)
            assert raised.__cause__ is error
        else:
            assert raised is error

    steps = way(throwing())
    steps.send(None)
    check(ended(lambda: steps.throw(error)))
    check(ended(lambda: way(raising()).send(None)))


@both_ways
def test_closing_closes_the_work(way: Way) -> None:
    seen: list[Any] = []

    async def work() -> None:
        try:
            await asking("a")
        except BaseException as error:
            seen.append(type(error))
            raise
        finally:
            seen.append("finally")

    steps = way(work())
    steps.send(None)
    steps.close()
    assert seen == [GeneratorExit, "finally"]
    steps.close()
    assert len(seen) == 2


@both_ways
def test_what_is_dropped_is_closed(way: Way) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asking("a")
        finally:
            seen.append("finally")

    with without_collector():
        steps = way(work())
        steps.send(None)
        del steps
        assert seen == ["finally"]


@both_ways
def test_closing_may_fail(way: Way) -> None:
    async def work() -> None:
        try:
            await asking("a")
        finally:
            raise Raised

    steps = way(work())
    steps.send(None)
    assert isinstance(ended(steps.close), Raised)


@both_ways
def test_who_will_not_be_closed_is_told_so(way: Way) -> None:
    async def work() -> None:
        try:
            await asking("a")
        except GeneratorExit:
            await asking("b")

    steps = way(work())
    steps.send(None)
    error = ended(steps.close)
    assert isinstance(error, RuntimeError)
    assert "ignored GeneratorExit" in str(error)


@both_ways
@pytest.mark.parametrize("catches", [False, True])
def test_a_thrown_generator_exit_closes_the_work(way: Way, catches: bool) -> None:
    seen: list[BaseException] = []

    async def work() -> None:
        try:
            await asking("a")
        except GeneratorExit as error:
            seen.append(error)
            if not catches:
                raise

    steps = way(work())
    steps.send(None)
    thrown = GeneratorExit()
    assert ended(lambda: steps.throw(thrown)) is thrown
    (inside,) = seen
    assert inside is not thrown  # closing has one of its own


@both_ways
@pytest.mark.parametrize("last", ["send", "throw", "throw and catch"])
def test_no_exception_is_held_by_a_cycle(way: Way, last: str) -> None:
    async def work() -> None:
        try:
            await asking("a")
            await asking("b")
        except Thrown:
            if last != "throw and catch":
                raise
            await asking("c")
        raise Raised

    def run() -> list[weakref.ref[BaseException]]:
        thrown: Thrown | None = Thrown()
        seen: list[weakref.ref[BaseException]] = [weakref.ref(thrown)] if thrown else []
        steps = way(work())
        steps.send(None)
        try:
            if last == "send":
                steps.send(None)
                steps.send(None)
            else:
                assert thrown is not None
                steps.throw(thrown)
                steps.send(None)
        except (Thrown, Raised) as error:
            seen.append(weakref.ref(error))
        finally:
            thrown = None
        return seen

    with without_collector():
        seen = run()
        assert [held() for held in seen] == [None, None]


# In a loop


async def test_the_hook_is_called_before_others_run() -> None:
    seen: list[str] = []

    async def other() -> None:
        seen.append("other")

    async def work() -> None:
        seen.append("work")
        await checkpoint()
        seen.append("work again")

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await drive(work(), lambda request: seen.append("hook"))
    assert seen[:2] == ["work", "hook"]
    assert sorted(seen[2:]) == ["other", "work again"]  # trio runs them in any order


async def test_without_a_suspension_neither_the_hook_nor_others_have_a_say() -> None:
    seen: list[str] = []

    async def other() -> None:
        seen.append("other")

    async def work() -> None:
        seen.append("work")

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await drive(work(), lambda request: seen.append("hook"))
        assert seen == ["work"]


@both_ways
async def test_a_scope_cancels_the_work(way: Way) -> None:
    seen: list[Any] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as error:
            seen.append(error)
            raise
        finally:
            seen.append(type(sys.exception()))

    async def around() -> None:
        try:
            await way(work())
        except anyio.get_cancelled_exc_class() as error:
            seen.append(error)
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(around)
        await checkpoint()
        await checkpoint()
        group.cancel_scope.cancel()
    caught, kind, came_out = seen
    assert caught is came_out  # the very same, as on its way through plain functions
    assert kind is type(caught)


@both_ways
async def test_the_work_may_clean_up_before_it_is_cancelled(way: Way) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(3):
                    await checkpoint()
            seen.append("cleaned up")
            try:
                await checkpoint()
            except anyio.get_cancelled_exc_class():
                seen.append("cancelled again")
                raise

    async def around() -> None:
        await way(work())
        seen.append("never")

    async with anyio.create_task_group() as group:
        group.start_soon(around)
        await checkpoint()
        await checkpoint()
        group.cancel_scope.cancel()
    assert seen == ["cleaned up", "cancelled again"]


@both_ways
async def test_a_scope_inside_ends_inside(way: Way) -> None:
    seen: list[str] = []

    async def work() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await checkpoint()
            seen.append("never")
        await checkpoint()
        seen.append("goes on")
        raise Raised

    with pytest.raises(Raised) as caught:
        await way(work())
    assert seen == ["goes on"]
    assert caught.value.__context__ is None


@both_ways
@pytest.mark.backends("asyncio", "uvloop")
async def test_asyncio_cancels_the_work(way: Way) -> None:
    seen: list[Any] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:  # noqa: ASYNC103 - it may, at its own peril
            seen.append(error.args)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    task = asyncio.create_task(way(work()))
    await asyncio.sleep(0)
    task.cancel("first")
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel("second")
    with pytest.raises(asyncio.CancelledError, match="second"):
        await task
    assert seen == [("first",), "cleaned up"]
    assert task.cancelled()


@both_ways
@pytest.mark.backends("asyncio", "uvloop")
async def test_asyncio_throws_in_what_a_future_failed_with(way: Way) -> None:
    future = asyncio.get_running_loop().create_future()
    cause, error = ValueError("cause"), Raised()
    error.__cause__ = cause

    async def work() -> None:
        await future

    task = asyncio.create_task(way(work()))
    await asyncio.sleep(0)
    future.set_exception(error)
    with pytest.raises(Raised) as caught:
        await task
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__context__ is None
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert names[-1] == "work"  # where it came in, and not where it passed by


@both_ways
async def test_no_cancellation_is_held_by_a_cycle(way: Way) -> None:
    seen: list[weakref.ref[BaseException]] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            error.__cause__ = Thrown()  # which lives as long as it does
            seen.append(weakref.ref(error.__cause__))
            raise

    async def around() -> None:
        with anyio.CancelScope() as scope:
            group.start_soon(cancel, scope)
            await way(work())

    async def cancel(scope: anyio.CancelScope) -> None:
        scope.cancel()

    async with anyio.create_task_group() as group:
        with without_collector():
            await around()
            await checkpoint()
            (cancelled,) = seen
            assert cancelled() is None


@both_ways
async def test_no_error_is_held_by_a_cycle(way: Way) -> None:
    async def work() -> None:
        await checkpoint()
        raise Raised

    async def run() -> weakref.ref[BaseException]:
        try:
            await way(work())
        except Raised as error:
            return weakref.ref(error)
        raise AssertionError

    with without_collector():
        assert (await run())() is None


@both_ways
@pytest.mark.backends("asyncio", "uvloop")
async def test_no_error_of_a_future_is_held_by_a_cycle(way: Way) -> None:
    async def work() -> None:
        await failing()  # which none of these frames has in hand

    def failing() -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: future.set_exception(Raised()))
        return future

    async def run() -> weakref.ref[BaseException]:
        try:
            await way(work())
        except Raised as error:
            return weakref.ref(error)
        raise AssertionError

    with without_collector():
        held = await run()
        await asyncio.sleep(0)
        assert held() is None


async def test_a_nap_may_be_woken_and_cancelled_before_its_task_is_suspended() -> None:
    nap = host.naps()()

    async def sleep() -> None:
        await nap

    def suspended(request: object) -> None:
        assert nap.wake()
        scope.cancel()

    with anyio.CancelScope() as scope:
        await drive(sleep(), suspended)
    assert nap.woken


@pytest.mark.backends("trio")
async def test_a_nap_is_not_interrupted_before_its_task_sleeps() -> None:
    trio = pytest.importorskip("trio")
    seen: list[bool] = []

    class Lowlevel:
        def __getattr__(self, name: str) -> Any:
            return getattr(trio.lowlevel, name)

        def current_task(self) -> Any:
            seen.append(trio.lowlevel.currently_ki_protected())
            return trio.lowlevel.current_task()

    host.protect()
    nap = host._TrioNap(Lowlevel())
    with anyio.CancelScope() as scope:
        scope.cancel()
        await nap
    assert seen == [True]
    assert not nap.woken
