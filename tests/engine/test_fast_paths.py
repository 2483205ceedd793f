"""Every fast path and its slow twin run the same cases.

What is usual goes a way of its own through the engine, and the rest of it another. So each case
runs with all fast paths there, without each, and without all of them, and every time gives what
plain Python makes of it: results, order, errors, and what the statistics say in the end.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from _helpers import all_blocked
from conveyor import (
    Failure,
    Instrument,
    Pipeline,
    StageStatistics,
    Stream,
    StreamStatistics,
    Task,
    batch_task,
    single_task,
)
from conveyor import _stream as stream_module
from conveyor._engine import stage as stage_module
from conveyor._engine.calls.caller import Caller, Tries
from conveyor._engine.loop import turn as turn_module
from conveyor._engine.loop.turn import SLICE
from conveyor._engine.run import Run
from conveyor._engine.source import Source
from conveyor._engine.stage import Stage, Worker

# The fast paths, and how each is shut


class Restless(Worker):
    """Whose function might have been suspended each time, for all the stage knows."""

    __slots__ = ()
    suspended = property(lambda self: True, lambda self, value: None)  # type: ignore[assignment]


start = Stream._start


def start_watched(stream: Stream[Any], *state: Any) -> Run:
    """Start a run with an instrument, that does nothing."""
    stream._context = replace(stream._context, instruments=(Instrument,))
    return start(stream, *state)


FAST_PATHS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "flowing": lambda patch: patch.setattr(stage_module, "Worker", Restless),
    "taking": lambda patch: patch.setattr(Stream, "__anext__", Stream._next),
    "filling": lambda patch: patch.setattr(Source, "_read_ready", Source._read_sync),
    "bare calls": lambda patch: patch.setattr(Caller, "is_bare", False),
    "unwatched": lambda patch: patch.setattr(Stream, "_start", start_watched),
}
SHUT: list[tuple[str, ...]] = [(), *((name,) for name in FAST_PATHS), tuple(FAST_PATHS)]

# How fast time flies, as it decides how often others are let run: never, at every turn, or truly.
CLOCKS: dict[str, Callable[[], Callable[[], float]] | None] = {
    "still": lambda: lambda: 0.0,
    "hurried": lambda: (SLICE / 3 * tick for tick in itertools.count()).__next__,
    "true": None,
}


def set_clock(patch: pytest.MonkeyPatch, name: str) -> None:
    make = CLOCKS[name]
    if make is not None:
        clock = make()
        for module in stream_module, stage_module, turn_module:
            patch.setattr(module, "perf_counter", clock)


# What stages do


class Bad(Exception):  # noqa: N818 - short, as it stands in every test
    """What a stage or an input raises."""


class Many(list[Any]):
    """A list of another type."""


class Ready:
    """An awaitable that is no coroutine."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from checkpoint().__await__()
        return self.value


async def streaming(values: Iterable[Any]) -> AsyncIterator[Any]:
    for value in values:
        yield value
        await checkpoint()


def plus(item: int) -> int:
    return item + 1


def odd(item: int) -> int | None:
    return item if item % 2 else None


def copies(item: int) -> list[int | None]:
    return [item, None, item + 1][: item % 4]


def many(item: int) -> Many:
    return Many(copies(item))


def given(item: int) -> Iterator[int | None]:
    yield from copies(item)


def bad(item: int) -> int:
    if item % 5 == 3:
        raise Bad(item)
    return item


def fatal(item: int) -> int:
    if item == 13:
        raise Bad(item)
    return item


def late(item: int) -> Iterator[int]:
    yield item
    yield bad(item)


def each(items: list[int]) -> list[int | None]:
    return [odd(item) for item in items]


def together(items: list[int]) -> int:
    return sum(map(bad, items))


def some(items: list[int]) -> list[int]:
    return [bad(item) for item in items]


