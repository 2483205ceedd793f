"""What users hold: pipelines, and the tasks they are made of."""

# Overloads overlap on purpose: the first that fits is the one that is meant.
# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import replace
from functools import wraps
from types import GenericAlias, MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    Never,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    Unpack,
    overload,
)

from ._model.awaiting import NotAwaitable
from ._model.context import SETTINGS, PipelineContext, merge_settings
from ._model.modes import ExecutionMode
from ._model.spec import BatchSpec, SingleSpec, Spec, make_spec, name_of

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)
TaskIn = TypeVar("TaskIn", contravariant=True)
TaskOut = TypeVar("TaskOut", covariant=True)
if TYPE_CHECKING:
    from fractions import Fraction

    # Type checkers know typing_extensions; at run time it would be a dependency.
    from typing_extensions import TypeVar as DefaultTypeVar

    from ._model.failure import Failure
    from ._model.instrument import MakesInstrument
    from ._model.modes import Mode
    from ._model.spec import BatchChanges, EmitFailure, OnBatchError, OnError, SingleOptions
    from ._stream import Stream

    Item = DefaultTypeVar("Item", covariant=True, default=Out)
    # Failures have a parameter of their own, since `|` takes them past the next task, whatever
    # that takes: it could not find them again in a union with the results.
    Failed = DefaultTypeVar("Failed", bound=Failure[Any], covariant=True, default=Never)
    # A function without a result, whose parameters are the side inputs still to be given. As a
    # `ParamSpec` it would be invariant to pyright: inputs that have defaults could not be left out.
    Missing = DefaultTypeVar("Missing", covariant=True, default=Callable[[], None])
    # Variables of its own: mypy up to 1.18 mixes up the defaults of inherited ones.
    TaskItem = DefaultTypeVar("TaskItem", covariant=True, default=TaskOut)
    TaskFailed = DefaultTypeVar("TaskFailed", bound=Failure[Any], covariant=True, default=Never)
    TaskMissing = DefaultTypeVar("TaskMissing", covariant=True, default=Callable[[], None])

    H = TypeVar("H", bound=Failure[Any])
    J = TypeVar("J", bound=Failure[Any])
    K = TypeVar("K", bound=Failure[Any])
    L = TypeVar("L", bound=Failure[Any])
else:
    Item = TypeVar("Item", covariant=True)
    Failed = TypeVar("Failed", covariant=True)
    Missing = TypeVar("Missing", covariant=True)
    TaskItem = TypeVar("TaskItem", covariant=True)
    TaskFailed = TypeVar("TaskFailed", covariant=True)
    TaskMissing = TypeVar("TaskMissing", covariant=True)

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")
P = ParamSpec("P")

if TYPE_CHECKING:
    # A side input that is not there yet. What `resource` makes is, to a type checker.
    _Later: TypeAlias = Awaitable[A] | Stream[A]
    _Given: TypeAlias = A | Awaitable[A] | Stream[A]

    Needed = TypeVar("Needed", covariant=True)
    Ready = TypeVar("Ready", covariant=True)

    class _Needs(Protocol[Needed, Ready]):
        """A task of either kind, and what it becomes when it is given what it needs."""

        @property
        def _needs(self) -> Needed: ...
        @property
        def _ready(self) -> Ready: ...


