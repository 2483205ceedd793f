"""What would run, and what is wrong with it, as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .._engine.offload.parcel import Parcel
from .._model.context import PipelineContext
from .._model.spec import BatchSpec, SingleSpec, Spec, name_of
from .._observe.report.words import exact_seconds_text
from .._pipeline import Pipeline
from .edges import Edge, Kind, edges, entering, kind_of, leaving, wrong_batch
from .fits import Unknown

Verdict: TypeAlias = Literal["ok", "unknown", "mismatch"]

_PLACES = {"thread": "threads", "process": "processes", "interpreter": "subinterpreters"}


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """How one task would run.

    Attributes:
        name: The task's name.
        kind: Of its function: ``"async"``, ``"sync"``, ``"async generator"`` or ``"generator"``.
        batches: How its batches are made, in words; ``None`` if it takes single items.
        runs: Where: ``"event loop"``, ``"threads"``, ``"processes"``, ``"subinterpreters"``, or
            the class of an executor.
        at_once: How many calls may run at once; ``None`` if any number.
        options: What else is not as by default, in words.
    """

    name: str
    kind: Kind
    batches: str | None
    runs: str
    at_once: int | None
    options: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EdgePlan:
    """What goes from one task to the next.

    Attributes:
        giver: The name of the task that gives.
        taker: The name of the task that takes.
        gives: The type of what leaves the one; ``None`` if that is not known.
        takes: The type of what enters the other.
        verdict: ``"ok"``, ``"unknown"`` or ``"mismatch"``.
        why: Why it is unknown; "" otherwise.
    """

    giver: str
    taker: str
    gives: str | None
    takes: str | None
    verdict: Verdict
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a pipeline would run.

    Attributes:
        takes: The type of its items; ``None`` if that is not known.
        gives: The type of its results.
        execution_mode: ``"ordered"`` or ``"as_completed"``.
        max_parallelism: How many calls may run at once in all; ``None`` if that is not bounded.
        buffer_size: How many items may wait between two tasks.
        data: The names in the context's data.
        stages: The tasks, from first to last.
        edges: What goes between them.
        problems: What is sure to go wrong, a line each; the mismatches are among them.
        warnings: What may not be meant, a line each.
    """

    takes: str | None
    gives: str | None
    execution_mode: str
    max_parallelism: int | None
    buffer_size: int
    data: tuple[str, ...]
    stages: tuple[StagePlan, ...]
    edges: tuple[EdgePlan, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def plan_of(pipeline: Pipeline[Any, Any, Any]) -> Plan:
    """Return how a pipeline would run."""
    held: Any = pipeline  # its settings are no affair of its users
    context = PipelineContext(**held._settings)
    specs = [task.spec for task in pipeline.stages]
    found = edges(specs)
    return Plan(
        takes=entering(specs[0]).words,
        gives=_results(specs),
        execution_mode=str(context.execution_mode),
        max_parallelism=context.max_parallelism,
        buffer_size=context.buffer_size,
        data=tuple(context.data),
        stages=tuple(map(stage_of, specs)),
        edges=tuple(map(edge_of, found)),
        problems=(*filter(None, map(_mismatch, found)), *_problems(specs)),
        warnings=tuple(_warnings(specs, context)),
    )


def stage_of(spec: Spec) -> StagePlan:
    """Return how a task would run."""
    return StagePlan(
        name=spec.name,
        kind=kind_of(spec.func),
        batches=_batches(spec) if isinstance(spec, BatchSpec) else None,
        runs=_place(spec),
        at_once=None if math.isinf(spec.limit) else int(spec.limit),
        options=tuple(_options(spec)),
    )


def edge_of(edge: Edge) -> EdgePlan:
    """Return an edge with what is to be said of it."""
    verdict: Verdict = "ok" if edge.answer is True else "unknown"
    return EdgePlan(
        giver=edge.giver,
        taker=edge.taker,
        gives=edge.gives,
        takes=edge.takes,
        verdict="mismatch" if edge.answer is False else verdict,
        why=edge.answer.why if isinstance(edge.answer, Unknown) else "",
    )


def _results(specs: Sequence[Spec]) -> str | None:
    side = leaving(specs[-1], last=True)
    words = "nothing" if side.nothing else side.words
    if words is not None and any(spec.on_error == "emit_failure" for spec in specs):
        words += " | Failure"
    return words


def _place(spec: Spec) -> str:
    if spec.executor is None:
        return "event loop"
    return _PLACES[spec.executor] if isinstance(spec.executor, str) else _class(spec.executor)


def _batches(spec: BatchSpec) -> str:
    parts = [f"up to {spec.max_size}"]
    if spec.min_size > 1:
        parts.append(f"at least {spec.min_size}")
    if spec.max_weight is not None and spec.weight is not None:
        parts.append(f"{name_of(spec.weight)} {_number(spec.max_weight)} at most")
    if spec.by is not None:
        parts.append(f"one for each {name_of(spec.by)}")
    if spec.max_wait is not None:
        parts.append(f"after {exact_seconds_text(spec.max_wait)}")
    if spec.flush_when_idle:
        parts.append("when idle")
    if spec.drop_remainder:
        parts.append("the remainder dropped")
    return ", ".join(parts)


def _options(spec: Spec) -> Iterator[str]:
    if isinstance(spec, SingleSpec) and spec.key is not None:
        yield f"{spec.per_key} at once for each {name_of(spec.key)}"
    if spec.rate_limit is not None:
        rate = spec.rate_limit
        what = "calls" if spec.cost is None else "of its costs"
        seconds = "second" if rate.per == 1 else exact_seconds_text(rate.per)
        yield f"{_number(rate.rate)} {what} per {seconds}"
    if spec.retry_attempts > 1:
        yield f"{spec.retry_attempts} tries"
    if spec.timeout is not None:
        yield f"{exact_seconds_text(spec.timeout)} a try"
    if spec.error_handler is not None:
        handler = spec.error_handler
        yield f"errors handled by {name_of(handler) if callable(handler) else _class(handler)}"
    if spec.on_error != "fail":
        yield f"on_error={spec.on_error}"
    if spec.max_failures is not None:
        yield f"max_failures={spec.max_failures}"
    if spec.args or spec.kwargs:
        count = len(spec.args) + len(spec.kwargs)
        yield f"{count} side input{'s' if count > 1 else ''}"
    if isinstance(spec, SingleSpec) and spec.spread is not None:
        yield f"spread={spec.spread}"


def _mismatch(edge: Edge) -> str | None:
    if edge.answer is not False:
        return None
    return f"{edge.giver} gives {edge.gives}, and {edge.taker} takes {edge.takes}"


def _problems(specs: Sequence[Spec]) -> Iterator[str]:
    """Yield what a run is sure to fail with."""
    for spec in specs:
        if spec.misfit is not None:
            yield f"{spec.name} cannot be called with {spec.gets}: {spec.misfit}"
        if (wrong := wrong_batch(spec)) is not None:
            yield f"{spec.name} gets its batches as lists, and takes {wrong}"
        if _travels(spec):
            try:
                Parcel(spec.func, main=spec.executor != "interpreter").pack()
            except TypeError as error:
                yield f"{spec.name} cannot run in {spec.executor!r}: {error}"


def _warnings(specs: Sequence[Spec], context: PipelineContext) -> Iterator[str]:
    for spec in specs[:-1]:
        if leaving(spec, last=False).nothing:
            yield f"{spec.name} gives nothing, so nothing reaches the tasks behind it"
    most = context.max_parallelism
    for spec in specs:
        limit = spec.concurrency_limit
        if most is not None and limit is not None and limit > most and not math.isinf(limit):
            yield (
                f"{spec.name} may run {_number(limit)} at once by its concurrency_limit, "
                f"and the whole run {most} by max_parallelism"
            )
    names = [spec.name for spec in specs]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"{names.count(name)} tasks are called {name}: task_name tells them apart"


def _travels(spec: Spec) -> bool:
    """Whether the function is sent by pickling it."""
    return spec.executor in ("process", "interpreter") or (
        _class(spec.executor) == "ProcessPoolExecutor"
    )


def _class(thing: object) -> str:
    return type(thing).__name__


def _number(value: float) -> str:
    return f"{value:g}"
