"""What turns a function into a task."""

# The overloads overlap on purpose: the first that fits is the one that is meant.
# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    Never,
    ParamSpec,
    Protocol,
    Required,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from ._errors import ErrorHandler, HandlerFunction
from ._pipeline import Decorator, Task
from ._spec import (
    BatchSpec,
    ExecutorName,
    OnBatchError,
    OnError,
    RetryOn,
    SingleSpec,
    check_options,
)

T = TypeVar("T")


if TYPE_CHECKING:
    from concurrent.futures import Executor
    from fractions import Fraction

    from ._engine.inputs import Resource
    from ._pipeline import TaskWithInputs
    from ._rate import RateLimit

    class TaskOptions(TypedDict, total=False):
        """What both decorators take; `single_task` says what it means."""

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
        """What `single_task` takes, but for ``spread``, which has a say in the task's type."""

        key: Callable[[Any], Hashable] | None
        per_key: int
        on_error: OnError

    class BatchOptions(TaskOptions, total=False):
        """What `batch_task` takes."""

        max_size: Required[int]
        min_size: int
        max_wait: float | None
        drop_remainder: bool
        max_weight: float | None
        weight: Callable[[Any], float] | None
        by: Callable[[Any], Hashable] | None
        max_open: int | None
        flush_when_idle: bool
        on_error: OnBatchError

    # The overloads below tell apart what functions take and what they return, and lean on three
    # habits of the type checkers, which tests/typing holds them to:
    #
    # 1. pyright uses the first overload that fits. So does mypy, unless there is an `Any` in the
    #    function's type, as in dict[str, Any]: if several fit then, it gives up.
    # 2. Where a union offers two ways to solve a type variable, mypy solves it in neither, and
    #    the overload does not fit. Hence the list[B] beside B: lists have an overload of their
    #    own, and are to fit no other.
    # 3. mypy takes `int | str` for a B as it is, but to find it in a `B | None` it makes one type
    #    of the two, `object`. Hence `_Awaited`.

    A = TypeVar("A")  # an item
    B = TypeVar("B")  # a result
    S = TypeVar("S")  # whose method it is
    P = ParamSpec("P")  # what comes after the item
    R = TypeVar("R")  # what is returned
    N = TypeVar("N", bound=None)

    class _Hashable(Protocol):
        """For mypy all but None, lists, dicts and sets. For pyright, which needs none, nothing."""

        __abstractmethods__: Never  # mypy does not look at this one

        def __eq__(self, other: object, /) -> bool: ...
        def __hash__(self) -> int: ...

    H = TypeVar("H", bound=_Hashable)

    X = TypeVar("X")
    Y = TypeVar("Y", bound=bool)
    X_co = TypeVar("X_co", covariant=True)
    Y_co = TypeVar("Y_co", bound=bool, covariant=True)

    class _Alone(Protocol[X_co, Y_co]):
        """What an item is enough for. Offers a second way (2) to it, and fits nothing itself."""

        def __call__(self, item: Never, /) -> X_co: ...
        def __hash__(self) -> Y_co: ...

    _Item: TypeAlias = Callable[[A], R]
    _More: TypeAlias = Callable[Concatenate[A, P], R] | _Alone[X, Y]
    _Batch: TypeAlias = Callable[[list[A]], R]
    _MoreBatch: TypeAlias = Callable[Concatenate[list[A], P], R] | _Alone[X, Y]
    _BatchMethod: TypeAlias = Callable[Concatenate[S, list[A], P], R] | _Alone[X, Y]

    _Nothing: TypeAlias = Awaitable[N] | N  # first, or else pyright takes `Any` for a list
    _List: TypeAlias = Awaitable[list[B] | None] | list[B] | None
    _Values: TypeAlias = Iterator[B | None] | AsyncIterator[B | None]
    _Awaited: TypeAlias = Awaitable[H] | Iterator[H] | AsyncIterator[H]
    _Later: TypeAlias = Awaitable[list[B] | B | None] | _Values[B]
    _Plain: TypeAlias = Awaitable[B] | _Values[B] | list[B] | B | None
    # Where lists are taken apart like generators, and where they are nothing special.
    _Many: TypeAlias = _List[B] | _Values[B]
    _WholeLater: TypeAlias = Awaitable[B | None] | _Values[B]
    _Whole: TypeAlias = Awaitable[B] | _Values[B] | B | None

    class _Single(Protocol):
        """``single_task`` with options."""

        @overload
        def __call__(self, func: _Item[A, _Nothing[N]], /) -> Task[A, N]: ...
        @overload
        def __call__(self, func: _Item[A, _List[B]], /) -> Task[A, list[B], B]: ...
        @overload
        def __call__(self, func: _Item[A, _Awaited[H]], /) -> Task[A, H]: ...
        @overload
        def __call__(self, func: _Item[A, _Later[B]], /) -> Task[A, B]: ...
        @overload
        def __call__(self, func: _Item[A, _Plain[B]], /) -> Task[A, B]: ...
        @overload
        def __call__(
            self, func: _More[A, P, _Nothing[N], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, N], N, N]: ...
        @overload
        def __call__(
            self, func: _More[A, P, _List[B], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, list[B]], list[B], B]: ...
        @overload
        def __call__(
            self, func: _More[A, P, _Awaited[H], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, H], H, H]: ...
        @overload
        def __call__(
            self, func: _More[A, P, _Later[B], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, B], B, B]: ...
        @overload
        def __call__(
            self, func: _More[A, P, _Plain[B], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, B], B, B]: ...

    class _Spreading(Protocol):
        """``single_task`` with ``spread=True``."""

        @overload
        def __call__(self, func: _Item[A, _Many[B]], /) -> Task[A, B]: ...
        @overload
        def __call__(
            self, func: _More[A, P, _Many[B], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, B], B, B]: ...

    class _Keeping(Protocol):
        """``single_task`` with ``spread=False``."""

        @overload
        def __call__(self, func: _Item[A, _Awaited[H]], /) -> Task[A, H]: ...
        @overload
        def __call__(self, func: _Item[A, _WholeLater[B]], /) -> Task[A, B]: ...
        @overload
        def __call__(self, func: _Item[A, _Whole[B]], /) -> Task[A, B]: ...
        @overload
        def __call__(
            self, func: _More[A, P, _Awaited[H], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, H], H, H]: ...
        @overload
        def __call__(
            self, func: _More[A, P, _WholeLater[B], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, B], B, B]: ...
        @overload
        def __call__(
            self, func: _More[A, P, _Whole[B], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, B], B, B]: ...

    class _Batching(Protocol):
        """``batch_task`` with its options."""

        @overload
        def __call__(self, func: _Batch[A, _Nothing[N]], /) -> Task[A, N]: ...
        @overload
        def __call__(self, func: _Batch[A, _Many[B]], /) -> Task[A, B]: ...
        @overload
        def __call__(self, func: _Batch[A, _Later[B]], /) -> Task[A, B]: ...
        @overload
        def __call__(self, func: _Batch[A, _Plain[B]], /) -> Task[A, B]: ...
        @overload
        def __call__(
            self, func: _MoreBatch[A, P, _Nothing[N], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, N], N, N]: ...
        @overload
        def __call__(
            self, func: _MoreBatch[A, P, _Many[B], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, B], B, B]: ...
        @overload
        def __call__(
            self, func: _MoreBatch[A, P, _Later[B], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, B], B, B]: ...
        @overload
        def __call__(
            self, func: _MoreBatch[A, P, _Plain[B], X, Y], /
        ) -> TaskWithInputs[A, Callable[P, B], B, B]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[S, A, P, _Nothing[N], X, Y], /
        ) -> TaskWithInputs[S, Callable[Concatenate[A, P], N], N, N]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[S, A, P, _Many[B], X, Y], /
        ) -> TaskWithInputs[S, Callable[Concatenate[A, P], B], B, B]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[S, A, P, _Later[B], X, Y], /
        ) -> TaskWithInputs[S, Callable[Concatenate[A, P], B], B, B]: ...
        @overload
        def __call__(
            self, func: _BatchMethod[S, A, P, _Plain[B], X, Y], /
        ) -> TaskWithInputs[S, Callable[Concatenate[A, P], B], B, B]: ...


