"""`live` and `progress`: what is drawn, when, where, and what is left of it.

The terminal is a string here, or a real one without a screen; one with a screen is in
test_terminal.py.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import hypothesis.strategies as st
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from rich.cells import cell_len
from rich.console import Console
from rich.logging import RichHandler

from _helpers import error_of, passing, timetable, unread
from conveyor import (
    StageStatistics,
    StreamConsumedError,
    StreamStatistics,
    live,
    progress,
    single_task,
)
from conveyor._observe.live.line import Part, clock_text, fitting, plain_line, rate_text, short_text
from conveyor._observe.live.picture import Line, Picture, box_width, used_cells
from conveyor._observe.live.pipes import BrokenPipes
from conveyor._observe.live.rates import Moment, Rates
from conveyor._observe.live.screen import Above

posix = pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")


@pytest.fixture(autouse=True)
def _usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in "TTY_INTERACTIVE", "TTY_COMPATIBLE", "FORCE_COLOR", "COLUMNS", "LINES":
        monkeypatch.delenv(name, raising=False)


def terminal(width: int = 80, height: int = 24, **options: Any) -> Console:
    """Return a console that believes in a terminal and keeps all that is written."""
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=True,
        color_system=None,
        legacy_windows=False,
        **options,
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def drawn(what: Any, width: int = 80, height: int = 24) -> list[str]:
    """Return the lines of a picture."""
    console = terminal(width, height)
    console.print(what)
    return [line.rstrip() for line in written(console).removesuffix("\n").split("\n")]


# Where a picture is drawn over the one before.
BACK = re.compile(r"\r+\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
SHOWN, HIDDEN = "\x1b[?25h", "\x1b[?25l"


def pictures(console: Console) -> list[str]:
    """Return the pictures one after another, each with what was printed above it."""
    found = BACK.split(written(console).replace(SHOWN, "").replace(HIDDEN, ""))
    return ["\n".join(line.rstrip(" \r") for line in one.split("\n")) for one in found]


def is_given_back(console: Console) -> bool:
    """Whether the cursor is there, and in a new line below the picture."""
    text = written(console)
    return text.rfind(SHOWN) > text.rfind(HIDDEN) and text.replace(SHOWN, "").endswith("\n")


STAGES = (
    StageStatistics(
        "fetch", received=1300, emitted=1234, running=16, slots=16, queued=12, failed=5, skipped=2
    ),
    StageStatistics("parse", received=1234, emitted=1130, running=1, slots=2, queued=100),
    StageStatistics(
        "embed", received=1130, emitted=980, running=37, slots=math.inf, waiting=3, retried=4
    ),
)


def moment(*stages: StageStatistics, **figures: Any) -> Moment:
    figures = {"queued": 4, "read": 1312, "delivered": 976, "elapsed": 12.2, **figures}
    return Rates().at(StreamStatistics("run", stages or STAGES, **figures))


def after(elapsed: float, delivered: int, *emitted: int, over: bool = False) -> StreamStatistics:
    stages = tuple(StageStatistics("stage", emitted=number) for number in emitted)
    return StreamStatistics("run", stages, delivered=delivered, elapsed=elapsed, over=over)


# --- rates


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rates = Rates(seconds=5)
    assert rates.at(after(0, 0, 0)).rate == 0
    for second in range(1, 11):  # ten a second, and twenty that leave the stage
        now = rates.at(after(second, 10 * second, 20 * second))
        assert (now.rate, now.rates) == (10, (20,))
    for second in range(11, 15):
        now = rates.at(after(second, 100, 200))
        assert now.rate == pytest.approx(10 * (15 - second) / 5)
    assert rates.at(after(15, 100, 200)).rate == 0


def test_who_looks_late_sees_the_mean_since_the_start() -> None:
    assert Rates().at(after(100, 50, 70)).rates == (0.7,)


def test_in_the_end_a_rate_is_that_of_the_whole_run() -> None:
    rates = Rates(seconds=5)
    for second in range(20):
        rates.at(after(second, 10, 10))
    assert rates.at(after(20, 10, 10)).rate == 0
    assert rates.at(after(20, 10, 10, over=True)).rate == 0.5


def test_however_often_one_looks_little_is_kept() -> None:
    rates = Rates(seconds=5)
    for number in range(100_000):
        rates.at(after(number / 10_000, number, number))
    assert len(rates._samples) <= 52
    assert rates.at(after(10, 100_000, 100_000)).rate == pytest.approx(10_000, rel=0.03)


def test_what_has_waited_once_keeps_its_place_in_the_picture() -> None:
    rates = Rates()
    stages = (StageStatistics("stage", waiting=1), StageStatistics("stage", throttled=1))
    for stage in stages:
        rates = Rates()
        assert not rates.at(after(0, 0, 0)).held_up
        assert rates.at(StreamStatistics("run", (stage,))).held_up
        assert rates.at(after(1, 0, 0)).held_up


# --- words


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.25, "0.2"),
        (1, "1"),
        (9.94, "9.9"),
        (9.96, "10"),
        (83.4, "83"),
        (999.4, "999"),
        (999.6, "1k"),
        (1234, "1.2k"),
        (12_345, "12k"),
        (999_600, "1M"),
        (35e6, "35M"),
        (2.5e9, "2.5G"),
        (7e12, "7T"),
    ],
)
def test_a_number_in_four_characters(number: float, text: str) -> None:
    assert short_text(number) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0/s"),
        (83.2, "83/s"),
        (1, "1/s"),
        (0.5, "30/min"),
        (1 / 60, "1/min"),
        (0.001, "3.6/h"),
        (12_000, "12k/s"),
    ],
)
def test_a_rate_has_the_unit_that_suits_it(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (5.9, "0:05"), (60, "1:00"), (754, "12:34"), (3723, "1:02:03")],
)
def test_a_time_as_a_clock_shows_it(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


def test_a_run_in_a_plain_line() -> None:
    assert plain_line(moment(), stages=True) == (
        "0:12, 1,312 read, 976 results, 80/s, 5 failed, 2 skipped, 4 retried; "
        "12 > fetch 16/16 > 100 > parse 1/2 > 0 > embed 37/inf > 4"
    )
    assert plain_line(moment(passing_stage(), delivered=1, over=True), stages=False) == (
        "0:12, over, 1,312 read, 1 result, 4.9/min"
    )


def passing_stage(**figures: Any) -> StageStatistics:
    return StageStatistics("stage", **figures)


def test_a_plain_line_is_one_line_whatever_a_task_is_called() -> None:
    line = plain_line(moment(StageStatistics("a\nb\x1b[2J")), stages=True)
    assert line.isprintable()
    assert r"a\nb\x1b[2J 0/1" in line


def test_where_the_length_is_known_there_is_a_share_and_an_estimate() -> None:
    stage = passing_stage(received=25, emitted=25)
    known = moment(stage, read=25, delivered=25, elapsed=10.0, total=100)
    assert plain_line(known, stages=False) == (
        "0:10, 25 %, 25 of 100 read, 25 results, 2.5/s, 0:30 left"
    )
    over = moment(stage, read=25, delivered=25, elapsed=10.0, total=100, over=True)
    assert "left" not in plain_line(over, stages=False)


def test_errors_that_were_skipped_count_once() -> None:
    assert ", 2 skipped" in plain_line(moment(passing_stage(failed=2, skipped=2)), stages=False)
    assert "failed" not in plain_line(moment(passing_stage(failed=2, skipped=2)), stages=False)


def test_the_least_important_parts_give_way() -> None:
    found = [Part("a", "12345", 2), Part("b", "12345", 1), Part("c", "12345", 3)]
    assert [part.kind for part in fitting(found, 19)] == ["a", "b", "c"]
    assert [part.kind for part in fitting(found, 18)] == ["a", "c"]
    assert [part.kind for part in fitting(found, 1)] == ["c"]


# --- the picture


def test_a_row_of_stages_with_the_queues_between_them() -> None:
    assert drawn(Picture(moment(total=5000))) == [
        "     ╭─ fetch ────────╮     ╭─ parse ────────╮     ╭─ embed ────────╮",
        "  12▸│ ■■■■■■ 16/16   │ 100▸│ ■□ 1/2         │   0▸│ ■■■■■■ 37/∞    │   4▸",
        "     │ 101/s     1.2k │     │ 93/s      1.1k │     │ 80/s       980 │",
        "     │                │     │                │     │ 3 waiting      │",
        "     │ 5 failed       │     │                │     │ 4 retried      │",
        "     │ 2 skipped      │     │                │     │                │",
        "     ╰────────────────╯     ╰────────────────╯     ╰────────────────╯",
        "━━━━               25 %  1,312 of 5,000 read  976 results  80/s  0:12  0:37 left",
    ]


def test_where_a_row_has_no_room_the_stages_are_a_list() -> None:
    assert drawn(Picture(moment()), 79)[0].startswith("     ╭─ fetch")
    assert drawn(Picture(moment()), 60) == [
        "  12▸ fetch 16/16     101/s",
        " 100▸ parse   1/2      93/s",
        "   0▸ embed  37/∞      80/s",
        "   4▸",
        "976 results  80/s  5 failed  2 skipped  4 retried  0:12",
    ]
    assert drawn(Picture(moment(*STAGES, *STAGES)), 100)[:3] == [
        "  12▸ fetch ■■■■■■ 16/16     101/s  5 failed, 2 skipped",
        " 100▸ parse ■□       1/2      93/s",
        "   0▸ embed ■■■■■■  37/∞      80/s  4 retried, 3 waiting",
    ]


def test_in_forty_columns() -> None:
    long = StageStatistics("fetch_the_pages_of_all_invoices", running=1, slots=4, emitted=50)
    assert drawn(Picture(moment(long, *STAGES[1:], total=5000)), 40) == [
        "   0▸ fetch_the_pa…oices  1/4     4.1/s",
        " 100▸ parse               1/2      93/s",
        "   0▸ embed              37/∞      80/s",
        "   4▸",
        drawn(Line(moment(long, *STAGES[1:], total=5000)), 40)[0],
    ]
    assert drawn(Line(moment(STAGES[0], total=5000)), 40)[0].endswith("5 failed  0:47 left")


def test_twelve_stages() -> None:
    twelve = [passing_stage(slots=20, running=number) for number in range(12)]
    for width in 40, 80, 120:
        lines = drawn(Picture(moment(*twelve)), width)
        assert len(lines) == 14
        assert [re.search(r"(\d+)/20", line)[1] for line in lines[:12]] == [*map(str, range(12))]  # type: ignore[index]


def test_more_stages_than_lines() -> None:
    many = [passing_stage(running=1) for _ in range(30)]
    lines = drawn(Picture(moment(*many)), 80, height=12)
    assert len(lines) <= 11
    assert lines[-3:-1] == ["      and 22 more, 22 running", "   4▸"]


def test_the_names_of_tasks_are_no_markup() -> None:
    name = "[red]x[/red] :smile:"
    for width in 40, 80:
        assert name in "\n".join(drawn(Picture(moment(StageStatistics(name))), width))


def test_where_there_is_ascii_alone_the_picture_is_ascii() -> None:
    stages = [*STAGES, StageStatistics("größe" * 10)]
    for width in 40, 80, 120:
        raw = io.BytesIO()
        file = io.TextIOWrapper(raw, "ascii")  # anything else would be an error
        console = Console(file=file, width=width, height=24, force_terminal=True)
        console.print(Picture(moment(*stages, total=5000)))
        file.flush()
        assert b"fetch" in raw.getvalue()


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
counts = st.integers(0, 10**7)
stages = st.builds(
    StageStatistics,
    names,
    emitted=counts,
    failed=counts,
    skipped=counts,
    retried=counts,
    running=st.integers(0, 300),
    queued=counts,
    waiting=counts,
    throttled=counts,
    slots=st.sampled_from([1, 2, 7, 300, math.inf]),
)


@given(
    st.lists(stages, min_size=1, max_size=15),
    st.none() | counts,
    st.integers(30, 200),
    st.integers(8, 60),
    st.sampled_from([Picture, Line]),
)
def test_no_picture_is_larger_than_its_terminal(
    stages: list[StageStatistics],
    total: int | None,
    width: int,
    height: int,
    draws: Callable[[Moment], Any],
) -> None:
    lines = drawn(draws(moment(*stages, total=total)), width, height)
    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) < height or (lines[0].startswith("     ╭") and len(lines) <= 9)
    assert draws is Picture or len(lines) == 1


@pytest.mark.parametrize(
    ("running", "slots", "cells"),
    [
        (0, 1, (0, 1)),
        (1, 1, (1, 1)),
        (1, 3, (1, 3)),
        (0, 100, (0, 6)),
        (1, 100, (1, 6)),
        (99, 100, (5, 6)),
        (100, 100, (6, 6)),
        (3, math.inf, (3, 6)),
        (300, math.inf, (6, 6)),
    ],
)
def test_many_slots_share_a_cell(running: int, slots: float, cells: tuple[int, int]) -> None:
    assert used_cells(passing_stage(running=running, slots=slots)) == cells


@pytest.mark.parametrize(
    ("names", "columns", "width"),
    [
        (["a", "b", "c"], 80, 14),
        (["a", "b", "c"], 73, None),
        (["a", "b", "c"], 74, 14),
        (["a" * 20, "b", "c"], 80, 16),
        (["a" * 20, "b", "c"], 200, 22),
        (["a" * 50], 200, 24),
        ([], 80, 14),
    ],
)
def test_how_wide_boxes_are(names: list[str], columns: int, width: int | None) -> None:
    assert box_width(names, columns) == width


# --- the block


@single_task(concurrency_limit=2)
async def slow(item: Any) -> Any:
    await anyio.sleep(1)
    return item


@single_task(concurrency_limit=2)
async def slower(item: Any) -> Any:
    await anyio.sleep(0.75)
    return item


@single_task
def flawed(item: int) -> int:
    if item == 2:
        raise ValueError("two")
    return item


async def no_picture_is_moved() -> None:
    """Fail if anything is left that would draw again, on virtual time."""
    await anyio.sleep(100)


@pytest.mark.virtual_time
async def test_the_picture_moves_and_the_last_one_stays() -> None:
    console = terminal()
    async with live(slow([1, 2, 3]), console=console, interval=0.75) as stream:
        assert [result async for result in stream] == [1, 2, 3]
        before = len(pictures(console))
    # When it is entered, at 0.75 and at 1.5 s, and at the end.
    first, second, third, last = pictures(console)
    assert before == 3
    assert " □□ 0/2 " in first
    assert " ■■ 2/2 " in second
    assert " ■□ 1/2 " in third
    assert " □□ 0/2 " in last
    assert "3 results" in last
    assert is_given_back(console)
    size = len(written(console))
    await no_picture_is_moved()
    assert len(written(console)) == size


@pytest.mark.virtual_time
async def test_it_moves_five_times_a_second_unless_told_otherwise() -> None:
    console = terminal()
    async with live(slow([1, 2]), console=console) as stream:
        await anyio.sleep(1.1)
        await stream.aclose()
    assert len(pictures(console)) == 1 + 5 + 1


async def test_the_block_neither_starts_the_stream_nor_ends_it() -> None:
    stream = passing([1, 2, 3])
    async with live(stream, console=terminal()) as given:
        assert given is stream
    async with live(stream, console=terminal()):
        assert await anext(stream) == 1
    async with progress(stream, console=terminal()) as given:
        assert given is stream
        assert await anext(stream) == 2
    assert [result async for result in stream] == [3]


async def test_inside_the_block_of_its_stream() -> None:
    console = terminal()
    stream = passing([1, 2, 3])
    async with stream, live(stream, console=console):
        assert [result async for result in stream] == [1, 2, 3]
    assert "3 results" in pictures(console)[-1]


@pytest.mark.virtual_time
@pytest.mark.parametrize("show", [live, progress])
async def test_the_picture_stays_however_the_block_ends(show: Any) -> None:
    async def failing(console: Console) -> None:
        async with show(flawed([1, 2, 3]), console=console) as stream:
            async for _ in stream:
                await checkpoint()

    async def leaving(console: Console) -> None:
        async with slow([1, 2, 3]) as stream, show(stream, console=console):
            async for _ in stream:
                break

    async def raising(console: Console) -> None:
        async with slow([1, 2, 3]) as stream, show(stream, console=console):
            async for _ in stream:
                raise KeyError("own")

    async def cancelled(console: Console) -> None:
        with anyio.move_on_after(1.5) as scope:
            async with slow([1, 2, 3]) as stream, show(stream, console=console):
                async for _ in stream:
                    pass
        assert scope.cancelled_caught
        raise TimeoutError

    async def interrupted(console: Console) -> None:
        async with slow([1, 2, 3]) as stream, show(stream, console=console):
            async for _ in stream:
                raise KeyboardInterrupt

    for run, expected in [
        (failing, ValueError),
        (leaving, None),
        (raising, KeyError),
        (cancelled, TimeoutError),
        (interrupted, KeyboardInterrupt),
    ]:
        console = terminal()
        if expected is None:
            await run(console)
        else:
            error = await error_of(run(console))
            assert type(error) is expected
            assert error.__context__ is None or type(error.__context__) is not ExceptionGroup
        last = pictures(console)[-1]
        assert re.search(r"\b[12] results?\b", last), (run, last)
        assert is_given_back(console)


async def test_a_group_that_the_body_raises_passes_as_it_is() -> None:
    own = ExceptionGroup("own", [LookupError()])

    async def raising() -> None:
        async with live(unread(passing([1])), console=terminal()):
            raise own

    assert await error_of(raising()) is own


@pytest.mark.virtual_time
async def test_the_length_of_the_input_or_a_total_makes_a_bar() -> None:
    known, told, unknown = terminal(), terminal(), terminal()

    async def items() -> AsyncIterator[int]:
        for number in range(4):
            yield number

    async with live(slow(items()), console=unknown) as stream:
        await stream.drain()
    assert "%" not in written(unknown)

    async with live(slow(items()), console=told, total=4, interval=2) as stream:
        await stream.drain()
    assert "  0 %" in pictures(told)[0]
    assert "━" in pictures(told)[-1]
    assert "100 %" in pictures(told)[-1]

    async with live(slow(range(4)), console=known, interval=1.5) as stream:
        await stream.drain()
    assert " 50 %" in pictures(known)[1]
    assert " 0:01 left" in pictures(known)[1]
    assert "100 %" in pictures(known)[-1]


@pytest.mark.virtual_time
async def test_retries_and_skipped_items_are_shown() -> None:
    console = terminal()

    @single_task(on_error="skip_item", retry_attempts=2, retry_delay=1)
    def weak(item: int) -> int:
        if item == 2:
            raise ValueError
        return item

    async with live(weak([1, 2, 3]), console=console) as stream:
        await stream.drain()
    assert re.search(r"│ 1 skipped +│", pictures(console)[-1])
    assert re.search(r"│ 1 retried +│", pictures(console)[-1])


# --- where it is no terminal


@pytest.mark.virtual_time
@pytest.mark.parametrize("kind", ["file", "dumb terminal"])
async def test_lines_every_few_seconds_and_a_last_one(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "dumb terminal":
        monkeypatch.setenv("TERM", "dumb")
        console = terminal()
    else:
        console = Console(file=io.StringIO(), width=20)
    async with live(slower(range(20)), console=console) as stream:
        await stream.drain()
    assert written(console).splitlines() == [
        "0:05, 60 %, 20 of 20 read, 12 results, 2.4/s, 0:03 left; 6 > slower 2/2 > 0",
        "0:07, over, 100 %, 20 of 20 read, 20 results, 2.7/s; 0 > slower 0/2 > 0",
    ]

    console = Console(file=io.StringIO(), width=20)
    async with progress(slower(range(20)), console=console, interval=3.5) as stream:
        await stream.drain()
    assert written(console).splitlines() == [
        "0:03, 40 %, 20 of 20 read, 8 results, 2.3/s, 0:05 left",
        "0:07, 90 %, 20 of 20 read, 18 results, 2.6/s, 0:00 left",
        "0:07, over, 100 %, 20 of 20 read, 20 results, 2.7/s",
    ]


@pytest.mark.virtual_time
async def test_in_a_test_there_is_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    async with live(slow(range(20))) as stream:
        assert len([result async for result in stream]) == 20
    assert len([result async for result in progress(slow(range(20)))]) == 20
    async with progress(slow(range(20))) as stream:
        await stream.drain()
    assert capfd.readouterr() == ("", "")


SCRIPT = """
import anyio, sys
from conveyor import live, progress, single_task

