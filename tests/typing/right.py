"""Right uses, and the types that mypy and pyright are to find. Checked, never run."""

from __future__ import annotations

import functools
import signal
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, assert_type

from conveyor import (
    BatchError,
    BatchInfo,
    ExecutionMode,
    Failure,
    Instrument,
    Pipeline,
    PipelineContext,
    RateLimit,
    RateLimitStatistics,
    Stream,
    Task,
    batch_task,
    get_current_batch,
    live,
    progress,
    resource,
    single_task,
    stop_on_signals,
)

if TYPE_CHECKING:
    from conveyor._pipeline import BatchTask

T = TypeVar("T")


class Row: ...


class Page: ...


class Db: ...


# --- what a function of one item returns


@single_task
async def number(text: str) -> int:
    return int(text)


@single_task
def plain(text: str) -> int:
    return int(text)


@single_task
async def some(text: str) -> int | None:
    return int(text) or None


@single_task
def plain_some(text: str) -> int | None:
    return int(text) or None


@single_task
async def rows(page: Page) -> list[Row]:
    return [Row()]


@single_task
def plain_rows(page: Page) -> list[Row]:
    return [Row()]


@single_task
async def some_rows(page: Page) -> list[Row] | None:
    return [Row()]


@single_task
def plain_some_rows(page: Page) -> list[Row] | None:
    return [Row()]


@single_task
async def nothing(row: Row) -> None: ...


@single_task
def plain_nothing(row: Row) -> None: ...


@single_task
async def either(text: str) -> int | str:
    return int(text) if text else text


@single_task
async def either_list(text: str) -> list[int | str]:
    return [int(text), text]


@single_task
async def pair(text: str) -> tuple[str, int] | None:
    return text, 1


@single_task
async def anything(text: str) -> object:
    return text


assert_type(number, Task[str, int])
assert_type(number, Task[str, int, int])
assert_type(plain, Task[str, int])
assert_type(some, Task[str, int])
assert_type(plain_some, Task[str, int])
assert_type(rows, Task[Page, list[Row], Row])
assert_type(plain_rows, Task[Page, list[Row], Row])
assert_type(some_rows, Task[Page, list[Row], Row])
assert_type(plain_some_rows, Task[Page, list[Row], Row])
assert_type(nothing, Task[Row, None])
assert_type(plain_nothing, Task[Row, None])
assert_type(either, Task[str, int | str])
assert_type(either_list, Task[str, list[int | str], int | str])
assert_type(pair, Task[str, tuple[str, int]])
assert_type(anything, Task[str, object])


# --- generators


@single_task
async def lines(page: Page) -> AsyncIterator[str]:
    yield ""


@single_task
async def some_lines(page: Page) -> AsyncIterator[str | None]:
    yield None


@single_task
async def generated(page: Page) -> AsyncGenerator[str, None]:
    yield ""


@single_task
def plain_lines(page: Page) -> Iterator[str]:
    yield ""


@single_task
def plain_some_lines(page: Page) -> Iterator[str | None]:
    yield None


@single_task
def plain_generated(page: Page) -> Generator[str, None, None]:
    yield ""


@single_task
def plain_some_generated(page: Page) -> Generator[str | None, None, None]:
    yield None


@single_task
async def lists(page: Page) -> AsyncIterator[list[str]]:
    yield [""]


assert_type(lines, Task[Page, str])
assert_type(some_lines, Task[Page, str])
assert_type(generated, Task[Page, str])
assert_type(plain_lines, Task[Page, str])
assert_type(plain_some_lines, Task[Page, str])
assert_type(plain_generated, Task[Page, str])
assert_type(plain_some_generated, Task[Page, str])
assert_type(lists, Task[Page, list[str]])  # a generator's lists are values like any other


# --- `Any` in a function's type stays where it is


@single_task
async def record(text: str) -> dict[str, Any]:
    return {}


@single_task
def plain_record(text: str) -> dict[str, Any] | None:
    return {}


@single_task
async def records(text: str) -> list[dict[str, Any]]:
    return []


@single_task
def plain_records(text: str) -> list[dict[str, Any]] | None:
    return []


@single_task
async def stream_of_records(text: str) -> AsyncIterator[dict[str, Any]]:
    yield {}


@single_task
def plain_stream_of_records(text: str) -> Generator[dict[str, Any], None, None]:
    yield {}


@single_task
async def from_record(values: dict[str, Any]) -> int | None:
    return len(values)


@single_task
async def record_or_default(text: str, default: str = "", *more: str) -> dict[str, Any]:
    return {}


