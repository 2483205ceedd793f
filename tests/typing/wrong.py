"""Wrong uses. Each has to be an error, in mypy and in pyright. Checked, never run.

A comment that hides no error is one itself, so an error that is no longer found shows.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from conveyor import Failure, Pipeline, PipelineContext, Task, batch_task, resource, single_task


class Row: ...


class Page: ...


@single_task
async def page(url: str) -> Page:
    return Page()


@single_task
async def some_page(url: str) -> Page | None:
    return None


@single_task
async def rows(page: Page) -> list[Row]:
    return []


@single_task(spread=False)
async def rows_whole(page: Page) -> list[Row]:
    return []


@single_task
async def row(row: Row) -> Row:
    return row


@single_task
async def all_rows(rows: list[Row]) -> int:
    return len(rows)


@single_task
async def lines(page: Page) -> AsyncIterator[str]:
    yield ""


@single_task
async def looked_up(row: Row, db: bytes) -> str:
    return ""


@batch_task(max_size=2)
async def stored(rows: list[Row]) -> list[int]:
    return []


@batch_task(max_size=2)
async def stored_with(rows: list[Row], db: bytes) -> list[int]:
    return []


@single_task
async def sent(row: Row, db: bytes, limit: int, *, name: str = "") -> Row:
    return row


@single_task(on_error="emit_failure")
async def careful(url: str) -> Row:
    return Row()


@asynccontextmanager
async def open_text() -> AsyncGenerator[str, None]:
    yield ""


async def load_text() -> str:
    return ""


async def load_db() -> bytes:
    return b""


class Service:
    @single_task
    async def with_db(self, url: str, db: bytes) -> Page:
        return Page()

    @single_task
    async def fetch(self, url: str) -> Page:
        return Page()

    @batch_task(max_size=2)
    async def store(self, rows: list[Row]) -> list[int]:
        return []


service = Service()


async def undecorated(page: Page) -> Row:
    return Row()


def edges() -> None:
    page | row  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    some_page | row  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    rows | rows  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    rows | all_rows  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    rows_whole | row  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    lines | row  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    page | stored  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    stored | row  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    page | looked_up  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    page | looked_up.with_inputs(b"")  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    page | stored_with  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    service.fetch | row  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    page | service.store  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    service.store | row  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    page | rows | page  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    page | undecorated  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    undecorated | row  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    page | 5  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    Pipeline(page, row)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    Pipeline(page, rows, page)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    Pipeline(page, rows, row, page)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    Pipeline(page, rows, row, row, page)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    Pipeline(undecorated)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    Pipeline()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def run_on_anything(pipeline: Pipeline[object, Page]) -> None: ...


def run_for_rows(pipeline: Pipeline[str, Row]) -> None: ...


def run_task(task: Task[str, Page]) -> None: ...


def take_rows(rows: list[Row]) -> None: ...


def types() -> None:
    run_on_anything(page)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run_for_rows(page)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run_for_rows(page | rows)  # type: ignore[operator]  # pyright: ignore[reportArgumentType]
    run_task(page | rows)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run_task(service.fetch | rows)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run_task(Service.fetch)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def data() -> None:
    page(["a"]).stop("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    page(["a"]).abort(ValueError)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    page([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    page(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    page.as_completed([b""])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    (page | rows)([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    service.fetch([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    take_rows(await rows([Page()]).collect())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async for result in page(["a"]):
        result.upper()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    async for _ in page(["a"]).drain():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    for _ in page(["a"]):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass


def options() -> None:
    single_task(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    single_task(retry_attempt=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    single_task(retry_attempts="3")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    single_task(on_error="skip_batch")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    single_task(on_error="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    single_task(retry_on=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    single_task(executor="threads")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    single_task(executor=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    single_task(max_size=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    single_task(spread="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    single_task(spread=True)(len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    single_task(rate_limit=10)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    single_task(cost="1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    batch_task(max_size=5, settle=len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    single_task(max_failures=0.05)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    batch_task()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    batch_task(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    batch_task(undecorated)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    batch_task(min_size=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    batch_task(max_size=5, max_sise=6)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    batch_task(max_size="5")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    batch_task(max_size=5, on_error="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    batch_task(max_size=5, spread=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    batch_task(max_size=5, weight="len", max_weight=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    batch_task(max_size=5, by=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    batch_task(max_size=5, weight=lambda item: str(item), max_weight=5)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
    batch_task(max_size=5)(undecorated)  # type: ignore[arg-type, type-var]  # pyright: ignore[reportArgumentType, reportCallIssue]
    resource(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    resource(service)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    resource(undecorated)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def functions() -> None:
    @single_task  # type: ignore[arg-type, type-var]  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]
    async def no_item() -> int:
        return 1

    @single_task  # type: ignore[arg-type, type-var]  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]
    async def item_by_name(*, item: str) -> int:
        return 1

    @batch_task  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportUntypedFunctionDecorator]
    async def bare(items: list[Row]) -> list[int]:
        return []

    @batch_task(max_size=2)  # type: ignore[arg-type, type-var]  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]
    async def no_list(item: Row) -> list[int]:
        return []

    @single_task  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]
    def list_or_not(text: str) -> list[Row] | Page:
        return Page()


async def failures() -> None:
    for each in careful.run(["a"]):
        take_rows([each])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    async for result in (careful | row)(["a"]):
        take_rows([result])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    async for result in careful.as_completed(["a"]):
        take_rows([result])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    for failed in stored.with_options(on_error="emit_failure").run([Row()]):
        if isinstance(failed, Failure):
            take_rows([failed.item])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    take_rows(await careful(["a"]).collect())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    take_rows(Pipeline(careful, row).run(["a"]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    row(careful(["a"]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run_for_rows(careful)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run_for_rows(careful | row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run_for_rows(Pipeline(careful, row))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def inputs() -> None:
    looked_up([Row()])  # type: ignore[misc]  # pyright: ignore[reportCallIssue]
    looked_up.run([Row()])  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    looked_up.as_completed([Row()])  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    looked_up.with_context(tenant="a")([Row()])  # type: ignore[misc]  # pyright: ignore[reportCallIssue]
    looked_up | page  # type: ignore[misc]  # pyright: ignore[reportOperatorIssue]
    row | looked_up  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    row | stored_with  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    Pipeline(looked_up)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Pipeline(row, looked_up)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    run_task(service.with_db)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    service.with_db(["a"])  # type: ignore[misc]  # pyright: ignore[reportCallIssue]
    service.with_db.with_inputs("")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]

    page.with_inputs(b"")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    looked_up.with_inputs("")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    looked_up.with_inputs(b"", b"")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    looked_up.with_inputs(bd=b"")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    looked_up.with_inputs(b"", name="")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    looked_up.with_inputs(resource(open_text))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    looked_up.with_inputs(db=resource(open_text))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    looked_up.with_inputs(load_text())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    looked_up.with_inputs(lines([Page()]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    sent.with_inputs(db=b"")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    sent.with_inputs(b"", "1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    sent.with_inputs(b"", load_text())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    sent.with_inputs(load_text(), 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    sent.with_inputs(b"", 1, nmae="")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    stored_with.with_inputs(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    # Too few, and no name is wrong: they are still missing where the task is used.
    row | looked_up.with_inputs()  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    row | sent.with_inputs(b"")  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]


def changes() -> None:
    page.with_options(retry_attempt=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    page.with_options(retry_attempts="3")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    page.with_options(on_error="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    page.with_options(on_error="skip_batch")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    page.with_options(max_size=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    page.with_options(spread="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    rows.with_options(spread=False) | row  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    stored.with_options(spread=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    stored.with_options(key=id)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    stored.with_options(max_size="3")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    stored.with_options(on_error="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


def contexts() -> None:
    page.with_context(buffer_size="3")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    page.with_context(max_parallelism=0.5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    page.with_context(execution_mode="odered")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    page.with_context(timing=None)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    page.with_context(data=[])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    page.with_context(instruments=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    page.with_context({"buffer_size": 3})  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    page.with_execution_mode("odered")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    page.run(["a"], mode="odered")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    page.iterate(["a"], mode=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    PipelineContext(execution_mode="odered")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def together() -> None:
    single_task(undecorated, retry_attempt=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    single_task(undecorated, timeout="3")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    single_task(undecorated, on_error="skip_batch")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    single_task(undecorated, max_size=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    single_task(undecorated, timeout=3) | page  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    batch_task(undecorated, max_size=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    # Nothing says what a lambda takes, which mypy lets pass.
    single_task(lambda number: number + 1)  # pyright: ignore[reportOperatorIssue, reportUnknownLambdaType]


def limits() -> None:
    """What runs, and is refused: see the page about side inputs."""
    sent.with_inputs(db=load_db(), limit=1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    looked_up.with_inputs(b"").with_inputs(b"")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
