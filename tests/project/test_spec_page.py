"""Streaming as a user meets it: every shape of call that the guide to streaming teaches.

Each test is one such shape, whole, with the results and the moments at which they arrive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import conveyor
from conveyor import Failure, Pipeline, PipelineContext, batch_task, single_task

pytestmark = pytest.mark.virtual_time


def now() -> float:
    """Return the virtual time, which starts at 0; rounded, as trio's clock adds up floats."""
    return round(anyio.current_time(), 6)


async def timed(stream: conveyor.Stream[Any]) -> list[tuple[float, Any]]:
    """Return the results of `stream`, each with the moment at which it came."""
    return [(now(), result) async for result in stream]


Parcel = tuple[str, float]
PARCELS = [("letter", 0.1), ("box", 0.5), ("piano", 2.0), ("card", 0.2)]


@single_task
async def scan(parcel: Parcel) -> str:
    name, seconds = parcel
    await anyio.sleep(seconds)
    return f"scanned {name}"


@single_task
async def weigh(parcel: float) -> float:
    await anyio.sleep(parcel)
    return parcel


# --- streaming, and waiting for everything


async def test_a_loop_that_collects_has_its_first_result_at_the_end() -> None:
    async def scan_all(parcels: list[Parcel]) -> list[str]:
        results = []
        for parcel in parcels:
            result = await scan.func(parcel)
            results.append(result)
        return results

    assert [(now(), result) for result in await scan_all(PARCELS)] == [
        (2.8, "scanned letter"),
        (2.8, "scanned box"),
        (2.8, "scanned piano"),
        (2.8, "scanned card"),
    ]


async def test_a_stream_of_three_tasks_has_it_as_soon_as_it_is_made() -> None:
    @single_task
    async def read_invoice(number: int) -> dict[str, Any]:
        await anyio.sleep(number)
        return {"number": number}

    @single_task
    async def add_tax(invoice: dict[str, Any]) -> dict[str, Any]:
        await anyio.sleep(0.25)
        return {**invoice, "tax": invoice["number"] * 19}

    @single_task
    def check(invoice: dict[str, Any]) -> dict[str, Any]:
        return {**invoice, "valid": True}

    pipeline = read_invoice | add_tax | check
    assert await timed(pipeline([1, 2, 3])) == [
        (1.25, {"number": 1, "tax": 19, "valid": True}),
        (2.25, {"number": 2, "tax": 38, "valid": True}),
        (3.25, {"number": 3, "tax": 57, "valid": True}),
    ]


EIGHT = [0.1, 0.2, 0.3, 0.4, 0.5, 2.0, 0.7, 0.8]


async def test_the_timeline_in_order() -> None:
    assert await timed(weigh(EIGHT)) == [
        (0.1, 0.1),
        (0.2, 0.2),
        (0.3, 0.3),
        (0.4, 0.4),
        (0.5, 0.5),
        (2.0, 2.0),
        (2.0, 0.7),
        (2.0, 0.8),
    ]


async def test_the_timeline_as_completed() -> None:
    assert await timed(weigh.as_completed(EIGHT)) == [(time, time) for time in sorted(EIGHT)]


async def test_the_timeline_collected() -> None:
    assert await weigh(EIGHT).collect() == EIGHT
    assert now() == 2.0


# --- execution modes


async def test_ordered_is_the_default() -> None:
    lines = []
    async for result in scan(PARCELS):
        line = f"{now():.1f}s: {result}"
        lines.append(line)
    assert lines == [
        "0.1s: scanned letter",
        "0.5s: scanned box",
        "2.0s: scanned piano",
        "2.0s: scanned card",
    ]


AS_COMPLETED = [
    (0.1, "scanned letter"),
    (0.2, "scanned card"),
    (0.5, "scanned box"),
    (2.0, "scanned piano"),
]


async def test_as_completed() -> None:
    lines = []
    async for result in scan.as_completed(PARCELS):
        line = f"{now():.1f}s: {result}"
        lines.append(line)
    assert lines == [f"{time:.1f}s: {result}" for time, result in AS_COMPLETED]


async def test_a_pipeline_with_an_execution_mode() -> None:
    fast = scan.with_execution_mode("as_completed")
    assert await timed(fast(PARCELS)) == AS_COMPLETED


async def test_the_pipeline_that_it_was_made_from_keeps_its_own() -> None:
    scan.with_execution_mode("as_completed")
    assert [result for _, result in await timed(scan(PARCELS))] == [
        f"scanned {name}" for name, _ in PARCELS
    ]


async def test_back_to_order() -> None:
    pipeline = scan.with_execution_mode("as_completed").with_execution_mode("ordered")
    assert await pipeline(PARCELS).collect() == [f"scanned {name}" for name, _ in PARCELS]


