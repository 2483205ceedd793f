"""What turns a function into a task."""

# The overloads overlap on purpose: the first that fits is the one that is meant.
# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    Never,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    Unpack,
    overload,
)

from ._model.spec import BatchSpec, SingleSpec, check_options
from ._pipeline import Decorator, Task

T = TypeVar("T")


if TYPE_CHECKING:
    from ._model.failure import Failure
    from ._model.spec import BatchOptions, EmitFailure, OnBatchError, OnError, SingleOptions
    from ._pipeline import BatchTask

    # The overloads below tell apart what functions take and what they return, and lean on three
    # habits of the type checkers, which tests/typing holds them to:
    #
    # 1. pyright uses the first overload that fits. So does mypy, unless there is an `Any` in the
    #    function's type, as in dict[str, Any]: if several fit then, it gives up.
    # 2. Where a union offers two ways to solve a type variable, mypy solves it in neither, and the
    #    overload does not fit. Hence the list[Result] beside Result: lists have an overload of
    #    their own, and are to fit no other.
    # 3. mypy takes `int | str` for a Result as it is, but to find it in a `Result | None` it makes
    #    one type of the two, `object`. Hence `_Awaited`.
    #
    # Failures double all of them: no type says "a Failure of this item, or nothing".

    # They are seen: of `lambda x: x + 1` pyright says that an `Item` may have no `+`.
    Item = TypeVar("Item")
    Result = TypeVar("Result")
    Owner = TypeVar("Owner")  # whose method it is
    P = ParamSpec("P")  # what comes after the item
    R = TypeVar("R")  # what is returned
    N = TypeVar("N", bound=None)
    Takes = TypeVar("Takes", contravariant=True)

    class _Hashable(Protocol):
        """For mypy all but None, lists, dicts and sets. For pyright, which needs none, nothing."""

        __abstractmethods__: Never  # mypy does not look at this one

        def __eq__(self, other: object, /) -> bool: ...
        def __hash__(self) -> int: ...

    H = TypeVar("H", bound=_Hashable)

    _Single: TypeAlias = Callable[Concatenate[Item, P], R]
    _Batch: TypeAlias = Callable[Concatenate[list[Item], P], R]
    _BatchMethod: TypeAlias = Callable[Concatenate[Owner, list[Item], P], R]

    class _Open(Protocol[Takes]):
        """A function with ``**options``, whose first parameter mypy takes for one of them."""

        def __call__(self, item: Takes, /, *, _any_name: Any) -> Any: ...

    _Nothing: TypeAlias = Awaitable[N] | N  # first, or else pyright takes `Any` for a list
    _List: TypeAlias = Awaitable[list[Result] | None] | list[Result] | None
    _Values: TypeAlias = Iterator[Result | None] | AsyncIterator[Result | None]
    _Awaited: TypeAlias = Awaitable[H] | Iterator[H] | AsyncIterator[H]
    _Later: TypeAlias = Awaitable[list[Result] | Result | None] | _Values[Result]
    _Plain: TypeAlias = Awaitable[Result] | _Values[Result] | list[Result] | Result | None
    # Where lists are taken apart like generators, and where they are nothing special.
    _Many: TypeAlias = _List[Result] | _Values[Result]
    _WholeLater: TypeAlias = Awaitable[Result | None] | _Values[Result]
    _Whole: TypeAlias = Awaitable[Result] | _Values[Result] | Result | None

    class _Deciding(Protocol):
        """``single_task`` with options."""

        @overload
        def __call__(
            self, func: _Single[Item, P, _Nothing[N]], /
        ) -> Task[Item, N, N, Never, Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _List[Result]], /
        ) -> Task[Item, list[Result], Result, Never, Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _Awaited[H]], /
        ) -> Task[Item, H, H, Never, Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _Later[Result]], /
        ) -> Task[Item, Result, Result, Never, Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _Plain[Result]], /
        ) -> Task[Item, Result, Result, Never, Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Open[Item], /
        ) -> Task[Item, Any, Any, Never, Callable[..., None]]: ...

    class _Spreading(Protocol):
        """The same with ``spread=True``."""

        def __call__(
            self, func: _Single[Item, P, _Many[Result]], /
        ) -> Task[Item, Result, Result, Never, Callable[P, None]]: ...

    class _Keeping(Protocol):
        """The same with ``spread=False``."""

        @overload
        def __call__(
            self, func: _Single[Item, P, _Awaited[H]], /
        ) -> Task[Item, H, H, Never, Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _WholeLater[Result]], /
        ) -> Task[Item, Result, Result, Never, Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _Whole[Result]], /
        ) -> Task[Item, Result, Result, Never, Callable[P, None]]: ...

    class _Batching(Protocol):
        """``batch_task``."""

        @overload
        def __call__(
            self, func: _Batch[Item, P, _Nothing[N]], /
        ) -> BatchTask[Item, N, N, Never, Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Batch[Item, P, _Many[Result]], /
        ) -> BatchTask[Item, Result, Result, Never, Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Batch[Item, P, _Later[Result]], /
        ) -> BatchTask[Item, Result, Result, Never, Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Batch[Item, P, _Plain[Result]], /
        ) -> BatchTask[Item, Result, Result, Never, Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[Owner, Item, P, _Nothing[N]], /
        ) -> BatchTask[Owner, N, N, Never, Callable[Concatenate[Item, P], None]]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[Owner, Item, P, _Many[Result]], /
        ) -> BatchTask[Owner, Result, Result, Never, Callable[Concatenate[Item, P], None]]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[Owner, Item, P, _Later[Result]], /
        ) -> BatchTask[Owner, Result, Result, Never, Callable[Concatenate[Item, P], None]]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[Owner, Item, P, _Plain[Result]], /
        ) -> BatchTask[Owner, Result, Result, Never, Callable[Concatenate[Item, P], None]]: ...
        @overload
        def __call__(
            self, func: _Open[list[Item]], /
        ) -> BatchTask[Item, Any, Any, Never, Callable[..., None]]: ...

    class _EmittingDeciding(Protocol):
        """``single_task`` with ``on_error="emit_failure"``."""

        @overload
        def __call__(
            self, func: _Single[Item, P, _Nothing[N]], /
        ) -> Task[Item, N, N, Failure[Item], Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _List[Result]], /
        ) -> Task[Item, list[Result], Result, Failure[Item], Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _Awaited[H]], /
        ) -> Task[Item, H, H, Failure[Item], Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _Later[Result]], /
        ) -> Task[Item, Result, Result, Failure[Item], Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _Plain[Result]], /
        ) -> Task[Item, Result, Result, Failure[Item], Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Open[Item], /
        ) -> Task[Item, Any, Any, Failure[Item], Callable[..., None]]: ...

    class _EmittingSpreading(Protocol):
        """The same with ``spread=True``."""

        def __call__(
            self, func: _Single[Item, P, _Many[Result]], /
        ) -> Task[Item, Result, Result, Failure[Item], Callable[P, None]]: ...

    class _EmittingKeeping(Protocol):
        """The same with ``spread=False``."""

        @overload
        def __call__(
            self, func: _Single[Item, P, _Awaited[H]], /
        ) -> Task[Item, H, H, Failure[Item], Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _WholeLater[Result]], /
        ) -> Task[Item, Result, Result, Failure[Item], Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Single[Item, P, _Whole[Result]], /
        ) -> Task[Item, Result, Result, Failure[Item], Callable[P, None]]: ...

    class _EmittingBatching(Protocol):
        """``batch_task`` with ``on_error="emit_failure"``."""

        @overload
        def __call__(
            self, func: _Batch[Item, P, _Nothing[N]], /
        ) -> BatchTask[Item, N, N, Failure[Item | list[Item]], Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Batch[Item, P, _Many[Result]], /
        ) -> BatchTask[Item, Result, Result, Failure[Item | list[Item]], Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Batch[Item, P, _Later[Result]], /
        ) -> BatchTask[Item, Result, Result, Failure[Item | list[Item]], Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _Batch[Item, P, _Plain[Result]], /
        ) -> BatchTask[Item, Result, Result, Failure[Item | list[Item]], Callable[P, None]]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[Owner, Item, P, _Nothing[N]], /
        ) -> BatchTask[
            Owner, N, N, Failure[Item | list[Item]], Callable[Concatenate[Item, P], None]
        ]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[Owner, Item, P, _Many[Result]], /
        ) -> BatchTask[
            Owner, Result, Result, Failure[Item | list[Item]], Callable[Concatenate[Item, P], None]
        ]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[Owner, Item, P, _Later[Result]], /
        ) -> BatchTask[
            Owner, Result, Result, Failure[Item | list[Item]], Callable[Concatenate[Item, P], None]
        ]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[Owner, Item, P, _Plain[Result]], /
        ) -> BatchTask[
            Owner, Result, Result, Failure[Item | list[Item]], Callable[Concatenate[Item, P], None]
        ]: ...
        @overload
        def __call__(
            self, func: _Open[list[Item]], /
        ) -> BatchTask[Item, Any, Any, Failure[Item | list[Item]], Callable[..., None]]: ...