assert_type(record, Task[str, dict[str, Any]])
assert_type(plain_record, Task[str, dict[str, Any]])
assert_type(records, Task[str, list[dict[str, Any]], dict[str, Any]])
assert_type(plain_records, Task[str, list[dict[str, Any]], dict[str, Any]])
assert_type(stream_of_records, Task[str, dict[str, Any]])
assert_type(plain_stream_of_records, Task[str, dict[str, Any]])
assert_type(from_record, Task[dict[str, Any], int])
assert_type(records | from_record, Pipeline[str, int])


# --- whatever can be called


class Reader:
    def __init__(self, page: Page) -> None: ...


class Parser:
    async def __call__(self, text: str) -> Row:
        return Row()

    async def method(self, text: str) -> list[Row]:
        return [Row()]


async def scaled(text: str, factor: int) -> float:
    return float(text) * factor


def make(function: Callable[[str], Awaitable[Row | None]]) -> None:
    assert_type(single_task(function), Task[str, Row])


assert_type(single_task(Parser()), Task[str, Row])
assert_type(single_task(Parser().method), Task[str, list[Row], Row])
assert_type(single_task(Reader), Task[Page, Reader])
assert_type(single_task(str.upper), Task[str, str])
assert_type(single_task(bytes.fromhex), Task[str, bytes])
# What a partial still takes is known to pyright alone.
partly: Task[Any, float] = single_task(functools.partial(scaled, factor=2))


# --- with options


@single_task()
async def no_options(text: str) -> int | None:
    return int(text)


@single_task(on_error="emit_failure", retry_attempts=3, retry_on=(OSError, ValueError), timeout=1)
async def careful(text: str) -> list[Row]:
    return [Row()]


@single_task(retry_on=lambda error: isinstance(error, OSError), task_name="name")
def plain_careful(text: str) -> Iterator[Row]:
    yield Row()


@single_task(spread=None)
async def spread_later(text: str) -> list[Row]:
    return [Row()]


@single_task(spread=True)
async def spread(text: str) -> list[Row] | None:
    return [Row()]


@single_task(spread=True, concurrency_limit=2)
def plain_spread(text: str) -> list[dict[str, Any]]:
    return []


@single_task(spread=False)
async def kept(text: str) -> list[Row] | None:
    return [Row()]


@single_task(spread=False)
async def kept_records(text: str) -> list[dict[str, Any]]:
    return []


@single_task(spread=False)
def plain_kept(text: str) -> list[Row]:
    return [Row()]


@single_task(spread=False)
async def kept_number(text: str) -> int:
    return int(text)


assert_type(no_options, Task[str, int])
assert_type(careful, Task[str, list[Row], Row, Failure[str]])
assert_type(plain_careful, Task[str, Row])
assert_type(spread_later, Task[str, list[Row], Row])
assert_type(spread, Task[str, Row])
assert_type(plain_spread, Task[str, dict[str, Any]])
assert_type(kept, Task[str, list[Row]])
assert_type(kept_records, Task[str, list[dict[str, Any]]])
assert_type(plain_kept, Task[str, list[Row]])
assert_type(kept_number, Task[str, int])
assert_type(single_task(retry_attempts=2)(Parser()), Task[str, Row])


# --- functions that take any name: of their results mypy then knows nothing


def with_names(text: str, **names: int) -> int:
    return len(names)


def batch_with_names(texts: list[str], **names: int) -> list[int]:
    return [len(names)]


named: Task[str, int] = single_task(with_names)
named = single_task(timeout=1)(with_names).with_inputs(a=1)
named_careful: Task[str, int, int, Failure[str]] = single_task(with_names, on_error="emit_failure")
named_batch: Task[str, int] = batch_task(max_size=2)(batch_with_names)


# --- a function and options together


async def parsed(text: str) -> Row | None:
    return Row()


async def parsed_all(text: str) -> list[Row]:
    return [Row()]


async def parsed_with(text: str, db: Db) -> list[Row]:
    return [Row()]


def record_of(text: str) -> dict[str, Any] | None:
    return {}