async def test_the_mode_from_a_context() -> None:
    context = PipelineContext(execution_mode="as_completed")
    pipeline = scan.with_context(**context.__dict__)
    assert await timed(pipeline(PARCELS)) == AS_COMPLETED


async def test_a_pipeline_of_several_tasks_takes_a_context_as_well() -> None:
    @single_task
    async def label(text: str) -> str:
        return text.upper()

    context = PipelineContext(execution_mode="as_completed", max_parallelism=50, buffer_size=10)
    pipeline = (scan | label).with_context(**context.__dict__)
    assert await timed(pipeline(PARCELS)) == [(time, text.upper()) for time, text in AS_COMPLETED]


# --- patterns


async def test_acting_on_what_passes_a_filter() -> None:
    temperatures = {"hall": 21, "oven": 240, "cellar": 12, "kiln": 900}
    delays = {"hall": 0.75, "oven": 0.25, "cellar": 0.5, "kiln": 1.0}

    @single_task
    async def read_sensor(name: str) -> dict[str, Any]:
        await anyio.sleep(delays[name])
        return {"sensor": name, "degrees": temperatures[name], "at": now()}

    @single_task
    async def too_hot(reading: dict[str, Any]) -> dict[str, Any] | None:
        if reading["degrees"] > 100:
            return {**reading, "alarm": "TOO_HOT"}
        return None

    sent = []

    async def notify(alarm: dict[str, Any]) -> None:
        await anyio.sleep(0.125)
        sent.append((now(), alarm["sensor"]))

    lines = []
    pipeline = read_sensor | too_hot
    async for alarm in pipeline(list(temperatures)):
        lines.append(
            f"{alarm['alarm']}: {alarm['sensor']} at {alarm['degrees']:.1f}, {alarm['at']}s"
        )
        await notify(alarm)

    assert lines == ["TOO_HOT: oven at 240.0, 0.25s", "TOO_HOT: kiln at 900.0, 1.0s"]
    # In order: the oven's alarm waits until the hall's reading is known to be none.
    assert sent == [(0.875, "oven"), (1.125, "kiln")]


async def test_progress() -> None:
    @single_task
    async def index_file(file: dict[str, Any]) -> dict[str, Any]:
        await anyio.sleep(file["size"] / 1_000_000)
        return {**file, "indexed_at": now()}

    files = [
        {"path": "a.log", "size": 250_000},
        {"path": "b.log", "size": 1_000_000},
        {"path": "c.log", "size": 500_000},
    ]
    lines, bar = [], []

    async def move_bar(percent: float) -> None:
        bar.append((now(), percent))

    count = 0
    async for result in index_file(files):
        count += 1
        percent = count / len(files) * 100
        lines.append(f"[{percent:5.1f}%] {result['path']} at {result['indexed_at']}")
        await move_bar(percent)

    assert lines == ["[ 33.3%] a.log at 0.25", "[ 66.7%] b.log at 1.0", "[100.0%] c.log at 0.5"]
    assert bar == [(0.25, 1 / 3 * 100), (1.0, 2 / 3 * 100), (1.0, 100.0)]


async def test_early_results_of_a_task_that_finds_several() -> None:
    catalogue = {"screw": ["M3", "M4"], "nail": ["flat"], "gear": [], "belt": ["V", "flat"]}
    delays = {"screw": 1.0, "nail": 0.25, "gear": 0.5, "belt": 0.75}

    @single_task
    async def look_up(part: str) -> list[dict[str, Any]]:
        await anyio.sleep(delays[part])
        return [{"part": part, "kind": kind, "stock": len(kind)} for kind in catalogue[part]]

    @single_task
    async def rate(hit: dict[str, Any]) -> dict[str, Any]:
        await anyio.sleep(0.125)
        return {**hit, "score": hit["stock"] * 100}

    pipeline = look_up | rate
    lines = []
    async for result in pipeline.as_completed(catalogue):
        line = f"{result['part']}: {result['kind']} (score: {result['score']:.1f})"
        lines.append((now(), line))
    assert [time for time, _ in lines] == [0.375, 0.875, 0.875, 1.125, 1.125]
    # What is ready at the same moment has no order of its own.
    assert sorted(lines) == [
        (0.375, "nail: flat (score: 400.0)"),
        (0.875, "belt: V (score: 100.0)"),
        (0.875, "belt: flat (score: 400.0)"),
        (1.125, "screw: M3 (score: 200.0)"),
        (1.125, "screw: M4 (score: 200.0)"),
    ]
    assert [hit["kind"] for hit in await pipeline(catalogue).collect()] == [
        "M3",
        "M4",
        "flat",
        "V",
        "flat",
    ]


# --- collecting


@single_task
async def fetch_reading(sensor: int) -> dict[str, Any]:
    await anyio.sleep(1 / (sensor + 1))
    return {"sensor": sensor, "degrees": sensor * 10}


