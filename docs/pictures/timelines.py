"""Draws the pictures of runs: python docs/pictures/timelines.py, a few seconds.

Needs `conveyor[plot]`. The runs are real ones, so a bar may be a millisecond off. `perfetto.png`
is a picture of the screen, with the trace of the third run opened and one of its batches clicked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import matplotlib as mpl

from conveyor import Stream, Trace, batch_task, plot_timeline, record_trace, single_task

HERE = Path(__file__).parent
GREY = "#808080"  # readable on a light ground and on a dark one
STYLE: Any = {  # matplotlib types the names of all settings
    "svg.hashsalt": "conveyor",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "ytick.labelcolor": GREY,
}

DELAYS = [0.1, 0.2, 0.3, 0.4, 0.5, 2.0, 0.7, 0.8]


@single_task
async def download(seconds: float) -> float:
    await anyio.sleep(seconds)
    return seconds


tried: list[int] = []


@single_task(concurrency_limit=3)
async def fetch(number: int) -> int:
    await anyio.sleep((40 + 35 * (number % 4)) / 1000)
    return number


@single_task(
    concurrency_limit=2,
    retry_attempts=2,
    retry_delay=0.03,
    retry_jitter=False,
    on_error="emit_failure",
)
async def parse(number: int) -> int:
    await anyio.sleep(0.05)
    tried.append(number)
    if number == 6 or (number == 3 and tried.count(3) == 1):
        raise ValueError("not a number")
    return number


@batch_task(max_size=3)
async def store(numbers: list[int]) -> list[int]:
    await anyio.sleep(0.08)
    return numbers


async def traced(stream: Stream[Any]) -> Trace:
    with record_trace(stream) as trace:
        await stream.drain()
    return trace


def save(trace: Trace, name: str, title: str | None = None) -> None:
    with mpl.rc_context(STYLE):
        figure = plot_timeline(trace, title=title)
        figure.savefig(HERE / name, transparent=True, metadata={"Date": None})


async def main() -> None:
    save(await traced(download(DELAYS)), "ordered.svg", "download(DELAYS)")
    save(
        await traced(download.as_completed(DELAYS)),
        "as-completed.svg",
        "download.as_completed(DELAYS)",
    )
    save(await traced((fetch | parse | store)(range(12))), "timeline.svg")


if __name__ == "__main__":
    anyio.run(main)