@overload
def single_task(func: _Item[A, _Nothing[N]], /) -> Task[A, N]: ...
@overload
def single_task(func: _Item[A, _List[B]], /) -> Task[A, list[B], B]: ...
@overload
def single_task(func: _Item[A, _Awaited[H]], /) -> Task[A, H]: ...
@overload
def single_task(func: _Item[A, _Later[B]], /) -> Task[A, B]: ...
@overload
def single_task(func: _Item[A, _Plain[B]], /) -> Task[A, B]: ...
@overload
def single_task(
    func: _More[A, P, _Nothing[N], X, Y], /
) -> TaskWithInputs[A, Callable[P, N], N, N]: ...
@overload
def single_task(
    func: _More[A, P, _List[B], X, Y], /
) -> TaskWithInputs[A, Callable[P, list[B]], list[B], B]: ...
@overload
def single_task(
    func: _More[A, P, _Awaited[H], X, Y], /
) -> TaskWithInputs[A, Callable[P, H], H, H]: ...
@overload
def single_task(
    func: _More[A, P, _Later[B], X, Y], /
) -> TaskWithInputs[A, Callable[P, B], B, B]: ...
@overload
def single_task(
    func: _More[A, P, _Plain[B], X, Y], /
) -> TaskWithInputs[A, Callable[P, B], B, B]: ...
@overload
def single_task(*, spread: None = None, **options: Unpack[SingleOptions]) -> _Single: ...
@overload
def single_task(*, spread: Literal[True], **options: Unpack[SingleOptions]) -> _Spreading: ...
@overload
def single_task(*, spread: Literal[False], **options: Unpack[SingleOptions]) -> _Keeping: ...
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


def batch_task(*misplaced: Never, **options: Unpack[BatchOptions]) -> _Batching:
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
    decorator: _Batching = _decorate(BatchSpec, None, options)
    return decorator


def _decorate(
    kind: type[SingleSpec] | type[BatchSpec], func: Any, options: Mapping[str, object]
) -> Any:
    check_options(kind, options)
    decorator = Decorator(kind, options)
    return decorator if func is None else decorator(func)


def resource(
    factory: Callable[[], AbstractAsyncContextManager[T] | AbstractContextManager[T]],
) -> Resource[T]:
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

    Args:
        factory: A function without parameters that makes a context manager, async or not. A
            class will do, and so will a function with `contextlib.asynccontextmanager`.

    Raises:
        TypeError: If `factory` cannot be called; and when a run starts, if it makes no context
            manager.
    """
    from ._engine.inputs import Resource  # to describe needs nothing else of the engine

    return Resource(factory)
