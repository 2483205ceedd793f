"""What users hold: pipelines, and the tasks they are made of."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from types import GenericAlias, MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, Self, TypeVar, overload

from ._context import ExecutionMode, PipelineContext, merge_settings
from ._spec import Spec, name_of

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


class Pipeline(Generic[In, Out, Item]):
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

    def __reduce__(self) -> str | tuple[Any, ...]:
        return Pipeline, self.stages, dict(self._settings)

    def __setstate__(self, settings: dict[str, Any]) -> None:
        self._settings = MappingProxyType(settings)

    def __copy__(self) -> Self:
        return self

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
            raise TypeError(f"a pipeline begins with a task, not with {_describe(other)}")

    def __call__(self, data: Iterable[In] | AsyncIterable[In]) -> Stream[Out]:
        """Return a stream: one run over `data`, in the pipeline's execution mode.

        Args:
            data: Any iterable or async iterable of items, which may be anything. Nothing is
                read yet. A generator or an async iterator belongs to the run, which closes it.

        Raises:
            TypeError: If `data` is a string or no iterable.
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
        return self._stream(data, settings)

    def with_execution_mode(self, mode: ExecutionMode | str) -> Pipeline[In, Out, Item]:
        """Return a pipeline with this mode: ``"ordered"`` or ``"as_completed"``.

        Raises:
            TypeError: If `mode` is no string.
            ValueError: If there is no such mode.
        """
        return self.with_context(execution_mode=ExecutionMode.parse(mode))

    def with_context(self, **settings: Any) -> Pipeline[In, Out, Item]:
        """Return a pipeline with these settings: fields of `PipelineContext`.

        Any other name goes into the context's ``data``.

        Raises:
            TypeError: If a setting is of a wrong type.
            ValueError: If a setting is out of its range.
        """
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
        result. Everything else is passed on as it is.
        """
        return type(self)(replace(self.spec, args=args, kwargs=MappingProxyType(kwargs)))

    def with_options(self, **options: Any) -> Self:
        """Return a task with these options changed; see `single_task` and `batch_task`.

        Raises:
            TypeError: If there is no such option, or its value is of a wrong type.
            ValueError: If a value is out of its range.
        """
        return type(self)(self.spec.with_options(options))

    def __reduce__(self) -> str | tuple[Any, ...]:
        from ._by_name import leads_to  # few need it

        # As a function goes by its name, so does the task that stands in its place; what is found
        # there is the very same, with the executor and the rate limit that it has there.
        name = vars(self).get("__qualname__")
        if isinstance(name, str) and leads_to(self.__module__, name, self):
            return name
        return type(self), (self.spec,)

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


def _describe(thing: object) -> str:
    if callable(thing) and not isinstance(thing, type):
        name = name_of(thing)
        return f"the function {name!r}: decorate it with @single_task or @batch_task"
    return f"{thing!r} of type {type(thing).__name__}"