async def test_collecting_for_a_figure_over_all() -> None:
    readings = await fetch_reading(range(5)).collect()
    assert sum(reading["degrees"] for reading in readings) / len(readings) == 20


async def test_collecting_for_one_call_with_everything() -> None:
    stored: list[dict[str, Any]] = []

    async def store(readings: list[dict[str, Any]]) -> None:
        stored.extend(readings)

    await store(await fetch_reading(range(3)).collect())
    assert stored == [{"sensor": n, "degrees": n * 10} for n in range(3)]


async def test_collecting_to_sort() -> None:
    readings = await fetch_reading.as_completed(range(4)).collect()
    assert [reading["sensor"] for reading in readings] == [3, 2, 1, 0]
    ranked = sorted(readings, key=lambda reading: reading["degrees"])
    assert [reading["sensor"] for reading in ranked] == [0, 1, 2, 3]


# --- batches, sources, routes


async def test_batches_inside_a_stream() -> None:
    sizes = []

    @single_task
    async def make_row(number: int) -> dict[str, Any]:
        return {"row": number}

    @batch_task(max_size=10, min_size=1)
    async def insert(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        sizes.append(len(rows))
        await anyio.sleep(0.5)
        return [{"stored": True, **row} for row in rows]

    pipeline = make_row | insert
    count = 0
    logged = []
    async for result in pipeline(range(105)):
        if count % 50 == 0:
            logged.append((now(), result))
        count += 1

    assert sizes == [10] * 10 + [5]
    assert count == 105
    # One batch at a time, half a second each; the first and the last of the 11 are among these.
    assert logged == [
        (0.5, {"stored": True, "row": 0}),
        (3.0, {"stored": True, "row": 50}),
        (5.5, {"stored": True, "row": 100}),
    ]


async def test_a_list_from_the_last_task_arrives_whole() -> None:
    feeds = {
        "https://a.example/feed": (0.5, ["a1", "a2"]),
        "https://b.example/feed": (0.25, ["b1"]),
        "https://c.example/feed": (0.75, ["c1", "c2", "c3"]),
    }

    @single_task
    async def fetch_feed(url: str) -> list[str]:
        seconds, entries = feeds[url]
        await anyio.sleep(seconds)
        return entries

    every = []
    arrived = []
    async for entries in fetch_feed.as_completed(feeds):
        arrived.append((now(), len(entries)))
        every.extend(entries)
    assert arrived == [(0.25, 1), (0.5, 2), (0.75, 3)]
    assert every == ["b1", "a1", "a2", "c1", "c2", "c3"]


async def test_a_route_for_each_item() -> None:
    async def kind_of(parcel: dict[str, Any]) -> str:
        return "express" if parcel["paid"] > 10 else "bulky" if parcel["kilos"] > 20 else "plain"

    @single_task
    async def classify(parcel: dict[str, Any]) -> dict[str, Any]:
        kind = await kind_of(parcel)
        return {**parcel, "kind": kind, "route": {"express": "air", "bulky": "rail"}.get(kind)}

    @single_task
    async def send(parcel: dict[str, Any]) -> dict[str, Any]:
        if parcel["route"] == "air":
            await anyio.sleep(1)
        elif parcel["route"] == "rail":
            await anyio.sleep(3)
        else:
            await anyio.sleep(2)
        return {**parcel, "sent": now()}

    parcels = [
        {"id": 1, "paid": 5, "kilos": 1},
        {"id": 2, "paid": 20, "kilos": 1},
        {"id": 3, "paid": 5, "kilos": 30},
    ]
    hurried, others = [], []
    async for result in (classify | send)(parcels):
        if result.get("kind") == "express":
            hurried.append((result["id"], result["sent"]))
        else:
            others.append((result["id"], result["sent"]))
    assert hurried == [(2, 1)]
    assert others == [(1, 2), (3, 3)]


# --- choosing


async def test_both_modes_take_as_long_as_the_slowest_item() -> None:
    fast = scan.with_execution_mode("as_completed")

    start = now()
    async for _ in scan(PARCELS):
        pass
    ordered = now() - start

    start = now()
    async for _ in fast(PARCELS):
        pass
    as_completed = now() - start

    assert (f"{ordered:.2f}", f"{as_completed:.2f}") == ("2.00", "2.00")


async def test_small_batches_answer_sooner_and_large_ones_are_fewer() -> None:
    def store(rows: list[int]) -> list[int]:
        return [row * 2 for row in rows]

    calls: Counter[str] = Counter()

    @batch_task(max_size=5, min_size=1)
    async def small(rows: list[int]) -> list[int]:
        calls["small"] += 1
        return store(rows)

    @batch_task(max_size=100, min_size=10)
    async def large(rows: list[int]) -> list[int]:
        calls["large"] += 1
        return store(rows)

    async def counted() -> AsyncIterator[int]:
        for number in range(203):
            await anyio.sleep(1)
            yield number

    seen = await timed(small(counted()))
    assert [result for _, result in seen] == [number * 2 for number in range(203)]
    assert seen[0][0] == 5

    start = now()
    seen = await timed(large(counted()))
    assert [result for _, result in seen] == [number * 2 for number in range(203)]
    assert seen[0][0] - start == 100

    # The last batch holds what is left, be it less than min_size.
    assert calls == {"small": 41, "large": 3}


async def test_an_input_larger_than_memory_is_read_as_it_is_needed() -> None:
    size, buffer, limit = 20_000, 10, 5
    read = 0

    async def readings() -> AsyncIterator[dict[str, Any]]:
        nonlocal read
        for number in range(size):
            read += 1
            yield {"id": number, "data": f"reading {number}"}
            if number % 1000 == 0:
                await checkpoint()

    @single_task(concurrency_limit=limit)
    async def validate(reading: dict[str, Any]) -> dict[str, Any] | None:
        return reading if reading["id"] % 2 else None

    @single_task(concurrency_limit=limit)
    async def convert(reading: dict[str, Any]) -> dict[str, Any]:
        return {**reading, "size": len(reading["data"])}

    @single_task(concurrency_limit=limit)
    async def save(reading: dict[str, Any]) -> int:
        return int(reading["id"])

    pipeline = (validate | convert | save).with_context(buffer_size=buffer)
    # Each odd one delivered stands for two that were read.
    bound = 4 * buffer + 3 * (limit + buffer) + 1
    count = ahead = 0
    lines = []
    async for _ in pipeline(readings()):
        count += 1
        ahead = max(ahead, read - 2 * count)
        if count % 5000 == 0:
            lines.append(f"{count} readings")
    assert count == size / 2
    assert read == size
    assert ahead <= 2 * bound
    assert lines == ["5000 readings", "10000 readings"]


# --- errors


async def test_the_stream_goes_on_without_the_items_that_fail() -> None:
    @single_task(on_error="skip_item")
    async def parse(invoice: dict[str, Any]) -> dict[str, Any]:
        if invoice.get("torn"):
            raise ValueError("cannot be read")
        return {"parsed": True, **invoice}

    invoices = [{"id": 1, "paid": True}, {"id": 2, "torn": True}, {"id": 3, "paid": True}]
    assert [result async for result in parse(invoices)] == [
        {"parsed": True, "id": 1, "paid": True},
        {"parsed": True, "id": 3, "paid": True},
    ]


async def test_errors_can_be_counted_in_the_stream() -> None:
    torn = ValueError("cannot be read")

    @single_task(on_error="emit_failure")
    async def parse(invoice: dict[str, Any]) -> dict[str, Any]:
        if invoice.get("torn"):
            raise torn
        return {"id": invoice["id"]}

    @single_task
    async def book(invoice: dict[str, Any]) -> dict[str, Any]:
        return {**invoice, "booked": True}

    invoices = [{"id": 1}, {"id": 2, "torn": True}, {"id": 3}]
    good = bad = 0
    lines = []
    async for result in (parse | book)(invoices):
        if result.get("error"):
            bad += 1
            lines.append(f"failed: {result['error']}")
        else:
            good += 1
            lines.append(f"booked: {result}")
        total = good + bad
        rate = good / total * 100 if total > 0 else 0
        lines.append(f"{rate:.1f}% ({good}/{total})")

    assert lines == [
        "booked: {'id': 1, 'booked': True}",
        "100.0% (1/1)",
        "failed: cannot be read",
        "50.0% (1/2)",
        "booked: {'id': 3, 'booked': True}",
        "66.7% (2/3)",
    ]


async def test_a_failure_says_what_failed() -> None:
    torn = ValueError("cannot be read")

    @single_task(on_error="emit_failure", retry_attempts=3, retry_delay=0.5, retry_jitter=False)
    async def parse(text: str) -> str:
        if text == "torn":
            raise torn
        return text

    pipeline: Pipeline[str, Any] = parse
    failure = (await pipeline(["fine", "torn"]).collect())[1]
    assert type(failure) is Failure
    assert failure.error is torn
    assert (failure.item, failure.task_name, failure.attempts) == ("torn", "parse", 3)
    assert (failure["item"], failure.get("task_name")) == ("torn", "parse")
    assert failure.get("id") is None
    assert now() == 1.5


async def test_results_may_carry_errors_of_their_own() -> None:
    @single_task
    async def check(number: int) -> dict[str, Any]:
        return {"number": number, "error": "odd" if number % 2 else None}

    errors = [result.get("error") async for result in check(range(4))]
    assert errors == [None, "odd", None, "odd"]
