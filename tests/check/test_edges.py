"""What leaves a task and what enters the next, by their annotations."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from typing import TYPE_CHECKING, Any, NewType, NoReturn, Protocol, TypeVar, overload

import pytest

from conveyor import Task, batch_task, single_task
from conveyor._check.edges import edge, edges, entering, kind_of, leaving, wrong_batch
from conveyor._check.fits import Unknown

if TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")
Ids = NewType("Ids", list[int])


class Page: ...


class Row: ...


class Rows(list[Row]): ...


class HasName(Protocol):
    name: str


def returning(annotation: Any, *, kind: str = "sync") -> Callable[[Any], Any]:
    """Return a function of this kind that says to return this."""
    if kind == "async":

        async def function(item: Any) -> Any: ...

    elif kind == "generator":

        def function(item: Any) -> Any:  # type: ignore[misc]
            yield

    elif kind == "async generator":

        async def function(item: Any) -> Any:  # type: ignore[misc]
            yield

    else:

        def function(item: Any) -> Any: ...

    function.__annotations__["return"] = annotation
    return function


def taking(annotation: Any) -> Callable[[Any], Any]:
    """Return a function that says to take this."""

    def function(item: Any) -> Any: ...

    function.__annotations__["item"] = annotation
    return function


def verdict(giver: Task[Any, Any, Any], taker: Task[Any, Any, Any]) -> bool | None:
    answer = edge(giver.spec, taker.spec).answer
    return answer if isinstance(answer, bool) else None


# --- what leaves


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Row, "Row"),
        (Row | None, "Row"),
        (list[Row], "Row"),
        (list[Row] | None, "Row"),
        (list[Row | None], "Row"),
        (list[int | str], "int | str"),
        (list[int] | str, "int | str"),
        (list[list[int]], "list[int]"),
        (list, None),
        (Rows, "Row"),
        (Ids, "int"),
        (tuple[int, str], "tuple[int, str]"),
        (dict[str, int], "dict[str, int]"),
        (str, "str"),
        (object, "object"),
        (Any, "Any"),
        (Iterator[Row], "Row"),
        (AsyncIterator[Row | None], "Row"),
        (Generator[Row, None, None], "Row"),
        (AsyncGenerator[Row, None], "Row"),
        (Awaitable[Row], "Row"),
        (Awaitable[list[Row]], "Row"),
        (Coroutine[Any, Any, Row | None], "Row"),
        (Sequence[Row], "Sequence[Row]"),
        (HasName, "HasName"),
        ("Row", "Row"),
        ("list[Row] | None", "Row"),
    ],
)
def test_what_a_function_returns_travels(annotation: Any, words: str | None) -> None:
    task = single_task(returning(annotation))
    assert leaving(task.spec, last=False).words == words


@pytest.mark.parametrize(
    ("kind", "annotation", "words"),
    [
        ("generator", Iterator[Row], "Row"),
        ("generator", Iterable[Row | None], "Row"),
        ("generator", Generator[list[int], None, None], "list[int]"),
        ("async generator", AsyncIterator[Row], "Row"),
        ("async generator", AsyncGenerator[Row, None], "Row"),
        ("async", list[Row], "Row"),
        ("async", Row | None, "Row"),
        ("generator", object, None),
        ("generator", Iterator, None),
        ("generator", Iterator[Row] | None, None),
    ],
)
def test_what_other_functions_give_travels(kind: str, annotation: Any, words: str | None) -> None:
    task = single_task(returning(annotation, kind=kind))
    assert leaving(task.spec, last=False).words == words


@pytest.mark.parametrize(
    ("spread", "last", "words"),
    [
        (None, False, "Row"),
        (None, True, "list[Row]"),
        (True, True, "Row"),
        (True, False, "Row"),
        (False, False, "list[Row]"),
        (False, True, "list[Row]"),
    ],
)
def test_lists_are_unpacked_as_spread_says(spread: Any, last: bool, words: str) -> None:
    task = single_task(spread=spread)(returning(list[Row]))
    assert leaving(task.spec, last=last).words == words


@pytest.mark.parametrize("last", [False, True])
def test_lists_of_batches_are_always_unpacked(last: bool) -> None:
    task = batch_task(max_size=2)(returning(list[Row] | None))
    assert leaving(task.spec, last=last).words == "Row"


@pytest.mark.parametrize("annotation", [None, NoReturn, list[None], Awaitable[None]])
def test_a_task_may_give_nothing(annotation: Any) -> None:
    side = leaving(single_task(returning(annotation)).spec, last=False)
    assert side.nothing
    assert side.words is None


# --- what enters


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (list[Row], "Row"),
        (Sequence[Row], "Row"),
        (Iterable[Row], "Row"),
        (Collection[int | str], "int | str"),
        (list[Row] | None, "Row"),
        (list[Row] | tuple[int, ...], "Row"),
        (list, "Any"),
        (Any, "Any"),
        (object, "object"),
        (list[list[int]], "list[int]"),
        (tuple[Row, ...], None),
        (str, None),
        (T, None),
    ],
)
def test_a_batch_is_a_list_of_what_enters(annotation: Any, words: str | None) -> None:
    assert entering(batch_task(max_size=2)(taking(annotation)).spec).words == words


@pytest.mark.parametrize(
    ("annotation", "wrong"),
    [
        (list[Row], None),
        (Sequence[Row], None),
        (Any, None),
        (Row, "Row"),
        (tuple[Row, ...], "tuple[Row, ...]"),
        (str, "str"),
        (set[Row], "set[Row]"),
    ],
)
def test_a_batch_is_given_as_a_list_to_what_takes_lists(annotation: Any, wrong: str | None) -> None:
    assert wrong_batch(batch_task(max_size=2)(taking(annotation)).spec) == wrong
    assert wrong_batch(single_task(taking(annotation)).spec) is None


def plain(item: Page, more: int = 0) -> Row: ...
async def waiting(item: Page) -> Row: ...
def several(*items: Page) -> Row: ...


class Calls:
    def __call__(self, item: Page) -> Row: ...


class WaitingCalls:
    async def __call__(self, item: Page) -> Row: ...


class Shop:
    @single_task
    def method(self, item: Page) -> Row: ...

    @single_task
    @classmethod
    def of_class(cls, item: Page) -> Row: ...

    @staticmethod
    @single_task
    def static(item: Page) -> Row: ...


class Made:
    def __init__(self, item: Page) -> None: ...


def scale(factor: float, item: Page, offset: int = 0) -> Row: ...


@functools.lru_cache
def cached(item: Page) -> Row: ...


@pytest.mark.parametrize(
    "task",
    [
        single_task(plain),
        single_task(waiting),
        single_task(several),
        single_task(Calls()),
        single_task(WaitingCalls()),
        Shop().method,
        Shop().of_class,
        Shop.of_class,
        Shop.static,
        single_task(functools.partial(scale, 2.0)),
        single_task(functools.partial(functools.partial(scale, 2.0), offset=1)),
        single_task(cached),
        single_task(plain).with_inputs(3),
        single_task(functools.partial(Calls())),
    ],
)
def test_every_kind_of_function_says_what_it_takes_and_gives(task: Task[Any, Any, Any]) -> None:
    assert entering(task.spec).words == "Page"
    assert leaving(task.spec, last=True).words == "Row"
    assert task.spec.misfit is None


def test_a_class_gives_its_instances() -> None:
    spec = single_task(Made).spec
    assert (entering(spec).words, leaving(spec, last=True).words) == ("Page", "Made")
    spec = single_task(int).spec
    assert entering(spec).words is None
    assert leaving(spec, last=True).words == "int"


def test_annotations_may_name_what_is_defined_in_a_function() -> None:
    class Local: ...

    def give(item: Local) -> Local:
        return Local()

    side = leaving(single_task(give).spec, last=True)
    assert side.type is Local


@pytest.mark.parametrize(
    ("func", "kind"),
    [
        (plain, "sync"),
        (waiting, "async"),
        (returning(int, kind="generator"), "generator"),
        (returning(int, kind="async generator"), "async generator"),
        (functools.partial(waiting), "async"),
        (Calls(), "sync"),
        (WaitingCalls(), "async"),
        (functools.wraps(waiting)(lambda item: waiting(item)), "async"),
        (len, "sync"),
        (Made, "sync"),
    ],
)
def test_the_kind_of_a_function(func: Callable[..., Any], kind: str) -> None:
    assert kind_of(func) == kind


# --- what is not known


def silent(item): ...  # type: ignore[no-untyped-def]
def hidden(item: Decimal) -> Decimal: ...
def no_item(*, more: int) -> int: ...
def none() -> int: ...
def partly(item: int) -> Decimal: ...


@pytest.mark.parametrize(
    ("func", "takes", "gives"),
    [
        (silent, "has no annotation for what it takes", "has no annotation for what it returns"),
        (
            hidden,
            "takes 'Decimal', and name 'Decimal' is not defined",
            "returns 'Decimal', and name 'Decimal' is not defined",
        ),
        (
            taking("not a type"),
            "takes 'not a type', which cannot be read",
            "",
        ),
        (no_item, "takes no item", ""),
        (none, "takes no item", ""),
        (iter, "does not say what it takes", "has no annotation for what it returns"),
        (partly, "", "returns 'Decimal', and name 'Decimal' is not defined"),
        (
            returning(Iterator, kind="generator"),
            "",
            "is a generator, and its Iterator does not say of what",
        ),
        (
            returning(asyncio.Future),
            "",
            "returns Future, which does not say what it gives",
        ),
        (len, "has no annotation for what it takes", "has no annotation for what it returns"),
        (dict.get, "has no annotation for what it takes", "has no annotation for what it returns"),
        (int, "is a class that makes its instances in a way of its own", ""),
    ],
)
def test_what_is_not_known_has_a_reason(func: Callable[..., Any], takes: str, gives: str) -> None:
    spec = single_task(func).spec
    assert entering(spec).why == takes
    assert leaving(spec, last=True).why == gives


# --- edges


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        (Row, Row, True),
        (Row, Page, False),
        (list[Row], Row, True),
        (list[Row], list[Row], False),
        (Row | None, Row, True),
        (list[Row | None] | None, Row, True),
        (list[int] | str, int, False),
        (list[int] | str, int | str, True),
        (int, float, True),
        (float, int, False),
        (Row, Any, True),
        (Any, Row, None),
        (None, Row, None),
        (object, Row, False),
        # A generator at run time and for type checkers; an iterator may be something else.
        (Generator[int, None, None], int, True),
        (Generator[int, None, None], str, False),
        (Iterator[int], str, False),
        (Iterator[int], int, None),
        (Iterator[int], Iterator[int], None),
        # May be a list, or not.
        (Sequence[int], int, None),
        (Sequence[int], Sequence[int], None),
        (Sequence[int], str, False),
        (Sequence[int], object, True),
        (Iterable[int], int | Iterable[int], True),
    ],
)
def test_an_edge_between_two_single_tasks(given: Any, wanted: Any, expected: bool | None) -> None:
    assert verdict(single_task(returning(given)), single_task(taking(wanted))) is expected


def test_an_async_function_may_return_a_generator() -> None:
    giver = single_task(returning(Generator[int, None, None], kind="async"))
    assert verdict(giver, single_task(taking(str))) is False
    assert verdict(giver, single_task(taking(int))) is None
    assert verdict(giver, single_task(taking(Generator[int, None, None]))) is None


def test_an_async_function_may_return_something_to_await() -> None:
    giver = single_task(returning(Awaitable[int], kind="async"))
    assert verdict(giver, single_task(taking(str))) is None
    assert verdict(giver, single_task(taking(int))) is None
    assert verdict(giver, single_task(taking(Awaitable[int]))) is None
    assert verdict(single_task(returning(Awaitable[int])), single_task(taking(str))) is False


def test_edges_to_and_from_batches() -> None:
    rows = batch_task(max_size=2)(returning(list[Row]))
    store = batch_task(max_size=2)(taking(list[Row]))
    pages = batch_task(max_size=2)(taking(list[Page]))
    assert verdict(rows, store) is True
    assert verdict(single_task(returning(Row)), store) is True
    assert verdict(single_task(returning(list[Row])), store) is True
    assert verdict(single_task(spread=False)(returning(list[Row])), store) is False
    assert verdict(rows, pages) is False
    assert verdict(rows, single_task(taking(Row))) is True
    assert verdict(rows, single_task(taking(list[Row]))) is False


def test_an_edge_has_names_types_and_reasons() -> None:
    @single_task
    def parse(page: Page) -> list[Row]: ...

    @single_task(task_name="the end")
    def end(row): ...  # type: ignore[no-untyped-def]

    first, second = edges([parse.spec, parse.spec, end.spec])
    assert (first.giver, first.taker, first.gives, first.takes) == ("parse", "parse", "Row", "Page")
    assert first.answer is False
    assert (second.gives, second.takes) == ("Row", None)
    assert second.answer == Unknown("the end has no annotation for what it takes")
    assert edges([parse.spec]) == ()


def test_classes_of_one_name_are_told_apart() -> None:
    given = type("Row", (), {"__module__": "shop"})
    found = edge(single_task(returning(given)).spec, single_task(taking(Row)).spec)
    assert found.answer is False
    assert (found.gives, found.takes) == ("shop.Row", "test_edges.Row")


def test_of_what_a_decorator_has_wrapped_no_mismatch_is_said() -> None:
    @functools.wraps(plain)
    def other(item: Any) -> Any:
        return [plain(item)]

    wrapped, rows, pages = single_task(other), single_task(taking(Row)), single_task(taking(Page))
    assert verdict(wrapped, rows) is True
    found = edge(wrapped.spec, pages.spec).answer
    assert isinstance(found, Unknown)
    assert found.why == "plain is wrapped by a decorator, which may take and return something else"
    assert verdict(single_task(returning(Row)), wrapped) is None
    assert verdict(single_task(returning(Page)), wrapped) is True
    assert verdict(single_task(cached), pages) is False  # which changes neither


def test_of_what_is_overloaded_no_mismatch_is_said() -> None:
    @overload
    def either(item: int) -> int: ...
    @overload
    def either(item: str) -> str: ...
    def either(item: int | str) -> int | str:
        return item

    assert verdict(single_task(either), single_task(taking(str))) is None
    assert verdict(single_task(either), single_task(taking(object))) is True
