"""The report: what it says of snapshots made by hand, and of real runs."""

from __future__ import annotations

import asyncio
import io
import itertools
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import fields, replace
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from _helpers import passing, unread
from _virtual import VirtualTimeLoop
from conveyor import (
    LatencyStatistics,
    RateLimit,
    StageStatistics,
    StreamStatistics,
    batch_task,
    single_task,
)
from conveyor._observe.report.bottleneck import find_bottleneck
from conveyor._observe.report.finding import Kind
from conveyor._observe.report.progress import done_with
from conveyor._observe.report.table import report_text, tables
from conveyor._observe.report.words import (
    count_text,
    exact_seconds_text,
    padded,
    plain,
    seconds_text,
    share_text,
    shortened,
    width,
    wrapped,
)

# --- words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (2e-9, "0 s"),
        (3.3e-7, "0.33 µs"),
        (2e-5, "20 µs"),
        (0.000345, "340 µs"),
        (0.000994, "990 µs"),
        (0.0009994, "1 ms"),
        (0.0009996, "1 ms"),
        (0.0013, "1.3 ms"),
        (0.004, "4 ms"),
        (0.0123, "12 ms"),
        (0.2, "200 ms"),
        (0.994, "990 ms"),
        (0.999, "1 s"),
        (1, "1 s"),
        (1.54, "1.5 s"),
        (9.97, "10 s"),
        (41.3, "41 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200.2, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h"),
        (7500, "2 h 5 min"),
        (36e5, "1,000 h"),
    ],
)
def test_seconds_are_written(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@given(st.floats(0, 1e7))
def test_seconds_are_right_to_two_digits(seconds: float) -> None:
    units = {"µs": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600}
    words = seconds_text(seconds).replace(",", "").split()
    read = sum(
        float(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True)
    )
    assert read == pytest.approx(seconds, rel=0.051, abs=1e-6)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (90, "90 s"),
        (1.25, "1.25 s"),
        (1, "1 s"),
        (0.5, "500 ms"),
        (0.0013, "1.3 ms"),
        (0.01625, "16.25 ms"),
        (3e-5, "30 µs"),
    ],
)
def test_chosen_seconds_are_written_unrounded(seconds: float, text: str) -> None:
    assert exact_seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (0.004, "less than 1 %"),
        (0.97, "97 %"),
        (0.996, "99 %"),
        (0.9999, "99 %"),
        (1, "100 %"),
    ],
)
def test_shares_are_written(share: float, text: str) -> None:
    assert share_text(share) == text