def _with_data_alone(call: Callable[..., Any]) -> Callable[..., Any]:
    """Make `Pipeline.__call__` explain itself where it is not called with just the data.

    A task is easily taken for the function that it was made of.
    """

    @wraps(call)
    def checked(self: Pipeline[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs:
            return call(self, args[0])
        if not args and kwargs.keys() == {"data"}:
            return call(self, kwargs["data"])
        name, hint = "pipeline", ""
        if isinstance(self, Task):
            name = self.spec.written
            hint = (
                f": to call the function of the task itself, write {name}.func(...), and to give "
                f"it side inputs, {name}.with_inputs(...)(data)"
            )
        raise TypeError(f"{self!r} is called with its data alone, as in {name}(data){hint}")

    return checked


class Pipeline(NotAwaitable, Generic[In, Out, Item, Failed, Missing]):
    """An immutable sequence of tasks: ``a | b | c``, or ``Pipeline(a, b, c)``.

    It holds no state of a run: it can be called again and again, also at the same time.

    ``Pipeline[In, Out]`` takes items of type `In` and gives results of type `Out`. Three more
    parameters are seldom written. The third is what the next stage gets after a ``|``; it is
    another type only where the last task returns a list, which ``|`` unpacks. The fourth is what
    the stream may give beside the results: `Failure` of what the tasks with
    ``on_error="emit_failure"`` take, or ``Never``, the default. So of a
    ``Pipeline[str, int, int, Failure[str]]`` the loop gets ``int | Failure[str]``. The fifth is
    that of tasks whose side inputs are missing, a function that takes these; by default a
    function that takes none.

    Raises:
        TypeError: If one of the stages is no task or pipeline.
        ValueError: If there is no stage.
    """

    __module__ = "conveyor"

    __slots__ = ("__dict__", "_settings", "_stages")

    # To pyright a union of variables is unknown where each of them is `Never`. Hence an overload
    # for tasks without failures beside each for those that may have some.

    @overload
    def __init__(self: Pipeline[A, B, C, H], first: Pipeline[A, B, C, H], /) -> None: ...
    @overload
    def __init__(
        self: Pipeline[A, D, E], first: Pipeline[A, Any, C], second: Pipeline[C, D, E], /
    ) -> None: ...
    @overload
    def __init__(
        self: Pipeline[A, D, E, H | J],
        first: Pipeline[A, Any, C, H],
        second: Pipeline[C, D, E, J],
        /,
    ) -> None: ...
    @overload
    def __init__(
        self: Pipeline[A, F, G],
        first: Pipeline[A, Any, B],
        second: Pipeline[B, Any, C],
        third: Pipeline[C, F, G],
        /,
    ) -> None: ...
    @overload
    def __init__(
        self: Pipeline[A, F, G, H | J | K],
        first: Pipeline[A, Any, B, H],
        second: Pipeline[B, Any, C, J],
        third: Pipeline[C, F, G, K],
        /,
    ) -> None: ...
    @overload
    def __init__(
        self: Pipeline[A, F, G],
        first: Pipeline[A, Any, B],
        second: Pipeline[B, Any, C],
        third: Pipeline[C, Any, D],
        fourth: Pipeline[D, F, G],
        /,
    ) -> None: ...
    @overload
    def __init__(
        self: Pipeline[A, F, G, H | J | K | L],
        first: Pipeline[A, Any, B, H],
        second: Pipeline[B, Any, C, J],
        third: Pipeline[C, Any, D, K],
        fourth: Pipeline[D, F, G, L],
        /,
    ) -> None: ...
    @overload
    def __init__(
        self: Pipeline[A, Any, Any, H],
        first: Pipeline[A, Any, B, H],
        second: Pipeline[B, Any, C, H],
        third: Pipeline[C, Any, D, H],
        fourth: Pipeline[D, Any, E, H],
        fifth: Pipeline[E, Any, Any, H],
        /,
        *others: Pipeline[Any, Any, Any, H],
    ) -> None: ...
    def __init__(self, *stages: Pipeline[Any, Any, Any, Any]) -> None:
        settings: dict[str, Any] = {}
        for stage in stages:
            if not isinstance(stage, Pipeline):
                raise TypeError(f"a pipeline is made of tasks, not of {_describe(stage)}")
            settings = merge_settings(settings, stage._settings)
        if not stages:
            raise ValueError("a pipeline needs at least one task, as in Pipeline(task)")
        self._stages: tuple[Task[Any, Any, Any, Any, Any], ...] = tuple(
            task for stage in stages for task in stage.stages
        )
        self._settings: Mapping[str, Any] = MappingProxyType(settings)

    if not TYPE_CHECKING:
        # Two parameters are enough: others have defaults, which typing knows from 3.13 on.
        __class_getitem__ = classmethod(GenericAlias)

    @property
    def stages(self) -> tuple[Task[Any, Any, Any, Any, Any], ...]:
        """The tasks, from first to last."""
        return self._stages

    def __len__(self) -> int:
        return len(self.stages)

    def __iter__(self) -> Iterator[Task[Any, Any, Any, Any, Any]]:
        return iter(self.stages)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Pipeline {' | '.join(task.name for task in self.stages)}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return Pipeline, self.stages, dict(self._settings)

    def __setstate__(self, settings: dict[str, Any]) -> None:
        self._settings = MappingProxyType(settings)

    def __copy__(self) -> Self:
        return self

    # What `self` is declared as leaves out tasks whose side inputs are missing.

    def __or__(
        self: Pipeline[In, Out, Item, Failed], other: Pipeline[Item, D, E, H]
    ) -> Pipeline[In, D, E, Failed | H]:
        """Return the pipeline in which `other` works on what this one gives.

        The settings of both are merged; where both set the same, those of `other` win.

        Raises:
            TypeError: If `other` is no task or pipeline.
        """
        if not isinstance(other, Pipeline):
            raise TypeError(f"a pipeline goes on with a task, not with {_describe(other)}")
        return Pipeline(self, other)

    if not TYPE_CHECKING:

        def __ror__(self, other):
            kind = type(other)
            data = kind is not str and (hasattr(kind, "__iter__") or hasattr(kind, "__aiter__"))
            hint = ": if that is its data, write pipeline(data)" if data else ""
            raise TypeError(f"a pipeline begins with a task, not with {_describe(other)}{hint}")

    def __call__(
        self: Pipeline[In, Out, Item, Failed], data: Iterable[In] | AsyncIterable[In]
    ) -> Stream[Out | Failed]:
        """Return a stream: one run over `data`, in the pipeline's execution mode.

        Args:
            data: Any iterable or async iterable of items, which may be anything. Nothing is
                read yet. A generator or an async iterator belongs to the run, which closes it. It
                is read in the event loop, so one that blocks holds up everything.

        Raises:
            TypeError: If `data` is a string or no iterable, or if the function of a task cannot be
                called with an item and its side inputs, where that is certain.
        """
        return self._stream(data, self._settings)

    def as_completed(
        self: Pipeline[In, Out, Item, Failed], data: Iterable[In] | AsyncIterable[In]
    ) -> Stream[Out | Failed]:
        """Return a stream that gives each result as soon as it is there, whatever the order."""
        mode = {"execution_mode": ExecutionMode.AS_COMPLETED}
        return self._stream(data, {**self._settings, **mode})

    def run(
        self: Pipeline[In, Out, Item, Failed],
        data: Iterable[In] | AsyncIterable[In],
        *,
        backend: Literal["asyncio", "trio"] = "asyncio",
        mode: Mode | None = None,
        backend_options: Mapping[str, Any] | None = None,
    ) -> list[Out | Failed]:
        """Run to the end and return all results: for code without an event loop.

        It starts one in this thread, and blocks until all is over. Ctrl-C ends the run: when all
        is cleaned up, `KeyboardInterrupt` is raised.

        Args:
            data: As for calling the pipeline.
            backend: ``"asyncio"`` (the default) or ``"trio"``.
            mode: ``"ordered"`` or ``"as_completed"``. ``None`` (the default) means the
                pipeline's own.
            backend_options: What `anyio.run` takes under this name, ``{"use_uvloop": True}``
                for example.

        Raises:
            TypeError: If an argument is of a wrong type.
            ValueError: If there is no such backend or mode.
            LookupError: If the backend is not installed.
            RuntimeError: If an event loop runs in this thread already.
            Exception: What a task or the input failed with.
        """
        from . import _blocking

        _blocking.check("run", "`await pipeline(data).collect()`", backend)
        return _blocking.run(self._in_mode(data, mode), backend, backend_options)

    def iterate(
        self: Pipeline[In, Out, Item, Failed],
        data: Iterable[In] | AsyncIterable[In],
        *,
        backend: Literal["asyncio", "trio"] = "asyncio",
        mode: Mode | None = None,
        backend_options: Mapping[str, Any] | None = None,
    ) -> Generator[Out | Failed, None, None]:
        """Yield the results one by one, each as soon as it may be: for code without an event loop.

        The run lives in an event loop in a thread of its own, where `data` is read and the
        functions are called, also while the caller is busy with a result. It begins with the
        first result that is asked for. When the loop over the results is left, the generator is
        closed, and that ends the run: nothing of it and of its thread is left then.
        `contextlib.closing` makes sure of that where something else holds the generator. If it is
        found in a cycle by the garbage collector, the run is ended without being waited for, and
        what is still open when the interpreter exits is ended then.

        Ctrl-C ends the run wherever it comes: `KeyboardInterrupt` is raised once, when all is
        cleaned up. A second one is raised at once.

        Args and errors are those of `run`.

        Raises:
            RuntimeError: Also from the generator, if the process was forked since its run began,
                or if the interpreter exits.
        """
        from . import _blocking

        _blocking.check("iterate", "`async for result in pipeline(data)`", backend)
        return _blocking.iterate(self._in_mode(data, mode), backend, backend_options)

    def _in_mode(self, data: Any, mode: object) -> Stream[Any]:
        settings = dict(self._settings)
        if mode is not None:
            settings["execution_mode"] = ExecutionMode.parse(mode)
        stream: Any = self._stream(data, settings)
        stream._give_on()
        return stream  # type: ignore[no-any-return]  # a stream of this pipeline's results

    def with_execution_mode(self, mode: Mode) -> Pipeline[In, Out, Item, Failed, Missing]:
        """Return a pipeline with this mode: ``"ordered"`` or ``"as_completed"``.

        Raises:
            TypeError: If `mode` is no string.
            ValueError: If there is no such mode.
        """
        return self.with_context(execution_mode=ExecutionMode.parse(mode))

    @overload
    def with_context(
        self, context: PipelineContext, /
    ) -> Pipeline[In, Out, Item, Failed, Missing]: ...
    @overload
    def with_context(
        self,
        context: PipelineContext | None = None,
        /,
        *,
        execution_mode: Mode = ...,
        max_parallelism: int | None = ...,
        buffer_size: int = ...,
        pipeline_id: str | None = ...,
        data: Mapping[str, Any] = ...,
        max_failures: int | Fraction | None = ...,
        timing: bool = ...,
        instruments: Sequence[MakesInstrument] = ...,
        **others: Any,
    ) -> Pipeline[In, Out, Item, Failed, Missing]: ...
    def with_context(
        self, context: PipelineContext | None = None, /, **settings: Any
    ) -> Pipeline[In, Out, Item, Failed, Missing]:
        """Return a pipeline with these settings: fields of `PipelineContext`.

        Any other name goes into the context's ``data``, unless it is nearly the name of a field:
        ``bufer_size`` is refused, with the right name. ``data={...}`` takes any key.

        Args:
            context: A whole context, whose fields are all taken. `settings` are put on top.
                ``None`` (the default) means that there is none.
            settings: Single fields and entries of ``data``.

        Raises:
            TypeError: If `context` is something else, a setting is of a wrong type, or its name is
                nearly that of a field.
            ValueError: If a setting is out of its range.
        """
        if context is not None:
            if not isinstance(context, PipelineContext):
                raise TypeError(
                    "with_context takes a PipelineContext, or settings by name as in "
                    f"with_context(buffer_size=10), not {context!r}"
                )
            fields = {name: getattr(context, name) for name in SETTINGS}
            settings = merge_settings(fields, settings)
        whole: Any = self  # side inputs may be missing still
        pipeline: Any = Pipeline(whole)
        pipeline._settings = MappingProxyType(merge_settings(self._settings, settings))
        return pipeline  # type: ignore[no-any-return]  # of the same type

    def to_mermaid(self) -> str:
        """Return the pipeline as a Mermaid flowchart: its tasks, and the options they were given.

        Any task name is safe in it.
        """
        from ._observe.report.graph import pipeline_graph, to_mermaid

        return to_mermaid(pipeline_graph([task.spec for task in self.stages]))

    def to_dot(self) -> str:
        """Return the same as `to_mermaid`, in the language of Graphviz."""
        from ._observe.report.graph import pipeline_graph, to_dot

        return to_dot(pipeline_graph([task.spec for task in self.stages]))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from ._observe.report.html import pipeline

        shown = pipeline([task.spec for task in self.stages])
        return {"text/plain": repr(self), "text/html": shown}

    # Misuse. Type checkers see none of these, and object by themselves.

    def _instead_of_await(self) -> str:
        return f"{self!r} is not awaited: write `await pipeline(data).collect()`"

    if not TYPE_CHECKING:
        __call__ = _with_data_alone(__call__)

        def __aiter__(self):
            raise TypeError(
                f"{self!r} has no results until it is given data: "
                "write `async for result in pipeline(data)`"
            )

        def __enter__(self):
            raise TypeError(
                f"{self!r} is not a context manager, its streams are: "
                "write `async with pipeline(data) as stream`"
            )

        __aenter__ = __enter__

        def __exit__(self, *exc_info):
            """Python looks for it before it enters."""

        __aexit__ = __exit__

        def __getattr__(self, name):
            instead = ""
            if name in ("aclose", "collect", "drain", "statistics", "stop"):
                instead = f": its streams have it, as in pipeline(data).{name}()"
            message = f"{type(self).__name__!r} object has no attribute {name!r}{instead}"
            raise AttributeError(message, name=name, obj=self)

    def _stream(self, data: Any, settings: Mapping[str, Any]) -> Stream[Any]:
        if isinstance(data, Pipeline):
            raise TypeError(f"a pipeline reads data, not {data!r}: join the two with `|`")
        from ._stream import Stream  # brings the engine, which is needed from here on

        specs = [task.spec for task in self.stages]
        return Stream(specs, data, PipelineContext(**settings))


class Task(Pipeline[TaskIn, TaskOut, TaskItem, TaskFailed, TaskMissing]):
    """A pipeline of one: what `single_task` and `batch_task` make of a function.

    Attributes:
        spec: The description that the engine runs.
    """

    __module__ = "conveyor"

    __slots__ = ("spec",)

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._stages = (self,)
        self._settings = MappingProxyType({})
        self.__doc__ = spec.func.__doc__
        self.__wrapped__ = spec.func
        for name in "__module__", "__name__", "__qualname__":
            if hasattr(spec.func, name):
                setattr(self, name, getattr(spec.func, name))

    @property
    def func(self) -> Callable[..., Any]:
        """The function itself, to be called without a pipeline, in unit tests say."""
        return self.spec.func

    @property
    def name(self) -> str:
        """``task_name`` if it was given, else the name of the function."""
        return self.spec.name

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    # To a type checker a task has its inputs or not. Awaitables and streams are checked where they
    # come first or second, and taken for anything by name. The fourth and the fifth overload are
    # for too few inputs, which the two behind them would take for enough: all are missing still.

    @overload
    def with_inputs(self: _Needs[Callable[P, None], A], *args: P.args, **kwargs: P.kwargs) -> A: ...
    @overload
    def with_inputs(
        self: _Needs[Callable[Concatenate[B, P], None], A],
        first: _Later[B],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> A: ...
    @overload
    def with_inputs(
        self: _Needs[Callable[Concatenate[B, C, P], None], A],
        first: _Given[B],
        second: _Later[C],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> A: ...
    @overload
    def with_inputs(self) -> Self: ...
    @overload
    def with_inputs(
        self: Task[A, B, C, H, Callable[Concatenate[D, E, P], None]], first: _Given[D], /
    ) -> Task[A, B, C, H, Callable[Concatenate[D, E, P], None]]: ...
    @overload
    def with_inputs(self: _Needs[Any, A], **kwargs: _Later[object]) -> A: ...
    @overload
    def with_inputs(
        self: _Needs[Callable[Concatenate[B, ...], None], A],
        first: _Given[B],
        /,
        **kwargs: _Later[object],
    ) -> A: ...
    def with_inputs(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]  # takes them all
        """Return a task whose function gets these after the item.

        Each run resolves them anew before its first item: an awaitable is awaited, what
        `resource` made is entered (and left at the run's end), a stream gives its first
        result. Everything else is passed on as it is, and so is what can be awaited but is an
        async context manager as well, as an open connection of aiosqlite or SQLAlchemy.

        All inputs are given in one call. Another one puts others in their place, which type
        checkers refuse: to them the task is complete. Inputs that the function does not take, and
        those that are missing, are found out when a pipeline is called.
        """
        for value in (*args, *kwargs.values()):
            if hasattr(type(value), "_as_side_input"):
                value._give_on()
        return type(self)(replace(self.spec, args=args, kwargs=MappingProxyType(kwargs)))

    # Which values of `on_error` and `spread` make another type.
    @overload
    def with_options(self, **options: Unpack[SingleOptions]) -> Self: ...
    @overload
    def with_options(
        self: Task[A, B, C, Any, D], *, on_error: OnError, **options: Unpack[SingleOptions]
    ) -> Task[A, B, C, Never, D]: ...
    @overload
    def with_options(
        self: Task[A, B, C, Any, D], *, on_error: EmitFailure, **options: Unpack[SingleOptions]
    ) -> Task[A, B, C, Failure[A], D]: ...
    @overload
    def with_options(
        self: Task[A, list[B], Any, H, D],
        *,
        spread: Literal[True],
        **options: Unpack[SingleOptions],
    ) -> Task[A, B, B, H, D]: ...
    @overload
    def with_options(
        self: Task[A, B, Any, H, D], *, spread: bool, **options: Unpack[SingleOptions]
    ) -> Task[A, B, B, H, D]: ...
    @overload
    def with_options(
        self: Task[A, Any, Any, Any, D],
        *,
        spread: bool | None,
        on_error: OnError | EmitFailure = ...,
        **options: Unpack[SingleOptions],
    ) -> Task[A, Any, Any, Any, D]: ...
    def with_options(self, **options: Any) -> Task[Any, Any, Any, Any, Any]:
        """Return a task with these options changed; see `single_task` and `batch_task`.

        Raises:
            TypeError: If there is no such option, or its value is of a wrong type.
            ValueError: If a value is out of its range.
        """
        return type(self)(self.spec.with_options(options))

    def __reduce__(self) -> str | tuple[Any, ...]:
        from ._model.by_name import leads_to  # few need it

        # As a function goes by its name, so does the task that stands in its place; what is found
        # there is the very same, with the executor and the rate limit that it has there.
        name = vars(self).get("__qualname__")
        if isinstance(name, str) and leads_to(self.__module__, name, self):
            return name
        return type(self), (self.spec,)

    if TYPE_CHECKING:

        @property
        def _needs(self) -> TaskMissing: ...
        @property
        def _ready(self) -> Task[TaskIn, TaskOut, TaskItem, TaskFailed]: ...

        # A function of two parameters may be a method, and a task of it is bound to an instance of
        # what its first one takes. Any other that an instance holds is left as it is.
        @overload
        def __get__(self, instance: None, owner: type | None = None) -> Self: ...
        @overload
        def __get__(
            self: Task[A, B, C, Never, Callable[Concatenate[D, P], None]],
            instance: A,
            owner: type | None = None,
        ) -> Task[D, B, C, Never, Callable[P, None]]: ...
        @overload
        def __get__(
            self: Task[A, B, C, Failure[Any], Callable[Concatenate[D, P], None]],
            instance: A,
            owner: type | None = None,
        ) -> Task[D, B, C, Failure[D], Callable[P, None]]: ...
        @overload
        def __get__(self, instance: object, owner: type | None = None) -> Self: ...
        def __get__(self, instance: Any, owner: type | None = None) -> Any: ...

    else:

        def __get__(self, instance, owner=None):
            """Bind a task as its function would be bound: to an instance, or to a class."""
            func = self.spec.func
            bound = func.__get__(instance, owner) if hasattr(func, "__get__") else func
            return self if bound is func else type(self)(replace(self.spec, func=bound))


if TYPE_CHECKING:

    class BatchTask(Task[TaskIn, TaskOut, TaskItem, TaskFailed, TaskMissing]):
        """A task that takes batches, which at run time is a `Task`: see ``spec``.

        A type checker has to tell the two apart: they have other options, and what failed may be
        a whole batch.
        """

        # It takes other options than a `Task` does: whose type says `Task` is taken to be one.
        @overload  # type: ignore[override]
        def with_options(self, **options: Unpack[BatchChanges]) -> Self: ...
        @overload
        def with_options(
            self: BatchTask[A, B, C, Any, D],
            *,
            on_error: OnBatchError,
            **options: Unpack[BatchChanges],
        ) -> BatchTask[A, B, C, Never, D]: ...
        @overload
        def with_options(
            self: BatchTask[A, B, C, Any, D],
            *,
            on_error: EmitFailure,
            **options: Unpack[BatchChanges],
        ) -> BatchTask[A, B, C, Failure[A | list[A]], D]: ...
        def with_options(  # pyright: ignore[reportIncompatibleMethodOverride]
            self, **options: Any
        ) -> Any: ...

        @property
        def _ready(self) -> BatchTask[TaskIn, TaskOut, TaskItem, TaskFailed]: ...

        @overload
        def __get__(self, instance: None, owner: type | None = None) -> Self: ...
        @overload
        def __get__(
            self: BatchTask[A, B, C, H, Callable[Concatenate[D, P], None]],
            instance: A,
            owner: type | None = None,
        ) -> BatchTask[D, B, C, H, Callable[P, None]]: ...
        @overload
        def __get__(self, instance: object, owner: type | None = None) -> Self: ...
        def __get__(self, instance: Any, owner: type | None = None) -> Any: ...


class Decorator:
    """What ``single_task(...)`` and ``batch_task(...)`` return: it makes tasks of functions."""

    __slots__ = ("_kind", "_options")

    def __init__(
        self, kind: type[SingleSpec] | type[BatchSpec], options: Mapping[str, Any]
    ) -> None:
        self._kind = kind
        self._options = options

    def __call__(self, func: Callable[..., Any], /) -> Task[Any, Any, Any]:
        if isinstance(func, Pipeline):
            raise TypeError(f"a task is made of a function, and {func!r} is one already")
        return Task(make_spec(self._kind, func, self._options))

    def __repr__(self) -> str:
        name = "batch_task" if self._kind is BatchSpec else "single_task"
        return f"<decorator {name}({', '.join(f'{option}=...' for option in self._options)})>"


def _describe(thing: object) -> str:
    if isinstance(thing, Decorator):
        return f"{thing!r}: it makes a task of a function, as in decorator(function)"
    if hasattr(type(thing), "_as_side_input"):
        return f"{thing!r}: join the pipelines, and give the whole its data, as in (a | b)(data)"
    if callable(thing):
        name = name_of(thing)
        if name in ("single_task", "batch_task"):
            return f"the decorator {name!r} itself: put it above a function"
        kind = "class" if isinstance(thing, type) else "function"
        return f"the {kind} {name!r}: decorate it with @single_task or @batch_task"
    text = repr(thing)
    text = text if len(text) <= 80 else f"{text[:77]}..."
    return f"{text} of type {type(thing).__name__}"
