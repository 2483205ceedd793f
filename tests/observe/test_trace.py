"""What a trace shows of a run, and that the file is one that viewers read."""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import re
import weakref
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import pytest

from _helpers import error_of, in_both_modes, passing, unread
from conveyor import (
    ExecutionMode,
    RunInfo,
    StageInfo,
    StageStatistics,
    Stream,
    StreamStatistics,
    Trace,
    batch_task,
    record_trace,
    single_task,
)
from conveyor._observe.trace.events import REMEMBERED, Recorder

Event = dict[str, Any]

virtual_time = pytest.mark.virtual_time


@single_task(concurrency_limit=2)
async def waiting(seconds: float) -> float:
    await anyio.sleep(seconds)
    return seconds


@single_task
async def quarter(item: Any) -> Any:
    """Give what it gets, after a quarter of a second."""
    await anyio.sleep(0.25)
    return item


# --- reading a trace


def check(events: Iterable[Event]) -> None:
    """See that every event has what its kind needs, and that they fit together."""
    lanes: dict[int, str] = {}
    slices: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    flows: defaultdict[int, list[Event]] = defaultdict(list)
    for event in events:
        assert event["ph"] in "MXsfCi", event
        assert event["pid"] == 1
        assert type(event["tid"]) is int
        assert type(event["ts"]) is int
        assert event["ts"] >= 0
        assert type(event["name"]) is str
        match event["ph"]:
            case "M" if event["name"] == "thread_name":
                assert event["tid"] not in lanes
                lanes[event["tid"]] = event["args"]["name"]
            case "X":
                assert type(event["dur"]) is int
                assert event["dur"] >= 0
                slices[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
            case "s" | "f":
                flows[event["id"]].append(event)
            case "C":
                assert all(type(value) is int for value in event["args"].values())
    assert len(set(lanes.values())) == len(lanes)
    assert slices.keys() <= lanes.keys()
    for lane in slices.values():
        open_: list[int] = []  # the ends of the slices around
        for start, end in sorted(lane, key=lambda times: (times[0], -times[1])):
            while open_ and open_[-1] <= start:
                open_.pop()
            assert not open_ or end <= open_[-1], "slices cross"
            open_.append(end)
    for start, end in flows.values():
        if start["ph"] == "f":  # written first, as the slice where it starts ends later
            start, end = end, start
        assert (start["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert start["ts"] <= end["ts"]
        for flow in start, end:
            assert any(a <= flow["ts"] <= b for a, b in slices[flow["tid"]])


def lane_names(events: Iterable[Event]) -> dict[int, str]:
    return {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}


def shown(events: list[Event], category: str = "call") -> list[tuple[str, str, float, float]]:
    """Return the slices of a kind: lane, name, start and end in seconds, as they begin."""
    lanes = lane_names(events)
    found = [
        (lanes[e["tid"]], e["name"], e["ts"] / 1e6, (e["ts"] + e["dur"]) / 1e6)
        for e in events
        if e.get("cat") == category
    ]
    return sorted(found, key=lambda entry: (entry[2], entry[0]))


def arrows(events: list[Event]) -> Counter[tuple[str, str]]:
    """Return from which slice to which there are arrows, as `stage: name`."""

    def at(place: int) -> str:
        # As a viewer finds it: among slices that last no time, it is the one just before.
        flow = events[place]
        found = [
            e
            for e in (*reversed(events[:place]), *events[place:])
            if e.get("cat") in ("call", "result") and e["tid"] == flow["tid"]
            if e["ts"] <= flow["ts"] <= e["ts"] + max(e["dur"] - 1, 0)
        ]
        return f"{found[0]['args'].get('stage', 'consumer')}: {found[0]['name']}"

    starts = {e["id"]: at(place) for place, e in enumerate(events) if e["ph"] == "s"}
    ends = {e["id"]: at(place) for place, e in enumerate(events) if e["ph"] == "f"}
    assert ends.keys() == starts.keys()
    return Counter((starts[number], ends[number]) for number in starts)


def read(path: Path) -> list[Event]:
    found = json.loads(path.read_text("utf-8"))
    assert found.keys() == {"traceEvents", "displayTimeUnit"}
    events: list[Event] = found["traceEvents"]
    check(events)
    return events


@pytest.fixture(autouse=True)
def never_complaining(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An instrument that fails is logged, and told no more: here none may."""
    yield
    for when in ("setup", "call"):
        assert not [r for r in caplog.get_records(when) if "is told no more" in r.getMessage()]


async def traced(stream: Stream[Any]) -> list[Event]:
    """Run a stream to its end, and return the events."""
    with record_trace(stream) as trace:
        await stream.drain()
    check(trace.events)
    return trace.events


# --- what it shows


@virtual_time
async def test_calls_are_slices_in_the_lanes_of_their_slots() -> None:
    assert shown(await traced(waiting([0.5, 0.25, 0.5, 1]))) == [
        ("1. waiting, slot 0", "item 0", 0, 0.5),
        ("1. waiting, slot 1", "item 1", 0, 0.25),
        ("1. waiting, slot 1", "item 2", 0.25, 0.75),
        ("1. waiting, slot 0", "item 3", 0.5, 1.5),
    ]


@virtual_time
@in_both_modes
async def test_deliveries_have_a_lane_of_their_own(mode: str) -> None:
    events = await traced(waiting.with_execution_mode(mode)([1, 0.5, 0.25]))
    times = {"ordered": [1, 1, 1], "as_completed": [0.5, 0.75, 1]}[mode]
    assert shown(events, "result") == [
        ("consumer", f"result {number}", time, time) for number, time in enumerate(times)
    ]
    whose = [e["args"]["from"] for e in events if e.get("cat") == "result"]
    assert whose == {"ordered": [[0], [1], [2]], "as_completed": [[1], [2], [0]]}[mode]


async def test_the_run_its_mode_and_its_lanes_have_names_and_an_order() -> None:
    pipeline = passing | waiting.with_options(concurrency_limit=math.inf)
    events = await traced(pipeline.with_context(pipeline_id="tuesday")([0, 0]))
    described = {
        (e["name"], e["tid"]): next(iter(e["args"].values())) for e in events if e["ph"] == "M"
    }
    assert described["process_name", 0] == "run tuesday"
    assert described["process_labels", 0] == "ordered"
    lanes = sorted(lane_names(events).items())
    assert [name for _, name in lanes] == [
        "1. passing, slot 0",
        "2. waiting, slot 0",
        *["2. waiting, slot 1"][: len(lanes) - 3],
        "consumer",
    ]
    for lane, _ in lanes:
        assert described["thread_sort_index", lane] == lane


@virtual_time
@in_both_modes
async def test_arrows_follow_an_item_through_the_stages_to_its_delivery(mode: str) -> None:
    events = await traced((waiting | quarter).with_execution_mode(mode)([1, 0.5]))
    second, first = {"ordered": (1, 0), "as_completed": (0, 1)}[mode]
    assert arrows(events) == {
        ("waiting: item 0", f"quarter: item {first}"): 1,
        ("waiting: item 1", f"quarter: item {second}"): 1,
        ("quarter: item 0", "consumer: result 0"): 1,
        ("quarter: item 1", "consumer: result 1"): 1,
    }


@virtual_time
async def test_an_arrow_starts_where_its_slice_ends() -> None:
    events = await traced(waiting([1, 0.5]))
    times = [(e["ph"], e["ts"]) for e in events if e["ph"] in "sf"]
    assert sorted(times) == [("f", 1_000_000)] * 2 + [("s", 499_999), ("s", 999_999)]


@single_task
def odd(number: int) -> int | None:
    return number if number % 2 else None


@single_task
def twice(number: int) -> list[int]:
    return [number, number]


@single_task
async def counting(number: int) -> AsyncIterator[int]:
    for value in range(number):
        yield value


@virtual_time
@in_both_modes
async def test_numbers_are_those_of_the_stage_and_from_tells_those_of_the_input(mode: str) -> None:
    events = await traced((odd | twice | passing).with_execution_mode(mode)(range(4)))
    of = {
        (e["args"]["stage"], *e["args"]["items"]): e["args"]["from"]
        for e in events
        if e.get("cat") == "call"
    }
    assert {key: value for key, value in of.items() if key[0] != "odd"} == {
        ("twice", 0): [1],
        ("twice", 1): [3],
        ("passing", 0): [1],
        ("passing", 1): [1],
        ("passing", 2): [3],
        ("passing", 3): [3],
    }
    assert [e["args"]["from"] for e in events if e.get("cat") == "result"] == [[1], [1], [3], [3]]
    assert arrows(events).total() == 10


@virtual_time
async def test_a_batch_is_one_slice_with_an_arrow_from_each_item() -> None:
    @batch_task(max_size=2)
    async def pairs(numbers: list[int]) -> list[int]:
        await anyio.sleep(1)
        return numbers

    events = await traced((quarter | pairs)(range(3)))
    calls = [e for e in events if e.get("cat") == "call" and e["args"]["stage"] == "pairs"]
    assert [(e["name"], e["args"]["items"], e["args"]["from"]) for e in calls] == [
        ("items 0 to 1", [0, 1], [0, 1]),
        ("item 2", [2], [2]),
    ]
    assert lane_names(events)[calls[0]["tid"]] == "2. pairs"  # there is but one slot
    assert arrows(events) == {
        ("quarter: item 0", "pairs: items 0 to 1"): 1,
        ("quarter: item 1", "pairs: items 0 to 1"): 1,
        ("quarter: item 2", "pairs: item 2"): 1,
        ("pairs: items 0 to 1", "consumer: result 0"): 1,
        ("pairs: items 0 to 1", "consumer: result 1"): 1,
        ("pairs: item 2", "consumer: result 2"): 1,
    }


async def test_a_batch_by_key_names_its_items() -> None:
    @batch_task(max_size=8, by=lambda number: number % 2)
    async def by_key(numbers: list[int]) -> list[int]:
        return numbers

    events = await traced(by_key(range(14)))
    names = {e["name"] for e in events if e.get("cat") == "call"}
    assert names == {"items 0, 2, 4, 6, 8, 10, ...", "items 1, 3, 5, 7, 9, 11, ..."}


@virtual_time
async def test_the_values_of_a_generator_are_inside_its_slice() -> None:
    @single_task(concurrency_limit=1)
    async def slowly(count: int) -> AsyncIterator[int]:
        for value in range(count):
            await anyio.sleep(0.5)
            yield value

    events = await traced(slowly([2, 1]))
    assert shown(events) == [("1. slowly", "item 0", 0, 1), ("1. slowly", "item 1", 1, 1.5)]
    assert shown(events, "try") == [
        ("1. slowly", "value", 0, 0.5),
        ("1. slowly", "value", 0.5, 1),
    ]
    assert arrows(events)["slowly: item 0", "consumer: result 1"] == 1


@virtual_time
async def test_tries_are_inside_the_slice_of_their_item() -> None:
    tried: list[int] = []

    @single_task(concurrency_limit=1, retry_attempts=3, retry_delay=1, retry_jitter=False)
    async def third_time(number: int) -> int:
        await anyio.sleep(0.25)
        tried.append(number)
        if number and tried.count(number) < 3:
            raise ValueError("not yet\nand more")
        return number

    events = await traced(third_time([0, 1]))
    assert shown(events) == [
        ("1. third_time", "item 0", 0, 0.25),
        ("1. third_time", "item 1", 0.25, 4),
    ]
    assert shown(events, "try") == [
        ("1. third_time", "try 1", 0.25, 0.5),
        ("1. third_time", "try 2", 1.5, 1.75),
        ("1. third_time", "try 3", 3.75, 4),
    ]
    errors = [e["args"].get("error") for e in events if e.get("cat") == "try"]
    assert errors == ["ValueError: not yet", "ValueError: not yet", None]
    assert [e["args"].get("tries") for e in events if e.get("cat") == "call"] == [None, 3]


@virtual_time
async def test_items_that_failed_are_marked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    @single_task(on_error="skip_item")
    async def picky(number: int) -> int:
        await anyio.sleep(1)
        if number == 1:
            raise KeyError("secret"[:0])
        return number

    events = await traced(picky(range(2)))
    good, bad = sorted(
        (e for e in events if e.get("cat") == "call"), key=lambda e: e["args"]["items"]
    )
    assert (good["name"], good.get("cname")) == ("item 0", None)
    assert (bad["name"], bad["cname"]) == ("item 1 failed", "terrible")
    assert (bad["args"]["failed"], bad["args"]["error"]) == (1, "KeyError: ''")


@virtual_time
async def test_what_is_emitted_as_a_failure_is_marked_and_not_delivered_as_a_result() -> None:
    @single_task(on_error="emit_failure")
    async def picky(number: int) -> float:
        await anyio.sleep(1)
        return 1 / number

    events = await traced((picky | quarter)([1, 0, 1]))
    assert [e["name"] for e in events if e.get("cname") == "terrible"] == ["item 1 failed"]
    assert arrows(events) == {
        ("picky: item 0", "quarter: item 0"): 1,
        ("picky: item 2", "quarter: item 1"): 1,
        ("quarter: item 0", "consumer: result 0"): 1,
        ("quarter: item 1", "consumer: result 1"): 1,
    }


async def test_items_of_a_batch_may_fail_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    @batch_task(max_size=4, on_error="skip_item")
    async def picky(numbers: list[int]) -> list[int]:
        if 2 in numbers:
            raise ValueError("two")
        return numbers

    events = await traced(picky(range(4)))
    [call] = [e for e in events if e.get("cat") == "call"]
    assert (call["name"], call["args"]["failed"]) == ("items 0 to 3, 1 failed", 1)
    tries = [e["name"] for e in events if e.get("cat") == "try"]
    assert sorted(tries) == [
        "item 2, try 1",
        "item 3, try 1",
        "items 0 to 1, try 1",
        "items 2 to 3, try 1",
        "try 1",
    ]


async def test_what_fails_before_its_call_is_marked_where_it_would_have_run() -> None:
    @single_task(key=lambda number: 1 // number, on_error="emit_failure", concurrency_limit=1)
    async def keyed(number: int) -> int:
        return number

    events = await traced(keyed([0, 2]))
    marked = [e for e in events if "error" in e.get("args", ())]
    assert [(e["name"], e["args"]["items"]) for e in marked] == [("item 0 failed", [0])]
    assert {lane_names(events)[e["tid"]] for e in marked} == {"1. keyed"}


async def test_the_trace_of_a_run_that_failed_is_whole(tmp_path: Path) -> None:
    @single_task
    def fails(number: int) -> float:
        return 1 / (2 - number)

    path = tmp_path / "trace.json"
    stream = fails(range(5))

    async def run() -> None:
        with record_trace(stream, path):
            await stream.drain()

    assert type(await error_of(run())) is ZeroDivisionError
    events = read(path)
    [bad] = [e for e in events if e.get("cat") == "call" and "failed" in e["args"]]
    assert bad["name"] == "item 2 failed"
    [end] = [e for e in events if e["ph"] == "i"]
    assert (end["name"], end["s"]) == ("the run failed", "p")
    assert end["args"]["error"].startswith("ZeroDivisionError: ")


async def test_an_error_whose_text_fails_has_its_name() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    @single_task(on_error="emit_failure")
    def fails(number: int) -> int:
        raise SilentError

    [call] = [e for e in await traced(fails([1])) if e.get("cat") == "call"]
    assert call["args"]["error"] == "SilentError"


@virtual_time
async def test_what_was_cut_off_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    stream = waiting.with_options(concurrency_limit=3)([0.5, 8, 8])
    with record_trace(stream, path):
        async with stream:
            async for _ in stream:
                await anyio.sleep(0.5)
                break
    events = read(path)
    assert shown(events) == [
        ("1. waiting, slot 0", "item 0", 0, 0.5),
        ("1. waiting, slot 1", "item 1 cancelled", 0, 1),
        ("1. waiting, slot 2", "item 2 cancelled", 0, 1),
    ]
    assert {e["args"].get("cancelled") for e in events if e.get("cname") == "grey"} == {True}


@virtual_time
async def test_a_try_before_the_one_that_was_cut_off_is_shown() -> None:
    @single_task(retry_attempts=2, retry_delay=0, timeout=1)
    async def hangs(number: int) -> int:
        await anyio.sleep(9)
        return number

    stream = hangs([0])
    with record_trace(stream) as trace:
        with anyio.move_on_after(1.5):
            await stream.drain()
    check(trace.events)
    assert shown(trace.events) == [("1. hangs, slot 0", "item 0 cancelled", 0, 1.5)]
    assert shown(trace.events, "try") == [("1. hangs, slot 0", "try 1", 0, 1)]


@virtual_time
async def test_when_the_block_ends_before_the_run_recording_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = waiting([1, 2, 3])
    with record_trace(stream) as trace:
        await anext(stream)
    length = len(trace.events)
    assert [result async for result in stream] == [2, 3]
    assert len(trace.events) == length
    assert caplog.records == []
    check(trace.events)
    assert shown(trace.events) == [
        ("1. waiting, slot 0", "item 0", 0, 1),
        ("1. waiting, slot 1", "item 1 unfinished", 0, 1),
        ("1. waiting, slot 0", "item 2 unfinished", 1, 1),
    ]


async def test_a_run_that_starts_after_the_block_is_not_recorded() -> None:
    stream = passing([1])
    with record_trace(stream) as trace:
        pass
    assert await stream.collect() == [1]
    assert trace.events == []


@virtual_time
async def test_items_with_keys_follow_one_another() -> None:
    @single_task(key=lambda number: number % 2, concurrency_limit=3)
    async def keyed(number: int) -> int:
        await anyio.sleep(0.5)
        return number

    events = await traced((keyed | passing)(range(6)))
    calls = [e for e in events if e.get("cat") == "call" and e["args"]["stage"] == "keyed"]
    assert sorted(e["args"]["items"][0] for e in calls) == [*range(6)]
    assert sorted({e["ts"] for e in calls}) == [0, 500_000, 1_000_000]  # two keys, one at a time
    assert {lane_names(events)[e["tid"]] for e in calls} == {
        "1. keyed, slot 0",
        "1. keyed, slot 1",
    }
    assert arrows(events).total() == 12


@pytest.mark.real_time
async def test_calls_in_an_executor_are_slices_as_well() -> None:
    with ThreadPoolExecutor(2) as threads:
        cubed = single_task(lambda x: x**3, executor=threads, task_name="cubed")
        events = await traced(cubed([2, 3]))
    assert arrows(events) == {
        ("cubed: item 0", "consumer: result 0"): 1,
        ("cubed: item 1", "consumer: result 1"): 1,
    }


@virtual_time
async def test_what_is_queued_is_counted_every_now_and_then() -> None:
    one = waiting.with_options(concurrency_limit=1, task_name="one")
    events = await traced(one([0.001] * 12))
    counters = [e for e in events if e["ph"] == "C"]
    assert {e["name"] for e in counters} == {"1. one", "results"}
    queued = [(e["ts"], e["args"]["queued"]) for e in counters if e["name"] == "1. one"]
    times = [ts for ts, _ in queued]
    assert all(b - a >= 5000 for a, b in pairwise(times[:-1]))
    assert queued[0][1] == max(count for _, count in queued) >= 10
    assert queued[-1][1] == 0
    assert len(queued) >= 3


@pytest.mark.parametrize(
    "name", ["a | b", '"', "\\", "</script>", "größe", "\N{GRINNING FACE}", "a\nb", "\ud800", "\0"]
)
async def test_any_name_is_safe(tmp_path: Path, name: str) -> None:
    path = tmp_path / "trace.json"
    stream = passing.with_options(task_name=name).with_context(pipeline_id=name)([1])
    with record_trace(stream, path):
        await stream.drain()
    text = path.read_text("utf-8")
    assert not re.search(r"\\u[dD]8", text)  # Perfetto refuses halves of characters
    told = "".join(character if character.isprintable() else "?" for character in name)
    assert f"1. {told}, slot 0" in lane_names(read(path)).values()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_block_may_be_around_the_event_loop(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "trace.json"
    stream = passing([1, 2])
    with record_trace(stream, path):
        assert anyio.run(stream.collect, backend=backend) == [1, 2]
    assert sum(event.get("cat") == "result" for event in read(path)) == 2


@virtual_time
async def test_what_is_delivered_after_the_end_of_the_run_is_recorded() -> None:
    stream = passing([1, 2])
    with record_trace(stream) as trace:
        async for _ in stream:
            await anyio.sleep(1)
    check(trace.events)
    assert shown(trace.events, "result") == [
        ("consumer", "result 0", 0, 0),
        ("consumer", "result 1", 1, 1),
    ]
    assert [e["args"] for e in trace.events if e["name"] == "results"][-1] == {"queued": 0}


# --- where it goes


async def test_what_is_kept_in_memory_can_be_saved(tmp_path: Path) -> None:
    stream = passing([1, 2])
    with record_trace(stream) as trace:
        await stream.drain()
    assert trace.path is None
    assert repr(trace) == f"<Trace: {len(trace.events)} events>"
    trace.save(tmp_path / "saved.json")
    assert read(tmp_path / "saved.json") == trace.events


async def test_a_file_has_one_event_a_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    stream = passing([1, 2])
    with record_trace(stream, str(path)) as trace:
        await stream.drain()
        assert not path.exists()
    assert (trace.path, trace.events) == (str(path), [])
    assert repr(trace) == f"<Trace: in {str(path)!r}>"
    first, *lines, last = path.read_text("utf-8").splitlines()
    assert (first, last) == ('{"traceEvents": [', '], "displayTimeUnit": "ms"}')
    assert [json.loads(line.removesuffix(",")) for line in lines] == read(path)
    assert os.listdir(tmp_path) == ["trace.json"]  # noqa: PTH208
    with pytest.raises(RuntimeError, match=r"is written to .*trace\.json', and not kept"):
        trace.save(tmp_path / "other.json")


async def test_a_stream_that_never_starts_leaves_a_trace_without_events(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    stream = passing([1])
    with record_trace(stream, path):
        await stream.aclose()
    assert read(path) == []
    Trace().save(path)
    assert read(path) == []


@pytest.mark.parametrize("path", ["missing/trace.json", "."])
async def test_a_file_that_cannot_be_written_is_told_before_the_run_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    stream = passing([1])
    with pytest.raises(OSError, match=re.escape(repr(path))), record_trace(stream, path):
        pytest.fail("the block must not be entered")
    assert await stream.collect() == [1]  # and nothing watches it


full_disk = pytest.mark.skipif(
    not os.path.exists("/dev/full"),  # noqa: PTH110
    reason="a full disk is a device here",
)


@full_disk
async def test_a_disk_that_gets_full_does_not_disturb_the_run_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = passing(range(1000))
    with pytest.raises(OSError, match="No space left") as caught, record_trace(stream, "/dev/full"):
        assert len(await stream.collect()) == 1000
    assert caught.value.filename in (None, "/dev/full")
    assert caplog.records == []


@full_disk
async def test_the_error_of_the_block_comes_before_that_of_the_disk() -> None:
    stream = passing(range(10))
    with pytest.raises(KeyError) as caught, record_trace(stream, "/dev/full"):
        await stream.drain()
        raise KeyError
    assert caught.value.__notes__ == [
        "The trace could not be written: [Errno 28] No space left on device: '/dev/full'"
    ]


async def test_a_stream_that_has_started_is_refused(tmp_path: Path) -> None:
    stream = passing([1, 2])
    async with stream:
        refused = pytest.raises(RuntimeError, match="before a stream is started")
        with refused, record_trace(stream, tmp_path / "trace.json"):
            pytest.fail("the block must not be entered")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_what_is_no_stream_or_no_path_is_refused() -> None:
    wrong: Any = [1]
    with pytest.raises(TypeError, match=r"takes a stream, as in .*, not \[1\]"):
        record_trace(wrong)
    with pytest.raises(TypeError, match=r"must be a str or a Path, not \[1\]"):
        record_trace(unread(passing([1])), wrong)


async def test_a_block_is_entered_once() -> None:
    block = record_trace(unread(passing([1])))
    with block:
        pass
    with pytest.raises(RuntimeError, match="recorded once"), block:
        pytest.fail("the block must not be entered")


async def test_a_stream_that_is_dropped_inside_ends_as_without_a_trace() -> None:
    closed = anyio.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    stream = passing(numbers())
    dropped = weakref.ref(stream)
    gc.disable()
    try:
        with record_trace(stream) as trace:
            async for _ in stream:
                break
            del stream
            assert dropped() is None
            await closed.wait()
    finally:
        gc.enable()
    check(trace.events)


# --- what it costs


@in_both_modes
@pytest.mark.parametrize("long", ["input", "generator"])
async def test_what_is_kept_does_not_grow_with_the_run(
    tmp_path: Path, mode: str, long: str
) -> None:
    kept: list[int] = []

    @single_task
    async def look(number: int) -> int:
        if number % 200 == 1:
            gc.collect()
            kept.append(len(gc.get_objects()))
        return number

    pipeline = (counting | odd | look | passing).with_execution_mode(mode)
    # Each item gives one value, or one item gives them all.
    stream = (odd | look | passing)(range(1600)) if long == "input" else pipeline([1600])
    path = tmp_path / "trace.json"
    with record_trace(stream, path):
        await stream.drain()
    assert len(kept) == 8
    assert max(kept[2:]) - kept[1] < 600  # of 1200 items; each event is two objects at least
    assert path.stat().st_size > 500_000


def test_calls_that_are_never_settled_are_forgotten_in_time() -> None:
    run = RunInfo(
        "id", ExecutionMode.ORDERED, (StageInfo("one", 1, False),), None, perf_counter, idle
    )
    recorder = Recorder(run, write=lambda event: None)
    for number in range(REMEMBERED + 5):
        recorder.call_started(0, (number,), 0)
        recorder.call_ended(0, (number,), 0, cancelled=False)
    recorder.result_sent(0, (3,))
    recorder.result_sent(0, (REMEMBERED,))
    assert [*recorder._stages[0].sent] == [1]


def idle() -> StreamStatistics:
    return StreamStatistics("id", (StageStatistics("one"),))