@single_task
async def work(item):
    return item

async def main():
    async with live(work([1, 2, 3])) as stream:
        async for result in stream:
            print(result)
    async for result in progress(work([1, 2])):
        print(result)

anyio.run(main)
"""


def in_a_process(
    script: str,
    environment: Mapping[str, str] | None = None,
    *,
    stdout: Any = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**outside, **(environment or {})},
        stdout=stdout,
        stderr=stderr,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_into_a_pipe_go_lines_and_results_go_to_the_standard_output(
    environment: dict[str, str],
) -> None:
    done = in_a_process(SCRIPT, environment)
    assert done.stdout == "1\n2\n3\n1\n2\n"
    first, second = done.stderr.splitlines()
    assert first.endswith("; 0 > work 0/100 > 0")
    assert "2 results" in second
    assert "\x1b" not in done.stderr


@posix
def test_a_pipe_that_nobody_reads_ends_no_run() -> None:
    script = """
import anyio
from conveyor import live, progress, single_task

@single_task(concurrency_limit=1)
async def work(item):
    await anyio.sleep(0.01)
    return item

async def main():
    for show in live, progress:
        async with show(work(range(5)), interval=0.02) as stream:
            async for result in stream:
                print(result, end=" ")

anyio.run(main)
"""
    read, write = os.pipe()
    os.close(read)
    try:
        done = in_a_process(script, stderr=write)
    finally:
        os.close(write)
    assert (done.returncode, done.stdout) == (0, "0 1 2 3 4 0 1 2 3 4 ")


def test_without_rich_one_line_says_what_to_install() -> None:
    script = """
