"""Functions that cannot be called with what their task gives them: found at the pipeline's call."""

from __future__ import annotations

import functools
import operator
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from types import MethodType
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor import (
    Pipeline,
    PipelineContext,
    RateLimit,
    Task,
    batch_task,
    resource,
    single_task,
)
from conveyor._model.arguments import misfit

# --- the oracle: Python itself

names = st.lists(st.sampled_from("abcdefg"), unique=True, max_size=5)


@st.composite
def functions(draw: st.DrawFn) -> Callable[..., Any]:
    """Draw a function with any signature; it returns True."""
    parameters = draw(names)
    slash, star = sorted(draw(st.tuples(*[st.integers(0, len(parameters))] * 2)))
    optional = draw(st.integers(0, star))
    words = [name + "=0" * (place >= optional) for place, name in enumerate(parameters[:star])]
    if slash:
        words.insert(slash, "/")
    rest = draw(st.booleans())
    named = [name + draw(st.sampled_from(("", "=0"))) for name in parameters[star:]]
    if rest or named:
        words += ["*rest" if rest else "*", *named]
    words += ["**more"] * draw(st.booleans())
    namespace: dict[str, Any] = {}
    exec(f"def function({', '.join(words)}): return True", namespace)
    return namespace["function"]  # type: ignore[no-any-return]


def as_method(function: Any) -> Any:
    return MethodType(function, "self")


def as_callable(function: Any) -> Any:
    return type("Callable", (), {"__call__": function})()


def as_class(function: Any) -> Any:
    def init(*args: Any, **kwargs: Any) -> None:
        """Never called: its signature is what counts."""

    init.__code__ = function.__code__.replace(co_name="__init__")
    init.__defaults__, init.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return type("Class", (), {"__init__": init})


def as_named(function: Any) -> Any:
    return type("Named", (), {"__new__": function})


WAYS: list[Callable[[Any], Any]] = [
    lambda function: function,
    as_method,
    as_callable,
    as_class,
    as_named,
    staticmethod,
    functools.lru_cache,
    lambda function: functools.partial(function, 1),
    lambda function: functools.partial(function, b=1),
    lambda function: functools.partial(as_method(function), 1, a=1),
    lambda function: functools.partial(functools.partial(as_callable(function), c=2), 1),
    # What decorators may be: they fill in arguments, or leave them out.
    lambda function: functools.wraps(function)(lambda *args, **kwargs: True),
    lambda function: functools.partial(functools.wraps(function)(lambda *args: True), 1),
]


