"""What is logged, at which level, and that every record says where it comes from."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import conveyor
from _helpers import all_blocked, error_of, in_both_modes, passing, troubles
from conveyor import (
    BatchError,
    Instrument,
    LoggingErrorHandler,
    batch_task,
    resource,
    single_task,
)
from conveyor._engine.run import Run
from conveyor._engine.stage import Stage

Place = tuple[Any, Any, Any]


def place(record: logging.LogRecord) -> Place:
    """Where a record says it comes from."""
    fields: Any = record
    return fields.pipeline_id, fields.stage, fields.item_index


@pytest.fixture(autouse=True)
def at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "conveyor")


def only(caplog: pytest.LogCaptureFixture, level: int) -> logging.LogRecord:
    """Return the only trouble that was logged, which is at this level."""
    (record,) = troubles(caplog)
    assert record.name == "conveyor"
    assert record.levelno == level
    return record


class Bad(Exception):  # noqa: N818 - short, as it stands in every test
    pass


def fails_at(*bad: int) -> Any:
    async def work(item: int) -> int:
        await checkpoint()
        if item in bad:
            raise Bad(item)
        return item

    return work


# --- what is skipped


@in_both_modes
async def test_an_item_that_is_skipped(caplog: pytest.LogCaptureFixture, mode: str) -> None:
    work = single_task(on_error="skip_item", task_name="work")(fails_at(12))
    pipeline = (passing | work).with_context(pipeline_id="seven", execution_mode=mode)
    await pipeline([10, 11, 12, 13]).drain()
    record = only(caplog, logging.WARNING)
    assert place(record) == ("seven", "work", 2)
    assert "item 2: skipped" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Bad)
    assert (record.module, record.funcName) == ("delivery", "_skip")  # not where it is passed on


async def test_the_pipeline_id_is_that_of_the_run(caplog: pytest.LogCaptureFixture) -> None:
    work = single_task(on_error="skip_item")(fails_at(0))
    streams = [work([0]), work([0])]
    for stream in streams:
        await stream.drain()
    ids = [stream.statistics().pipeline_id for stream in streams]
    assert [place(record)[0] for record in troubles(caplog)] == ids
    assert len(set(ids)) == 2


async def test_a_batch_that_is_skipped_has_the_number_of_its_first_item(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @batch_task(max_size=3, on_error="skip_batch", task_name="store")
    def work(items: list[int]) -> None:
        if 4 in items:
            raise Bad

    await work.with_context(pipeline_id="p")(range(7)).drain()
    record = only(caplog, logging.WARNING)
    assert place(record) == ("p", "store", 3)
    assert "batch of items 3 to 5: skipped" in record.getMessage()


async def test_batches_by_a_key_too(caplog: pytest.LogCaptureFixture) -> None:
    @batch_task(max_size=2, by=lambda item: item % 2, on_error="skip_batch", task_name="store")
    def work(items: list[int]) -> None:
        if items[0] % 2:
            raise Bad

    await work.with_context(pipeline_id="p")(range(4)).drain()
    assert place(only(caplog, logging.WARNING)) == ("p", "store", 1)


async def test_items_that_are_halved_out(caplog: pytest.LogCaptureFixture) -> None:
    @batch_task(max_size=4, on_error="skip_item", task_name="store")
    def work(items: list[int]) -> list[int]:
        if 2 in items or 7 in items:
            raise Bad
        return items

    await work.with_context(pipeline_id="p")(range(8)).drain()
    assert [place(record) for record in troubles(caplog)] == [("p", "store", 2), ("p", "store", 7)]


async def test_items_that_a_batch_error_names(caplog: pytest.LogCaptureFixture) -> None:
    @batch_task(max_size=4, on_error="skip_item", task_name="store")
    def work(items: list[int]) -> list[int]:
        raise BatchError({1: Bad(), 3: Bad()}, [0, 0])

    await work.with_context(pipeline_id="p")(range(8)).drain()
    assert [place(record)[2] for record in troubles(caplog)] == [1, 3, 5, 7]


async def test_an_item_keeps_its_number_while_a_failure_passes_it_by(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(4):
            yield number
        await all_blocked(30)
        yield -1
        await all_blocked(30)

    @single_task(on_error="emit_failure")
    def first(item: int) -> int:
        if item < 0:
            raise Bad
        return item

    @single_task(on_error="skip_item", concurrency_limit=2)
    async def second(item: int) -> int:
        if item == 3:
            await all_blocked(60)
            raise Bad
        return item

    pipeline = first | second
    results = await pipeline.as_completed(numbers()).collect()
    assert results[:3] == [0, 1, 2]
    record = only(caplog, logging.WARNING)
    assert place(record)[1:] == ("second", 3)
    assert "item 3: skipped" in record.getMessage()


async def test_a_remainder_that_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    @batch_task(max_size=3, min_size=3, drop_remainder=True, task_name="store")
    def work(items: list[int]) -> list[int]:
        return items

    await work.with_context(pipeline_id="p")(range(5)).drain()
    record = only(caplog, logging.WARNING)
    assert place(record) == ("p", "store", 3)
    assert "'store': dropped a remainder of 2" in record.getMessage()


# --- endings


async def test_what_a_stop_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    @single_task
    async def work(item: int) -> int:
        if item == 0:
            stream.stop(0)
        await anyio.sleep_forever()
        return item

    stream = work.with_context(pipeline_id="p")([0, 1])
    await stream.drain()
    record = only(caplog, logging.WARNING)
    assert place(record) == ("p", None, None)
    assert "out of time" in record.getMessage()


@pytest.mark.parametrize("way", ["close", "block", "second"])
async def test_an_error_that_nobody_receives(caplog: pytest.LogCaptureFixture, way: str) -> None:
    errors = [Bad("first"), Bad("second")]

    @single_task
    async def work(item: int) -> int:
        try:
            await all_blocked(10)
            if item < 0:
                return item
            raise errors[item]
        finally:
            if item == 1:
                raise errors[1]

    stream = work.with_context(pipeline_id="p")([0, 1] if way == "second" else [-1, 0])
    if way == "second":
        error = await error_of(stream.drain())
        (lost,) = {*errors} - {error}
    elif way == "block":
        async with stream:
            await all_blocked()
        lost = errors[0]
    else:
        await anext(stream)
        await all_blocked()
        await stream.aclose()
        lost = errors[0]
    record = only(caplog, logging.DEBUG)
    assert place(record) == ("p", None, None)
    assert "nobody receives" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is lost


@pytest.mark.virtual_time
@pytest.mark.parametrize("where", ["input", "function", "side input"])
async def test_clean_up_that_takes_too_long(caplog: pytest.LogCaptureFixture, where: str) -> None:
    async def slow_to_close(item: int) -> AsyncIterator[int]:
        try:
            while True:  # it is closed while nobody takes what it gives
                yield item
        finally:
            await anyio.sleep(100)

    class Slow:
        async def __aenter__(self) -> int:
            return 1

        async def __aexit__(self, *exc_info: object) -> None:
            await anyio.sleep(100)

    @single_task(task_name="work")
    async def plain(item: int) -> int:
        return item

    task: Any = plain
    data: Any = [0]
    if where == "input":
        data = slow_to_close(0)
    elif where == "function":
        task = single_task(task_name="work")(slow_to_close)
    else:

        @single_task(task_name="work")
        async def with_other(item: int, other: int) -> int:
            return item

        task = with_other.with_inputs(resource(Slow))
    async with task.with_context(pipeline_id="p", buffer_size=1)(data) as stream:
        await anext(stream)
        await all_blocked()
    record = only(caplog, logging.WARNING)
    expected = {
        "input": ("p", None, None),
        "function": ("p", "work", 0),
        "side input": ("p", None, None),
    }
    assert place(record) == expected[where]
    assert "took over 10 seconds to clean up" in record.getMessage()


@pytest.mark.parametrize("where", ["input", "function"])
async def test_closing_that_fails(caplog: pytest.LogCaptureFixture, where: str) -> None:
    def ends_badly(item: int) -> Iterator[int]:
        try:
            while True:
                yield item
        finally:
            raise Bad

    task: Any = passing if where == "input" else single_task(task_name="work")(ends_badly)
    data: Any = ends_badly(0) if where == "input" else [0]
    async with task.with_context(pipeline_id="p", buffer_size=1)(data) as stream:
        await anext(stream)
        await all_blocked()
    record = only(caplog, logging.DEBUG)
    assert place(record) == (("p", None, None) if where == "input" else ("p", "work", 0))
    assert record.getMessage().startswith("closing ")


async def test_an_instrument_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Instrument):
        def result_sent(self, stage: int, items: Any) -> None:
            raise Bad

    await passing.with_context(pipeline_id="p", instruments=[Broken])([1]).drain()
    record = only(caplog, logging.ERROR)
    assert place(record) == ("p", None, None)
    assert "result_sent" in record.getMessage()


# --- a run without trouble


@in_both_modes
@pytest.mark.virtual_time
async def test_how_a_run_goes(caplog: pytest.LogCaptureFixture, mode: str) -> None:
    tried: list[int] = []

    @single_task(retry_attempts=3, retry_delay=0.25, retry_jitter=False)
    async def fetch(item: int) -> int:
        tried.append(item)
        if item == 11 and tried.count(11) < 3:
            raise ConnectionError
        return item

    @single_task
    def odd(item: int) -> int | None:
        return item if item % 2 else None

    pipeline = (fetch | odd).with_context(pipeline_id="p", execution_mode=mode)
    await pipeline([10, 11, 12]).collect()
    records = [(record.getMessage(), place(record)) for record in caplog.records]
    assert records == [
        (f"run begins, {mode}: fetch | odd", ("p", None, None)),
        (
            "task 'fetch', item 1: try 1 failed with ConnectionError, the next is in 0.250 s",
            ("p", "fetch", 1),
        ),
        (
            "task 'fetch', item 1: try 2 failed with ConnectionError, the next is in 0.500 s",
            ("p", "fetch", 1),
        ),
        ("stage 'fetch' (1 of 2) ends: 3 received, 3 emitted", ("p", "fetch", None)),
        ("stage 'odd' (2 of 2) ends: 3 received, 1 emitted", ("p", "odd", None)),
        ("run ends after 0.750 s: 3 read, 1 delivered", ("p", None, None)),
    ]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


async def test_how_a_run_fails(caplog: pytest.LogCaptureFixture) -> None:
    await error_of(single_task(fails_at(0))([0]).drain())
    assert caplog.records[-1].getMessage().endswith(": 1 read, 0 delivered, Bad")
    assert troubles(caplog) == []


@pytest.mark.virtual_time
@pytest.mark.parametrize("named", [False, True], ids=["whole", "named"])
async def test_the_retry_of_a_batch_has_the_number_of_its_first_item(
    caplog: pytest.LogCaptureFixture, named: bool
) -> None:
    tries: list[list[int]] = []

    @batch_task(max_size=3, retry_attempts=2, task_name="store")
    async def store(items: list[int]) -> list[int]:
        tries.append(items)
        if len(tries) == 2:
            raise BatchError({1: Bad(), 2: Bad()}, [0]) if named else Bad
        return items

    await store.with_context(pipeline_id="p")(range(6)).drain()
    (retry,) = [record for record in caplog.records if "try 1" in record.getMessage()]
    assert place(retry) == ("p", "store", 4 if named else 3)


@in_both_modes
@pytest.mark.parametrize("ending", ["end", "break", "stop", "aclose"])
async def test_without_trouble_nothing_is_above_debug(
    caplog: pytest.LogCaptureFixture, mode: str, ending: str
) -> None:
    failed: list[int] = []

    @single_task(retry_attempts=2, retry_delay=0)
    async def flaky(item: int) -> list[int] | None:
        await all_blocked(item % 3)
        if item == 3 and not failed:
            failed.append(item)
            raise Bad
        return [item, item] if item % 2 else None

    @single_task
    async def both(item: int) -> AsyncIterator[int]:
        yield item
        await checkpoint()
        yield item

    @batch_task(max_size=3)
    def together(items: list[int]) -> list[int]:
        return items

    async def numbers() -> AsyncIterator[int]:
        for number in range(30):
            yield number
            await checkpoint()

    stream = (flaky | both | together).with_execution_mode(mode)(numbers())
    async for _ in stream:
        if ending == "break":
            break
        if ending == "stop":
            stream.stop()
        elif ending == "aclose":
            await stream.aclose()
            break
    del stream
    await all_blocked()
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert troubles(caplog) == []
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split()[:2] for message in (messages[0], messages[-1])] == [
        ["run", "begins,"],
        ["run", "ends"],
    ]


async def test_where_debug_is_off_nothing_is_made_for_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "conveyor")
    for owner in Run, Stage:
        monkeypatch.delattr(owner, "_log_end")
    await (passing | passing)(range(5)).drain()
    assert caplog.records == []


# --- error handlers


async def test_the_logging_error_handler(caplog: pytest.LogCaptureFixture) -> None:
    task = single_task(error_handler=LoggingErrorHandler(carry_on=True), task_name="work")
    await task(fails_at(11)).with_context(pipeline_id="p")([10, 11]).drain()
    first, second = troubles(caplog)
    assert (first.levelno, place(first)) == (logging.ERROR, ("p", "work", 1))
    assert (second.levelno, place(second)) == (logging.WARNING, ("p", "work", 1))


async def test_the_logging_error_handler_with_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    @batch_task(max_size=2, error_handler=LoggingErrorHandler(carry_on=True), task_name="store")
    def work(items: list[int]) -> None:
        if 3 in items:
            raise Bad

    await work.with_context(pipeline_id="p")(range(5)).drain()
    assert [place(record) for record in troubles(caplog)] == [("p", "store", 2)] * 2


async def test_the_logging_error_handler_outside_of_a_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await LoggingErrorHandler(level=logging.INFO).handle_error(Bad(), 1, "work", 2)
    assert place(only(caplog, logging.INFO)) == (None, "work", None)


# --- every call


async def test_a_format_may_use_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    form = logging.Formatter("%(pipeline_id)s/%(stage)s/%(item_index)s %(levelname)s")
    await passing.with_context(pipeline_id="p")([1]).drain()
    assert {form.format(record) for record in caplog.records} == {
        "p/None/None DEBUG",
        "p/passing/None DEBUG",
    }


LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log", "warn"}
LOGGERS = {"logger", "_logger", "logging"}


def bare_calls(source: str) -> list[str]:
    """Return the calls of a logger that give no fields. `Log` gives them for those who use it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
        ):
            receiver = ast.unparse(node.func.value)
            is_logger = receiver.rpartition(".")[2] in LOGGERS or "getLogger" in receiver
            if is_logger and "extra" not in {keyword.arg for keyword in node.keywords}:
                found.append(ast.unparse(node))
    return found


def test_every_call_in_the_package_gives_the_fields() -> None:
    package = Path(conveyor.__file__).parent
    sources = {path: path.read_text("utf-8") for path in package.rglob("*.py")}
    assert {path.name: calls for path, text in sources.items() if (calls := bare_calls(text))} == {}
    givers = {path.name for path, text in sources.items() if "extra=" in text}
    assert givers == {"log.py", "handlers.py"}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("logger.warning('x')", 1),
        ("self._logger.log(10, 'x', exc_info=error)", 1),
        ("logging.getLogger('conveyor').debug('x')", 1),
        ("logging.error('x')", 1),
        ("logger.exception('x', extra=where)", 0),
        ("self.log.warning('x', item=3)", 0),
        ("math.log(3)", 0),
    ],
)
def test_a_call_without_fields_is_seen(source: str, count: int) -> None:
    assert len(bare_calls(source)) == count


def test_no_handler_is_installed_and_logging_is_not_imported_for_nothing() -> None:
    program = """
import sys
import conveyor
print("logging" in sys.modules)
import conveyor._stream
import logging
logger = logging.getLogger("conveyor")
print(logger.handlers, logging.getLogger().handlers, logger.level, logger.propagate)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "False\n[] [] 0 True\n"