def test_counts_are_written() -> None:
    assert [count_text(each) for each in (0, 12345, math.inf)] == ["0", "12,345", "inf"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a b"),
        ("日本", "日本"),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\ud800\u202e", "\\ud800\\u202e"),
    ],
)
def test_what_does_not_print_is_spelled_out(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S"])), st.integers(1, 20))
def test_shortened_names_fit(text: str, columns: int) -> None:
    short = shortened(text, columns)
    assert width(short) <= columns
    assert short == text or "…" in short
    assert width(padded(short, columns, right=True)) == columns


def test_text_is_wrapped_by_columns() -> None:
    assert wrapped("a bb ccc  dddd", 6) == "a bb\nccc\ndddd"
    assert wrapped("日本 日本 x", 9) == "日本 日本\nx"
    assert wrapped("took 1 min 44 s.", 11) == "took 1 min\n44 s."
    assert wrapped("took 44 ms", 8) == "took\n44 ms"
    assert wrapped("x" * 9 + " y", 4) == "x" * 9 + "\ny"


def test_width_counts_columns_and_not_characters() -> None:
    assert [width(each) for each in ("abc", "日本", "e\u0301", "")] == [3, 4, 1, 0]
    assert shortened("abcdefghijklm", 10) == "abcdef…klm"
    assert shortened("日本日本日本", 8) == "日本…本"


# --- what limits a run, by hand


def latency(p50: float, *, count: int = 100, longest: float | None = None) -> LatencyStatistics:
    most = p50 if longest is None else longest
    return LatencyStatistics(count, p50 * count, p50, p50, most, most)


def run_of(*stages: StageStatistics, **fields: Any) -> StreamStatistics:
    """Return a run of 42 s whose consumer waited all the time."""
    fields = {"read": 1000, "delivered": 990, "elapsed": 42.0, "consumer_waited": 41.5, **fields}
    return StreamStatistics("r", stages, **fields)


FETCH = StageStatistics("fetch", 1000, 990, slots=100, busy=1.0, blocked=41.0, occupied=40)
EMBED = StageStatistics(
    "embed", 990, 990, slots=16, busy=41.5, full=40.8, occupied=655, latency=latency(6.6)
)
RENDER = StageStatistics("render", 990, 990, slots=100, busy=1.0, starved=40.0, occupied=2)


def said(run: StreamStatistics) -> tuple[Kind, int | None, str, str]:
    found = find_bottleneck(run)
    assert run.bottleneck == found.sentence
    assert not found.sentence.endswith(".")
    assert found.advice.endswith(".") or not found.advice
    return found.kind, found.stage, found.sentence, found.advice


def test_a_stage_whose_slots_are_all_busy() -> None:
    assert said(run_of(FETCH, EMBED, RENDER)) == (
        Kind.SLOTS,
        1,
        "embed: all 16 slots busy 97 % of the time; fetch was blocked 41 s",
        "Raise its concurrency_limit, or make its calls quicker (half of them take 6.6 s or more).",
    )


def test_a_first_stage_whose_slots_are_busy_starves_those_behind_it() -> None:
    assert said(run_of(EMBED, RENDER))[2] == (
        "embed: all 16 slots busy 97 % of the time; render was starved 40 s"
    )
    assert said(run_of(EMBED))[2] == (
        "embed: all 16 slots busy 97 % of the time; the consumer waited 42 s"
    )


def test_a_stage_of_one_slot() -> None:
    one = replace(EMBED, slots=1, occupied=41.5, latency=latency(0.415))
    assert said(run_of(FETCH, one))[2] == (
        "embed: its one slot busy 97 % of the time; fetch was blocked 41 s"
    )


def test_a_batch_stage_may_take_more_at_once() -> None:
    batches = replace(EMBED, slots=1, occupied=41.5, batches=10, latency=latency(4.1, count=10))
    assert said(run_of(FETCH, batches))[3] == (
        "Raise its concurrency_limit, or its max_size if larger batches are cheaper "
        "(half of them take 4.1 s or more)."
    )


def test_functions_that_compute_keep_the_loop_busy() -> None:
    parse = StageStatistics(
        "parse", 990, 990, slots=1, busy=40.8, full=40.8, occupied=40.8, held=40.8,
        latency=latency(0.041),
    )  # fmt: skip
    assert said(run_of(FETCH, parse)) == (
        Kind.LOOP,
        1,
        "parse: computes 97 % of the time on the event loop, where nothing else runs meanwhile",
        "With executor= its calls run in threads or processes (half of them take 41 ms or more).",
    )


def test_several_functions_that_compute_are_told_of_together() -> None:
    parse = StageStatistics("parse", 990, 990, slots=100, occupied=25, held=25)
    count = replace(parse, name="count", occupied=15, held=15)
    kind, stage, sentence, advice = said(run_of(parse, count))
    assert (kind, stage) == (Kind.LOOP, 0)
    assert sentence == (
        "the event loop: functions that never wait keep it busy 95 % of the time, parse alone 60 %"
    )
    assert "too short to be moved one by one" in advice


# --- what computes, and what no limit helps


def test_functions_that_block_the_loop_are_not_said_to_compute() -> None:
    query = StageStatistics(
        "query", 990, 990, slots=1, busy=40.8, full=40.8, occupied=40.8, held=40.8,
        latency=latency(0.041),
    )  # fmt: skip
    run = run_of(query, cpu_time=0.8, loop_cpu_time=0.8, processors=4)
    assert said(run) == (
        Kind.LOOP,
        0,
        "query: blocks the event loop 97 % of the time: nothing else runs meanwhile",
        (
            'With executor="thread" its calls wait in threads, many at once '
            "(half of them take 41 ms or more)."
        ),
    )
    computes = replace(run, cpu_time=38.0, loop_cpu_time=38.0)
    assert said(computes)[2].startswith("query: computes 97 % of the time on the event loop")
    assert said(computes)[3].startswith('With executor="process" its calls compute on other')
    assert 'executor="thread"' in said(replace(computes, free_threaded=True))[3]
    assert said(replace(computes, processors=1))[3].startswith("There is 1 processor: quicker")


# Asynchronous functions that parse what they get: they wait, and compute in between.
MIXED = StageStatistics(
    "fetch", 990, 990, slots=16, busy=41.9, full=41.8, occupied=670, latency=latency(6.6)
)


def test_a_loop_that_computes_all_the_time_needs_no_more_slots() -> None:
    kind, stage, sentence, advice = said(run_of(MIXED, cpu_time=40.0, loop_cpu_time=39.9))
    assert (kind, stage) == (Kind.LOOP, None)
    assert sentence == (
        "the event loop: its thread computes 95 % of the time, mostly in functions that also wait, "
        "or in what they call"
    )
    assert "concurrency_limit" not in advice
    half = said(run_of(MIXED, cpu_time=25.2, loop_cpu_time=25.2))
    assert half[0] is Kind.SLOTS
    assert half[3].endswith(
        " The event loop computes 60 % of the time already, so that makes it at most 1.7 times as "
        "fast."
    )
    assert said(run_of(MIXED, cpu_time=8.0, loop_cpu_time=8.0))[3].endswith("6.6 s or more).")


def test_a_loop_that_computes_in_the_consumer_is_the_consumers() -> None:
    render = replace(RENDER, starved=0.0, blocked=39.0)
    run = run_of(FETCH, render, consumer_waited=1.0, cpu_time=40.0, loop_cpu_time=40.0)
    assert said(run)[0] is Kind.CONSUMER
    assert said(run)[3].startswith("If it computes, make that one more task, with executor=")


HASH = StageStatistics(
    "parse", 990, 990, slots=4, busy=42.0, full=41.0, occupied=166, latency=latency(1.6),
    executor="thread",
)  # fmt: skip


def test_threads_that_compute_in_python_need_processes() -> None:
    run = run_of(HASH, cpu_time=41.0, loop_cpu_time=0.5, processors=8)
    assert said(run) == (
        Kind.GIL,
        0,
        (
            "the GIL: threads compute 98 % of the time, in Python one at a time; "
            "parse has 4.0 of 4 slots in use"
        ),
        (
            'In Python more threads do not help: with executor="process" calls compute on all 8 '
            "processors (half of them take 1.6 s or more)."
        ),
    )
    # A function may as well call `to_thread` itself.
    assert said(replace(run, stages=(replace(HASH, executor=None),)))[0] is Kind.GIL
    # max_parallelism would be raised in vain.
    crowded = replace(run, stages=(replace(HASH, crowded_for=120.0),), max_parallelism=2)
    assert said(crowded)[0] is Kind.GIL


def test_on_a_processor_that_others_use_as_well_it_is_the_gil_too() -> None:
    run = run_of(HASH, cpu_time=25.0, loop_cpu_time=0.5, processors=2)
    assert said(run)[0] is Kind.GIL
    assert "more threads make that at most 1.7 times as fast" in said(run)[3]
    less = said(replace(run, cpu_time=13.0))
    assert less[0] is Kind.SLOTS
    assert less[3].startswith("Raise its concurrency_limit if its calls mostly wait, ")
    assert 'executor="process"' in less[3]
    waits = said(replace(run, cpu_time=2.0))
    assert waits[3] == (
        "Raise its concurrency_limit, or make its calls quicker (half of them take 1.6 s or more)."
    )


def test_without_a_gil_or_with_more_than_one_there_is_room_for_threads() -> None:
    run = run_of(HASH, cpu_time=41.0, loop_cpu_time=0.5, processors=8)
    assert said(replace(run, free_threaded=True))[0] is Kind.SLOTS
    assert said(replace(run, cpu_time=100.0))[0] is Kind.SLOTS  # NumPy and the like
    one = replace(HASH, executor="interpreter")
    assert said(replace(run, stages=(one,)))[0] is Kind.SLOTS


def test_one_thread_does_not_tell_what_two_would_do() -> None:
    one = replace(HASH, slots=1, occupied=41.0, latency=latency(0.41))
    kind, _, sentence, advice = said(run_of(one, cpu_time=41.0, loop_cpu_time=0.5, processors=8))
    assert kind is Kind.SLOTS
    assert sentence == (
        "parse: its one slot busy 98 % of the time, computing in a thread; the consumer waited 42 s"
    )
    assert advice.startswith("A higher concurrency_limit helps where it computes outside of Python")
    two = run_of(one, replace(one, name="count"), cpu_time=41.0, loop_cpu_time=0.5, processors=8)
    assert said(two)[:3] == (  # which of them it is, is not known
        Kind.GIL,
        None,
        "the GIL: threads compute 98 % of the time, in Python one at a time",
    )
    # Where some say that they are in threads, it is not those that wait on the event loop.
    other = run_of(FETCH, HASH, cpu_time=41.0, loop_cpu_time=0.5, processors=8)
    assert said(other)[1] == 1
    # That others of the process compute is no concern of a run that has nothing in threads.
    alone = run_of(replace(HASH, executor="process"), cpu_time=41.0, loop_cpu_time=0.5)
    assert said(alone)[0] is Kind.SLOTS


def test_processors_that_are_all_in_use() -> None:
    run = run_of(HASH, cpu_time=160.0, loop_cpu_time=0.5, processors=4)
    assert said(run) == (
        Kind.PROCESSORS,
        None,
        (
            "the processors: all 4 that there are, busy 95 % of the time with what this process "
            "computes"
        ),
        "No higher limit helps: quicker calls do, or more processors.",
    )
    alone = replace(run, cpu_time=41.0, processors=1)
    assert said(alone)[:2] == (Kind.PROCESSORS, None)
    assert said(alone)[2].startswith("the processor: the one that there is, busy 98 % of the time")


def test_there_are_no_more_processes_than_processors() -> None:
    work = replace(HASH, executor="process")
    run = run_of(work, cpu_time=0.9, loop_cpu_time=0.5, processors=4)
    assert said(run) == (
        Kind.SLOTS,
        0,
        "parse: all 4 slots busy 98 % of the time; the consumer waited 42 s",
        (
            "There are 4 processors: more calls at once help if these wait, quicker ones if they "
            "compute (half of them take 1.6 s or more)."
        ),
    )
    room = said(replace(run, processors=16))
    assert room[3].startswith("Raise its concurrency_limit, up to the 16 processors, or make ")
    unknown = said(replace(run, processors=None))
    assert unknown[3].startswith("Raise its concurrency_limit, if there are more processors, ")
    # Two stages share them.
    both = replace(run, stages=(work, replace(work, name="count")), processors=8)
    assert said(both)[3].startswith("There are 8 processors: ")
    crowded = replace(
        run, stages=(replace(work, slots=8, crowded_for=120.0),), max_parallelism=4, over=True
    )
    assert said(crowded)[0] is Kind.PARALLELISM
    assert said(crowded)[3].startswith("There are 4 processors: ")
    assert said(replace(crowded, processors=8))[3].startswith("Raise max_parallelism")


def test_of_an_executor_of_somebody_elses_the_size_is_not_known() -> None:
    work = replace(HASH, executor="ProcessPoolExecutor")
    run = run_of(work, processors=4)
    assert said(run)[3] == (
        "Its calls run in a ProcessPoolExecutor, whose size is not known here: a higher "
        "concurrency_limit helps if that has workers to spare (half of them take 1.6 s or more)."
    )
    few = said(replace(run, stages=(replace(work, executor="Executor", slots=100, full=0.0),)))
    assert few[0] is Kind.NOTHING
    assert few[3] == (
        "Its calls run in an Executor, and whether all of its workers are busy is not known here."
    )


# --- pauses and retries


def test_pauses_that_a_service_asks_for_are_no_reason_for_a_higher_rate() -> None:
    ask = replace(EMBED, name="ask", paused_for=600.0, throttled_for=20.0, retried=40)
    kind, stage, sentence, advice = said(run_of(FETCH, ask))
    assert (kind, stage) == (Kind.PAUSE, 1)
    assert sentence == (
        "ask: pauses hold it back 91 % of the time, as the service asks for them (retry_after, or "
        "RateLimit.pause); fetch was blocked 41 s"
    )
    assert advice.startswith("A higher rate or limit only makes it ask for more. Fewer calls help")
    # What waits for the rate behind a pause is there because of it; but a rate alone is not.
    behind = replace(ask, paused_for=350.0, throttled_for=250.0)
    assert said(run_of(FETCH, behind))[0] is Kind.PAUSE
    rate = replace(ask, paused_for=40.0, throttled_for=560.0)
    assert said(run_of(FETCH, rate))[0] is Kind.RATE


def test_a_pause_in_a_busy_run_does_not_hide_what_else_there_is() -> None:
    assert said(run_of(FETCH, replace(EMBED, paused_for=150.0)))[0] is Kind.SLOTS


def test_tries_that_wait_for_the_next_one_keep_their_slots() -> None:
    ask = replace(EMBED, name="ask", delayed_for=600.0, retried=1234, latency=latency(0.5))
    assert said(run_of(FETCH, ask)) == (
        Kind.RETRIES,
        1,
        (
            "ask: its calls fail, and spend 92 % of the time on waiting for the next try "
            "(retried 1,234 times)"
        ),
        (
            "See why they fail. What waits keeps its slot: where others would not fail, a higher "
            "concurrency_limit lets them go past."
        ),
    )
    assert "(retried once)" in said(run_of(replace(ask, retried=1)))[2]


def test_calls_that_have_not_ended_yet_are_not_taken_for_generators() -> None:
    # In the first minute of calls that take two, none was measured.
    began = replace(EMBED, latency=LatencyStatistics(), received=16, emitted=0)
    assert said(run_of(FETCH, began))[0] is Kind.SLOTS


# --- the ends


def test_an_input_that_blocks_the_loop_is_told_from_one_that_is_waited_for() -> None:
    fetch = replace(FETCH, blocked=0.0, starved=39.0)
    run = run_of(fetch, input_waited=40.0, input_held=40.0, cpu_time=0.5, loop_cpu_time=0.5)
    assert said(run) == (
        Kind.INPUT,
        None,
        (
            "the input: blocks the event loop 95 % of the time: nothing else runs meanwhile; "
            "fetch was starved 39 s"
        ),
        (
            "Read it in a thread: give an async generator that awaits "
            "anyio.to_thread.run_sync(next, iterator, None) for each item, or for a list of them."
        ),
    )
    computes = said(replace(run, cpu_time=39.0, loop_cpu_time=39.0))
    assert computes[0] is Kind.INPUT
    assert computes[2].startswith("the input: computes 95 % of the time on the event loop")
    assert "to_thread" not in computes[3]
    # Calls that could go on only in between look as if they had filled the slots.
    slow = replace(run, stages=(replace(MIXED, slots=1, occupied=41.9),))
    assert said(slow)[0] is Kind.INPUT


def test_an_input_and_functions_that_share_the_loop_are_told_of_together() -> None:
    parse = StageStatistics("parse", 990, 990, slots=100, occupied=15, held=15)
    run = run_of(parse, input_waited=20.0, input_held=20.0, cpu_time=40.0, loop_cpu_time=40.0)
    assert said(run)[2] == (
        "the event loop: the input and functions that never wait keep it busy 83 % of the time, "
        "the input alone 48 %"
    )
    other = replace(run, input_waited=12.0, input_held=12.0, stages=(replace(parse, held=20),))
    assert said(other)[2].endswith(" keep it busy 76 % of the time, parse alone 48 %")


def test_a_slow_input() -> None:
    fetch = replace(FETCH, blocked=0.0, starved=39.0)
    assert said(run_of(fetch, input_waited=40.0))[:3] == (
        Kind.INPUT,
        None,
        "the input: the run waits for it 95 % of the time; fetch was starved 39 s",
    )


def test_a_slow_consumer() -> None:
    render = replace(RENDER, starved=0.0, blocked=39.0)
    assert said(run_of(FETCH, render, consumer_waited=2.0))[:3] == (
        Kind.CONSUMER,
        None,
        "the consumer: busy 95 % of the time with the results that it has; render was blocked 39 s",
    )


def test_nobody_is_slow_who_has_nothing_to_do() -> None:
    run = run_of(FETCH, EMBED, consumer_waited=0.0, delivered=0)
    assert said(run)[0] is Kind.SLOTS  # the block has begun, and nobody reads yet
    assert said(replace(run, queued=1))[0] is Kind.CONSUMER


def test_a_generator_that_has_no_room_is_not_what_limits() -> None:
    pages = StageStatistics(
        "pages", 10, 990, slots=1, busy=42.0, full=42.0, occupied=42.0, latency=latency(0.001),
        generators=10,
    )  # fmt: skip
    assert said(run_of(pages, consumer_waited=2.0))[0] is Kind.CONSUMER
    # But one that is slow itself is, and so are pauses between tries.
    slow = replace(pages, latency=latency(0.42))
    assert said(run_of(slow))[0] is Kind.SLOTS
    assert said(run_of(replace(pages, cancelled=1)))[0] is Kind.SLOTS  # or may be: see there
    assert said(run_of(replace(pages, retried=40, delayed_for=40.0)))[0] is Kind.RETRIES


def test_a_rate_limit() -> None:
    ask = replace(EMBED, name="ask", throttled_for=500.0, latency=latency(1.5))
    assert said(run_of(FETCH, ask))[:3] == (
        Kind.RATE,
        1,
        "ask: its rate_limit holds it back 99 % of the time; fetch was blocked 41 s",
    )


def test_a_crowd_before_the_rate_limit_that_soon_passes_limits_nothing() -> None:
    ask = replace(EMBED, throttled_for=30.0)  # under 5 % of the time in slots: all in one burst
    assert said(run_of(FETCH, ask))[0] is Kind.SLOTS


def test_max_parallelism() -> None:
    fetch = replace(FETCH, crowded_for=30.0)
    embed = replace(EMBED, crowded_for=600.0)
    run = run_of(fetch, embed, RENDER, max_parallelism=4)
    assert said(run)[:3] == (
        Kind.PARALLELISM,
        None,
        (
            "max_parallelism: all 4 slots of the run busy 100 % of the time; "
            "calls of embed waited most"
        ),
    )
    ran = replace(embed, latency=latency(1.6), cancelled=1)  # 160 of the 168 s that four have
    over = replace(run, stages=(fetch, ran, RENDER), over=True)
    long = replace(run, stages=(fetch, replace(embed, latency=latency(0.1)), RENDER))
    assert said(long)[0] is Kind.PARALLELISM  # calls that are still on were not measured yet
    assert said(over)[2].startswith("max_parallelism: all 4 slots of the run busy 95 % of the time")


def test_a_slow_item_that_holds_back_those_behind_it() -> None:
    embed = replace(
        EMBED, busy=2.0, full=2.0, blocked=39.0, latency=latency(0.1, longest=42.0), cancelled=1
    )
    render = replace(RENDER, starved=41.0)
    assert said(run_of(FETCH, embed, render))[:3] == (
        Kind.ORDER,
        1,
        (
            "embed: results wait 90 % of the time for a slow one before them: "
            "the longest call took 42 s, and half of them 100 ms or less"
        ),
    )


def test_a_stage_that_others_block_is_not_out_of_order() -> None:
    blocked = replace(FETCH, blocked=42.0)
    busy = replace(EMBED, busy=42.0, full=42.0, starved=0.0)
    assert said(run_of(blocked, busy))[:2] == (Kind.SLOTS, 1)


def test_generators_that_wait_for_their_turn() -> None:
    pages = StageStatistics(
        "pages", 40, 400, slots=4, busy=41.0, full=41.0, occupied=160.0, latency=latency(0.4),
        generators=40,
    )  # fmt: skip
    kind, stage, sentence, advice = said(run_of(pages))
    assert (kind, stage) == (Kind.ORDER, 0)
    assert sentence == (
        "pages: all 4 slots taken, mostly by generators that wait for those before them"
    )
    assert advice.startswith("As completed none of them waits")
    completed = run_of(pages, execution_mode="as_completed")
    assert said(completed)[0] is not Kind.ORDER
    busy = replace(pages, latency=latency(1.6))
    assert said(run_of(busy))[0] is Kind.SLOTS
    # There may be room for all of them, and then it is not their keys that they wait for.
    roomy = replace(pages, slots=100, full=0.0)
    kind, stage, sentence, advice = said(run_of(roomy))
    assert (kind, stage) == (Kind.ORDER, 0)
    assert (
        sentence == "pages: its generators spend 75 % of the time on waiting for those before them"
    )
    assert "key" not in advice


def test_items_by_the_million_keep_the_loop_busy() -> None:
    stage = StageStatistics("inc", 10_000_000, 10_000_000, slots=100, busy=12.0, held=10.0)
    assert said(run_of(stage, stage))[:3] == (
        Kind.LOOP,
        None,
        "the event loop: busy with handing on 480,000 items a second",
    )
    assert said(run_of(replace(stage, received=2_000_000)))[0] is Kind.NOTHING


def test_items_that_follow_one_another() -> None:
    keyed = StageStatistics(
        "keyed", 100, 100, slots=100, busy=41.5, occupied=41.5, latency=latency(0.415)
    )
    kind, stage, sentence, advice = said(run_of(keyed))
    assert (kind, stage) == (Kind.NOTHING, 0)
    assert sentence.endswith("with 1.0 of 100 slots in use")
    assert advice == "Its items follow one another: they come one by one."
    assert said(run_of(replace(keyed, keyed=True)))[3] == (
        "Its items follow one another: those of one key do, and there are few."
    )
    slow = replace(keyed, latency=latency(0.4, longest=40.0))
    assert said(run_of(slow))[3] == ""  # one of them is as slow as all


def test_nothing_is_said_to_limit_a_run_that_only_takes_its_time() -> None:
    fetch = StageStatistics("fetch", 8, 8, slots=100, busy=42.0, occupied=200.0)
    assert said(run_of(fetch)) == (
        Kind.NOTHING,
        0,
        "no limit is reached for long: fetch works 100 % of the time, with 4.8 of 100 slots in use",
        "",
    )
    assert said(run_of(replace(fetch, slots=math.inf)))[2].endswith(", with 4.8 slots in use")
    alone = replace(fetch, slots=1, busy=30.0, full=1.0, occupied=21.0)
    assert said(run_of(alone))[2].endswith(
        "fetch works 71 % of the time, with its one slot in use 50 %"
    )
    assert said(run_of(StageStatistics("fetch")))[2] == "nothing limits this run for long"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"elapsed": 0.0}, "nothing has run yet"),
        ({"elapsed": 0.0, "over": True}, "nothing has run"),
        ({"elapsed": 0.004}, "4 ms are too short to tell what limits this run"),
        (
            {"timed": False},
            "nothing is known of what limits this run, as it was not timed",
        ),
    ],
)
def test_without_times_there_is_no_bottleneck(fields: dict[str, Any], sentence: str) -> None:
    assert said(run_of(FETCH, EMBED, **fields)) == (Kind.NOTHING, None, sentence, "")


