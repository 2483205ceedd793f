"""The benchmarks' own arithmetic, and one worker. Whether they run at all, `make bench` tells."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.__main__ import parse
from benchmarks.driver import Driver, failures, turned
from benchmarks.engines import ENGINES, LIMITS, PEERS
from benchmarks.engines.by_hand import InOrder
from benchmarks.figures import OURS, Case, Cell, Figures, Ratio, judge
from benchmarks.questions import QUESTIONS
from benchmarks.report import Results, fewer, page, plain
from benchmarks.tables import Table, growth, micro
from benchmarks.work import WrongResultError, check


def cell(engine: str, *values: float, case: str = "ordered", note: str | None = None) -> Cell:
    return Cell("overhead", case, "asyncio", engine, 1000, list(values), note)


# --- figures


def test_ratios_compare_each_round_with_itself() -> None:
    figures = Figures([cell("streamable", 10, 30, 80), cell(OURS, 1, 2, 4)])
    assert figures.ratio("ordered", "asyncio", "streamable", to=OURS) == Ratio(15, 10, 20)


@pytest.mark.parametrize("other", [cell("pyper"), cell("pyper", 1, note="wrong: order lost")])
def test_there_is_no_ratio_to_what_has_no_figure(other: Cell) -> None:
    figures = Figures([cell(OURS, 1), other])
    assert figures.ratio("ordered", "asyncio", "pyper", to=OURS) is None
    assert figures.ratio("ordered", "asyncio", "aiostream", to=OURS) is None


def test_ratios_show_their_spread() -> None:
    assert str(Ratio(15, 9.5, 120)) == "15.0x (9.50 to 120)"
    assert str(Ratio(2, 2, 2)) == "2.00x"


@pytest.mark.parametrize(
    ("reached", "bounds", "met", "text"),
    [
        ({"a": 1.0, "b": 2.0}, {"most": 2}, True, "2.00x at worst (b)"),
        ({"a": 1.0, "b": 2.0}, {"most": 1.5}, False, "2.00x at worst (b)"),
        ({"a": 1.0, "b": 2.0}, {"least": 1}, True, "1.00x at worst (a)"),
        (
            {"a": 1.0, "b": 2.0, "c": 3.0},
            {"least": 2.5},
            False,
            "1.00x at worst (a); missed in 2 of 3",
        ),
        ({"a": 7.0}, {"most": 8}, True, "7.00x (a)"),
        ({"a": 1.0, "b": None}, {"most": 8}, False, "no figure for b"),
        ({}, {"most": 8}, None, "nothing to compare"),
    ],
)
def test_verdicts_tell_the_worst_place(
    reached: dict[str, float | None], bounds: dict[str, float], met: bool | None, text: str
) -> None:
    verdict = judge("a target", reached, **bounds)  # type: ignore[arg-type]
    assert (verdict.met, verdict.reached) == (met, text)


@pytest.mark.parametrize(
    ("costs", "grown"), [([3, 2, 1], 1), ([1, 2, 3], 3), ([4, 1, 2], 2), ([5], 1)]
)
def test_growth_is_from_an_earlier_point_to_a_later_one(costs: list[float], grown: float) -> None:
    assert growth(costs) == grown


# --- results


def test_results_have_to_be_complete_and_in_order() -> None:
    check([1, 2, 2], [1, 2, 2], ordered=True)
    check([2, 1, 2], [1, 2, 2], ordered=False)
    with pytest.raises(WrongResultError, match="order lost"):
        check([2, 1, 2], [1, 2, 2], ordered=True)
    with pytest.raises(WrongResultError, match="1 results missing, 2 too many"):
        check([1, 2, 3, 3], [1, 2, 2], ordered=False)


def test_the_engine_by_hand_puts_results_in_order() -> None:
    in_order = InOrder()
    assert [list(in_order.add(number, number)) for number in (1, 2, 0, 4, 3)] == [
        [], [], [0, 1, 2], [], [3, 4],
    ]  # fmt: skip


# --- tables


def test_a_table_as_text_and_as_markdown() -> None:
    table = Table(["", "asyncio"], [["conveyor", "1 µs"], ["a|b", "10 µs"]], ["A remark."])
    assert table.plain().splitlines() == [
        "          asyncio",
        "--------  -------",
        "conveyor     1 µs",
        "a|b         10 µs",
        "A remark.",
    ]
    assert table.markdown().splitlines() == [
        "|  | asyncio |",
        "| --- | ---: |",
        "| conveyor | 1 µs |",
        "| a\\|b | 10 µs |",
        "",
        "A remark.",
    ]


def test_what_went_wrong_stands_in_the_table() -> None:
    figures = Figures(
        [cell(OURS, 1e-6), cell("pyper", note="wrong: order lost"), cell("bare loop", 5e-7)]
    )
    text = plain(QUESTIONS["overhead"], figures)
    assert "wrong: order lost" in text
    assert "0.50 µs = 0.50x" in text
    assert "met  at most 8x the bare loop: 2.00x (ordered, asyncio)" in text
    assert micro(123e-6) == "123 µs"


def test_who_had_fewer_items_is_told() -> None:
    few = Cell("overhead", "ordered", "asyncio", "pypeln", 500, [1])
    assert fewer(Figures([cell(OURS, 1), few])) == "500 items only: pypeln."
    assert fewer(Figures([cell(OURS, 1), cell("pypeln", 1)])) == ""


def test_results_survive_their_file() -> None:
    results = Results("2026-01-31", 5, machine.describe(), {"anyio": "4.16.0"}, [cell(OURS, 1e-6)])
    again = Results.from_json(json.loads(json.dumps(results.to_json())))
    assert again == results
    assert page(again) == page(results)
    assert "## Overhead" in page(results)


# --- the driver


def test_every_engine_comes_first_in_turn() -> None:
    assert [turned("abc", number) for number in range(4)] == [
        ["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"],
    ]  # fmt: skip
    assert turned((), 3) == []


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_cases_name_engines_that_can_do_what_is_asked(question: object, quick: bool) -> None:
    assert question is QUESTIONS[question.name]  # type: ignore[attr-defined]
    places = set()
    for case in question.cases(quick=quick):  # type: ignore[attr-defined]
        assert OURS in case.engines
        assert (case.label, case.backend) not in places
        places.add((case.label, case.backend))
        json.dumps(dict(case.params))
        for engine in case.engines:
            assert case.backend in ENGINES[engine].backends


def test_a_failure_is_ours_or_an_engine_that_is_not_there() -> None:
    cells = [
        cell(OURS, 1),
        cell(OURS, case="as completed", note="wrong: order lost"),
        cell("bare loop"),
        cell("pyper", note="timed out: 20 s"),
        cell("aiostream", note="not installed: No module named 'aiostream'"),
    ]
    assert failures(cells, (OURS, *LIMITS)) == [
        "overhead: as completed, asyncio, conveyor: wrong: order lost",
        "overhead: ordered, asyncio, bare loop: no figure",
        "overhead: ordered, asyncio, aiostream: not installed: No module named 'aiostream'",
    ]


def test_options() -> None:
    options = parse(["--only", "waiting,overhead", "--backend", "trio"])
    assert options.only == ["overhead", "waiting"]
    assert options.backend == ["trio"]
    for wrong in ("--only=nothing", "--rounds=0", "--backend=curio"):
        with pytest.raises(SystemExit):
            parse([wrong])


def test_a_real_worker() -> None:
    case = Case(
        "ordered",
        "asyncio",
        (OURS, "bare loop"),
        {"items": 300, "ordered": True},
        warm={"items": 10},
    )
    with Driver(rounds=2, python_of=lambda engine: sys.executable) as driver:
        cells = driver.run("overhead", [case])
    assert [cell.engine for cell in cells] == [OURS, "bare loop"]
    assert failures(cells, (OURS, *LIMITS)) == []
    assert all(len(cell.values) == 2 and min(cell.values) > 0 for cell in cells)
    assert set(driver.versions) == {"conveyor"}


def test_an_environment_that_is_not_there(tmp_path: Path) -> None:
    case = Case("ordered", "asyncio", (PEERS[0],))
    with Driver(rounds=2, python_of=lambda engine: str(tmp_path / "python")) as driver:
        (only,) = driver.run("overhead", [case])
    assert (only.note or "").startswith("not installed: ")


@pytest.mark.skipif(sys.platform == "win32", reason="a script of POSIX")
def test_a_worker_that_says_nothing(tmp_path: Path) -> None:
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\necho it broke >&2\n")
    mute.chmod(0o700)
    case = Case("ordered", "asyncio", (PEERS[0],))
    with Driver(rounds=2, python_of=lambda engine: str(mute)) as driver:
        (only,) = driver.run("overhead", [case])
    assert (only.values, only.note) == ([], "ended: it broke")
