"""A trace as one picture."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from ..._files import checked_path
from .trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .events import Event

# Okabe and Ito's, which are told apart with any kind of eyes; grey stands in for their black.
COLORS: Final = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#999999",
)
DARK: Final = {"#0072B2", "#D55E00", "#009E73"}  # to be written on in white
GREY: Final = "#808080"  # readable on white, and on black

HEIGHT: Final = 0.8  # of a bar, where lanes are 1 apart
GAP: Final = 0.6  # between two stages
STRIPES: Final = 8  # of a bar; what has more items is drawn as if it had so many
CURVES: Final = 400  # lines from call to call; where there are more, there are none
LABELS: Final = 400  # and so many numbers in bars
LEVELS: Final = 6  # of marks below one another,
STEP: Final = 0.35  # so far apart,
CLOSE: Final = 0.006  # if no more than this of the whole time is between them
WIDE: Final = 0.025  # of the whole time: what is shorter has no room for a number


def plot_timeline(
    trace: Trace | str | os.PathLike[str], *, ax: Axes | None = None, title: str | None = None
) -> Figure:
    """Draw a trace: time from left to right, and a lane for each slot of each stage.

    ::

        plot_timeline("trace.json").savefig("timeline.svg")

    A bar is a call, in the colour of its item, with the item's number in the input; a batch has
    the colours of its items. Where a function was called several times for it, the time between
    is paler. Failed calls are crossed out, those that were cut off are dotted, both in a frame.
    Thin lines lead from call to call, and to the marks at the bottom, which show when the
    consumer got each result; they are left out where they would be too many.

    It needs ``conveyor[plot]``, and leaves the state of pyplot alone.

    Args:
        trace: What `record_trace` has given, or the path of the file that it has written.
        ax: Matplotlib axes to draw in. ``None`` (the default) makes a figure of its own.
        title: Written above; ``None`` (the default) writes nothing.

    Returns:
        The new figure, or that of `ax`.

    Raises:
        ImportError: If matplotlib is not installed.
        TypeError: If `trace` is neither a trace nor a path.
        ValueError: If the file is no trace of a pipeline.
        OSError: If it cannot be read.
    """
    events = _events(trace)
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ImportError("plot_timeline needs matplotlib: pip install 'conveyor[plot]'") from None
    timeline = _Timeline(events)
    if ax is None:
        height = min(1.1 + 0.28 * -timeline.bottom, 12)
        figure = Figure(figsize=(8, height), layout="constrained")
        ax = figure.subplots()
    _draw(timeline, ax)
    if title is not None:
        ax.set_title(title)
    return cast("Figure", ax.figure)


# --- what there is to draw


def _events(trace: object) -> Sequence[Event]:
    path: str
    if isinstance(trace, Trace):
        if trace.path is None:
            return trace.events
        path = trace.path
    elif isinstance(trace, str | os.PathLike):
        path = checked_path(trace)
    else:
        raise TypeError(f"plot_timeline takes a Trace, or the path of a trace, not {trace!r}")
    try:
        found = json.loads(Path(path).read_text("utf-8"))
        events = found["traceEvents"]
        if any("stage_number" in event.get("args", ()) for event in events) or not events:
            return events  # type: ignore[no-any-return]  # what is wrong inside is found below
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    raise ValueError(f"{path!r} is no trace of a pipeline")


@dataclass
class _Bar:
    """A rectangle: its lane's place, from when to when, and whose it is."""

    y: float
    start: float
    end: float
    origins: Sequence[int]
    label: str
    style: str = "done"  # or "failed", "cut off", "waiting" (between the tries of a call)


@dataclass
class _Timeline:
    """Bars, lines and marks, with times in µs and lanes from 0 downwards.

    Attributes:
        names: Of the stages, with the middle of their lanes.
        marks: Times of deliveries, and which items they come from.
        curves: From where and when to where and when, and of which item.
    """

    events: Sequence[Event]
    bars: list[_Bar] = field(default_factory=list)
    names: list[tuple[float, str]] = field(default_factory=list)
    marks: list[tuple[float, Sequence[int]]] = field(default_factory=list)
    curves: list[tuple[tuple[float, float], tuple[float, float], int]] = field(default_factory=list)
    bottom: float = 0.0
    end: float = 0.0

    def __post_init__(self) -> None:
        calls = [event for event in self.events if event.get("cat") == "call"]
        places = self._places(calls)
        self._add_calls(calls, places)
        for event in self.events:
            if event.get("cat") == "result":
                places[event["tid"]] = self.bottom
                self.marks.append((event["ts"], event["args"]["from"]))
        self._add_curves(places)
        self.end = max((event["ts"] + event.get("dur", 0) for event in self.events), default=0)

    def _places(self, calls: Iterable[Event]) -> dict[int, float]:
        """Give every lane its place, and return them; the consumer's is below them all."""
        stages: dict[int, tuple[str, set[int]]] = {}
        for call in calls:
            args = call["args"]
            stages.setdefault(args["stage_number"], (args["stage"], set()))[1].add(call["tid"])
        places: dict[int, float] = {}
        y = 0.0
        for _, (name, lanes) in sorted(stages.items()):
            self.names.append((y - (len(lanes) - 1) / 2, name))
            for lane in sorted(lanes):
                places[lane] = y
                y -= 1
            y -= GAP
        self.bottom = y
        return places

    def _add_calls(self, calls: Iterable[Event], places: Mapping[int, float]) -> None:
        tries: defaultdict[int, list[Event]] = defaultdict(list)
        for event in self.events:
            if event.get("cat") == "try":
                tries[event["tid"]].append(event)
        for inside in tries.values():
            inside.sort(key=lambda event: -event["ts"])  # the first to be popped first
        for call in sorted(calls, key=lambda event: event["ts"]):
            args, y = call["args"], places[call["tid"]]
            start, end = call["ts"], call["ts"] + call["dur"]
            bar = _Bar(y, start, end, args["from"][:STRIPES], _label(args))
            if args.get("failed"):
                bar.style = "failed"
            elif args.get("cancelled") or args.get("unfinished"):
                bar.style = "cut off"
            self.bars.append(bar)
            inside = tries[call["tid"]]
            parts: list[Event] = []
            while inside and inside[-1]["ts"] + inside[-1]["dur"] <= end:
                part = inside.pop()
                if part["ts"] >= start:
                    parts.append(part)
            if parts and bar.style == "done":
                bar.style = "waiting"
                longest = max(parts, key=lambda event: event["dur"])
                for part in parts:
                    label = bar.label if part is longest else ""
                    until = part["ts"] + part["dur"]
                    self.bars.append(_Bar(y, part["ts"], until, bar.origins, label))
                bar.label = ""

    def _add_curves(self, places: Mapping[int, float]) -> None:
        starts = {event["id"]: event for event in self.events if event["ph"] == "s"}
        whose = {
            (event["tid"], event["ts"]): event["args"]["from"]
            for event in self.events
            if event.get("cat") in ("call", "result")
        }
        for event in self.events:
            if event["ph"] == "f" and event["id"] in starts:
                start, end = starts[event["id"]], (event["tid"], event["ts"])
                origins = whose.get(end)
                if origins and start["tid"] in places and end[0] in places:
                    place = (start["ts"], places[start["tid"]])
                    self.curves.append((place, (end[1], places[end[0]]), origins[0]))