def test_a_bottleneck_with_a_strange_name_is_named_in_one_line() -> None:
    assert said(run_of(FETCH, replace(EMBED, name="a\nb" + "c" * 99)))[2].startswith("a\\nbccc")
    assert len(said(run_of(FETCH, replace(EMBED, name="a\nb" + "c" * 99)))[2]) < 110


some_seconds = st.floats(0, 1e6) | st.just(0.0)
some_latencies = st.builds(LatencyStatistics, st.integers(0, 9), *[some_seconds for _ in range(5)])
COUNTERS = [
    each.name for each in fields(StageStatistics) if each.default == 0 and each.type == "int"
]
TIMES = [
    each.name for each in fields(StageStatistics) if each.default == 0.0 and each.type == "float"
]
some_stages: Any = st.builds(
    StageStatistics,
    name=st.text(max_size=60),
    slots=st.integers(1, 10**6) | st.just(math.inf),
    latency=some_latencies,
    keyed=st.booleans(),
    executor=st.sampled_from([None, "thread", "process", "interpreter", "Dask\nClient", ""]),
    **dict.fromkeys(COUNTERS, st.integers(0, 10**12)),  # type: ignore[arg-type]
    **dict.fromkeys(TIMES, some_seconds),  # type: ignore[arg-type]
)
some_runs = st.builds(
    StreamStatistics,
    st.text(max_size=60),
    st.lists(some_stages, min_size=1, max_size=4).map(tuple),
    **dict.fromkeys(["queued", "read", "delivered"], st.integers(0, 10**12)),  # type: ignore[arg-type]
    total=st.none() | st.integers(0, 10**12),
    elapsed=st.just(0.0) | st.floats(1e-6, 1e6),
    **dict.fromkeys(["input_waited", "consumer_waited"], some_seconds),  # type: ignore[arg-type]
    timed=st.booleans(),
    over=st.booleans(),
    named=st.booleans(),
    **dict.fromkeys(["input_held", "cpu_time", "loop_cpu_time"], some_seconds),  # type: ignore[arg-type]
    processors=st.none() | st.integers(1, 300),
    free_threaded=st.booleans(),
)