assert_type(single_task(parsed, concurrency_limit=4), Task[str, Row])
assert_type(single_task(record_of, executor="thread"), Task[str, dict[str, Any]])
assert_type(single_task(Parser(), timeout=1), Task[str, Row])
assert_type(single_task(parsed_all, retry_attempts=2), Task[str, list[Row], Row])
assert_type(single_task(parsed_all, spread=None), Task[str, list[Row], Row])
assert_type(single_task(parsed_all, spread=True, timeout=1), Task[str, Row])
assert_type(single_task(parsed_all, spread=False, on_error="fail"), Task[str, list[Row]])
assert_type(single_task(parsed, on_error="skip_item", max_failures=1), Task[str, Row])
assert_type(single_task(parsed, on_error="emit_failure"), Task[str, Row, Row, Failure[str]])
assert_type(
    single_task(parsed_all, spread=True, on_error="emit_failure"),
    Task[str, Row, Row, Failure[str]],
)
assert_type(
    single_task(parsed_all, spread=False, on_error="emit_failure"),
    Task[str, list[Row], list[Row], Failure[str]],
)
assert_type(
    single_task(parsed_with, concurrency_limit=4).with_inputs(Db()), Task[str, list[Row], Row]
)

# Nothing says what a lambda takes. What pyright says of one that does more is in wrong.py.
as_it_is: Task[int, int] = single_task(lambda number: number)


async def log(error: Exception, item: object, task_name: str, attempt: int) -> tuple[bool, Any]:
    return False, None


handled = single_task(error_handler=log)(float)
quiet = single_task(error_handler=lambda error, item, name, attempt: (True, None))(float)


# --- rates

limit = RateLimit(10, per=60, burst=2.5)
assert_type(limit.rate, float)
limit.rate = 5
assert_type(limit.statistics(), RateLimitStatistics)


@single_task(rate_limit=limit, cost=len, settle=lambda text, page: 2.5)
async def priced(text: str) -> Page:
    await limit.acquire()
    return Page()


@batch_task(max_size=10, rate_limit=limit, cost=0.5, settle=None)
async def priced_batch(items: list[Row]) -> list[int]:
    return []


assert_type(priced, Task[str, Page])
assert_type(priced_batch, BatchTask[Row, int])


# --- batches


@batch_task(
    max_size=10,
    max_weight=2.5,
    weight=len,
    by=lambda text: text[:1],
    max_open=20,
    flush_when_idle=True,
)
async def sorted_batch(texts: list[str]) -> list[int]:
    batch = get_current_batch()
    assert_type(batch, BatchInfo | None)
    assert batch is not None
    assert_type(batch.size, int)
    if batch.trigger == "weight":
        raise BatchError({0: ValueError()}, results=[1, 2])
    raise BatchError({0: ValueError()})


assert_type(sorted_batch, BatchTask[str, int])


@batch_task(max_size=10)
async def stored(items: list[Row]) -> list[int]:
    return [1 for _ in items]


@batch_task(max_size=10, min_size=2, max_wait=0.5, drop_remainder=True, on_error="skip_batch")
def plain_stored(items: list[Row]) -> list[int] | None:
    return None


@batch_task(max_size=10)
async def some_stored(items: Sequence[Row]) -> list[int] | None:
    return None


@batch_task(max_size=10)
async def total(items: Iterable[int]) -> int:
    return sum(items)


@batch_task(max_size=10)
def plain_total(items: list[int]) -> int | None:
    return sum(items)


@batch_task(max_size=10)
async def sunk(items: list[Row]) -> None: ...


@batch_task(max_size=10)
async def streamed(items: list[Row]) -> AsyncIterator[int]:
    yield 1


@batch_task(max_size=10)
def plain_streamed(items: list[Row]) -> Iterator[int | None]:
    yield None


