"""Draws live.svg and report.svg: the live view in the middle of a real run, and its report.

``python docs/pictures/live.py``, ten seconds. Needs `conveyor[rich]`.
"""

from __future__ import annotations

import logging
import random
import re
from io import StringIO
from pathlib import Path

import anyio
from rich.console import Console

from conveyor import batch_task, live, single_task

HERE = Path(__file__).parent
chance = random.Random(1)


@single_task(concurrency_limit=16, retry_attempts=3, retry_delay=0.1, on_error="skip_item")
async def fetch(number: int) -> int:
    await anyio.sleep(chance.uniform(0.05, 0.15))  # stands for the network
    if chance.random() < 0.2:
        raise ConnectionError
    return number


@single_task(concurrency_limit=4)
async def parse(number: int) -> int:
    await anyio.sleep(chance.uniform(0.01, 0.04))
    return number


@batch_task(max_size=8, concurrency_limit=2)
async def embed(numbers: list[int]) -> list[int]:
    await anyio.sleep(chance.uniform(0.1, 0.3))  # stands for a model
    return numbers


def recorder(width: int) -> Console:
    return Console(file=StringIO(), record=True, force_terminal=True, width=width, height=20)


async def save(console: Console, name: str, title: str) -> None:
    svg = console.export_svg(title=title)
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # pictures load no fonts
    svg = re.sub(r"[ \t]+\n", "\n", svg)
    await anyio.Path(HERE, name).write_text(svg, encoding="utf-8")


async def main() -> None:
    console = recorder(80)
    stream = (fetch | parse | embed).with_context(pipeline_id="pages")(range(700))

    async def look() -> None:
        await anyio.sleep(4.1)
        console.export_text()  # what has been drawn up to now is forgotten
        await anyio.sleep(0.25)
        await save(console, "live.svg", "python pages.py")

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        async with stream, live(stream, console=console, interval=0.25):
            async for _ in stream:
                pass

    console = recorder(100)
    console.print(stream.statistics())
    await save(console, "report.svg", "rich.print(stream.statistics())")


logging.getLogger("conveyor").setLevel(logging.ERROR)  # items are skipped on purpose
anyio.run(main)