@given(some_runs)
def test_any_snapshot_can_be_shown(run: StreamStatistics) -> None:
    assert all(width(line) <= 100 for line in str(run).splitlines())
    found = find_bottleneck(run)
    assert 0 <= found.share <= 1
    assert found.sentence.isprintable()
    bundle: Any = run._repr_mimebundle_()
    assert bundle["text/html"].count("<tr") == len(run.stages) + 1


# --- the table


WHOLE = replace(run_of(FETCH, EMBED, RENDER), total=1000, pipeline_id="nightly", over=True)


def test_the_report() -> None:
    fetch = replace(FETCH, skipped=10, failed=10, latency=latency(0.04))
    stages = (fetch, replace(EMBED, starved=0.4), RENDER)
    assert str(replace(WHOLE, stages=stages)).splitlines() == [
        "run nightly over after 42 s: 1,000 of 1,000 read, 990 delivered",
        "",
        "stage   received  emitted  skipped  failed   in use  busy  full  starved  blocked",
        "fetch      1,000      990       10      10  1.0/100   1 s                    41 s",
        "embed        990      990                   15.6/16  42 s  41 s   400 ms",
        "render       990      990                   0.0/100   1 s           40 s",
        "",
        "stage     P50    P95    P99  longest",
        "fetch   40 ms  40 ms  40 ms    40 ms",
        "embed   6.6 s  6.6 s  6.6 s    6.6 s",
        "render",
        "",
        "Bottleneck: embed: all 16 slots busy 97 % of the time; fetch was blocked 41 s.",
        "Raise its concurrency_limit, or make its calls quicker (half of them take 6.6 s or more).",
    ]


