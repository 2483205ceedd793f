"""The frozen description of a stage; every option is checked here, once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from ._context import check_count
from ._errors import ErrorHandler, HandlerFunction

OnError: TypeAlias = Literal["fail", "skip_item", "emit_failure"]
OnBatchError: TypeAlias = Literal["fail", "skip_item", "skip_batch", "emit_failure"]
RetryOn: TypeAlias = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]

DEFAULT_CONCURRENCY = 100


def _check_seconds(name: str, value: object, *, zero: bool, none: bool) -> None:
    if value is None and none:
        return
    allowed = f"a number of seconds {'of at least' if zero else 'above'} 0"
    allowed += ", or None" if none else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be {allowed}, not {value!r}")
    if value != value or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be {allowed}, not {value!r}")


def _check_bool(name: str, value: object, *, none: bool = False) -> None:
    if not isinstance(value, bool) and not (value is None and none):
        allowed = "True, False or None" if none else "True or False"
        raise TypeError(f"{name} must be {allowed}, not {value!r}")


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
        elif isinstance(value, tuple) or not callable(kind):
            raise TypeError(
                "retry_on must be an exception type, a tuple of them, "
                f"or a function of the exception, not {value!r}"
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
    """What the two kinds of task have in common."""

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
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        # A class method can be called once the task has been looked up in its class.
        if not (callable(self.func) or isinstance(self.func, classmethod)):
            raise TypeError(f"a task is made of a function, not of {self.func!r}")
        check_count("retry_attempts", self.retry_attempts)
        _check_seconds("retry_delay", self.retry_delay, zero=True, none=False)
        _check_bool("retry_exponential_backoff", self.retry_exponential_backoff)
        _check_seconds("retry_max_delay", self.retry_max_delay, zero=True, none=False)
        _check_bool("retry_jitter", self.retry_jitter)
        _check_retry_on(self.retry_on)
        _check_seconds("timeout", self.timeout, zero=False, none=True)
        handler = self.error_handler
        if isinstance(handler, type) or not (
            handler is None or callable(handler) or isinstance(handler, ErrorHandler)
        ):
            raise TypeError(
                "error_handler must be an ErrorHandler instance or a function "
                f"(error, item, task_name, attempt) -> (carry_on, value), not {handler!r}"
            )
        if self.task_name is not None and not isinstance(self.task_name, str):
            raise TypeError(f"task_name must be a str or None, not {self.task_name!r}")
        check_count("concurrency_limit", self.concurrency_limit, none=True, inf=True)

    @property
    def name(self) -> str:
        return name_of(self.func) if self.task_name is None else self.task_name

    @property
    def limit(self) -> float:
        """How many calls may run at once."""
        return DEFAULT_CONCURRENCY if self.concurrency_limit is None else self.concurrency_limit

    def with_options(self, options: Mapping[str, Any]) -> Spec:
        """Return a copy with these options, checked."""
        known = option_names(type(self))
        for name in options:
            if name not in known:
                raise TypeError(f"unknown option {name!r}; the options are {', '.join(known)}")
        return replace(self, **options)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SingleSpec(Spec):
    """A function that is called with one item."""

    spread: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        hint = ": that is for batch tasks" if self.on_error == "skip_batch" else ""
        choices = ("fail", "skip_item", "emit_failure")
        _check_choice("on_error", self.on_error, choices, hint)
        _check_bool("spread", self.spread, none=True)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BatchSpec(Spec):
    """A function that is called with a list of items."""

    max_size: int
    min_size: int = 1
    max_wait: float | None = None
    drop_remainder: bool = False
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
        _check_seconds("max_wait", self.max_wait, zero=True, none=True)
        _check_bool("drop_remainder", self.drop_remainder)


def option_names(kind: type[Spec]) -> tuple[str, ...]:
    """Return the options that a decorator of this kind takes."""
    return tuple(f.name for f in fields(kind) if f.name not in ("func", "args", "kwargs"))


def make_spec(
    kind: type[SingleSpec] | type[BatchSpec], func: Callable[..., Any], options: Mapping[str, Any]
) -> Spec:
    """Return the checked description of a task."""
    if inspect.iscoroutine(func):
        func.close()
        raise TypeError("a task is made of a function, not of a coroutine: leave out the call")
    return kind(func=func, **options)
