"""What users hold: pipelines, and the tasks they are made of."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import wraps
from types import GenericAlias, MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, Self, TypeVar, overload

from ._awaiting import NotAwaitable
from ._context import SETTINGS, ExecutionMode, PipelineContext, merge_settings
from ._spec import BatchSpec, SingleSpec, Spec, make_spec, name_of

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)
TaskIn = TypeVar("TaskIn", contravariant=True)
TaskOut = TypeVar("TaskOut", covariant=True)
if TYPE_CHECKING:
    # Type checkers know typing_extensions; at run time it would be a dependency.
    from typing_extensions import TypeVar as DefaultTypeVar

    from ._stream import Stream

    Item = DefaultTypeVar("Item", covariant=True, default=Out)
    # Variables of its own: mypy up to 1.18 mixes up the defaults of inherited ones.
    TaskItem = DefaultTypeVar("TaskItem", covariant=True, default=TaskOut)
else:
    Item = TypeVar("Item", covariant=True)
    TaskItem = TypeVar("TaskItem", covariant=True)

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")


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


class Pipeline(NotAwaitable, Generic[In, Out, Item]):
    """An immutable sequence of tasks: ``a | b | c``, or ``Pipeline(a, b, c)``.

    It holds no state of a run: it can be called again and again, also at the same time.

    ``Pipeline[In, Out]`` takes items of type `In` and gives results of type `Out`. The third
    parameter is what the next stage gets after a ``|``; it is another type only where the last
    task returns a list, which ``|`` unpacks.

    Raises:
        TypeError: If one of the stages is no task or pipeline.
        ValueError: If there is no stage.
    """

    __module__ = "conveyor"

    __slots__ = ("__dict__", "_settings", "_stages")

    @overload
    def __init__(self: Pipeline[A, B, C], first: Pipeline[A, B, C], /) -> None: ...
    @overload
    def __init__(
        self: Pipeline[A, D, E], first: Pipeline[A, Any, C], second: Pipeline[C, D, E], /
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
        self: Pipeline[A, F, G],
        first: Pipeline[A, Any, B],
        second: Pipeline[B, Any, C],
        third: Pipeline[C, Any, D],
        fourth: Pipeline[D, F, G],
        /,
    ) -> None: ...
    @overload
    def __init__(
        self: Pipeline[A, Any, Any],
        first: Pipeline[A, Any, B],
        second: Pipeline[B, Any, C],
        third: Pipeline[C, Any, D],
        fourth: Pipeline[D, Any, E],
        fifth: Pipeline[E, Any, Any],
        /,
        *others: Pipeline[Any, Any, Any],
    ) -> None: ...
    def __init__(self, *stages: Pipeline[Any, Any, Any]) -> None:
        settings: dict[str, Any] = {}
        for stage in stages:
            if not isinstance(stage, Pipeline):
                raise TypeError(f"a pipeline is made of tasks, not of {_describe(stage)}")
            settings = merge_settings(settings, stage._settings)
        if not stages:
            raise ValueError("a pipeline needs at least one task, as in Pipeline(task)")
        self._stages: tuple[Task[Any, Any, Any], ...] = tuple(
            task for stage in stages for task in stage.stages
        )
        self._settings: Mapping[str, Any] = MappingProxyType(settings)

    if not TYPE_CHECKING:
        # Two parameters are enough: the third has a default, which typing knows from 3.13 on.
        __class_getitem__ = classmethod(GenericAlias)

    @property
    def stages(self) -> tuple[Task[Any, Any, Any], ...]:
        """The tasks, from first to last."""
        return self._stages

    def __len__(self) -> int:
        return len(self.stages)

    def __iter__(self) -> Iterator[Task[Any, Any, Any]]:
        return iter(self.stages)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Pipeline {' | '.join(task.name for task in self.stages)}>"

    def __or__(self, other: Pipeline[Item, D, E]) -> Pipeline[In, D, E]:
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

    def __call__(self, data: Iterable[In] | AsyncIterable[In]) -> Stream[Out]:
        """Return a stream: one run over `data`, in the pipeline's execution mode.

        Args:
            data: Any iterable or async iterable of items, which may be anything. Nothing is
                read yet. A generator or an async iterator belongs to the run, which closes it.

        Raises:
            TypeError: If `data` is a string or no iterable, or if the function of a task cannot be
                called with an item and its side inputs, where that is certain.
        """
        return self._stream(data, self._settings)

    def as_completed(self, data: Iterable[In] | AsyncIterable[In]) -> Stream[Out]:
        """Return a stream that gives each result as soon as it is there, whatever the order."""
        mode = {"execution_mode": ExecutionMode.AS_COMPLETED}
        return self._stream(data, {**self._settings, **mode})

    def run(
        self,
        data: Iterable[In] | AsyncIterable[In],
        *,
        backend: Literal["asyncio", "trio"] = "asyncio",
        mode: ExecutionMode | str | None = None,
        backend_options: Mapping[str, Any] | None = None,
    ) -> list[Out]:
        """Run to the end and return all results: for code without an event loop.

        It starts one in this thread, and blocks until all is over. Ctrl-C ends the run.

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
        from . import _blocking  # brings the engine and an event loop

        _blocking.check("run", "`await pipeline(data).collect()`", backend)
        return _blocking.run(self._in_mode(data, mode), backend, backend_options)

    def iterate(
        self,
        data: Iterable[In] | AsyncIterable[In],
        *,
        backend: Literal["asyncio", "trio"] = "asyncio",
        mode: ExecutionMode | str | None = None,
        backend_options: Mapping[str, Any] | None = None,
    ) -> Generator[Out, None, None]:
        """Yield the results one by one, each as soon as it may be: for code without an event loop.

        The run lives in an event loop in a thread of its own, where `data` is read and the
        functions are called, also while the caller is busy with a result. It begins with the
        first result that is asked for. When the loop over the results is left, the generator is
        closed, and that ends the run: nothing of it and of its thread is left then.
        `contextlib.closing` makes sure of that where something else holds the generator.

        Args and errors are those of `run`.
        """
        from . import _blocking  # brings the engine and an event loop

        _blocking.check("iterate", "`async for result in pipeline(data)`", backend)
        return _blocking.iterate(self._in_mode(data, mode), backend, backend_options)

    def _in_mode(self, data: Any, mode: ExecutionMode | str | None) -> Stream[Out]:
        settings = dict(self._settings)
        if mode is not None:
            settings["execution_mode"] = ExecutionMode.parse(mode)
        stream: Any = self._stream(data, settings)
        stream._give_on()
        return stream  # type: ignore[no-any-return]  # a stream of this pipeline's results

    def with_execution_mode(self, mode: ExecutionMode | str) -> Pipeline[In, Out, Item]:
        """Return a pipeline with this mode: ``"ordered"`` or ``"as_completed"``.

        Raises:
            TypeError: If `mode` is no string.
            ValueError: If there is no such mode.
        """
        return self.with_context(execution_mode=ExecutionMode.parse(mode))

    def with_context(
        self, context: PipelineContext | None = None, /, **settings: Any
    ) -> Pipeline[In, Out, Item]:
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
        pipeline: Pipeline[In, Out, Item] = Pipeline(self)
        pipeline._settings = MappingProxyType(merge_settings(self._settings, settings))
        return pipeline

    def to_mermaid(self) -> str:
        """Return the pipeline as a Mermaid flowchart: its tasks, and the options they were given.

        Any task name is safe in it.
        """
        from ._report.graph import pipeline_graph, to_mermaid

        return to_mermaid(pipeline_graph([task.spec for task in self.stages]))

    def to_dot(self) -> str:
        """Return the same as `to_mermaid`, in the language of Graphviz."""
        from ._report.graph import pipeline_graph, to_dot

        return to_dot(pipeline_graph([task.spec for task in self.stages]))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from ._report.html import pipeline

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

    def _stream(self, data: Any, settings: Mapping[str, Any]) -> Stream[Out]:
        if isinstance(data, Pipeline):
            raise TypeError(f"a pipeline reads data, not {data!r}: join the two with `|`")
        from ._stream import Stream  # brings the engine, which is needed from here on

        specs = [task.spec for task in self.stages]
        return Stream(specs, data, PipelineContext(**settings))