def test_a_small_report_is_one_table() -> None:
    run = StreamStatistics("", (StageStatistics("a"), StageStatistics("日本")))
    assert report_text(run).splitlines() == [
        "not started: 0 read, 0 delivered",
        "",
        "stage  received  emitted",
        "a             0        0",
        "日本          0        0",
        "",
        "Nothing has run yet.",
    ]


def test_the_headline_tells_how_far_it_is() -> None:
    run = StreamStatistics("r", (StageStatistics("a", 5, 5),), 3, None, 5, 2, 1.25)
    assert str(run).splitlines()[0] == (
        "run r running after 1.2 s: 5 read, 2 delivered, 3 wait for the consumer"
    )


def test_a_name_that_nobody_chose_is_not_shown() -> None:
    run = replace(WHOLE, pipeline_id="0123456789abcdef", named=False)
    assert str(run).startswith("over after 42 s: 1,000 of 1,000 read")
    bundle: Any = run._repr_mimebundle_()
    for shown in str(run), rendered(run), bundle["text/html"], run.to_mermaid(), run.to_dot():
        assert "0123456789abcdef" not in shown


def test_a_wide_report_is_several_tables_and_loses_nothing() -> None:
    counters: dict[str, Any] = dict.fromkeys(COUNTERS, 123_456)
    stage = replace(
        EMBED, name="x" * 200, starved=1.0, blocked=2.0, held=3.0, throttled_for=4.0,
        crowded_for=5.0, **counters,
    )  # fmt: skip
    parts = tables(run_of(stage))
    assert len(parts) > 1
    titles = [title for part in parts for title in part.titles[1:]]
    assert len(titles) == len(set(titles)) == 26
    assert {part.rows[0][0] for part in parts} == {shortened("x" * 200, 32)}
    assert ["P50" in part.titles for part in parts] == ["P99" in part.titles for part in parts]
    assert all(len(line) <= 100 for line in str(run_of(stage)).splitlines())