def works(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        func(0, *args, **kwargs)
    except TypeError as error:
        # Of `__init__`, which has the code of a function that returns True.
        return "__init__() should return None" in str(error)
    return True


@given(
    function=functions(),
    way=st.sampled_from(WAYS),
    args=st.tuples() | st.tuples(st.just(1)) | st.tuples(st.just(1), st.just(2)),
    kwargs=st.dictionaries(st.sampled_from("abcdefgh"), st.just(1), max_size=3),
)
def test_it_is_refused_just_where_python_would_refuse_the_call(
    function: Any, way: Callable[[Any], Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    func = way(function)
    assert (misfit(func, args, kwargs) is None) is works(func, args, kwargs)


# --- what is never refused


class Colour(Enum):
    RED = 1


Point = namedtuple("Point", "x y")


@dataclass
class Row:
    item: Any
    table: str = ""


class Lying:
    """Says of itself that it takes nothing, as some decorators do."""

    __signature__ = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args


class Meta(type):
    def __call__(cls, *args: Any) -> Any:
        return super().__call__()


class Made(metaclass=Meta):
    """Its metaclass leaves out what is given."""


class WithStatic:
    @staticmethod
    def __call__(item: Any) -> Any:
        return item


class Either:
    """What it makes is not an instance, so `__init__` never sees the arguments."""

    def __new__(cls, item: Any) -> Any:
        return item

    def __init__(self) -> None:
        """Not called."""


def injecting(function: Any) -> Any:
    @functools.wraps(function)
    def with_database(item: Any) -> Any:
        return function(item, "database")

    return with_database


@injecting
def lookup(item: Any, database: str) -> str:
    return f"{item} {database}"


WORKING: list[tuple[Any, tuple[Any, ...]]] = [
    (int, ()),
    (int, (10,)),
    (str, ()),
    (bytes, ("utf-8",)),
    (len, ()),
    (print, (1, 2)),
    (max, (1,)),
    (getattr, ("real",)),
    (str.upper, ()),
    (str.split, (",",)),
    (", ".join, ()),
    (operator.mul, (2,)),
    (operator.itemgetter(0), ()),
    ({}.get, ()),
    ({}.get, (1,)),
    (list, ()),
    (list[int], ()),
    (Colour, ()),
    (Point, (2,)),
    (Row, ()),
    (Row, ("table",)),
    (Made, (1, 2, 3)),
    (Lying(), (1, 2, 3)),
    (WithStatic(), ()),
    (Either, ()),
    (lookup, ()),
    (mock.Mock(), (1, 2)),
    (mock.create_autospec(lookup), ()),
    (functools.partial(int, base=2), ()),
    (functools.singledispatch(lookup), ()),
    (ValueError, (1, 2)),
]


@pytest.mark.parametrize(("func", "args"), WORKING, ids=lambda value: type(value).__name__)
def test_what_may_work_is_not_refused(func: Any, args: tuple[Any, ...]) -> None:
    assert misfit(func, args, {}) is None
    single_task(func).with_inputs(*args)([]).stop()


# --- what is said


def two(item: Any, other: Any) -> Any:
    """Take two."""


def named(item: Any, *, database: Any, table: Any = None) -> Any:
    """Take more by name."""


def nothing() -> Any:
    """Take nothing."""


def by_place(item: Any, first: Any, /, second: Any) -> Any:
    """Take one by its place."""


class Store:
    def __init__(self, url: str, table: str) -> None:
        """Take two."""

    def __call__(self, row: Any, database: Any) -> Any:
        """Take two."""

    @single_task
    def save(self, row: Any) -> Any:
        """Be a task."""

    @single_task
    @classmethod
    def load(cls, row: Any) -> Any:
        """Be a task."""

    @batch_task(max_size=2)
    def lookup(self, rows: list[Any], database: Any) -> Any:
        """Take two."""


class Empty:
    """Takes nothing."""


# The task; what its function gets; why that cannot be.
REFUSED: list[tuple[Task[Any, Any, Any], str, str]] = [
    (
        single_task(two),
        "an item",
        ("two(item, other) needs 'other' as well; give it with two.with_inputs(other=...)"),
    ),
    (
        single_task(two).with_inputs(othr=1),
        "an item and its side inputs",
        "two(item, other) takes no 'othr'; did you mean 'other'?",
    ),
    (
        single_task(two).with_inputs(1, 2),
        "an item and its side inputs",
        (
            "two(item, other) takes 2 arguments by place, and would get 3: the item and 2 "
            "from with_inputs"
        ),
    ),
    (
        single_task(two).with_inputs(1, item=2),
        "an item and its side inputs",
        "two(item, other) would get 'item' twice: by its place, and by its name",
    ),
    (
        single_task(task_name="store")(named),
        "an item",
        (
            "named(item, *, database, table=...) needs 'database' as well; give it with "
            "named.with_inputs(database=...)"
        ),
    ),
    (
        single_task(by_place).with_inputs(second=1, first=2),
        "an item and its side inputs",
        "by_place(item, first, /, second) takes 'first' by its place, not by its name",
    ),
    (
        single_task(by_place),
        "an item",
        (
            "by_place(item, first, /, second) needs 'first' and 'second' as well; give it "
            "with by_place.with_inputs(..., second=...)"
        ),
    ),
    (single_task(nothing), "an item", "nothing() takes no item"),
    (
        single_task(lambda item, other: item),
        "an item",
        ("<lambda>(item, other) needs 'other' as well; give it with task.with_inputs(other=...)"),
    ),
    (
        single_task(functools.partial(two, 1)).with_inputs(2),
        "an item and its side inputs",
        "two(item, other) takes 2 arguments by place, and would get 3",
    ),
    (
        Store.save,
        "an item",
        ("save(self, row) is a method; take the task from an instance, as in Store(...).save"),
    ),
    (
        Store.__dict__["load"],
        "an item",
        "Store.load is a class method; take the task from its class",
    ),
    (
        Store("url", "table").lookup,
        "a batch",
        (
            "lookup(rows, database) needs 'database' as well; give it with "
            "lookup.with_inputs(database=...)"
        ),
    ),
    (
        single_task(Store("url", "table")),
        "an item",
        (
            "Store(row, database) needs 'database' as well; give it with "
            "Store.with_inputs(database=...)"
        ),
    ),
    (
        single_task(Store),
        "an item",
        ("Store(url, table) needs 'table' as well; give it with Store.with_inputs(table=...)"),
    ),
    (
        single_task(Point),
        "an item",
        "Point(x, y) needs 'y' as well; give it with Point.with_inputs(y=...)",
    ),
    (single_task(Empty), "an item", "Empty() takes no item"),
    (
        single_task(operator.mul),
        "an item",
        ("mul(a, b, /): missing a required argument: 'b'; give it with mul.with_inputs(...)"),
    ),
]


@pytest.mark.parametrize(
    ("task", "gets", "why"), REFUSED, ids=lambda value: getattr(value, "name", "")
)
def test_it_is_refused_when_the_pipeline_is_called_before_anything_is_read(
    task: Task[Any, Any, Any], gets: str, why: str
) -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        read.append(1)
        yield 1

    for pipeline in (task, single_task(int) | task, task.with_context(buffer_size=1)):
        calls: list[Callable[[Any], Any]] = [pipeline, pipeline.as_completed, pipeline.run]
        calls.append(pipeline.iterate)
        for call in calls:
            with pytest.raises(TypeError, match="cannot be called") as caught:
                call(source())
            assert str(caught.value) == f"task {task.name!r} cannot be called with {gets}: {why}"
    assert read == []


def decide(error: Exception, item: Any) -> tuple[bool, Any]:
    """Lack two."""
    return True, None


class Handler:
    async def handle_error(self, error: Exception) -> tuple[bool, Any]:
        """Lack three."""
        return True, None


def one(**options: Any) -> Any:
    return single_task(**options)(two)


LIMIT = RateLimit(1)
CALLBACKS: list[tuple[Callable[..., Any], str]] = [
    (lambda: one(key=two), "key must be a function of the item"),
    (lambda: one(key=nothing), "key must be a function of the item"),
    (lambda: one(retry_on=two), "or a function of the exception"),
    (lambda: one(error_handler=decide), "error, item, task_name, attempt"),
    (lambda: one(error_handler=Handler()), "error, item, task_name, attempt"),
    (lambda: one(rate_limit=LIMIT, cost=two), "a number or a function of the item"),
    (lambda: one(rate_limit=LIMIT, settle=int.__add__), ""),
    (lambda: one(rate_limit=LIMIT, settle=nothing), "of the item and the result"),
    (lambda: batch_task(max_size=2, by=two), ""),
    (lambda: batch_task(max_size=2, by=two)(nothing), "by must be a function of the item"),
    (
        lambda: batch_task(max_size=2, weight=nothing, max_weight=1)(nothing),
        "weight must be a function of the item",
    ),
    (lambda: PipelineContext(instruments=[two]), "a function of a RunInfo"),
    (lambda: resource(two), "function without parameters"),
]


@pytest.mark.parametrize(("make", "right"), CALLBACKS)
def test_so_is_a_callback_where_it_is_given(make: Callable[..., Any], right: str) -> None:
    if not right:
        make()
        return
    with pytest.raises(TypeError, match=right):
        make()


def test_a_long_signature_is_cut() -> None:
    text = ", ".join(f"parameter_{number}" for number in range(50))
    namespace: dict[str, Any] = {}
    exec(f"def wide({text}): pass", namespace)
    reason = misfit(namespace["wide"], (), {})
    assert reason is not None
    assert reason.partition(" needs")[0].endswith("...)")
    assert len(reason.partition(" needs")[0]) <= 120


def test_to_describe_such_a_task_is_no_mistake_yet() -> None:
    task = single_task(retry_attempts=3)(two)
    pipeline = Pipeline(task, single_task(two))
    assert len(pipeline) == 2
    assert "misfit" not in pipeline.to_mermaid()
    task.with_inputs(1)([]).stop()
    task.with_options(timeout=1).with_inputs(other=1)([]).stop()
    with pytest.raises(TypeError, match="needs 'other'"):
        task.with_inputs(1).with_inputs()([])


async def test_a_decorated_function_that_gets_its_argument_from_there_runs() -> None:
    assert await single_task(lookup)([1]).collect() == ["1 database"]