@batch_task(max_size=10)
async def batch_of_records(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return items


@batch_task(max_size=10)
async def summary(items: list[dict[str, Any]]) -> dict[str, Any] | None:
    return {}


@batch_task(max_size=10)
def plain_summary(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {}


@batch_task(max_size=10)
async def mixed_batch(items: list[Row]) -> list[int | str]:
    return [1 for _ in items]


assert_type(stored, BatchTask[Row, int])
assert_type(plain_stored, BatchTask[Row, int])
assert_type(some_stored, BatchTask[Row, int])
assert_type(total, BatchTask[int, int])
assert_type(plain_total, BatchTask[int, int])
assert_type(sunk, BatchTask[Row, None])
assert_type(streamed, BatchTask[Row, int])
assert_type(plain_streamed, BatchTask[Row, int])
assert_type(batch_of_records, BatchTask[dict[str, Any], dict[str, Any]])
assert_type(summary, BatchTask[dict[str, Any], dict[str, Any]])
assert_type(plain_summary, BatchTask[dict[str, Any], dict[str, Any]])
assert_type(mixed_batch, BatchTask[Row, int | str])


# --- side inputs


@asynccontextmanager
async def open_db() -> AsyncGenerator[Db, None]:
    yield Db()


@contextmanager
def plain_open_db() -> Generator[Db, None, None]:
    yield Db()


class Session:
    async def __aenter__(self) -> Page:
        return Page()

    async def __aexit__(self, *exc_info: object) -> None: ...


def service_of(region: str) -> Session:
    return Session()


@single_task
async def looked_up(text: str, db: Db) -> Row | None:
    return Row()


@single_task
async def looked_up_by_name(text: str, *, db: Db, limit: int) -> list[dict[str, Any]]:
    return []


@single_task(retry_attempts=2)
def plain_looked_up(text: str, db: Db) -> Iterator[Row]:
    yield Row()


@single_task
async def either_looked_up(text: str, db: Db) -> int | str:
    return text


@single_task
async def sunk_with(row: Row, db: Db) -> None: ...


@single_task(spread=True)
async def spread_with(text: str, db: Db) -> list[Row]:
    return [Row()]


@single_task(spread=False)
async def kept_with(text: str, db: Db) -> list[Row]:
    return [Row()]


@batch_task(max_size=2)
async def stored_with(items: list[Row], db: Db) -> list[int]:
    return [1 for _ in items]


@batch_task(max_size=2)
async def sunk_batch_with(items: Sequence[Row], *, db: Db) -> None: ...


@single_task
async def sent(text: str, db: Db, limit: int = 1, *, name: str = "") -> Row:
    return Row()


@batch_task(max_size=2, on_error="emit_failure")
async def careful_batch_with(items: list[Row], db: Db) -> list[int]:
    return [1 for _ in items]


async def load_db() -> Db:
    return Db()


async def load_limit() -> int:
    return 1


@single_task
async def db_of(text: str) -> Db:
    return Db()


assert_type(looked_up.with_inputs(Db()), Task[str, Row])
assert_type(looked_up.with_inputs(db=Db()), Task[str, Row])
assert_type(
    looked_up_by_name.with_inputs(db=Db(), limit=1),
    Task[str, list[dict[str, Any]], dict[str, Any]],
)
assert_type(spread_with.with_inputs(Db()), Task[str, Row])
assert_type(kept_with.with_inputs(Db()), Task[str, list[Row]])
assert_type(sent.with_inputs(Db(), name="a"), Task[str, Row])
assert_type(sent.with_inputs(Db(), 2), Task[str, Row])
assert_type(stored_with.with_inputs(Db()), BatchTask[Row, int])
assert_type(looked_up.with_inputs(Db()) | nothing, Pipeline[str, None])
assert_type(looked_up_by_name.with_inputs(db=Db(), limit=1) | from_record, Pipeline[str, int])
assert_type(plain_looked_up.with_inputs(Db()) | stored, Pipeline[str, int])
assert_type(Pipeline(either_looked_up.with_inputs(Db())), Pipeline[str, int | str])
assert_type(looked_up.with_inputs(Db()) | sunk_with.with_inputs(Db()), Pipeline[str, None])
assert_type(looked_up.with_inputs(Db()) | stored_with.with_inputs(Db()), Pipeline[str, int])
assert_type(looked_up.with_inputs(Db()) | sunk_batch_with.with_inputs(db=Db()), Pipeline[str, None])

# A resource stands for what entering it gives.
assert_type(resource(open_db), Db)
assert_type(resource(plain_open_db), Db)
assert_type(resource(Session), Page)
assert_type(resource(functools.partial(service_of, "eu")), Page)
assert_type(looked_up.with_inputs(resource(open_db)), Task[str, Row])
assert_type(sent.with_inputs(resource(open_db), limit=2, name="a"), Task[str, Row])
assert_type(sent.with_inputs(db=resource(plain_open_db), limit=2), Task[str, Row])

# So do awaitables, and streams for their first result, at the first two places, and by name where
# none of the others by name is there already.
assert_type(looked_up.with_inputs(load_db()), Task[str, Row])
assert_type(looked_up.with_inputs(db_of(["a"])), Task[str, Row])
assert_type(looked_up.with_inputs(db=load_db()), Task[str, Row])
assert_type(sent.with_inputs(load_db(), 2, name="a"), Task[str, Row])
assert_type(sent.with_inputs(load_db(), load_limit(), name="a"), Task[str, Row])
assert_type(sent.with_inputs(Db(), load_limit()), Task[str, Row])
assert_type(sent.with_inputs(Db(), limit=load_limit()), Task[str, Row])
assert_type(sent.with_inputs(db_of(["a"]), limit=load_limit()), Task[str, Row])
assert_type(sent.with_inputs(db=db_of(["a"]), limit=load_limit()), Task[str, Row])
assert_type(stored_with.with_inputs(load_db()), BatchTask[Row, int])
assert_type(sunk_batch_with.with_inputs(db=load_db()), BatchTask[Row, None])

# What has a default may be left out, and be given.
default_left_out: Task[str, dict[str, Any]] = record_or_default
assert_type(record_or_default | from_record, Pipeline[str, int])
assert_type(record_or_default(["a"]), Stream[dict[str, Any]])
assert_type(record_or_default.with_inputs("a"), Task[str, dict[str, Any]])
assert_type(record_or_default.with_inputs("a", "b"), Task[str, dict[str, Any]])
assert_type(record_or_default.with_inputs(default="a"), Task[str, dict[str, Any]])

# Other methods neither need the inputs nor lose them.
assert_type(looked_up.name, str)
assert_type(looked_up.with_options(timeout=1).with_inputs(Db()), Task[str, Row])
assert_type(
    looked_up.with_options(on_error="emit_failure").with_inputs(Db()),
    Task[str, Row, Row, Failure[str]],
)
assert_type(stored_with.with_options(max_size=3).with_inputs(Db()), BatchTask[Row, int])
assert_type(
    careful_batch_with.with_inputs(Db()), BatchTask[Row, int, int, Failure[Row | list[Row]]]
)
assert_type(
    stored_with.with_inputs(Db()).with_options(on_error="emit_failure"),
    BatchTask[Row, int, int, Failure[Row | list[Row]]],
)


# --- methods


class Service(Generic[T]):
    @single_task
    async def fetch(self, text: str) -> Page | None:
        return Page()

    @single_task
    async def split(self, page: Page) -> list[Row]:
        return [Row()]

    @single_task(timeout=1)
    def record(self, row: Row) -> dict[str, Any]:
        return {}

    @single_task
    async def own(self, item: T) -> list[T]:
        return [item]

    @single_task
    async def lines(self, page: Page) -> AsyncIterator[str]:
        yield ""

    @single_task
    async def with_db(self, row: Row, db: Db) -> int | str:
        return 1

    @single_task
    async def with_db_by_name(self, row: Row, *, db: Db) -> int:
        return 1

    @single_task
    async def with_default(self, row: Row, default: int = 1) -> dict[str, Any]:
        return {}

    @single_task(spread=True)
    async def spread(self, page: Page) -> list[Row]:
        return [Row()]

    @single_task(spread=False)
    async def kept(self, page: Page) -> list[Row]:
        return [Row()]

    @batch_task(max_size=10)
    async def store(self, items: list[Row]) -> list[int]:
        return [1 for _ in items]

    @batch_task(max_size=10)
    async def store_records(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return []

    @batch_task(max_size=10)
    async def sink(self, items: list[Row], db: Db) -> None: ...

    @batch_task(max_size=10)
    def summary(self, items: list[Row]) -> int | None:
        return 1

    @staticmethod
    @single_task
    async def static(text: str) -> int:
        return int(text)


class SpecialService(Service[bytes]): ...


service = Service[int]()
special = SpecialService()

assert_type(service.fetch, Task[str, Page])
assert_type(service.split, Task[Page, list[Row], Row])
assert_type(service.record, Task[Row, dict[str, Any]])
assert_type(service.own, Task[int, list[int], int])
assert_type(service.lines, Task[Page, str])
assert_type(service.with_db.with_inputs(Db()), Task[Row, int | str])
assert_type(service.with_db.with_inputs(load_db()), Task[Row, int | str])
assert_type(service.with_db_by_name.with_inputs(db=Db()), Task[Row, int])
assert_type(service.with_default.with_inputs(2), Task[Row, dict[str, Any]])
assert_type(service.with_default | from_record, Pipeline[Row, int])
assert_type(service.spread, Task[Page, Row])
assert_type(service.kept, Task[Page, list[Row]])
assert_type(service.store, BatchTask[Row, int])
assert_type(service.store_records, BatchTask[dict[str, Any], dict[str, Any]])
assert_type(service.sink.with_inputs(Db()), BatchTask[Row, None])
assert_type(service.summary, BatchTask[Row, int])
assert_type(service.static, Task[str, int])
assert_type(Service.static, Task[str, int])
assert_type(special.own, Task[bytes, list[bytes], bytes])
assert_type(service.fetch | service.split | service.store, Pipeline[str, int])
assert_type(SpecialService.fetch.func, Callable[..., Any])


@dataclass
class Job:
    """A plain task in a field is not bound to the instance."""

    task: Task[str, int]
    pipeline: Pipeline[str, int]


assert_type(Job(number, number).task, Task[str, int])
assert_type(Job(number, number).pipeline, Pipeline[str, int])


# --- pipelines


@single_task
async def page(text: str) -> Page:
    return Page()


@single_task
async def is_odd(value: object) -> bool:
    return bool(value)


@single_task
async def half(value: float) -> float:
    return value / 2


assert_type(page | rows, Pipeline[str, list[Row], Row])
assert_type(page | rows | stored, Pipeline[str, int])
assert_type(page | (rows | stored), Pipeline[str, int])
assert_type(page | some_rows | nothing, Pipeline[str, None])
assert_type(page | lines | number | half, Pipeline[str, float])
assert_type(rows | stored | is_odd, Pipeline[Page, bool])
assert_type(spread | stored, Pipeline[str, int])
assert_type(either | is_odd, Pipeline[str, bool])

assert_type(Pipeline(rows), Pipeline[Page, list[Row], Row])
assert_type(Pipeline(page, rows), Pipeline[str, list[Row], Row])
assert_type(Pipeline(page, rows, stored), Pipeline[str, int])
assert_type(Pipeline(page, rows, stored, is_odd), Pipeline[str, bool])
assert_type(Pipeline(page, rows, stored, half, half), Pipeline[str, Any, Any])
assert_type(Pipeline(page, rows, stored, half, half, half), Pipeline[str, Any, Any])

assert_type(page.with_execution_mode("as_completed"), Pipeline[str, Page])
assert_type(rows.with_context(buffer_size=10), Pipeline[Page, list[Row], Row])
assert_type(rows.with_options(timeout=3), Task[Page, list[Row], Row])


@single_task(on_error="skip_item", max_failures=Fraction(1, 20))
def share(text: str) -> int:
    return int(text)


@batch_task(max_size=3, on_error="skip_batch", max_failures=20)
def lengths(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


assert_type(share, Task[str, int])
assert_type(lengths, BatchTask[str, int])


async def stopped() -> None:
    async with stop_on_signals(number(["1"]), signal.SIGTERM, timeout=3) as stream:
        assert_type(stream, Stream[int])
        stream.stop(2)
        stream.abort(KeyboardInterrupt())


async def watched() -> None:
    async with live(number(["1"]), total=1) as stream:
        assert_type(stream, Stream[int])
    async for result in progress(number(["1"]), interval=1):
        assert_type(result, int)
    async with progress(number(["1"])) as stream:
        assert_type(stream, Stream[int])


assert_type((page | rows).stages, tuple[Task[Any, Any, Any, Any, Any], ...])


# What takes more and gives less stands in for what takes less and gives more.
narrow: Pipeline[int, int] = is_odd
narrow_task: Task[int, int] = is_odd
wide_results: Stream[object] = is_odd([1])


# --- streams


async def endless() -> AsyncIterator[str]:
    yield "1"


async def read() -> None:
    assert_type(number(["1"]), Stream[int])
    assert_type(number.as_completed(["1"]), Stream[int])
    assert_type((page | rows)(endless()), Stream[list[Row]])
    assert_type(await (page | rows)(endless()).collect(), list[list[Row]])
    assert_type(await (page | rows | stored)({"a", "b"}).collect(), list[int])
    assert_type(await stored([Row()]).drain(), None)
    assert_type(await anext(number("1" for _ in range(3))), int)
    async for result in (page | lines | some)(["1"]):
        assert_type(result, int)
    pipeline = page | rows
    async with pipeline(["1"]) as stream:
        assert_type(stream, Stream[list[Row]])
        async for found in stream:
            assert_type(found, list[Row])
        assert_type(stream.statistics().stages[0].name, str)
    async for value in half(number(["1"])):
        assert_type(value, float)


# --- failures


@single_task(on_error="emit_failure")
async def emitted(text: str) -> int | None:
    return int(text)


@single_task(on_error="emit_failure", spread=True)
async def emitted_spread(text: str) -> list[int]:
    return [int(text)]


@single_task(on_error="emit_failure", spread=False)
def emitted_kept(text: str) -> list[int]:
    return [int(text)]


@single_task(on_error="emit_failure")
def emitted_half(value: float) -> float:
    return value / 2


@batch_task(max_size=2, on_error="emit_failure")
async def emitted_batch(values: list[float]) -> list[str]:
    return [str(value) for value in values]


@batch_task(max_size=2, on_error="emit_failure")
def emitted_record(values: list[float]) -> dict[str, Any] | None:
    return {}


class Careful:
    @single_task(on_error="emit_failure")
    async def fetch(self, text: str) -> Page | None:
        return Page()

    @single_task(on_error="emit_failure")
    async def with_db(self, page: Page, db: Db) -> list[Row]:
        return [Row()]

    @batch_task(max_size=2, on_error="emit_failure")
    async def store(self, rows: list[Row]) -> list[int]:
        return [1 for _ in rows]


careful_service = Careful()

assert_type(emitted, Task[str, int, int, Failure[str]])
assert_type(emitted_spread, Task[str, int, int, Failure[str]])
assert_type(emitted_kept, Task[str, list[int], list[int], Failure[str]])
assert_type(emitted_batch, BatchTask[float, str, str, Failure[float | list[float]]])
assert_type(
    emitted_record,
    BatchTask[float, dict[str, Any], dict[str, Any], Failure[float | list[float]]],
)
assert_type(careful_service.fetch, Task[str, Page, Page, Failure[str]])
assert_type(careful_service.with_db.with_inputs(Db()), Task[Page, list[Row], Row, Failure[Page]])
assert_type(careful_service.store, BatchTask[Row, int, int, Failure[Row | list[Row]]])

# `|` takes them past what follows, and adds them up.
assert_type(emitted | half, Pipeline[str, float, float, Failure[str]])
assert_type(number | emitted_half, Pipeline[str, float, float, Failure[float]])
assert_type(emitted | emitted_half, Pipeline[str, float, float, Failure[str] | Failure[float]])
assert_type(
    emitted | half | emitted_batch,
    Pipeline[str, str, str, Failure[str] | Failure[float | list[float]]],
)
assert_type(emitted | (half | is_odd), Pipeline[str, bool, bool, Failure[str]])
assert_type(
    careful_service.fetch | careful_service.with_db.with_inputs(Db()) | careful_service.store,
    Pipeline[str, int, int, Failure[str] | Failure[Page] | Failure[Row | list[Row]]],
)
assert_type(Pipeline(emitted), Pipeline[str, int, int, Failure[str]])
assert_type(Pipeline(emitted, half), Pipeline[str, float, float, Failure[str]])
assert_type(Pipeline(number, emitted_half), Pipeline[str, float, float, Failure[float]])
assert_type(
    Pipeline(emitted, half, emitted_half),
    Pipeline[str, float, float, Failure[str] | Failure[float]],
)
assert_type(
    Pipeline(emitted, half, half, emitted_half),
    Pipeline[str, float, float, Failure[str] | Failure[float]],
)
assert_type(Pipeline(emitted, half, half, half, half), Pipeline[str, Any, Any, Failure[str]])
assert_type(Pipeline(emitted, half, half, half, half, half), Pipeline[str, Any, Any, Failure[str]])

# The other methods keep them.
assert_type(
    (emitted | half).with_execution_mode("as_completed"),
    Pipeline[str, float, float, Failure[str]],
)
assert_type((emitted | half).with_context(buffer_size=3), Pipeline[str, float, float, Failure[str]])
assert_type(emitted.with_options(timeout=3), Task[str, int, int, Failure[str]])

# The stream has them beside the results.
assert_type(emitted(["1"]), Stream[int | Failure[str]])
assert_type((emitted | half)(["1"]), Stream[float | Failure[str]])
assert_type(
    (emitted | emitted_half).as_completed(["1"]), Stream[float | Failure[str] | Failure[float]]
)
assert_type((emitted | half).run(["1"]), list[float | Failure[str]])
assert_type((emitted | half).iterate(["1"]), Generator[float | Failure[str], None, None])


async def read_all() -> None:
    pipeline = emitted | is_odd
    assert_type(await pipeline(["1"]).collect(), list[bool | Failure[str]])
    async for result in pipeline(["1"]):
        assert_type(result, bool | Failure[str])
        if isinstance(result, Failure):
            assert_type(result, Failure[str])
            assert_type(result.item, str)
            assert_type(result.error, Exception)
            continue
        assert_type(result, bool)
    async with pipeline(["1"]) as stream:
        assert_type(stream, Stream[bool | Failure[str]])
        async for result in stream:
            assert_type(result, bool | Failure[str])
    async with live(pipeline(["1"])) as stream:
        assert_type(stream, Stream[bool | Failure[str]])
    async for result in progress(pipeline(["1"])):
        assert_type(result, bool | Failure[str])
    async for text in emitted_batch([1.0]):
        if isinstance(text, Failure):
            assert_type(text.item, float | list[float])
        else:
            assert_type(text, str)
    async for record in emitted_record([1.0]):
        assert_type(record.get("error"), Any | None)  # one loop for both, if results are dicts
        if not isinstance(record, Failure):
            assert_type(record, dict[str, Any])
    results = [result for result in pipeline.run(["1"]) if not isinstance(result, Failure)]
    assert_type(results, list[bool])


# Written out.
def run_careful(pipeline: Pipeline[str, float, float, Failure[str]]) -> list[float | Failure[str]]:
    return pipeline.run(["1"])


run_careful(emitted | half)
run_careful(number | half)  # those without failures stand in for those with some
wide_failure: Failure[object] = Failure("1", ValueError(), "emitted", 1)


# --- with other options


assert_type(number.with_options(on_error="emit_failure"), Task[str, int, int, Failure[str]])
assert_type(
    rows.with_options(on_error="emit_failure", retry_attempts=3, retry_delay=0.5),
    Task[Page, list[Row], Row, Failure[Page]],
)
assert_type(emitted.with_options(on_error="fail"), Task[str, int])
assert_type(emitted.with_options(on_error="skip_item", max_failures=3), Task[str, int])
assert_type(rows.with_options(spread=True), Task[Page, Row])
assert_type(rows.with_options(spread=False), Task[Page, list[Row]])
assert_type(kept.with_options(spread=True), Task[str, Row])
assert_type(number.with_options(spread=True, timeout=1), Task[str, int])
assert_type(number.with_options(key=len, per_key=2, executor="thread"), Task[str, int])
# Two at once that change the type, and what is no longer in the type, leave it open.
open_task: Task[Page, Row, Row, Failure[Page]] = rows.with_options(
    spread=True, on_error="emit_failure"
)
open_rows: Task[Page, list[Row], Row] = rows.with_options(spread=None)
assert_type(stored.with_options(max_size=3, by=id, flush_when_idle=True), BatchTask[Row, int])
assert_type(
    stored.with_options(on_error="emit_failure", max_size=3),
    BatchTask[Row, int, int, Failure[Row | list[Row]]],
)
assert_type(emitted_batch.with_options(on_error="skip_batch"), BatchTask[float, str])
assert_type(
    service.store.with_options(on_error="emit_failure"),
    BatchTask[Row, int, int, Failure[Row | list[Row]]],
)
assert_type(
    service.fetch.with_options(on_error="emit_failure"), Task[str, Page, Page, Failure[str]]
)


def by_policy(policy: Literal["fail", "emit_failure"]) -> None:
    for result in number.with_options(on_error=policy).run(["1"]):
        assert_type(result, int | Failure[str])
    for row in single_task(parsed, on_error=policy).run(["1"]):
        assert_type(row, Row | Failure[str])


def by_settings(settings: dict[str, Any]) -> None:
    number.with_options(**settings)
    number.with_context(**settings)
    single_task(**settings)
    single_task(parsed, **settings)


stands_for_a_task: Task[Row, int] = stored


# --- contexts

given = PipelineContext(execution_mode="as_completed", buffer_size=3)
assert_type(rows.with_context(given), Pipeline[Page, list[Row], Row])
assert_type(rows.with_context(given, buffer_size=2), Pipeline[Page, list[Row], Row])
assert_type((page | rows).with_context(tenant="acme"), Pipeline[str, list[Row], Row])
assert_type(
    number.with_context(
        execution_mode=ExecutionMode.ORDERED,
        max_parallelism=None,
        buffer_size=3,
        pipeline_id="nightly",
        data={"tenant": "acme"},
        max_failures=Fraction(1, 20),
        timing=False,
        instruments=[Instrument],
        tenant=5,
    ),
    Pipeline[str, int],
)
assert_type(number.with_execution_mode(ExecutionMode("ordered")), Pipeline[str, int])
assert_type(looked_up.with_context(tenant="acme").stages[0].name, str)


# --- without an event loop


assert_type(number.run(["1"]), list[int])
assert_type((page | rows).run(endless(), backend="trio", mode="ordered"), list[list[Row]])
assert_type((page | rows).run(["1"], backend_options={"use_uvloop": True}), list[list[Row]])
assert_type(number.iterate(["1"], mode="as_completed"), Generator[int, None, None])
for one in (page | lines | some).iterate({"1"}, backend="asyncio"):
    assert_type(one, int)


# --- executors


@single_task(executor="process", abandon_on_cancel=True)
def computed(text: str) -> int:
    return int(text)


def pooled(pool: ProcessPoolExecutor) -> None:
    @batch_task(max_size=2, executor=pool)
    def sizes(texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    assert_type(sizes, BatchTask[str, int])


assert_type(computed, Task[str, int])