import sys
sys.modules["rich"] = None
from conveyor import live, progress, single_task

@single_task
async def work(item):
    return item

stream = work([])
stream.stop()
for show in live, progress:
    try:
        show(stream)
    except ImportError as error:
        print(error)
"""
    done = in_a_process(script)
    assert done.stderr == ""
    assert done.stdout == (
        "live needs rich, which is not installed: pip install 'conveyor[rich]'\n"
        "progress needs rich, which is not installed: pip install 'conveyor[rich]'\n"
    )


# --- what is refused, what fails


@pytest.mark.parametrize("show", [live, progress])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"stream": passing}, TypeError, r"takes a stream, as in \w+\(pipeline\(data\)\), not <"),
        ({"stream": [1, 2]}, TypeError, r"not \[1, 2\]"),
        ({"total": "5"}, TypeError, "total must be a whole number of at least 0, or None, not '5'"),
        ({"total": True}, TypeError, "total must be .*, not True"),
        ({"total": -1}, ValueError, "total must be .*, not -1"),
        ({"interval": 0}, ValueError, "interval must be a number of seconds above 0, or None"),
        ({"interval": "1"}, TypeError, "interval must be .*, not '1'"),
        ({"console": sys.stderr}, TypeError, r"console must be a rich\.console\.Console, or None"),
    ],
)
def test_wrong_arguments(
    show: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        show(**{"stream": unread(passing([1])), **arguments})


def test_outside_an_event_loop() -> None:
    block = live(unread(passing([1])), console=terminal())
    with pytest.raises(RuntimeError, match="none is running here"):
        block.__aenter__().send(None)


class Broken(io.StringIO):
    """A terminal that goes away."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._left = after

    def write(self, text: str, /) -> int:
        self._left -= 1
        if self._left < 0:
            raise OSError(5, "Input/output error")
        return super().write(text)


