"""What arrives of an exception that was raised in a worker: its class, message, notes, causes."""

from __future__ import annotations

import copyreg
import pickle
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import _raised
from _helpers import error_of
from conveyor import BatchError, Failure, single_task
from conveyor._engine.offload.outcome import (
    DEEPEST,
    HEADING,
    Carrier,
    outcome_of,
    pack_error,
    stand_in,
    unpack,
)

pytestmark = pytest.mark.real_time


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        yield executor


class Pickling(Executor):
    """Sends calls and outcomes through pickle, without a look at them, as a cluster does."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            fn, args = pickle.loads(pickle.dumps((fn, args)))
            future.set_result(pickle.loads(pickle.dumps(fn(*args, **kwargs))))
        except Exception as error:
            future.set_exception(pickle.loads(pickle.dumps(error)))
        return future


@pytest.fixture(params=["process", "pool", "pickling"])
def executor(request: pytest.FixtureRequest, pool: ProcessPoolExecutor) -> Any:
    return {"process": "process", "pool": pool, "pickling": Pickling()}[request.param]


async def raised(kind: str, executor: Any, **options: Any) -> BaseException:
    options = {"executor": executor, "concurrency_limit": 1, **options}
    return await error_of(_raised.work.with_options(**options)([kind]).collect())


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


async def test_the_frames_of_the_worker_are_shown(executor: Any) -> None:
    error = await raised("deep", executor)
    assert type(error) is ZeroDivisionError
    # Those of the function alone: not ours.
    [note, where] = error.__notes__
    assert note.startswith(HEADING)
    assert [line.strip() for line in note.splitlines() if "File" in line] == [
        line.strip() for line in note.splitlines() if "_raised.py" in line
    ]
    assert ", in work" in note
    assert ", in deeper" in note
    assert "return number // 0" in note
    assert where == "stage 'work' (1 of 1), item 0"
    assert note.rstrip() in shown(error)


@pytest.mark.parametrize(
    ("kind", "cls", "text"),
    [
        ("two", _raised.TwoArguments, "7: the disk is full"),
        ("keyword", _raised.Keyword, "it is late"),
        ("lock", _raised.HoldsLock, "the lock is held"),
        ("lock as argument", _raised.HoldsLock, None),
        ("prefixed", _raised.Prefixed, "disk: full"),
        ("own text", _raised.OwnText, "code 7 at <lambda>"),
        ("refuses", _raised.Refuses, "no pickle"),
        ("slots", _raised.Slots, "slotted"),
        ("os", FileNotFoundError, "[Errno 2] No such file: 'x'"),
        ("key", KeyError, "'x'"),
        ("no text", _raised.NoText, None),
        ("unicode", UnicodeDecodeError, None),
        ("deep recursion", RecursionError, None),
        ("deep argument", ValueError, None),
    ],
)
async def test_class_and_message_arrive(
    kind: str, cls: type[Exception], text: str | None, executor: Any
) -> None:
    error = await raised(kind, executor)
    assert isinstance(error, cls)
    assert type(error).__name__ == cls.__name__
    if text is not None:
        assert str(error) == text
    assert HEADING in shown(error)


async def test_attributes_arrive_as_far_as_they_can(executor: Any) -> None:
    two: Any = await raised("two", executor)
    assert two.code == 7
    held: Any = await raised("lock", executor)
    assert held.detail == {"since": 3}
    assert not hasattr(held, "lock")
    missing: Any = await raised("os", executor)
    assert (missing.errno, missing.filename) == (2, "x")


async def test_a_class_that_is_not_found_has_a_stand_in(executor: Any) -> None:
    error = await raised("local", executor)
    assert isinstance(error, _raised.TwoArguments)
    assert (type(error).__name__, str(error)) == ("Local", "8: it is local")
    assert "_raised.work.<locals>.Local: 8: it is local" in shown(error)
    assert type(pickle.loads(pickle.dumps(error))).__name__ == "Local"
    assert str(pickle.loads(pickle.dumps(error))) == "8: it is local"


async def test_notes_and_causes_arrive(executor: Any) -> None:
    error = await raised("chain", executor)
    assert (type(error), str(error)) == (_raised.TwoArguments, "1: outer")
    assert error.__notes__[0] == "a note of its own"
    assert isinstance(error.__cause__, _raised.HoldsLock)
    assert isinstance(error.__cause__.__context__, ZeroDivisionError)
    assert ", in deeper" in error.__cause__.__context__.__notes__[0]
    text = shown(error)
    assert text.index("ZeroDivisionError") < text.index("inner") < text.index("1: outer")
    assert "direct cause" in text

    hidden = await raised("hidden", executor)
    assert hidden.__suppress_context__
    assert "ZeroDivisionError" not in shown(hidden)
    ring = await raised("ring", executor)
    assert isinstance(ring.__cause__, ValueError)
    assert ring.__cause__.__cause__ is None


async def test_a_group_arrives_with_its_members(executor: Any) -> None:
    error: Any = await raised("group", executor)
    assert isinstance(error, ExceptionGroup)
    first, second = error.exceptions
    assert (type(first), str(first)) == (_raised.TwoArguments, "1: one")
    assert (type(second), str(second)) == (_raised.HoldsLock, "two")
    assert error.subgroup(_raised.HoldsLock).exceptions == (second,)


async def test_a_batch_error_names_items_whatever_they_failed_with(executor: Any) -> None:
    task = _raised.batch.with_options(executor=executor, on_error="emit_failure")
    one, two, three = await task([1, 2, 3]).collect()
    assert one == 10
    for failure, item, text in (two, 2, "2: even"), (three, 3, "odd"):
        assert isinstance(failure, Failure)
        assert (failure.item, str(failure.error)) == (item, text)
    assert isinstance(two.error, _raised.TwoArguments)
    assert isinstance(three.error, _raised.HoldsLock)


async def test_retries_know_the_class(executor: Any, tmp_path: Path) -> None:
    for kind, cls in ("two", _raised.TwoArguments), ("local", _raised.TwoArguments):
        path = tmp_path / kind
        task = _raised.counted.with_options(
            executor=executor, retry_attempts=3, retry_delay=0, retry_on=cls
        )
        await error_of(task([(kind, str(path))]).collect())
        assert path.read_text() == "xxx"
        path.unlink()
        await error_of(task.with_options(retry_on=KeyError)([(kind, str(path))]).collect())
        assert path.read_text() == "x"


async def test_a_result_that_cannot_travel_is_an_error_of_its_item(
    pool: ProcessPoolExecutor,
) -> None:
    for executor in ("process", pool):
        task = _raised.result.with_options(
            executor=executor, concurrency_limit=1, on_error="emit_failure"
        )
        unsendable, unreadable, fine = await task(["lock", "unreadable", "fine"]).collect()
        assert "pickle '_thread.lock' object" in str(unsendable.error)
        assert unsendable.error.__notes__[0] == (
            "'result' returned an object of type lock, which cannot be pickled"
        )
        assert str(unreadable.error) == "it cannot be read"
        assert "what the function returned cannot be unpickled here" in unreadable.error.__notes__
        assert fine == "fine"


async def test_an_item_that_cannot_be_read_is_an_error_of_the_item(
    pool: ProcessPoolExecutor,
) -> None:
    for executor in ("process", pool):
        task = _raised.result.with_options(
            executor=executor, concurrency_limit=1, on_error="emit_failure"
        )
        failure, fine = await task([_raised.Unreadable(), "fine"]).collect()
        assert str(failure.error) == "it cannot be read"
        assert fine == "fine"


async def test_to_exit_in_a_worker_is_to_exit(pool: ProcessPoolExecutor) -> None:
    for executor in ("process", pool):
        error = await raised("exit", executor, on_error="skip_item")
        assert isinstance(error, SystemExit)
        assert error.code == 3


async def test_an_executor_of_this_process_gives_the_very_exception() -> None:
    class Inline(Executor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)
            return future

    given = ValueError("this one")

    def work(item: Any) -> None:
        raise given

    error = await error_of(single_task(executor=Inline())(work)([1]).collect())
    assert error is given
    assert (error.__cause__, error.__context__) == (None, None)
    assert error.__notes__ == ["stage 'work' (1 of 1), item 0"]
    assert ", in work" in shown(error)


# --- the parts


def test_an_outcome_is_a_result_or_an_exception() -> None:
    assert unpack(outcome_of("abs", abs, -1)) == 1
    with pytest.raises(TypeError, match="bad operand") as caught:
        unpack(outcome_of("abs", abs, "x"))
    assert getattr(caught.value, "__notes__", []) == []  # none of the frames is a user's


def pickled_whole(error: Exception) -> tuple[Any, ...]:
    """Reduce an error with all that it came of, as `tblib.pickling_support` does."""
    return caused, (type(error), error.args, error.__cause__)


def caused(kind: type[Exception], args: tuple[Any, ...], cause: BaseException) -> Exception:
    error = kind(*args)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("otherwise", [False, True], ids=["as usual", "pickled by somebody else"])
def test_a_long_chain_is_cut(otherwise: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if otherwise:
        monkeypatch.setitem(copyreg.dispatch_table, ValueError, pickled_whole)
    length = 100 if otherwise else 2000  # more than a hundred, such a pickle would not hold
    error: Exception = ValueError(0)
    for number in range(1, length):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    with pytest.raises(ValueError, match=f"{length - 1}") as caught:
        unpack(pack_error(error))
    length = 0
    cause: BaseException | None = caught.value
    while cause is not None:
        length, cause = length + 1, cause.__cause__
    assert length == DEEPEST


def test_groups_in_groups_are_described_once_each() -> None:
    error: Exception = _raised.TwoArguments(1, "innermost")
    for _ in range(8):
        error = ExceptionGroup("one more", [error, _raised.TwoArguments(2, "beside")])
    packed = pack_error(error)
    assert len(packed) < 100_000
    found: Any = None
    try:
        unpack(packed)
    except* _raised.TwoArguments as group:
        found = group.subgroup(lambda each: "innermost" in str(each))
    while isinstance(found, ExceptionGroup):
        [found] = found.exceptions
    assert isinstance(found, _raised.TwoArguments)


def test_a_stand_in_derives_from_what_there_is() -> None:
    bases = [("gone", "Gone"), ("builtins", "LookupError"), ("builtins", "BaseException")]
    error = stand_in(bases, "it is gone", (1,), {"code": 2})
    assert isinstance(error, LookupError)
    assert (str(error), error.args, error.code) == ("it is gone", (1,), 2)  # type: ignore[attr-defined]
    assert traceback.format_exception_only(error) == ["gone.Gone: it is gone\n"]


def test_a_carrier_says_what_it_carries() -> None:
    carrier = Carrier(_raised.TwoArguments(7, "full"))
    assert str(carrier) == "TwoArguments: 7: full"
    made = pickle.loads(pickle.dumps(carrier))
    assert (type(made.error), str(made.error)) == (_raised.TwoArguments, "7: full")


def test_a_batch_error_can_be_packed_with_anything() -> None:
    with pytest.raises(BatchError) as caught:
        unpack(pack_error(BatchError({3: _raised.HoldsLock("held")}, results=[1])))
    assert caught.value.results == [1]
    assert str(caught.value.errors[3]) == "held"


INTERPRETERS = """
    import sys, traceback
    import anyio
    import _raised
    from conveyor import Failure

    async def main():
        task = _raised.work.with_options(executor="interpreter", on_error="emit_failure")
        kinds = ["deep", "two", "lock", "local", "group"]
        for failure in await task(kinds).collect():
            error = failure.error
            print(type(error).__name__, isinstance(error, _raised.TwoArguments), error)
            assert "_raised.py" in "".join(traceback.format_exception(error))
        result = _raised.result.with_options(executor="interpreter", on_error="emit_failure")
        lock, fine = await result(["lock", "fine"]).collect()
        print("cannot be pickled" in str(lock.error.__notes__), fine)

    if __name__ == "__main__":
        anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="this Python has no subinterpreters")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_exceptions_leave_subinterpreters(backend: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(INTERPRETERS))
    done = subprocess.run(
        [sys.executable, program, backend],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        [
            "ZeroDivisionError False integer division or modulo by zero",
            "TwoArguments True 7: the disk is full",
            "HoldsLock False the lock is held",
            "Local True 8: it is local",
            "ExceptionGroup False some (2 sub-exceptions)",
            "True fine",
        ],
    )