@dataclass(frozen=True)
class Step:
    """A stage: what it does in plain Python, and what is made of that for the pipeline."""

    does: Callable[[Any], Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    wrap: Callable[[Any], Any] | None = None

    @property
    def size(self) -> int:
        """Of its batches, 0 if it is no batch stage."""
        return self.options.get("max_size", 0)

    @property
    def on_error(self) -> str:
        return self.options.get("on_error", "fail")

    @property
    def flaky(self) -> bool:
        """Whether the first try fails for every third item."""
        return "retry_attempts" in self.options


PIPELINES: dict[str, list[Step]] = {
    "one": [Step(plus)],
    "plain": [Step(plus), Step(plus), Step(plus)],
    "filter": [Step(odd), Step(plus), Step(odd)],
    "lists": [Step(copies), Step(plus), Step(copies)],
    "lists taken apart at the end": [Step(many), Step(copies, {"spread": True})],
    "generators": [Step(given), Step(plus), Step(given)],
    "async generators": [Step(given, wrap=streaming), Step(given, wrap=streaming), Step(plus)],
    "awaitables": [Step(plus), Step(odd, wrap=Ready), Step(plus)],
    "fail": [Step(plus), Step(fatal), Step(plus)],
    "skip": [Step(plus), Step(bad, {"on_error": "skip_item"}), Step(plus)],
    "failures": [
        Step(bad, {"on_error": "emit_failure"}),
        Step(plus),
        Step(late, {"on_error": "emit_failure"}),
        Step(plus),
    ],
    "retries": [Step(plus), Step(bad, {"retry_attempts": 2, "on_error": "skip_item"}), Step(plus)],
    "batches": [Step(plus), Step(each, {"max_size": 3}), Step(plus)],
    "batches in time": [
        Step(plus),
        Step(each, {"max_size": 4, "max_wait": 1000}),
        Step(plus),
        Step(some, {"max_size": 3, "max_wait": 0, "on_error": "skip_item"}),
    ],
    "bad batches": [
        Step(bad, {"on_error": "emit_failure"}),
        Step(plus),
        Step(together, {"max_size": 2, "on_error": "emit_failure"}),
        Step(some, {"max_size": 3, "on_error": "skip_batch"}),
    ],
}


# In plain Python


@dataclass
class Outcome:
    """What comes of a run; in the statistics, what does not depend on the moment."""

    results: list[Any]
    error: Any
    stages: list[StageStatistics]


def model(steps: list[Step], items: list[Any], error: Any) -> Outcome:
    """Do it one stage after the other. `error` is what the input ends in."""
    stages = []
    values = items
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        values, failed, counts = model_step(step, f"step{index}", values, last=last)
        error = failed or error
        stages.append(StageStatistics(f"step{index}", **counts))
    return Outcome(values, error, stages)


def model_step(
    step: Step, name: str, values: list[Any], *, last: bool
) -> tuple[list[Any], Any, Counter[str]]:
    results: list[Any] = []
    counts: Counter[str] = Counter(emitted=0)
    spread = bool(step.size) or step.options.get("spread", not last)

    def give(value: Any) -> None:
        counts["filtered" if value is None else "emitted"] += 1
        if value is not None:
            results.append(value)

    def call(unit: Any, size: int) -> None:
        counts["retried"] += step.flaky and (unit % 3 == 0 or unit % 5 == 3)
        try:
            result = step.does(unit)
            counts["generators"] += isinstance(result, Iterator)
            if isinstance(result, Iterator) or (spread and isinstance(result, list)):
                for value in result:
                    give(value)
            else:
                give(result)
        except Bad as error:
            if step.on_error == "skip_item" and size > 1:
                call(unit[: size // 2], size // 2)
                call(unit[size // 2 :], size - size // 2)
                return
            counts["failed"] += size
            if step.on_error == "fail":
                raise
            if step.on_error == "emit_failure":
                results.append(("failure", unit, error.args, name))
            else:
                counts["skipped"] += size

    batch: list[Any] = []
    try:
        for value in values:
            if isinstance(value, tuple):  # a failure passes
                results.append(value)
                continue
            counts["received"] += 1
            if not step.size:
                call(value, 1)
                continue
            batch.append(value)
            if len(batch) == step.size:
                full, batch = batch, []
                call(full, len(full))
        if batch:
            call(batch, len(batch))
    except Bad as error:
        return results, ("error", error.args), counts
    return results, None, counts


# The real thing


@dataclass(frozen=True)
class Setting:
    """Everything around the stages."""

    suspends: str
    source: str
    count: int
    buffer_size: int
    limit: int
    mode: str
    max_parallelism: int | None
    stop: tuple[str, int] | None
    pauses: bool
    looks: bool
    clock: str

    @property
    def items(self) -> list[int]:
        return list(range(self.count))

    @property
    def ending(self) -> Any:
        """What the input ends in."""
        return ("error", ("input",)) if self.source == "broken generator" else None

    def data(self) -> Any:
        items = self.items
        match self.source:
            case "list" | "tuple" | "set" | "frozenset":
                return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[
                    self.source
                ](items)
            case "range":
                return range(self.count)
            case "dict":
                return dict.fromkeys(items)
            case "own list":
                return Many(items)
            case "generator":
                return (item for item in items)
            case "broken generator":
                return self.broken()
            case "async generator":
                return self.slowly()

    def broken(self) -> Iterator[int]:
        yield from self.items
        raise Bad("input")

    async def slowly(self) -> AsyncIterator[int]:
        for item in self.items:
            if item % 3 == 0:
                await checkpoint()
            yield item


CHOICES: dict[str, list[Any]] = {
    "suspends": ["def", "never", "sometimes", "always"],
    "source": [
        "list", "tuple", "range", "dict", "set", "frozenset",
        "own list", "generator", "broken generator", "async generator",
    ],
    "count": [0, 1, 7, 45],
    "buffer_size": [1, 2, 3, 10, 100],
    "limit": [1, 2, 100],
    "mode": ["ordered", "as_completed"],
    "max_parallelism": [None, None, None, 1, 2],
    "stop": [None, None, ("consumer", 1), ("consumer", 5), ("function", 1), ("function", 6)],
    "pauses": [False, True],
    "looks": [False, True],
    "clock": list(CLOCKS),
}  # fmt: skip


def settings_for(name: str, count: int) -> list[Setting]:
    """Draw settings, always the same ones, that together have all there is to choose from."""
    random = Random(name)
    columns = []
    for choices in CHOICES.values():
        rows = choices * -(-count // len(choices))
        random.shuffle(rows)
        columns.append(rows[:count])
    return [Setting(*row) for row in zip(*columns, strict=True)]


class Case:
    """One run, that looks at its own statistics if it is to."""

    def __init__(self, steps: list[Step], setting: Setting) -> None:
        self.steps = steps
        self.setting = setting
        self.calls = [0] * len(steps)
        self.got = 0
        tasks = [self.task(index, step) for index, step in enumerate(steps)]
        pipeline: Pipeline[Any, Any] = Pipeline(*tasks).with_context(
            buffer_size=setting.buffer_size,
            execution_mode=setting.mode,
            max_parallelism=setting.max_parallelism,
        )
        self.stream = pipeline(setting.data())

    def task(self, index: int, step: Step) -> Task[Any, Any]:
        setting = self.setting
        tried: set[Any] = set()
        wrap = step.wrap

        def now(unit: Any) -> Any:
            self.called(index)
            if step.flaky and unit % 3 == 0 and unit not in tried:
                tried.add(unit)
                raise Bad(unit)
            return step.does(unit) if wrap is None else wrap(step.does(unit))

        async def never(unit: Any) -> Any:
            return now(unit)

        async def later(unit: Any) -> Any:
            if setting.suspends == "always" or (unit if step.size == 0 else len(unit)) % 3 == 1:
                await checkpoint()
            return now(unit)

        options = {"task_name": f"step{index}", "concurrency_limit": setting.limit, **step.options}
        if step.flaky:
            options["retry_delay"] = 0
        decorate: Any = batch_task(**options) if step.size else single_task(**options)
        return decorate({"def": now, "never": never}.get(setting.suspends, later))

    def called(self, index: int) -> None:
        """Note a call; look around, and stop, from inside of it."""
        self.calls[index] += 1
        setting, step = self.setting, self.steps[index]
        if index == 0 and setting.stop == ("function", self.calls[index]):
            self.stream.stop()
        if not setting.looks:
            return
        self.look()
        stage = self.stream.statistics().stages[index]
        assert 1 <= stage.running <= setting.limit
        if step.size or step.flaky or setting.max_parallelism is not None:
            return
        if setting.suspends in ("def", "never"):
            # Whatever the function was given before has left the stage, to the last item.
            assert stage.received == self.calls[index]
            if step.does in (plus, odd, bad, fatal) and step.wrap is None:
                assert stage.running == 1
                assert stage.emitted + stage.filtered + stage.failed == self.calls[index] - 1

    def look(self) -> None:
        """Look whether the counters fit together, at whatever moment."""
        statistics = self.stream.statistics()
        stages = statistics.stages
        inside = [(stage.received, stage.queued) for stage in stages[1:]]
        inside.append((self.got, statistics.queued))
        passing = self.setting.ending is not None or any(
            step.on_error in ("fail", "emit_failure") and step.does in (bad, fatal, late, together)
            for step in self.steps
        )
        for stage, (received, queued) in zip(stages, inside, strict=True):
            assert 0 <= queued <= self.setting.buffer_size
            if passing:  # failures and errors travel with the items, and count where they wait
                assert stage.emitted <= received + queued
            else:
                assert stage.emitted == received + queued

    def look_for_calls(self) -> None:
        """Look, from outside, whether a call is said to run though none can."""
        if self.setting.suspends in ("def", "never") and self.setting.max_parallelism is None:
            for step, stage in zip(self.steps, self.stream.statistics().stages, strict=True):
                if step.does not in (given, late) and step.wrap is None and not step.flaky:
                    assert stage.running == 0

    async def run(self) -> Outcome:
        results: list[Any] = []
        error: Any = None
        try:
            async for result in self.stream:
                is_failure = isinstance(result, Failure)
                self.got += not is_failure
                if is_failure:
                    assert result.attempts == 1
                    result = ("failure", result.item, result.error.args, result.task_name)
                results.append(result)
                if self.setting.looks:
                    self.look()
                    self.look_for_calls()
                if self.setting.pauses and len(results) % 3 == 1:
                    await all_blocked(20)
                if self.setting.stop == ("consumer", len(results)):
                    self.stream.stop()
        except Bad as raised:
            error = ("error", raised.args)
        statistics = self.stream.statistics()
        check_times(statistics)
        return Outcome(results, error, list(statistics.stages))

    def check(self, outcome: Outcome) -> None:
        """Compare with the model."""
        setting, steps = self.setting, self.steps
        items, ending = setting.items, setting.ending
        grouped = together in [step.does for step in steps]  # whose sums depend on who meets whom
        if setting.mode == "as_completed" and outcome.error is not None:
            # Whichever error comes first, after some of the results.
            patient = [
                replace(step, options={"on_error": "skip_item", **step.options}) for step in steps
            ]
            assert outcome.error in (ending, model(steps, items, ending).error)
            everything = model(patient, items, None).results
            assert grouped or counted(outcome.results) <= counted(everything)
            return
        if setting.stop is not None and outcome.error is None:
            # How many were read by then is the engine's affair. Not one of these is lost.
            everything = len(model(steps, items, ending).results)
            items, ending = items[: outcome.stages[0].received], None
            by, when = setting.stop
            if by == "function":
                assert len(items) >= min(setting.count, when)
            else:  # of an item there may be several results, or none
                assert len(outcome.results) >= min(everything, when)
        expected = model(steps, items, ending)
        assert outcome.error == expected.error
        if setting.mode == "ordered":
            assert outcome.results == expected.results
        elif not grouped:
            assert counted(outcome.results) == counted(expected.results)
        if expected.error is None and (setting.mode == "ordered" or not grouped):
            counts = [counters(stage) for stage in outcome.stages]
            assert counts == [counters(stage) for stage in expected.stages]
        for step, stage in zip(steps, outcome.stages, strict=True):
            if step.does in (plus, odd, copies, many) and not stage.cancelled:
                assert stage.latency.count == stage.received + stage.retried


def check_times(run: StreamStatistics) -> None:
    """Compare what was measured with what must hold of it, whatever the times were."""
    most = run.elapsed + 1e-6
    assert run.consumer_waited <= most
    for stage in run.stages:
        assert 0 <= stage.full <= stage.busy
        assert stage.starved >= 0
        assert stage.blocked >= 0
        assert stage.busy + stage.starved + stage.blocked <= most
        assert 0 <= stage.held <= stage.occupied + 1e-6
        assert stage.occupied <= stage.slots * most
        assert stage.latency.longest <= most


def counters(stage: StageStatistics) -> dict[str, Any]:
    """Return what the model knows: no times, and not the batches, where time makes them."""
    own = ("slots", "latency", "batches")
    return {
        name: value
        for name, value in asdict(stage).items()
        if not isinstance(value, float) and name not in own
    }


def counted(results: list[Any]) -> Counter[str]:
    return Counter(map(repr, results))  # as some are lists


@pytest.mark.parametrize("name", PIPELINES)
async def test_it_is_the_same_with_and_without_the_fast_paths(name: str) -> None:
    for setting in settings_for(name, 12):
        for shut in SHUT:
            with pytest.MonkeyPatch.context() as patch:
                set_clock(patch, setting.clock)
                for path in shut:
                    FAST_PATHS[path](patch)
                case = Case(PIPELINES[name], setting)
                outcome = await case.run()
            try:
                case.check(outcome)
            except AssertionError as error:
                error.add_note(f"{setting} without {shut}: {outcome}")
                raise


# Each is taken where it may be, and there alone


@pytest.fixture
def still_clock() -> Iterator[pytest.MonkeyPatch]:
    """So that it does not depend on the machine's speed when others are let run."""
    with pytest.MonkeyPatch.context() as patch:
        set_clock(patch, "still")
        yield patch


def count_calls(patch: pytest.MonkeyPatch, owner: type, name: str) -> list[int]:
    calls: list[int] = []
    function = getattr(owner, name)

    def counted(*args: Any) -> Any:
        calls.append(1)
        return function(*args)

    patch.setattr(owner, name, counted)
    return calls


async def answer(item: Any) -> Any:
    return item


async def suspending(item: Any) -> Any:
    await checkpoint()
    return item


def nothing(item: Any) -> None:
    return None


def listed(item: Any) -> list[Any]:
    return [item]


@pytest.mark.parametrize("mode", ["ordered", "as_completed"])
@pytest.mark.parametrize(
    ("function", "flows"),
    [(plus, True), (answer, True), (suspending, False), (nothing, True)],
)
async def test_what_does_not_suspend_flows(
    still_clock: pytest.MonkeyPatch, function: Any, flows: bool, mode: str
) -> None:
    flow = Stage._flow
    flowed: Counter[str] = Counter()

    async def counted(stage: Stage, *args: Any) -> Any:
        before = len(stage._inlet)
        try:
            return await flow(stage, *args)
        finally:
            flowed[stage.spec.name] += before - len(stage._inlet)

    still_clock.setattr(Stage, "_flow", counted)
    head = single_task(task_name="head")(plus)
    work = single_task(task_name="work", concurrency_limit=1)(function)
    pipeline = (head | work).with_execution_mode(mode)
    await pipeline(range(100)).drain()
    # With the first item it shows that a function suspends.
    assert flowed == {"head": 100, "work": 100 if flows else 1}
    before = flowed.copy()
    FAST_PATHS["flowing"](still_clock)
    await pipeline(range(100)).drain()
    assert flowed == before


@pytest.mark.parametrize(
    ("task", "calls"),
    [
        (batch_task(max_size=2)(listed), 0),
        (single_task(spread=True)(listed), 99),  # each leaves the flow, and is dealt with slowly
        (single_task(listed), 1),
    ],
    ids=["batches", "spread lists", "lists"],
)
async def test_what_has_to_be_dealt_with_does_not_flow(
    still_clock: pytest.MonkeyPatch, task: Task[Any, Any], calls: int
) -> None:
    counted = count_calls(still_clock, Stage, "_flow")
    assert len(await task(range(100)).collect()) == (50 if calls == 0 else 100)
    assert len(counted) == calls


async def test_what_is_ready_is_taken_without_a_detour(still_clock: pytest.MonkeyPatch) -> None:
    calls = count_calls(still_clock, Stream, "_next")
    assert await single_task(plus)(range(1000)).collect() == list(range(1, 1001))
    assert 1 < len(calls) < 100
    calls.clear()
    with pytest.MonkeyPatch.context() as patch:
        FAST_PATHS["taking"](patch)
        await single_task(plus)(range(1000)).drain()
        assert len(calls) == 1001


async def test_who_takes_for_long_lets_others_run() -> None:
    with pytest.MonkeyPatch.context() as patch:
        set_clock(patch, "hurried")
        calls = count_calls(patch, Stream, "_next")
        async with single_task(plus).with_context(buffer_size=900)(range(900)) as stream:
            await anext(stream)
            await all_blocked(1000)  # all the others are there by now
            calls.clear()
            assert [item async for item in stream] == list(range(2, 901))
    assert 200 < len(calls) < 500


@pytest.mark.parametrize(
    ("data", "ready"),
    [
        (list, True),
        (tuple, True),
        (dict.fromkeys, True),
        (set, True),
        (frozenset, True),
        (lambda items: items, True),  # a range
        (Many, False),
        (Counter, False),
        (iter, False),
        (reversed, False),
        (lambda items: (item for item in items), False),
    ],
)
async def test_built_in_containers_fill_the_link(data: Callable[[range], Any], ready: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fills = count_calls(patch, Source, "_read_ready")
        reads = count_calls(patch, Source, "_read_sync")
        assert sorted(await single_task(plus)(data(range(1, 3))).collect()) == [2, 3]
    assert [len(fills), len(reads)] == ([1, 0] if ready else [0, 1])


@pytest.mark.parametrize(
    ("options", "most", "tries"),
    [({}, None, 0), ({"retry_attempts": 2}, None, 9), ({"timeout": 1}, None, 9), ({}, 1, 9)],
)
async def test_without_anything_around_it_the_bare_function_is_called(
    options: dict[str, Any], most: int | None, tries: int
) -> None:
    pipeline = single_task(**options)(answer).with_context(max_parallelism=most)
    with pytest.MonkeyPatch.context() as patch:
        calls = count_calls(patch, Tries, "result")
        await pipeline(range(9)).drain()
    assert len(calls) == tries


# What takes a fast path by surprise

shut_or_not = pytest.mark.parametrize("shut", [(), tuple(FAST_PATHS)], ids=["fast", "slow"])


@pytest.fixture
def paths(shut: tuple[str, ...]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for path in shut:
            FAST_PATHS[path](patch)
        yield


@shut_or_not
@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize("buffer_size", [1, 2, 3])
async def test_a_container_that_changes_while_it_is_read(buffer_size: int) -> None:
    data = dict.fromkeys(range(7))

    @single_task
    def work(item: int) -> int:
        if item == 0:
            data[100] = None
        return item

    stream = work.with_context(buffer_size=buffer_size)(data)
    results = []
    with pytest.raises(RuntimeError, match="changed size") as caught:
        async for item in stream:
            results.append(item)
    (stage,) = stream.statistics().stages
    assert results == list(range(stage.received))
    assert caught.value.__notes__ == [f"input, item {stage.received}"]


@shut_or_not
@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize("buffer_size", [1, 2, 3])
async def test_a_container_is_read_no_further_when_it_is_told_to_stop(buffer_size: int) -> None:
    @single_task(concurrency_limit=1)
    async def work(item: int) -> int:
        if item == 10:
            stream.stop()
        await checkpoint()
        return item

    stream = work.with_context(buffer_size=buffer_size)(range(100))
    results = await stream.collect()
    # What was read stands in front of the stage; or is in hand, if it is read one by one.
    assert 11 <= len(results) <= 11 + buffer_size + 1
    assert results == list(range(len(results)))


class Ended(BaseException):
    """What no policy handles."""


@shut_or_not
@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize("buffer_size", [1, 2, 10, 100])
async def test_what_ends_a_run_at_once_leaves_the_counters_right(buffer_size: int) -> None:
    for last in range(0, 40, 3):

        @single_task(concurrency_limit=1)
        async def work(item: int, last: int = last) -> int:
            if item == last:
                raise Ended
            if item % 7 == 3:
                await checkpoint()
            return item

        stream = work.with_context(buffer_size=buffer_size)(range(100))
        with pytest.raises(Ended):
            await stream.drain()
        (stage,) = stream.statistics().stages
        assert (stage.received, stage.emitted) == (last + 1, last)


@shut_or_not
@pytest.mark.usefixtures("paths")
async def test_a_function_may_take_results_of_its_own_stream() -> None:
    taken: list[int] = []

    @single_task(concurrency_limit=1)
    async def work(item: int) -> int:
        if item in (5, 6, 10):
            taken.append(await anext(stream))
        return item

    stream = work(range(20))
    async with stream:
        await all_blocked()
        assert taken == [0, 1, 2]
        assert [item async for item in stream] == list(range(3, 20))