class Task(Pipeline[TaskIn, TaskOut, TaskItem]):
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

    def with_inputs(self, *args: Any, **kwargs: Any) -> Self:
        """Return a task whose function gets these after the item.

        Each run resolves them anew before its first item: an awaitable is awaited, what
        `resource` made is entered (and left at the run's end), a stream gives its first
        result. Everything else is passed on as it is, and so is what can be awaited but is an
        async context manager as well, as an open connection of aiosqlite or SQLAlchemy.

        Inputs that the function does not take, and those that are missing, are found out when a
        pipeline is called.
        """
        for value in (*args, *kwargs.values()):
            if hasattr(type(value), "_as_side_input"):
                value._give_on()
        return type(self)(replace(self.spec, args=args, kwargs=MappingProxyType(kwargs)))

    def with_options(self, **options: Any) -> Self:
        """Return a task with these options changed; see `single_task` and `batch_task`.

        Raises:
            TypeError: If there is no such option, or its value is of a wrong type.
            ValueError: If a value is out of its range.
        """
        return type(self)(self.spec.with_options(options))

    if not TYPE_CHECKING:

        def __get__(self, instance, owner=None):
            """Bind a task as its function would be bound: to an instance, or to a class."""
            func = self.spec.func
            bound = func.__get__(instance, owner) if hasattr(func, "__get__") else func
            return self if bound is func else type(self)(replace(self.spec, func=bound))


if TYPE_CHECKING:
    Rest = TypeVar("Rest", covariant=True)
    Next = TypeVar("Next", covariant=True)

    class TaskWithInputs(Task[In, Out, Next], Generic[In, Rest, Out, Next]):
        """A task whose function takes more than the item: side inputs, or it is a method.

        At run time it is a `Task`, and every task is a descriptor. A type checker has to tell
        the two apart: a plain task that an instance holds in a field is not bound to it.

        `Rest` is the function as it is without its first parameter.
        """

        @overload
        def __get__(self, instance: None, owner: type | None = None) -> Self: ...
        @overload
        def __get__(
            self: TaskWithInputs[A, Callable[Concatenate[B, ...], object], C, D],
            instance: A,
            owner: type | None = None,
        ) -> Task[B, C, D]: ...
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