def _label(args: Mapping[str, Any]) -> str:
    origins = args["from"]
    if len(origins) == 1:
        return str(origins[0])
    if len(origins) > STRIPES:
        return f"{len(args['items'])} items"
    return ", ".join(map(str, origins))


# --- drawing it


def _color(item: int) -> str:
    return COLORS[item % len(COLORS)]


def _draw(timeline: _Timeline, ax: Axes) -> None:
    from matplotlib.collections import LineCollection, PolyCollection

    unit, scale = ("s", 1e-6) if timeline.end >= 1e6 else ("ms", 1e-3)

    # One collection for all bars that look alike, as there may be very many.
    looks: defaultdict[tuple[str, str], list[list[tuple[float, float]]]] = defaultdict(list)
    for bar in timeline.bars:
        left, right = bar.start * scale, bar.end * scale
        stripe = HEIGHT / max(len(bar.origins), 1)
        for number, origin in enumerate(bar.origins):
            top = bar.y + HEIGHT / 2 - number * stripe
            low = top - stripe
            corners = [(left, low), (left, top), (right, top), (right, low)]
            looks[_color(origin), bar.style].append(corners)
    hatches = {"failed": "xxxx", "cut off": "...."}
    edge = ("white", 0.7) if len(timeline.bars) <= LABELS else "face"
    for (color, style), rectangles in looks.items():
        pale = style in ("waiting", "cut off")
        bars = PolyCollection(
            rectangles,
            facecolor=(color, 0.3 if pale else 1.0),
            edgecolor=GREY if style in hatches else edge,
            hatch=hatches.get(style),
            linewidth=0.8 if style in hatches else 0.4,
            zorder=3 if style == "done" else 2,
        )
        ax.add_collection(bars)

    labels = [bar for bar in timeline.bars if bar.label]
    if len(labels) <= LABELS:
        for bar in labels:
            if bar.end - bar.start >= WIDE * timeline.end * (1 + len(bar.label)) / 2:
                ax.text(
                    (bar.start + bar.end) / 2 * scale,
                    bar.y,
                    bar.label,
                    ha="center",
                    va="center_baseline",
                    fontsize="small",
                    color=_ink(bar),
                    zorder=4,
                )

    if len(timeline.curves) <= CURVES:
        lines = [
            [(start * scale, y), (end * scale, to)] for (start, y), (end, to), _ in timeline.curves
        ]
        colors = [_color(origin) for _, _, origin in timeline.curves]
        ax.add_collection(LineCollection(lines, colors=colors, linewidths=0.8, alpha=0.7))

    levels = _levels([time for time, _ in timeline.marks], CLOSE * timeline.end)
    if timeline.marks:
        ax.scatter(
            [time * scale for time, _ in timeline.marks],
            [timeline.bottom - STEP * level for level in levels],
            c=[_color(origins[0]) if origins else GREY for _, origins in timeline.marks],
            marker="d",
            s=36,
            linewidths=0.5,
            edgecolors=GREY,
            clip_on=False,
            zorder=4,
        )
    places = [*timeline.names, (timeline.bottom, "consumer")]
    ax.set_yticks([y for y, _ in places], [name.replace("$", r"\$") for _, name in places])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(timeline.bottom - 0.7 - STEP * max(levels, default=0), 0.7)
    ax.set_xlim(0, max(timeline.end, 1) * scale * 1.01)
    ax.set_xlabel(f"time, {unit}")
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "left", "right"):
        ax.spines[side].set_visible(False)


def _levels(times: Iterable[float], close: float) -> list[int]:
    """Return how far down each mark goes: those of about the same time are below one another."""
    levels: list[int] = []
    first = -math.inf
    for time in times:
        level = levels[-1] + 1 if time - first <= close else 0
        if not 0 < level < LEVELS:
            first, level = time, 0
        levels.append(level)
    return levels


def _ink(bar: _Bar) -> str:
    if bar.style in ("waiting", "cut off"):
        return GREY
    return "white" if len(bar.origins) == 1 and _color(bar.origins[0]) in DARK else "black"