async def in_block(show: Any, stream: Any, console: Console) -> list[Any]:
    async with show(stream, console=console) as shown:
        return [result async for result in shown]


async def iterated(_: Any, stream: Any, console: Console) -> list[Any]:
    return [result async for result in progress(stream, console=console)]


WAYS = [
    pytest.param(in_block, live, id="live"),
    pytest.param(in_block, progress, id="progress"),
    pytest.param(iterated, progress, id="progress iterated"),
]


@pytest.mark.virtual_time
@pytest.mark.parametrize("writes", range(5))
@pytest.mark.parametrize(("way", "show"), WAYS)
async def test_a_picture_that_fails_at_any_write_leaves_the_run_alone(
    way: Any, show: Any, writes: int, caplog: pytest.LogCaptureFixture
) -> None:
    console = Console(file=Broken(writes), width=80, force_terminal=True, legacy_windows=False)
    stdout = sys.stdout
    assert await way(show, slow(range(6)), console) == [*range(6)]
    assert sys.stdout is stdout
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("conveyor", logging.WARNING)
    assert record.getMessage() == ("drawing has failed, and ends: OSError(5, 'Input/output error')")
    assert is_as_before(console)


def is_as_before(console: Console) -> bool:
    """Whether a console that could not be written to shows what comes next, and that alone."""
    console.file = io.StringIO()
    console.print("next")
    return written(console) == "next\n" and "on_broken_pipe" not in vars(console)