@overload
def single_task(
    func: _Single[Item, P, _Nothing[N]],
    /,
    *,
    spread: None = None,
    on_error: OnError = ...,
    **options: Unpack[SingleOptions],
) -> Task[Item, N, N, Never, Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _List[Result]],
    /,
    *,
    spread: None = None,
    on_error: OnError = ...,
    **options: Unpack[SingleOptions],
) -> Task[Item, list[Result], Result, Never, Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Awaited[H]],
    /,
    *,
    spread: None = None,
    on_error: OnError = ...,
    **options: Unpack[SingleOptions],
) -> Task[Item, H, H, Never, Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Later[Result]],
    /,
    *,
    spread: None = None,
    on_error: OnError = ...,
    **options: Unpack[SingleOptions],
) -> Task[Item, Result, Result, Never, Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Plain[Result]],
    /,
    *,
    spread: None = None,
    on_error: OnError = ...,
    **options: Unpack[SingleOptions],
) -> Task[Item, Result, Result, Never, Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Many[Result]],
    /,
    *,
    spread: Literal[True],
    on_error: OnError = ...,
    **options: Unpack[SingleOptions],
) -> Task[Item, Result, Result, Never, Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Awaited[H]],
    /,
    *,
    spread: Literal[False],
    on_error: OnError = ...,
    **options: Unpack[SingleOptions],
) -> Task[Item, H, H, Never, Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _WholeLater[Result]],
    /,
    *,
    spread: Literal[False],
    on_error: OnError = ...,
    **options: Unpack[SingleOptions],
) -> Task[Item, Result, Result, Never, Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Whole[Result]],
    /,
    *,
    spread: Literal[False],
    on_error: OnError = ...,
    **options: Unpack[SingleOptions],
) -> Task[Item, Result, Result, Never, Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Nothing[N]],
    /,
    *,
    spread: None = None,
    on_error: EmitFailure,
    **options: Unpack[SingleOptions],
) -> Task[Item, N, N, Failure[Item], Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _List[Result]],
    /,
    *,
    spread: None = None,
    on_error: EmitFailure,
    **options: Unpack[SingleOptions],
) -> Task[Item, list[Result], Result, Failure[Item], Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Awaited[H]],
    /,
    *,
    spread: None = None,
    on_error: EmitFailure,
    **options: Unpack[SingleOptions],
) -> Task[Item, H, H, Failure[Item], Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Later[Result]],
    /,
    *,
    spread: None = None,
    on_error: EmitFailure,
    **options: Unpack[SingleOptions],
) -> Task[Item, Result, Result, Failure[Item], Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Plain[Result]],
    /,
    *,
    spread: None = None,
    on_error: EmitFailure,
    **options: Unpack[SingleOptions],
) -> Task[Item, Result, Result, Failure[Item], Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Many[Result]],
    /,
    *,
    spread: Literal[True],
    on_error: EmitFailure,
    **options: Unpack[SingleOptions],
) -> Task[Item, Result, Result, Failure[Item], Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Awaited[H]],
    /,
    *,
    spread: Literal[False],
    on_error: EmitFailure,
    **options: Unpack[SingleOptions],
) -> Task[Item, H, H, Failure[Item], Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _WholeLater[Result]],
    /,
    *,
    spread: Literal[False],
    on_error: EmitFailure,
    **options: Unpack[SingleOptions],
) -> Task[Item, Result, Result, Failure[Item], Callable[P, None]]: ...
@overload
def single_task(
    func: _Single[Item, P, _Whole[Result]],
    /,
    *,
    spread: Literal[False],
    on_error: EmitFailure,
    **options: Unpack[SingleOptions],
) -> Task[Item, Result, Result, Failure[Item], Callable[P, None]]: ...
@overload
def single_task(
    func: _Open[Item],
    /,
    *,
    spread: bool | None = ...,
    on_error: OnError = ...,
    **options: Unpack[SingleOptions],
) -> Task[Item, Any, Any, Never, Callable[..., None]]: ...
@overload
def single_task(
    func: _Open[Item],
    /,
    *,
    spread: bool | None = ...,
    on_error: EmitFailure,
    **options: Unpack[SingleOptions],
) -> Task[Item, Any, Any, Failure[Item], Callable[..., None]]: ...
@overload
def single_task(
    *, spread: None = None, on_error: OnError = ..., **options: Unpack[SingleOptions]
) -> _Deciding: ...
@overload
def single_task(
    *, spread: Literal[True], on_error: OnError = ..., **options: Unpack[SingleOptions]
) -> _Spreading: ...
@overload
def single_task(
    *, spread: Literal[False], on_error: OnError = ..., **options: Unpack[SingleOptions]
) -> _Keeping: ...
@overload
def single_task(
    *, spread: None = None, on_error: EmitFailure, **options: Unpack[SingleOptions]
) -> _EmittingDeciding: ...
@overload
def single_task(
    *, spread: Literal[True], on_error: EmitFailure, **options: Unpack[SingleOptions]
) -> _EmittingSpreading: ...
@overload
def single_task(
    *, spread: Literal[False], on_error: EmitFailure, **options: Unpack[SingleOptions]
) -> _EmittingKeeping: ...
def single_task(func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a task that is called with one item at a time.

    It stands above the function, bare or with options::

        @single_task
        def parse(line: str) -> Row: ...

        @single_task(timeout=10, retry_attempts=3)
        async def fetch(url: str) -> Page: ...

    The function may be an ``async def`` or a ``def``, a generator function of either kind, a
    method, a `functools.partial` or any other callable object. A ``def`` runs on the event
    loop, so it must not block, unless ``executor`` moves it elsewhere.

    ``None`` filters the item out. A list is unpacked for the next task. The values of a
    generator go on one by one, as it yields them. Anything else is one result.

    Args:
        func: The function, where there are no options.
        on_error: What becomes of an item whose last try failed. ``"fail"`` (the default) ends
            the stream with the error, after the results of all items before it.
            ``"skip_item"`` drops the item and logs a warning. ``"emit_failure"`` hands the
            consumer a `Failure` in the item's place, past the tasks that follow.
        retry_attempts: How often the function is tried at most, the first try included.
            1 (the default) means no second try.
        retry_delay: Seconds before the second try, 1 by default. 0 means no delay.
        retry_exponential_backoff: True (the default) doubles the delay before every further
            try. False leaves it as it is.
        retry_max_delay: No delay is longer than this, in seconds; 60 by default. But an error with
            a number of seconds for ``retry_after`` is heeded: the next try starts no earlier.
        retry_jitter: True (the default) takes a random part of each delay, from none to all
            of it. False takes all of it.
        retry_on: Which errors deserve another try: a type of exception, a tuple of types, or a
            function that gets the exception and says so. By default all of them,
            ``Exception``. Cancellation is never retried.
        timeout: Seconds for one try, or for each value of a generator. What takes longer fails
            with `TimeoutError`. ``None`` (the default) means no limit.
        error_handler: What decides after the last try, before ``on_error``: an `ErrorHandler`,
            or a function with the parameters and the result of its ``handle_error``. ``None``
            (the default) leaves it to ``on_error``.
        task_name: The task's name in errors, logs and statistics. ``None`` (the default) means
            the function's name.
        concurrency_limit: How many items the function works on at once. ``None`` (the default)
            means 100, or with ``executor="process"`` or ``"interpreter"`` as many as there are
            processors. ``math.inf`` means no limit.
        executor: Where a plain function runs. ``None`` (the default): on the event loop.
            ``"thread"``: in worker threads of anyio, with the caller's context variables.
            ``"process"``: in its worker processes. ``"interpreter"``: in its subinterpreters, from
            Python 3.13 on. Or in any `concurrent.futures.Executor`, which is yours to shut down.
            At most ``concurrency_limit`` calls are handed over at once. To another process travel
            the function, by its module and name, its side inputs, the items and the results: they
            have to be picklable. A run begins with trying that, before anything is read. A worker
            that dies is an error of the item.
        abandon_on_cancel: What becomes of a call that has begun, when the run ends early or
            ``timeout`` has passed. False (the default) waits until it returns, and then drops its
            result. True goes on without it: a worker process of ``"process"`` is killed, any other
            call runs on, unobserved. A call that has not begun is taken back either way.
        max_failures: How many items may fail and be skipped or emitted in one run; with one more
            the run ends in `TooManyFailures`, as ``on_error="fail"`` would end it there. 0 allows
            none. A `fractions.Fraction` is a share of the items that the task has received, looked
            at whenever an item fails, once these are 100. ``None`` (the default) means any number.
        rate_limit: A `RateLimit`, which may be shared, says when each try of the function may
            start. A call that waits for it counts as one that runs, and ``timeout`` does not
            count yet. An error with a number for ``retry_after`` pauses the limit that many
            seconds. ``None`` (the default) means no limit.
        cost: What one try takes of the limit: a number above 0, or a function of the item that
            returns one. ``None`` (the default) means 1. An error in it is an error of the item.
        settle: A function of the item and what was returned for it, that returns what the try
            really cost, 0 or more. The difference is given back or owed. It is not called for a
            try that failed, and not for generators, which it refuses. An error in it is an
            error of the item. ``None`` (the default) leaves it at ``cost``.
        spread: What becomes of a list. ``None`` (the default): the next task gets its
            elements, and the last task's list reaches the consumer whole. True unpacks it at
            the end as well. False passes it on whole, also to the next task.
        key: A function of the item. Items for which it returns the same are worked on one after
            another, in the order in which they came; others go on beside them. What it returns
            must be hashable. An error in it is an error of the item. ``None`` (the default)
            lets all items run beside each other.
        per_key: How many items of one key are worked on at once, 1 by default. They still start
            in the order in which they came.

    Returns:
        A `Task`; with options, a decorator that makes one.

    Raises:
        TypeError: If an option is unknown or of a wrong type, or `func` is no function.
        ValueError: If an option is out of its range.
    """
    return _decorate(SingleSpec, func, options)


@overload
def batch_task(
    *, max_size: int, on_error: OnBatchError = ..., **options: Unpack[BatchOptions]
) -> _Batching: ...
@overload
def batch_task(
    *, max_size: int, on_error: EmitFailure, **options: Unpack[BatchOptions]
) -> _EmittingBatching: ...
def batch_task(*misplaced: Any, **options: Any) -> Any:
    """Make a function a task that is called with a list of items.

    It stands above the function, with at least the size of the batches::

        @batch_task(max_size=100, max_wait=0.5)
        async def store(rows: list[Row]) -> list[Receipt]: ...

    A batch starts when ``max_size`` items wait. With ``max_wait`` it also starts when the first
    of them has waited that long and at least ``min_size`` wait. When the input ends, the items
    that are left are the last batch. Without ``max_wait`` and ``flush_when_idle`` the batches
    depend on the input alone, never on timing.

    Inside the function `get_current_batch` tells why the batch has started. To fail single items
    of a batch, and let the others pass, the function raises a `BatchError`.

    A list that is returned is always unpacked: one list for many items. In all else functions
    are as for `single_task`.

    Args:
        max_size: How many items a batch has at most. It must be given.
        min_size: How many items a batch has at least, 1 by default; the last may have fewer.
        max_wait: Seconds that an item waits for others, once there are ``min_size``. ``None``
            (the default) means until the batch is full or the input ends.
        drop_remainder: True drops the last batch if it is smaller than ``min_size``. False
            (the default) processes it. Not with ``max_weight`` or ``by``, where batches other
            than the last may be as small.
        max_weight: What the items of a batch weigh at most, together. An item that would exceed
            it begins the next batch, and one that exceeds it by itself is a batch of its own.
            ``None`` (the default) means any weight. ``max_size`` holds as well.
        weight: A function of the item that returns what it weighs, a number of at least 0. To be
            given with ``max_weight``, and only then.
        by: A function of the item that returns a key, which must be hashable: each batch is of
            one key only, and there is one open batch for each key. Batches start, and in order
            their results come, in the order in which they are full or due; at the end in the
            order in which they were begun. ``None`` (the default) puts all items together.
        max_open: With ``by``, how many batches are open at once. The item that begins one more
            makes the one that was begun first start, however small. ``None`` (the default)
            means 100.
        flush_when_idle: True also starts a batch, the one begun first, when no call of the
            function runs, at least ``min_size`` items wait and no more are on their way: small
            batches while there is little to do, full ones while there is much. False (the
            default) does not.
        on_error: What becomes of a batch whose last try failed. ``"fail"`` and
            ``"emit_failure"`` are as for `single_task`, and there is one `Failure` for the
            batch. ``"skip_item"`` tries the halves, and halves of these, until the items that
            fail stand alone, and drops only those. ``"skip_batch"`` drops the batch. Both log a
            warning. An item that a `BatchError` names, and one for which ``weight`` or ``by``
            fails, is dealt with alone, and both drop it.
        concurrency_limit: How many batches the function works on at once; 1 by default.
            ``None`` means 100, and ``math.inf`` no limit.
        options: All others, from ``retry_attempts`` to ``task_name`` and from ``rate_limit`` to
            ``settle``, are as for `single_task`, with a batch for an item; so is
            ``max_failures``, for which a batch counts as many as it has items.

    Returns:
        A decorator that makes a `Task`.

    Raises:
        TypeError: If ``max_size`` is missing, an option is unknown or of a wrong type, or what
            is decorated is no function.
        ValueError: If an option is out of its range.
    """
    check_options(BatchSpec, options)
    if misplaced or "max_size" not in options:
        raise TypeError(
            "batch_task takes options by name, and max_size at least: "
            "write @batch_task(max_size=...) above the function"
        )
    return _decorate(BatchSpec, None, options)


def _decorate(
    kind: type[SingleSpec] | type[BatchSpec], func: Any, options: Mapping[str, object]
) -> Any:
    check_options(kind, options)
    decorator = Decorator(kind, options)
    return decorator if func is None else decorator(func)


def resource(
    factory: Callable[[], AbstractAsyncContextManager[T] | AbstractContextManager[T]],
) -> T:
    """Make a side input of what opens and closes something, to be given to ``with_inputs``.

    Every run calls `factory` and enters what it makes, before the first item, and the task's
    function gets what that gives::

        @asynccontextmanager
        async def connection() -> AsyncIterator[Connection]:
            async with await connect("db") as opened:
                yield opened

        lookup.with_inputs(resource(connection))

    It is left after the last item, on success, error and cancellation alike; of several, the
    last entered is left first. Leaving is shielded from cancellation for at most 10 seconds.
    Where one resource is given to several tasks, they share what a run made of it.

    To a type checker it is what entering the context manager gives, so that `with_inputs` can be
    checked. It is good for nothing else.

    Args:
        factory: A function without parameters that makes a context manager, async or not. A
            class will do, and so will a function with `contextlib.asynccontextmanager`.

    Raises:
        TypeError: If `factory` cannot be called; and when a run starts, if it makes no context
            manager.
    """
    from ._engine.calls.side_inputs import Resource  # to describe needs nothing else of the engine

    return Resource(factory)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
