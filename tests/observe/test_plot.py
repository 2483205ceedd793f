"""The picture of a trace."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import matplotlib as mpl
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from conveyor import Stream, Trace, batch_task, plot_timeline, record_trace, single_task
from conveyor._observe.trace.plot import COLORS, CURVES, LABELS, LEVELS, STEP, _levels

virtual_time = pytest.mark.virtual_time


@single_task(concurrency_limit=2)
async def waiting(seconds: float) -> float:
    await anyio.sleep(seconds)
    return seconds


@single_task
async def quarter(item: Any) -> Any:
    await anyio.sleep(0.25)
    return item


async def traced(stream: Stream[Any], path: Path | None = None) -> Trace:
    with record_trace(stream, path) as trace:
        await stream.drain()
    return trace


def axes_of(trace: Trace) -> Axes:
    [axes] = plot_timeline(trace).axes
    return axes


def bars(axes: Axes) -> list[tuple[float, float, float, float, str]]:
    """Return left, right, low and top of all bars, and their colours."""
    found = []
    for drawn in axes.collections:
        if isinstance(drawn, PolyCollection):
            color = to_hex(drawn.get_facecolor()[0]).upper()
            for path in drawn.get_paths():
                (left, low), (right, top) = path.get_extents().get_points().round(3).tolist()
                found.append((left, right, low, top, color))
    return sorted(found, key=lambda bar: (-bar[3], bar[0]))


def marks(axes: Axes) -> list[tuple[float, float]]:
    [drawn] = [d for d in axes.collections if isinstance(d, PathCollection)]
    points: list[list[float]] = drawn.get_offsets().round(3).tolist()  # type: ignore[union-attr]
    return [(x, y) for x, y in points]


def curves(axes: Axes) -> list[list[list[float]]]:
    [drawn] = [d for d in axes.collections if isinstance(d, LineCollection)]
    return sorted(segment.round(3).tolist() for segment in drawn.get_segments())


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def stages(axes: Axes) -> dict[str, float]:
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(labels, axes.get_yticks().tolist(), strict=True))


@virtual_time
async def test_a_call_is_a_bar_in_the_lane_of_its_slot() -> None:
    axes = axes_of(await traced(waiting([0.5, 0.25, 0.5, 1])))
    assert bars(axes) == [
        (0, 0.5, -0.4, 0.4, COLORS[0]),
        (0.5, 1.5, -0.4, 0.4, COLORS[3]),
        (0, 0.25, -1.4, -0.6, COLORS[1]),
        (0.25, 0.75, -1.4, -0.6, COLORS[2]),
    ]
    assert sorted(texts(axes)) == ["0", "1", "2", "3"]
    assert stages(axes) == {"waiting": -0.5, "consumer": -2.6}
    assert axes.get_xlabel() == "time, s"


@virtual_time
async def test_deliveries_are_marks_below_one_another_where_they_are_close() -> None:
    axes = axes_of(await traced(waiting([1, 0.5, 0.5, 0.25])))
    # The second waits for the first, the third for nobody.
    assert marks(axes) == [(1, -2.6), (1, -2.95), (1, -3.3), (1.25, -2.6)]
    assert axes.get_ylim() == (pytest.approx(-4), 0.7)


def test_no_more_than_so_many_marks_are_below_one_another() -> None:
    assert _levels([0, 1, 2, 3], 1) == [0, 1, 0, 1]
    assert _levels([0] * (LEVELS + 2), 1) == [*range(LEVELS), 0, 1]
    assert 0 < STEP < 1


@virtual_time
async def test_lines_lead_from_call_to_call_and_to_the_mark() -> None:
    axes = axes_of(await traced((waiting | quarter)([1, 0.5])))
    assert stages(axes) == pytest.approx({"waiting": -0.5, "quarter": -3.1, "consumer": -5.2})
    assert curves(axes) == [
        [[0.5, -1], [1, -3.6]],  # it is done first, and waits for the other
        [[1, 0], [1, -2.6]],
        [[1.25, -3.6], [1.25, -5.2]],
        [[1.25, -2.6], [1.25, -5.2]],
    ]


@virtual_time
async def test_a_batch_has_the_colours_of_its_items() -> None:
    @batch_task(max_size=2)
    async def pairs(numbers: list[int]) -> list[int]:
        await anyio.sleep(1)
        return numbers

    axes = axes_of(await traced(pairs([5, 6, 7])))
    assert bars(axes) == [
        (0, 1, 0, 0.4, COLORS[0]),
        (1, 2, -0.4, 0.4, COLORS[2]),
        (0, 1, -0.4, 0, COLORS[1]),
    ]
    assert texts(axes) == ["0, 1", "2"]


@virtual_time
async def test_a_large_batch_says_how_many_it_has() -> None:
    @batch_task(max_size=50)
    async def many(numbers: list[int]) -> list[int]:
        await anyio.sleep(1)
        return numbers

    axes = axes_of(await traced(many(range(40))))
    assert texts(axes) == ["40 items"]
    assert len(bars(axes)) == len(COLORS)


@virtual_time
async def test_the_time_between_tries_is_pale() -> None:
    tried: list[int] = []

    @single_task(retry_attempts=2, retry_delay=1, retry_jitter=False)
    async def second_time(number: int) -> int:
        await anyio.sleep(0.5)
        tried.append(number)
        if len(tried) == 1:
            raise ValueError
        return number

    axes = axes_of(await traced(second_time([1])))
    polys = [d for d in axes.collections if isinstance(d, PolyCollection)]
    pale, full = sorted(polys, key=lambda drawn: drawn.get_facecolor()[0][3])
    assert pale.get_facecolor()[0][3] == pytest.approx(0.3)
    extents = [path.get_extents().get_points()[:, 0].tolist() for path in full.get_paths()]
    assert extents == [[0, 0.5], [1.5, 2]]
    assert [path.get_extents().get_points()[:, 0].tolist() for path in pale.get_paths()] == [[0, 2]]
    assert texts(axes) == ["0"]


@virtual_time
async def test_what_failed_and_what_was_cut_off_is_hatched() -> None:
    @single_task(on_error="emit_failure", concurrency_limit=3)
    async def picky(number: int) -> int:
        await anyio.sleep(number or 8)
        if number == 1:
            raise ValueError
        return number

    stream = picky([1, 2, 0])
    with record_trace(stream) as trace:
        async with stream:
            async for result in stream:
                if result == 2:
                    break
    found = {
        drawn.get_hatch(): drawn.get_paths()[0].get_extents().get_points()[:, 0].tolist()
        for drawn in axes_of(trace).collections
        if isinstance(drawn, PolyCollection)
    }
    assert found == {"xxxx": [0, 1], None: [0, 2], "....": [0, 2]}


@virtual_time
async def test_what_would_be_too_much_is_left_out() -> None:
    axes = axes_of(await traced(waiting([0.5] * (max(LABELS, CURVES) + 1))))
    assert texts(axes) == []
    assert not any(isinstance(drawn, LineCollection) for drawn in axes.collections)
    assert len(bars(axes)) == max(LABELS, CURVES) + 1


@virtual_time
async def test_a_file_makes_the_same_picture(tmp_path: Path) -> None:
    written = await traced((waiting | quarter)([0.5, 0.25]), tmp_path / "written.json")
    kept = await traced((waiting | quarter)([0.5, 0.25]))
    kept.save(tmp_path / "kept.json")

    def drawn(trace: Any) -> str:
        text = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": "the same"}):
            plot_timeline(trace).savefig(text, format="svg", metadata={"Date": None})
        return text.getvalue()

    assert "<path" in drawn(kept)
    assert drawn(kept) == drawn(tmp_path / "kept.json")
    assert drawn(written) == drawn(str(tmp_path / "written.json"))


@virtual_time
async def test_it_can_be_drawn_into_axes_with_a_title() -> None:
    figure = Figure()
    axes = figure.subplots()
    trace = await traced(waiting.with_options(task_name="a $x^2$ <b>")([0.001]))
    assert plot_timeline(trace, ax=axes, title="Tuesday") is figure
    assert axes.get_title() == "Tuesday"
    assert axes.get_xlabel() == "time, ms"
    assert [*stages(axes)] == [r"a \$x^2\$ <b>", "consumer"]
    figure.savefig(io.BytesIO(), format="png")
    assert figure.axes == [axes]


def test_a_trace_without_events_is_an_empty_picture(tmp_path: Path) -> None:
    assert bars(axes_of(Trace())) == []
    Trace().save(tmp_path / "empty.json")
    picture = io.BytesIO()
    plot_timeline(tmp_path / "empty.json").savefig(picture, format="png")
    assert picture.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "1",
        '{"a": 1}',
        '{"traceEvents": 1}',
        '{"traceEvents": [1]}',
        '{"traceEvents": [{"ph": "X", "name": "another program\'s"}]}',
    ],
)
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(text)
    refused = re.escape(f"{str(path)!r} is no trace of a pipeline")
    with pytest.raises(ValueError, match=f"^{refused}$"):
        plot_timeline(path)


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    wrong: Any = [1]
    with pytest.raises(TypeError, match=r"takes a Trace, or the path of a trace, not \[1\]"):
        plot_timeline(wrong)
    with pytest.raises(FileNotFoundError):
        plot_timeline(tmp_path / "missing.json")


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    return done.stdout


def test_pyplot_is_left_alone() -> None:
    code = "import sys, conveyor; conveyor.plot_timeline(conveyor.Trace())\n"
    code += "print('matplotlib.figure' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    assert run(code) == "True False\n"


def test_without_matplotlib_it_says_what_to_install() -> None:
    code = "import sys, conveyor\nsys.modules['matplotlib'] = None\n"
    code += "try: conveyor.plot_timeline(conveyor.Trace())\n"
    code += "except ImportError as error: print(error)"
    assert run(code) == "plot_timeline needs matplotlib: pip install 'conveyor[plot]'\n"
