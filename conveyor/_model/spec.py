"""The frozen description of a stage; every option is checked here, once."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from .arguments import misfit, takes
from .checks import check_amount, check_bool, check_count, check_max_failures, check_seconds
from .context import SETTINGS
from .errors import ErrorHandler, HandlerFunction
from .names import closest, slip

# What `on_error` may be, apart from the one value that puts a `Failure` into the stream.
EmitFailure: TypeAlias = Literal["emit_failure"]
OnError: TypeAlias = Literal["fail", "skip_item"]
OnBatchError: TypeAlias = Literal["fail", "skip_item", "skip_batch"]
ExecutorName: TypeAlias = Literal["thread", "process", "interpreter"]
RetryOn: TypeAlias = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]

if TYPE_CHECKING:
    from concurrent.futures import Executor  # slow to import, and few tasks have one
    from fractions import Fraction
    from typing import TypedDict

    from .rate_limit import RateLimit

    # The options as type checkers see them. Not in these: `on_error` and `spread`, which change
    # the type of a task, and `max_size`, which one function needs and another may have.
    class TaskOptions(TypedDict, total=False):
        """Options of both kinds of task."""

        retry_attempts: int
        retry_delay: float
        retry_exponential_backoff: bool
        retry_max_delay: float
        retry_jitter: bool
        retry_on: RetryOn
        timeout: float | None
        error_handler: ErrorHandler | HandlerFunction | None
        task_name: str | None
        concurrency_limit: float | None
        executor: ExecutorName | Executor | None
        abandon_on_cancel: bool
        max_failures: int | Fraction | None
        rate_limit: RateLimit | None
        cost: float | Callable[[Any], float] | None
        settle: Callable[[Any, Any], float] | None

    class SingleOptions(TaskOptions, total=False):
        """Options of `single_task`."""

        key: Callable[[Any], Hashable] | None
        per_key: int

    class BatchOptions(TaskOptions, total=False):
        """Options of `batch_task`."""

        min_size: int
        max_wait: float | None
        drop_remainder: bool
        max_weight: float | None
        weight: Callable[[Any], float] | None
        by: Callable[[Any], Hashable] | None
        max_open: int | None
        flush_when_idle: bool

    class BatchChanges(BatchOptions, total=False):
        """Options that a batch task may be given later."""

        max_size: int


DEFAULT_CONCURRENCY = 100
DEFAULT_OPEN = 100


def _check_choice(name: str, value: object, choices: Iterable[str], hint: str = "") -> None:
    choices = tuple(choices)
    allowed = ", ".join(map(repr, choices))
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {allowed}, not {value!r}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {allowed}, not {value!r}{hint}")


def _check_retry_on(value: object) -> None:
    kinds = value if isinstance(value, tuple) else (value,)
    for kind in kinds:
        if isinstance(kind, type):
            if not issubclass(kind, Exception):
                raise TypeError(
                    f"retry_on must name kinds of Exception, not {kind!r}: "
                    "cancellation and exits are never retried"
                )
        elif isinstance(value, tuple) or not takes(kind, 1):
            raise TypeError(
                "retry_on must be an exception type, a tuple of them, "
                f"or a function of the exception, not {value!r}"
            )


def _check_executor(value: object, func: Callable[..., Any]) -> None:
    if value is None:
        return
    names = ("thread", "process", "interpreter")
    allowed = ", ".join(map(repr, names)) + ", a concurrent.futures.Executor, or None"
    if isinstance(value, str):
        if value not in names:
            raise ValueError(f"executor must be {allowed}, not {value!r}")
        if value == "interpreter" and sys.version_info < (3, 13):
            raise ValueError(
                "executor must not be 'interpreter' here: that needs Python 3.13 or later, and "
                f"this is {sys.version_info.major}.{sys.version_info.minor}"
            )
    else:
        # Whoever has an executor has imported this, and whole: otherwise another thread may just
        # be importing it.
        executor = getattr(sys.modules.get("concurrent.futures"), "Executor", None)
        if executor is None or not isinstance(value, executor):
            hint = ": an instance, not the class" if isinstance(value, type) else ""
            raise TypeError(f"executor must be {allowed}, not {value!r}{hint}")
    while isinstance(func, functools.partial | classmethod | staticmethod):
        func = func.func if isinstance(func, functools.partial) else func.__func__
    for each in (func, type(func).__call__):
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            raise TypeError(
                f"executor is for plain functions, and {name_of(func)!r} is async: it runs on "
                f"the event loop. Make it a plain def, or leave out executor={value!r}"
            )
        if inspect.isgeneratorfunction(each):
            raise TypeError(
                f"executor is for functions that return, and {name_of(func)!r} is a generator "
                f"function, which cannot be moved. Return a list, or leave out executor={value!r}"
            )


def _check_max_weight(value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"max_weight must be a number above 0, or None, not {value!r}")
    if not value > 0:
        raise ValueError(f"max_weight must be a number above 0, or None, not {value!r}")


def _check_item_function(name: str, value: object) -> None:
    if value is None:
        return
    if not takes(value, 1):
        raise TypeError(f"{name} must be a function of the item, or None, not {value!r}")
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{name} must be a plain function of the item, not an async one: {value!r}")


def _is_handler(value: object) -> bool:
    decide = value.handle_error if isinstance(value, ErrorHandler) else value
    return not isinstance(value, type) and takes(decide, 4)


def _check_rate(spec: Spec) -> None:
    cost, settle = spec.cost, spec.settle
    if spec.rate_limit is None:
        for name, value in (("cost", cost), ("settle", settle)):
            if value is not None:
                raise ValueError(f"{name} is for tasks with a rate_limit, not {value!r} without")
        return
    from .rate_limit import RateLimit

    if not isinstance(spec.rate_limit, RateLimit):
        raise TypeError(
            f"rate_limit must be a RateLimit or None, not {spec.rate_limit!r}: "
            "write rate_limit=RateLimit(10) for 10 calls a second"
        )
    for name, value, what in (("cost", cost, "item"), ("settle", settle, "item and the result")):
        if inspect.iscoroutinefunction(value):
            raise TypeError(f"{name} must be a plain function of the {what}, not {value!r}")
    if cost is not None and not callable(cost):
        check_amount("cost, if it is no function,", cost)
    elif cost is not None and not takes(cost, 1):
        raise TypeError(f"cost must be a number or a function of the item, not {cost!r}")
    if settle is None:
        return
    if not takes(settle, 2):
        raise TypeError(
            f"settle must be a function of the item and the result, or None, not {settle!r}"
        )
    if inspect.isgeneratorfunction(spec.func) or inspect.isasyncgenfunction(spec.func):
        raise TypeError(
            f"settle is for functions that return, and {name_of(spec.func)!r} is a generator "
            f"function: say beforehand what it costs, with cost, and leave out settle={settle!r}"
        )


def name_of(func: Callable[..., Any]) -> str:
    """Return what a reader would call `func`."""
    while isinstance(func, functools.partial):
        func = func.func
    name = getattr(func, "__name__", None)
    return name if isinstance(name, str) else type(func).__name__


# What a dataclass would bring that is not needed is left out: it takes time at every import.
@dataclass(frozen=True, kw_only=True, eq=False, repr=False, init=False)
class Spec:
    """What the two kinds of task have in common.

    Attributes:
        misfit: Why the function cannot be called with what it will get, where that is certain.
            It is no error yet: side inputs may follow, and a method is still to be bound.
    """

    func: Callable[..., Any]
    on_error: str = "fail"
    retry_attempts: int = 1
    retry_delay: float = 1.0
    retry_exponential_backoff: bool = True
    retry_max_delay: float = 60.0
    retry_jitter: bool = True
    retry_on: RetryOn = Exception
    timeout: float | None = None
    error_handler: ErrorHandler | HandlerFunction | None = None
    task_name: str | None = None
    concurrency_limit: float | None = None
    max_failures: int | Fraction | None = None
    executor: ExecutorName | Executor | None = None
    abandon_on_cancel: bool = False
    rate_limit: RateLimit | None = None
    cost: float | Callable[[Any], float] | None = None
    settle: Callable[[Any, Any], float] | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    misfit: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # A class method can be called once the task has been looked up in its class.
        if not (callable(self.func) or isinstance(self.func, classmethod)):
            raise TypeError(f"a task is made of a function, not of {self.func!r}")
        check_count("retry_attempts", self.retry_attempts)
        check_seconds("retry_delay", self.retry_delay, zero=True, none=False)
        check_bool("retry_exponential_backoff", self.retry_exponential_backoff)
        check_seconds("retry_max_delay", self.retry_max_delay, zero=True, none=False)
        check_bool("retry_jitter", self.retry_jitter)
        _check_retry_on(self.retry_on)
        check_seconds("timeout", self.timeout, zero=False, none=True)
        handler = self.error_handler
        if handler is not None and not _is_handler(handler):
            raise TypeError(
                "error_handler must be an ErrorHandler instance or a function "
                f"(error, item, task_name, attempt) -> (carry_on, value), not {handler!r}"
            )
        if self.task_name is not None and not isinstance(self.task_name, str):
            raise TypeError(f"task_name must be a str or None, not {self.task_name!r}")
        check_count("concurrency_limit", self.concurrency_limit, none=True, inf=True)
        check_max_failures(self.max_failures)
        if self.max_failures is not None and self.on_error == "fail" and handler is None:
            raise ValueError(
                f"max_failures={self.max_failures!r} needs an on_error other than 'fail', or an "
                "error_handler: as it is, the first failure ends the run"
            )
        _check_executor(self.executor, self.func)
        check_bool("abandon_on_cancel", self.abandon_on_cancel)
        if self.abandon_on_cancel and self.executor in (None, "interpreter"):
            raise ValueError(
                "abandon_on_cancel=True is for calls in threads, processes and executors, "
                f"and not for executor={self.executor!r}"
            )
        _check_rate(self)
        # Found out here, once: to call a pipeline is to be quick.
        object.__setattr__(self, "misfit", misfit(self.func, self.args, self.kwargs))

    @property
    def name(self) -> str:
        return name_of(self.func) if self.task_name is None else self.task_name

    @property
    def written(self) -> str:
        """What the task is called in a line of code, as far as its function tells."""
        name = name_of(self.func)
        return name if name.isidentifier() else "task"

    @property
    def is_async(self) -> bool:
        """Whether calling the function is sure to give a coroutine."""
        func: Any = self.func
        call = getattr(type(func), "__call__", None)  # noqa: B004 - an object's, not whether there is one
        return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(call)

    @property
    def limit(self) -> float:
        """How many calls may run at once."""
        if self.concurrency_limit is not None:
            return self.concurrency_limit
        if self.executor in ("process", "interpreter"):
            return os.cpu_count() or 1  # each call has one to itself
        return DEFAULT_CONCURRENCY

    @property
    def runs_in(self) -> str | None:
        """Where calls run: an executor's name, or that of its class; ``None``: on the loop."""
        executor = self.executor
        return (
            executor if executor is None or isinstance(executor, str) else type(executor).__name__
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if self.executor is not None and not isinstance(self.executor, str):
            raise TypeError(
                f"task {self.name!r} cannot be pickled with {self.executor!r}, which is of this "
                "process alone: leave out executor=, and add it with with_options() over there"
            )
        from .by_name import recipe  # few need it

        given = {"func": recipe(self.func, main=True), "kwargs": dict(self.kwargs)}
        return _again, (type(self), {**self._given(), **given})

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Spec:
        from copy import deepcopy

        from .by_name import recipe

        given = self._given() | {"func": recipe(self.func, main=True), "kwargs": dict(self.kwargs)}
        kind: Any = type(self)
        executor = given.pop("executor", None)  # as somebody else's: it is shared, not copied
        return replace(_again(kind, deepcopy(given, memo)), executor=executor)

    def _given(self) -> dict[str, Any]:
        given = [each for each in fields(self) if each.init]
        values = {each.name: (getattr(self, each.name), each.default) for each in given}
        return {name: value for name, (value, default) in values.items() if value is not default}

    def with_options(self, options: Mapping[str, Any]) -> Spec:
        """Return a copy with these options, checked."""
        check_options(type(self), options)
        return replace(self, **options)

    def check_call(self) -> None:
        """Refuse a function that cannot be called with what it will get.

        Raises:
            TypeError: If that is certain.
        """
        if self.misfit is not None:
            raise TypeError(f"task {self.name!r} cannot be called with {self.gets}: {self.misfit}")

    @property
    def gets(self) -> str:
        """What the function is called with, in words."""
        what = "a batch" if isinstance(self, BatchSpec) else "an item"
        return f"{what} and its side inputs" if self.args or self.kwargs else what


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SingleSpec(Spec):
    """A function that is called with one item."""

    spread: bool | None = None
    key: Callable[[Any], Hashable] | None = None
    per_key: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        hint = ": that is for batch tasks" if self.on_error == "skip_batch" else ""
        choices = ("fail", "skip_item", "emit_failure")
        _check_choice("on_error", self.on_error, choices, hint)
        check_bool("spread", self.spread, none=True)
        if self.key is not None and not takes(self.key, 1):
            raise TypeError(f"key must be a function of the item, or None, not {self.key!r}")
        if inspect.iscoroutinefunction(self.key):
            raise TypeError(f"key must be a plain function of the item, not {self.key!r}")
        check_count("per_key", self.per_key)
        if self.key is None and self.per_key != 1:
            raise ValueError(f"per_key is for tasks with a key, and there is none: {self.per_key}")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BatchSpec(Spec):
    """A function that is called with a list of items."""

    max_size: int
    min_size: int = 1
    max_wait: float | None = None
    drop_remainder: bool = False
    max_weight: float | None = None
    weight: Callable[[Any], float] | None = None
    by: Callable[[Any], Hashable] | None = None
    max_open: int | None = None
    flush_when_idle: bool = False
    concurrency_limit: float | None = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice(
            "on_error", self.on_error, ("fail", "skip_item", "skip_batch", "emit_failure")
        )
        check_count("max_size", self.max_size)
        check_count("min_size", self.min_size)
        if self.min_size > self.max_size:
            raise ValueError(
                f"min_size must not exceed max_size, not {self.min_size} with "
                f"max_size={self.max_size}"
            )
        check_seconds("max_wait", self.max_wait, zero=True, none=True)
        check_bool("drop_remainder", self.drop_remainder)
        check_bool("flush_when_idle", self.flush_when_idle)
        _check_max_weight(self.max_weight)
        _check_item_function("weight", self.weight)
        _check_item_function("by", self.by)
        check_count("max_open", self.max_open, none=True)
        if self.weight is None and self.max_weight is not None:
            raise ValueError(
                f"max_weight={self.max_weight!r} needs weight, a function that says what an item "
                "weighs: to bound the number of items there is max_size"
            )
        if self.weight is not None and self.max_weight is None:
            raise ValueError("weight needs max_weight, what a batch may weigh at most")
        if self.by is None and self.max_open is not None:
            raise ValueError(
                f"max_open={self.max_open!r} is for batches by a key, and there is no by"
            )
        for name, given in (("max_weight", self.max_weight), ("by", self.by)):
            if self.drop_remainder and given is not None:
                raise ValueError(
                    f"drop_remainder=True and {name} do not go together: with {name}, batches "
                    "other than the last may also be smaller than min_size"
                )

    @property
    def open_limit(self) -> int:
        """How many batches may be open at once, where there is one for each key."""
        return DEFAULT_OPEN if self.max_open is None else self.max_open


def _again(kind: type[SingleSpec] | type[BatchSpec], given: dict[str, Any]) -> Spec:
    given["kwargs"] = MappingProxyType(given["kwargs"])
    return kind(**given)


def option_names(kind: type[Spec]) -> tuple[str, ...]:
    """Return the options that a decorator of this kind takes."""
    names = (f.name for f in fields(kind) if f.init)
    return tuple(name for name in names if name not in ("func", "args", "kwargs"))


# What other libraries call them.
_SYNONYMS = {
    "attempts": "retry_attempts",
    "max_attempts": "retry_attempts",
    "max_retries": "retry_attempts",
    "retries": "retry_attempts",
    "tries": "retry_attempts",
    "backoff": "retry_delay",
    "max_delay": "retry_max_delay",
    "concurrency": "concurrency_limit",
    "max_concurrency": "concurrency_limit",
    "max_workers": "concurrency_limit",
    "workers": "concurrency_limit",
    "name": "task_name",
    "on_exception": "on_error",
    "rate": "rate_limit",
    "batch_size": "max_size",
    "size": "max_size",
    "batch_timeout": "max_wait",
    "linger": "max_wait",
    "group_by": "by",
}


def check_options(kind: type[Spec], options: Iterable[str]) -> None:
    """Refuse options that tasks of this kind do not have.

    Raises:
        TypeError: If there is one, with what may be meant.
    """
    known = option_names(kind)
    for name in options:
        if name not in known:
            hint = _instead(name, kind, known)
            raise TypeError(f"unknown option {name!r}{hint} The options are {', '.join(known)}.")


def _instead(name: str, kind: type[Spec], known: tuple[str, ...]) -> str:
    other = SingleSpec if issubclass(kind, BatchSpec) else BatchSpec
    if name in option_names(other):
        return f": that is for {'single' if other is SingleSpec else 'batch'} tasks."
    if name in ("args", "kwargs", "inputs"):
        return ": side inputs are given with task.with_inputs(...)."
    if name in SETTINGS:
        return f": that is for the whole run, as in pipeline.with_context({name}=...)."
    right = slip(name, known) or _SYNONYMS.get(name)
    if right not in known:
        right = closest(name, known)
    return "." if right is None else f": did you mean {right!r}?"


def make_spec(
    kind: type[SingleSpec] | type[BatchSpec], func: Callable[..., Any], options: Mapping[str, Any]
) -> Spec:
    """Return the checked description of a task."""
    if inspect.iscoroutine(func):
        func.close()
        raise TypeError("a task is made of a function, not of a coroutine: leave out the call")
    return kind(func=func, **options)