def test_the_repr_is_still_that_of_a_dataclass() -> None:
    assert repr(WHOLE).startswith("StreamStatistics(pipeline_id='nightly', stages=(StageStat")


# --- in colour, and in HTML


def rendered(run: StreamStatistics, columns: int = 100, *, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=columns,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
        _environ={},
    )
    console.print(run)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_rich_shows_the_same() -> None:
    text = rendered(WHOLE)
    rows = [line.split() for line in text.splitlines()]
    assert ["fetch", "1,000", "990", "1.0/100", "1", "s", "41", "s"] in rows
    assert "all 16 slots busy 97 % of the time; fetch was blocked 41 s." in text
    assert "make its calls quicker" in text


def test_rich_takes_no_name_for_markup() -> None:
    run = replace(WHOLE, stages=(replace(EMBED, name="[red]x[/] [link=a:b]"),))
    text = rendered(run)
    assert text.count("[red]x[/] [link=a:b]") == 2  # the table and the sentence


def test_rich_marks_the_stage_and_what_went_wrong() -> None:
    failed = replace(WHOLE, stages=(replace(FETCH, failed=7), EMBED, RENDER))
    lines = rendered(failed, colour=True).splitlines()
    assert any("\x1b[31m" in line and "7" in line for line in lines)
    assert all("\x1b[1;35m" in line for line in lines if "embed" in line)
    assert not any("\x1b[1;35m" in line for line in lines if "render" in line)


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100])
def test_rich_keeps_to_the_width_and_shows_every_column(columns: int) -> None:
    text = rendered(WHOLE, columns)
    assert all(width(line) <= columns for line in text.splitlines())
    if columns > 20:
        assert all(title in text for title in ("received", "in use", "blocked", "longest"))


def test_a_report_in_html_is_escaped() -> None:
    run = replace(WHOLE, stages=(replace(EMBED, name="<script>alert('x')</script>&"),))
    bundle: Any = run._repr_mimebundle_()
    assert bundle["text/plain"] == str(run)
    assert "<script" not in bundle["text/html"]
    assert bundle["text/html"].count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&amp;") == 2
    assert '<tr style="font-weight:bold">' in bundle["text/html"]


async def test_a_pipeline_and_a_stream_show_themselves() -> None:
    one = single_task(lambda item: item, task_name="<one>", concurrency_limit=3)
    pipeline = one | batch_task(max_size=4)(sum)
    bundle: Any = pipeline._repr_mimebundle_()
    assert bundle["text/plain"] == "<Pipeline <one> | sum>"
    assert "<b>&lt;one&gt;</b><div><small>concurrency_limit=3</small></div>" in bundle["text/html"]
    assert "<b>sum</b><div><small>max_size=4</small></div>" in bundle["text/html"]

    stream = pipeline([1, 2, 3])
    fresh: Any = stream._repr_mimebundle_()
    assert fresh["text/plain"] == "<Stream of <one> | sum: not started>"
    assert "Stream, not started" in fresh["text/html"]
    assert "<table>" not in fresh["text/html"]
    assert await stream.collect() == [6]
    over: Any = stream._repr_mimebundle_()
    assert "Stream, over" in over["text/html"]
    assert "<td" in over["text/html"]