FULL = Path("/dev/full")
FULL_DISK = pytest.param(
    "full disk", marks=pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
)


@contextmanager
def unwritable(kind: str) -> Iterator[Any]:
    """Give a file that is no longer there for whoever writes to it."""
    if kind == "full disk":
        with suppress(OSError), FULL.open("w", encoding="utf-8") as file:
            yield file
        return
    if kind == "closed file":
        closed = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - what is tested
        closed.close()
        yield closed
        return
    above, below = os.pipe() if kind == "broken pipe" else os.openpty()
    os.close(above)
    with suppress(OSError), opened(below) as file:
        yield file


def opened(descriptor: int) -> Any:
    return open(descriptor, "w", encoding="utf-8")


@posix
@pytest.mark.virtual_time
@pytest.mark.parametrize("terminal", [True, False], ids=["picture", "lines"])
@pytest.mark.parametrize("kind", ["broken pipe", FULL_DISK, "closed file", "terminal gone"])
@pytest.mark.parametrize(("way", "show"), WAYS)
async def test_what_cannot_be_written_to_is_told_once_and_the_work_goes_on(
    way: Any, show: Any, kind: str, terminal: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stdout = sys.stdout
    with unwritable(kind) as file:
        console = Console(file=file, width=80, force_terminal=terminal, legacy_windows=False)
        assert await way(show, slow(range(20)), console) == [*range(20)]
        assert is_as_before(console)
    assert sys.stdout is stdout
    (record,) = caplog.records
    assert (record.name, record.levelno, record.exc_info) == ("conveyor", logging.WARNING, None)
    names = {"broken pipe": "BrokenPipeError", "closed file": "ValueError"}
    expected = f"drawing has failed, and ends: {names.get(kind, 'OSError')}("
    assert record.getMessage().startswith(expected)


@posix
@pytest.mark.virtual_time
@pytest.mark.parametrize("show", [live, progress])
async def test_a_terminal_that_goes_away_in_the_middle(
    show: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    above, below = os.openpty()
    with suppress(OSError), opened(below) as file:
        monkeypatch.setattr(sys, "stdout", file)
        console = Console(file=file, width=80)
        results = []
        async with show(slow(range(6)), console=console) as stream:
            async for result in stream:
                results.append(result)
                if result == 1:
                    assert os.read(above, 4096)
                    os.close(above)
        assert results == [*range(6)]
        assert sys.stdout is file
        assert is_as_before(console)
    (record,) = caplog.records
    assert "drawing has failed, and ends: OSError(5, " in record.getMessage()


@posix
async def test_what_is_logged_to_a_broken_console_ends_no_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = logging.NullHandler()
    with unwritable("broken pipe") as file:
        console = Console(file=file, width=80, force_terminal=True, legacy_windows=False)
        handler = RichHandler(console=console)
        logger = logging.getLogger("conveyor")
        logger.addHandler(handler)
        try:
            skipping = flawed.with_options(on_error="skip_item")
            assert await in_block(live, skipping(range(5)), console) == [0, 1, 3, 4]
        finally:
            logger.removeHandler(handler)
        assert is_as_before(console)
    # Python tells of a log handler that fails: once for the item, once for the picture.
    assert capsys.readouterr().err.count("--- Logging error ---") == 2


@posix
async def test_what_the_program_prints_to_a_broken_pipe_is_an_error_of_its_own() -> None:
    with unwritable("broken pipe") as file:
        console = Console(file=file, width=80, force_terminal=True, legacy_windows=False)
        async with live(passing([1]), console=console, interval=1000) as stream:
            with pytest.raises(BrokenPipeError):  # and not the end of the process, as rich has it
                console.print("own")
            assert [result async for result in stream] == [1]
        assert is_as_before(console)


async def test_views_of_one_console_leave_its_hook_as_it_was() -> None:
    console = terminal()

    def own() -> None:
        raise AssertionError

    for hook in None, own:
        if hook is not None:
            vars(console)["on_broken_pipe"] = hook
        one, two, three = (BrokenPipes(console) for _ in range(3))
        for each in one, two, three:
            each.enter()
        one.leave()
        three.leave()
        with pytest.raises(BrokenPipeError):
            console.on_broken_pipe()
        two.leave()
        assert vars(console).get("on_broken_pipe") is hook


class Interrupting(io.StringIO):
    """A terminal at which somebody presses Ctrl-C as the picture is drawn."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._left = after

    def write(self, text: str, /) -> int:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        return super().write(text)


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("way", "show", "write"),
    # What the task that moves the picture raises would end the event loop, and with it the test.
    [
        pytest.param(in_block, live, 1, id="live"),
        pytest.param(in_block, progress, 1, id="progress"),
        pytest.param(iterated, progress, 1, id="iterated"),
        pytest.param(iterated, progress, 2, id="iterated, later"),
    ],
)
async def test_who_interrupts_a_picture_interrupts_the_program(
    way: Any, show: Any, write: int, caplog: pytest.LogCaptureFixture
) -> None:
    console = Console(file=Interrupting(write), width=80, force_terminal=True, legacy_windows=False)
    stdout = sys.stdout
    async with slow(range(6)) as stream:
        error = await error_of(way(show, stream, console))
    assert type(error) is KeyboardInterrupt
    assert sys.stdout is stdout
    assert is_as_before(console)
    assert caplog.records == []


@posix
@pytest.mark.parametrize("terminal", ["True", "False"])
@pytest.mark.parametrize("kind", ["broken pipe", FULL_DISK])
def test_the_standard_output_of_a_program_that_cannot_be_written_to(
    kind: str, terminal: str
) -> None:
    script = f"""
import anyio, sys
from rich.console import Console
from conveyor import live, progress, single_task

@single_task
async def work(item):
    return item

async def main():
    for show in live, progress:
        console = Console(force_terminal={terminal})
        async with show(work(range(5)), console=console) as stream:
            print([result async for result in stream], file=sys.stderr)

anyio.run(main)
"""
    with unwritable(kind) as file:
        done = in_a_process(script, stdout=file)
    told = {"broken pipe": "BrokenPipeError(32, 'Broken pipe')"}.get(
        kind, "OSError(28, 'No space left on device')"
    )
    assert done.returncode == 0
    assert sorted(done.stderr.splitlines()) == sorted(
        [f"drawing has failed, and ends: {told}", "[0, 1, 2, 3, 4]"] * 2
    )


@pytest.mark.virtual_time
@pytest.mark.parametrize("show", [live, progress])
async def test_a_picture_that_fails_leaves_the_run_alone(
    show: Any, caplog: pytest.LogCaptureFixture
) -> None:
    console = Console(file=Broken(4), width=80, force_terminal=True, legacy_windows=False)
    stdout = sys.stdout
    async with show(slow(range(6)), console=console) as stream:
        assert [result async for result in stream] == [*range(6)]
    assert sys.stdout is stdout
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("conveyor", logging.WARNING)
    assert "drawing has failed, and ends: OSError" in record.getMessage()

    caplog.clear()
    console = Console(file=Broken(4), width=80, force_terminal=True, legacy_windows=False)
    results = progress(slow(range(6)), console=console)
    assert [result async for result in results] == [*range(6)]
    assert len(caplog.records) == 1


# --- progress


@pytest.mark.virtual_time
async def test_progress_gives_the_results_and_draws_when_they_come() -> None:
    console = terminal()
    results = []
    async for result in progress(slow(timetable(0, 0.1, 1, 3, 3.25)), total=5, console=console):
        results.append((anyio.current_time(), result, len(pictures(console))))
    assert [result for _, result, _ in results] == [0, 1, 2, 3, 4]
    # The first when it begins; at 1.1 s it is too soon for another.
    assert [number for _, _, number in results] == [2, 2, 3, 4, 5]
    assert all("\n" not in picture for picture in pictures(console)[:-1])
    assert re.search(r"100 %  5 of 5 read  5 results", pictures(console)[-1])
    assert is_given_back(console)


@pytest.mark.virtual_time
async def test_as_a_block_progress_moves_while_nothing_comes() -> None:
    console = terminal()
    async with progress(slow([1]), console=console) as stream:
        assert [result async for result in stream] == [1]
    assert len(pictures(console)) >= 5

    console = terminal()
    both = progress(slow([1, 2]), console=console)
    async with both:
        assert [result async for result in both] == [1, 2]
    assert len(pictures(console)) >= 5
    assert is_given_back(console)


async def test_progress_gives_the_terminal_back_when_it_is_left() -> None:
    console = terminal()
    async for _ in progress(passing([1, 2, 3]), console=console):
        assert not is_given_back(console)
        break
    assert is_given_back(console)

    console = terminal()
    with pytest.raises(KeyError):
        async for _ in progress(passing([1, 2, 3]), console=console):
            raise KeyError
    assert is_given_back(console)

    console = terminal()
    with pytest.raises(ValueError, match="two"):
        async for _ in progress(flawed([1, 2, 3]), console=console):
            pass
    assert is_given_back(console)
    assert "1 result " in pictures(console)[-1]


@pytest.mark.parametrize("thread", ["its own", "another"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_progress_that_outlives_its_loop(
    backend: str, thread: str, caplog: pytest.LogCaptureFixture
) -> None:
    console = terminal()
    kept: list[Any] = []

    async def main() -> None:
        kept.append(progress(passing([1, 2, 3]), console=console))
        async for _ in kept[0]:
            break

    anyio.run(main, backend=backend)
    assert not is_given_back(console)
    if thread == "its own":
        kept.clear()
    else:
        other = threading.Thread(target=kept.clear)
        other.start()
        other.join()
    assert is_given_back(console)
    assert caplog.records == []


@pytest.mark.virtual_time
async def test_progress_of_a_cancelled_read_goes_on_in_the_streams_block() -> None:
    console = terminal()
    async with slow([1, 2, 3]) as stream:
        results = progress(stream, console=console)
        with anyio.move_on_after(0.5):
            await anext(results)
        assert is_given_back(console)
        assert [result async for result in results] == [1, 2, 3]
    assert "3 results" in pictures(console)[-1]
    assert is_given_back(console)


async def test_progress_over_a_stream_that_is_over() -> None:
    stream = passing([1])
    await stream.collect()
    console = terminal()
    with pytest.raises(StreamConsumedError):
        async for _ in progress(stream, console=console):
            pass
    assert written(console) == ""


# --- what the program prints


say = print  # as a program does


def read_all(file: int) -> Iterator[bytes]:
    with suppress(BlockingIOError):
        while True:
            yield os.read(file, 4096)


@contextmanager
def real_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Make a terminal of the standard files; gives what reads what has come there up to now."""
    above, below = os.openpty()
    os.set_blocking(above, False)
    try:
        with (
            open(below, "w", encoding="utf-8", closefd=False) as stdout,
            open(below, "w", encoding="utf-8", closefd=False) as stderr,
            monkeypatch.context() as patch,
        ):
            patch.setattr(sys, "stdout", stdout)
            patch.setattr(sys, "stderr", stderr)
            yield lambda: b"".join(read_all(above)).decode().replace("\r\n", "\n")
    finally:
        os.close(above)
        os.close(below)


@posix
async def test_prints_appear_above_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with real_terminal(monkeypatch) as read:
        stdout, stderr = sys.stdout, sys.stderr
        console = Console(stderr=True, width=40, color_system=None)
        long = "x" * 100
        async with live(passing([1]), console=console, interval=1000) as stream:
            async for _ in stream:
                assert read()
                say(long)
                say("[/red] \x1b[1mbold\x1b[m", end="", flush=True)
                assert BACK.split(read())[1].startswith(long + "\n")
                say("!")
                sys.stderr.writelines(["to stderr\n", "the rest"])
            kept = sys.stdout
            assert isinstance(kept, Above)
        text = read()
        assert BACK.split(text)[1].startswith("[/red] \x1b[1mbold\x1b[m!\n")
        assert BACK.split(text)[2].startswith("to stderr\n")
        assert text.endswith("the rest")
        assert (sys.stdout, sys.stderr) == (stdout, stderr)
        say("later", file=kept, flush=True)
        assert read() == "later\n"


async def test_what_is_logged_to_the_same_console_appears_above() -> None:
    console = terminal()
    handler = RichHandler(console=console)
    logger = logging.getLogger("own")
    logger.addHandler(handler)
    async with live(passing([1]), console=console, interval=1000) as stream:
        async for _ in stream:
            logger.warning("look here")
    logger.removeHandler(handler)
    first, second, last = pictures(console)
    assert "look here" in second
    assert second.index("look here") < second.index("passing")
    assert "look here" not in first + last


class Worn(Console):
    """A console that comes to draw no more."""

    worn = False

    def render_lines(self, *args: Any, **options: Any) -> Any:
        if self.worn:
            raise ZeroDivisionError
        return super().render_lines(*args, **options)


@posix
@pytest.mark.virtual_time
async def test_prints_outlive_a_picture_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with real_terminal(monkeypatch) as read:
        console = Worn(stderr=True, width=60)
        stdout = sys.stdout
        async with live(slow([1]), console=console) as stream:
            console.worn = True
            async for result in stream:
                assert sys.stdout is stdout
                say("result", result, flush=True)
        assert read().endswith("result 1\n")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@posix
async def test_results_in_a_pipe_are_not_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    with real_terminal(monkeypatch) as read, (tmp_path / "out").open("w+") as out:
        monkeypatch.setattr(sys, "stdout", out)
        async with progress(passing([1, 2]), console=Console(stderr=True)) as stream:
            async for result in stream:
                say("result", result)
        assert "result 1" not in read()
        out.seek(0)
        assert out.read() == "result 1\nresult 2\n"


@posix
async def test_one_view_below_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with real_terminal(monkeypatch) as read:
        monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
        stdout = sys.stdout
        first = passing.with_options(task_name="inner")([1, 2])
        outer = passing.with_options(task_name="outer")
        async with live(first, interval=1000), live(outer(first), interval=1000) as second:
            assert [result async for result in second] == [1, 2]
            say("printed once")
        text = read()
        assert text.count("printed once") == 1
        *both, end, last = [
            each for each in BACK.split(text) if "outer" in each or "inner" in each
        ][1:]
        assert both
        assert all(each.index("inner") < each.index("outer") for each in both)
        # The one that ends first leaves its picture above the other.
        assert end.index("outer") < end.index("inner")
        assert "outer" not in last
        assert sys.stdout is stdout


# --- tqdm


@pytest.mark.virtual_time
async def test_tqdm_iterates_a_stream() -> None:
    asynchronous = pytest.importorskip("tqdm.asyncio")
    file = io.StringIO()
    data = ["a", "b", "c"]
    bar = asynchronous.tqdm(slow(data), total=len(data), file=file, ncols=60, mininterval=0)
    assert [result async for result in bar] == data
    assert "100%" in file.getvalue()
    assert " 3/3 " in file.getvalue()

    file = io.StringIO()
    bar = asynchronous.tqdm(slow(data), file=file, ncols=60)
    async for _ in bar:
        break
    bar.close()
    assert "1it" in file.getvalue()  # a stream does not say how many results it will give


async def test_tqdm_passes_the_streams_error() -> None:
    asynchronous = pytest.importorskip("tqdm.asyncio")
    results = []
    with pytest.raises(ValueError, match="two"):
        async for result in asynchronous.tqdm(flawed([1, 2, 3]), file=io.StringIO()):
            results.append(result)
    assert results == [1]