def test_showing_a_report_as_text_needs_no_rich() -> None:
    script = """
import sys
sys.modules["rich"] = None
from conveyor import StageStatistics, StreamStatistics, single_task
run = StreamStatistics("r", (StageStatistics("a"),), elapsed=1.0)
print(len(str(run)) > 1, len(run._repr_mimebundle_()), run.bottleneck, run.progress)
print(len(single_task(print).to_mermaid()) > 1)
assert not {"anyio", "asyncio"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "True 2 nothing limits this run for long None\nTrue\n"


# --- progress, by hand


def test_progress_of_what_cannot_be_told_is_none() -> None:
    run = run_of(StageStatistics("a", 10, 10))
    assert (run.progress, run.remaining) == (None, None)


def test_progress_goes_down_the_pipeline() -> None:
    stages = (
        StageStatistics("a", received=50, emitted=40, running=10),
        StageStatistics("b", received=30, emitted=20, running=4, waiting=6),
    )
    run = StreamStatistics("r", stages, total=100, read=60, delivered=10, elapsed=9.0)
    # 50 of 100 came in; 40 of 50 are done with; 30 of 40 went on; 20 of 30; 10 of 20.
    assert run.progress == pytest.approx(0.5 * 0.8 * 0.75 * (20 / 30) * 0.5)
    assert run.progress == pytest.approx(0.1)  # one in, one out: what is delivered
    assert run.remaining == pytest.approx(81.0)


def test_nothing_is_estimated_from_nothing() -> None:
    stage = StageStatistics("a")
    assert StreamStatistics("r", (stage,), total=10, elapsed=5.0).progress == 0
    assert StreamStatistics("r", (stage,), total=10, elapsed=5.0).remaining is None
    half = StreamStatistics("r", (StageStatistics("a", 5, 5),), total=10, delivered=5)
    assert (half.progress, half.remaining) == (0.5, None)  # no time has passed, or none was taken
    assert replace(half, over=True).remaining == 0
    assert StreamStatistics("r", (stage,), total=0).progress == 1


def test_what_a_stage_is_done_with() -> None:
    assert done_with(StageStatistics("a", 10, running=3, waiting=4)) == 3
    assert done_with(StageStatistics("a", 107, running=2, batches=10, filling=7)) == 80
    assert done_with(StageStatistics("a", 7, filling=7)) == 0
    assert done_with(StageStatistics("a", 10, cancelled=6)) == 4
    assert done_with(StageStatistics("a", 5, waiting=40)) == 0


@given(some_runs)
def test_progress_is_a_share(run: StreamStatistics) -> None:
    progress = run.progress
    assert (progress is None) == (run.total is None)
    assert progress is None or 0 <= progress <= 1
    remaining = run.remaining
    assert remaining is None or remaining >= 0


# --- real runs


def sleeping(name: str, seconds: float, **options: Any) -> Any:
    """Return a task that takes so long."""

    async def work(item: Any) -> Any:
        await anyio.sleep(seconds)
        return item

    return single_task(work, task_name=name, **options)


def batches(name: str, seconds: float, **options: Any) -> Any:
    """Return a batch task that takes so long."""

    async def work(items: list[Any]) -> list[Any]:
        await anyio.sleep(seconds)
        return items

    return batch_task(task_name=name, **options)(work)


def uneven(name: str) -> Any:
    """Return a task that takes 100 s for item 0, and 0.125 s for others."""

    async def work(item: int) -> int:
        await anyio.sleep(0.125 if item else 100)
        return item

    return single_task(work, task_name=name)


async def slow_input() -> AsyncIterator[int]:
    for number in range(100):
        await anyio.sleep(1)
        yield number


async def pages(item: int) -> AsyncIterator[int]:
    for number in range(20):
        yield number


async def slow_pages(item: int) -> AsyncIterator[int]:
    for number in range(4):
        await anyio.sleep(0.5)
        yield number


async def uneven_pages(item: int) -> AsyncIterator[int]:
    for number in range(20):
        await anyio.sleep(0.125 if item % 4 else 8)
        yield number


def blocking_input() -> Iterator[int]:
    for number in range(100):
        compute(1)
        yield number


async def blocking_async_input() -> AsyncIterator[int]:
    for number in range(100):
        compute(1)
        yield number


class BusyError(Exception):
    retry_after = 30


def refused(name: str, error: type[Exception], **options: Any) -> Any:
    """Return a task of a service that refuses every tenth call, which then succeeds."""
    calls = itertools.count(1)

    async def work(item: Any) -> Any:
        await anyio.sleep(0.125)
        if next(calls) % 10 == 0:
            raise error
        return item

    options = {"retry_attempts": 9, "retry_jitter": False, "concurrency_limit": 2, **options}
    return single_task(work, task_name=name, **options)


FAST = sleeping("fetch", 0.125)
AFTER = sleeping("render", 0.125)


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("pipeline", "data", "consumer", "kind", "stage", "sentence"),
    [
        pytest.param(
            FAST | sleeping("embed", 1, concurrency_limit=16) | AFTER,
            range(1600),
            0,
            Kind.SLOTS,
            1,
            "embed: all 16 slots busy 99 % of the time; fetch was blocked 1 min ",
            id="slots",
        ),
        pytest.param(
            FAST | sleeping("embed", 1, concurrency_limit=1),
            range(400),
            0,
            Kind.SLOTS,
            1,
            "embed: its one slot busy 99 % of the time; fetch was blocked ",
            id="one slot",
        ),
        pytest.param(
            batches("embed", 1, max_size=16) | AFTER,
            range(1600),
            0,
            Kind.SLOTS,
            0,
            "embed: its one slot busy 99 % of the time; render was starved 1 min ",
            id="batches",
        ),
        pytest.param(
            FAST | AFTER,
            slow_input,
            0,
            Kind.INPUT,
            None,
            "the input: the run waits for it 99 % of the time; fetch was starved 1 min ",
            id="input",
        ),
        pytest.param(
            FAST | AFTER,
            range(1000),
            0.25,
            Kind.CONSUMER,
            None,
            "the consumer: busy 99 % of the time with the results that it has; render was blocked ",
            id="consumer",
        ),
        pytest.param(
            single_task(pages, concurrency_limit=1),
            range(100),
            0.25,
            Kind.CONSUMER,
            None,
            "the consumer: busy 100 % of the time with the results that it has; pages was blocked ",
            id="consumer of generators",
        ),
        pytest.param(
            single_task(slow_pages, concurrency_limit=4),
            range(100),
            0,
            Kind.SLOTS,
            0,
            "slow_pages: all 4 slots busy 100 % of the time",
            id="generators in order, which work beside each other",
        ),
        pytest.param(
            single_task(uneven_pages, concurrency_limit=4).with_context(buffer_size=1),
            range(40),
            0,
            Kind.ORDER,
            0,
            "uneven_pages: all 4 slots taken, mostly by generators",
            id="generators in order, as far ahead as they may be",
        ),
        pytest.param(
            FAST | AFTER,
            blocking_input,
            0,
            Kind.INPUT,
            None,
            "the input: computes 99 % of the time on the event loop",
            id="input on the loop",
        ),
        pytest.param(
            FAST | AFTER,
            blocking_async_input,
            0,
            Kind.INPUT,
            None,
            "the input: computes 99 % of the time on the event loop",
            id="asynchronous input on the loop",
        ),
        pytest.param(
            refused("ask", BusyError, rate_limit=RateLimit(100, burst=10)),
            range(300),
            0,
            Kind.PAUSE,
            0,
            "ask: pauses hold it back 9",
            id="pauses of a rate limit",
        ),
        pytest.param(
            refused("ask", ValueError, retry_delay=30),
            range(300),
            0,
            Kind.RETRIES,
            0,
            "ask: its calls fail, and spend 9",
            id="retries",
        ),
        pytest.param(
            sleeping("keyed", 1, key=bool),
            range(100),
            0,
            Kind.NOTHING,
            0,
            "no limit is reached for long: keyed works 100 % of the time, with 1.0 of 100 slots",
            id="keys",
        ),
        pytest.param(
            FAST | sleeping("ask", 0.125, rate_limit=RateLimit(8)),
            range(800),
            0,
            Kind.RATE,
            1,
            "ask: its rate_limit holds it back 99 % of the time; fetch was blocked 1 min ",
            id="rate",
        ),
        pytest.param(
            (FAST | sleeping("embed", 0.5)).with_context(max_parallelism=4),
            range(200),
            0,
            Kind.PARALLELISM,
            None,
            "max_parallelism: all 4 slots of the run busy 100 % of the time; "
            "calls of embed waited most",
            id="max_parallelism",
        ),
        pytest.param(
            FAST | uneven("embed") | AFTER,
            range(1000),
            0,
            Kind.ORDER,
            1,
            "embed: results wait 9",
            id="order",
        ),
        pytest.param(
            (FAST | uneven("embed")).with_execution_mode("as_completed"),
            range(1000),
            0,
            Kind.NOTHING,
            1,
            "no limit is reached for long: embed works 99 % of the time, with 2.2 of 100 slots",
            id="as completed",
        ),
    ],
)
async def test_the_bottleneck_of_a_real_run(
    pipeline: Any, data: Any, consumer: float, kind: Kind, stage: int | None, sentence: str
) -> None:
    stream = pipeline(data() if callable(data) else data)
    async for _ in stream:
        await anyio.sleep(consumer)
    found = find_bottleneck(stream.statistics())
    assert (found.kind, found.stage) == (kind, stage)
    assert found.sentence.startswith(sentence)
    assert found.share > 0.6 or kind is Kind.NOTHING


def compute(seconds: float) -> None:
    """Take so long without giving way, by a virtual clock."""
    if trio.lowlevel.in_trio_run():
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(seconds)
    else:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.jump(seconds)


def parse(what: Any) -> Any:
    compute(0.25)
    return what


# The fast path of the engine takes it that no time passes in it by a virtual clock: see below.
@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "task",
    [
        pytest.param(batch_task(max_size=1)(parse), id="batches"),
        pytest.param(single_task(parse, key=lambda item: item % 10), id="keys"),
    ],
)
async def test_a_function_that_computes_is_the_bottleneck_of_a_real_run(task: Any) -> None:
    stream = (passing | task | AFTER)(range(100))
    await stream.drain()
    run = stream.statistics()
    found = find_bottleneck(run)
    assert (found.kind, found.stage) == (Kind.LOOP, 1)
    assert found.sentence.startswith("parse: computes 99 % of the time on the event loop")
    assert run.stages[1].held == 25


@pytest.mark.real_time
async def test_a_function_that_computes_on_the_fast_path_is_the_bottleneck() -> None:
    @single_task
    def spin(item: int) -> int:
        until = time.perf_counter() + 0.01
        while time.perf_counter() < until:
            pass
        return item

    stream = (passing | spin)(range(25))
    await stream.drain()
    found = find_bottleneck(stream.statistics())
    assert (found.kind, found.stage) == (Kind.LOOP, 1)
    assert "spin" in found.sentence


async def test_a_run_without_a_name_does_not_show_the_one_it_got() -> None:
    stream = passing(range(3))
    await stream.drain()
    run = stream.statistics()
    assert (run.named, len(run.pipeline_id)) == (False, 32)
    assert run.pipeline_id not in str(run)
    named = passing.with_context(pipeline_id="nightly")(range(3))
    assert named.statistics().named
    await named.drain()
    assert named.statistics().named
    assert str(named.statistics()).startswith("run nightly over")


@pytest.mark.real_time
async def test_threads_of_a_real_run_that_compute_are_kept_from_it_by_the_gil() -> None:
    def burn(item: int) -> int:
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            pass
        return item

    stream = single_task(burn, executor="thread", concurrency_limit=4)(range(12))
    await stream.drain()
    run = stream.statistics()
    assert run.cpu_time - run.loop_cpu_time >= 0.11
    # As on a machine that does nothing else, where the four take as long as one would.
    (stage,) = run.stages
    stage = replace(stage, full=run.cpu_time, busy=run.cpu_time)
    alone = replace(run, stages=(stage,), elapsed=run.cpu_time, processors=8)
    found = find_bottleneck(alone)
    assert found.kind is (Kind.SLOTS if run.free_threaded else Kind.GIL)
    assert "Raise" not in found.advice or run.free_threaded


async def test_runs_that_say_nothing_of_themselves() -> None:
    stream = passing.with_context(timing=False)(range(3))
    assert stream.statistics().bottleneck.endswith("as it was not timed")
    await stream.drain()
    assert stream.statistics().bottleneck.endswith("as it was not timed")
    assert "busy" not in str(stream.statistics())
    assert unread(passing([1])).statistics().bottleneck == "nothing has run yet"


@pytest.mark.virtual_time
async def test_the_report_of_a_run_that_failed() -> None:
    async def work(item: int) -> int:
        await anyio.sleep(1)
        if item == 3:
            raise ValueError
        await anyio.sleep(1)
        return item

    stream = single_task(work)(range(10))
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        await stream.drain()
    run = stream.statistics()
    lines = str(run).splitlines()
    assert run.progress == 0.4  # one item of four has failed, and the others are cut off
    assert lines[0].endswith("over after 2 s: 10 of 10 read, 3 delivered")
    assert lines[2].split()[:5] == ["stage", "received", "emitted", "failed", "cancelled"]
    assert lines[3].split()[:5] == ["work", "10", "3", "1", "6"]


# --- progress of real runs


def many(item: int) -> list[int]:
    return [item] * (item % 4)


def some(item: int) -> int | None:
    return item if item % 3 else None


def flawed(item: int) -> int:
    if item % 5 == 0:
        raise ValueError(item)
    return item


def each(item: int) -> Iterator[int]:
    yield from range(item % 3)


PIPELINES = {
    "lists and filters": single_task(many) | single_task(some),
    "generators": single_task(each) | passing,
    "skips": single_task(flawed, on_error="skip_item") | passing,
    "failures": single_task(flawed, on_error="emit_failure") | passing,
    "failures at the end": passing | single_task(flawed, on_error="emit_failure"),
    "batches": batches("b", 1, max_size=7, concurrency_limit=3) | FAST,
    "dropped": batches("b", 1, max_size=7, min_size=7, drop_remainder=True) | FAST,
    "as completed": (FAST | batches("b", 1, max_size=7)).with_execution_mode("as_completed"),
    "keys": sleeping("k", 1, key=lambda item: item % 2) | FAST,
    "uneven": uneven("u") | FAST,
    "nothing": single_task(lambda _: None) | passing,
}


@pytest.mark.virtual_time
@pytest.mark.parametrize("name", PIPELINES)
async def test_progress_begins_at_0_and_ends_at_1(name: str) -> None:
    stream = PIPELINES[name](range(60))
    shares = [stream.statistics().progress]
    async with stream:
        async for _ in stream:
            shares.append(stream.statistics().progress)
    shares.append(stream.statistics().progress)
    assert (shares[0], shares[-1]) == (0, 1)
    assert all(share is not None and 0 <= share <= 1 for share in shares)
    assert stream.statistics().remaining == 0


@pytest.mark.virtual_time
async def test_progress_and_what_remains_of_even_work() -> None:
    told: list[tuple[float | None, float]] = []
    pipeline = FAST | sleeping("embed", 1, concurrency_limit=10)
    async with pipeline(range(100)) as stream:
        async for number in stream:
            if number % 10 == 9:
                now = stream.statistics()
                assert now.remaining is not None
                told.append((now.progress, now.elapsed + now.remaining))
    assert [share for share, _ in told] == [tenth / 10 for tenth in range(1, 11)]
    assert [whole for _, whole in told] == sorted((whole for _, whole in told), reverse=True)
    assert (told[0][1], told[-1][1]) == (pytest.approx(11.25), pytest.approx(10.125))


@pytest.mark.virtual_time
async def test_progress_of_an_input_without_a_length_is_not_known() -> None:
    stream = FAST(slow_input())
    async for _ in stream:
        assert stream.statistics().progress is None
    assert stream.statistics().progress is None
    assert stream.statistics().remaining == 0
