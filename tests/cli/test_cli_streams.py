"""The two ends of the command line, over real pipes and files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import anyio
import pytest

from conveyor import single_task
from conveyor._cli.input import Input, Items
from conveyor._cli.lines import BadLineError, JsonLines, Read
from conveyor._cli.messages import AbortedError, ReportedError
from conveyor._cli.output import ClosedOutputError, Output

pytestmark = [
    pytest.mark.real_time,  # descriptors take part
    pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix"),
]


class Pipe:
    """Both ends of a pipe."""

    def __init__(self) -> None:
        source, self.into = os.pipe()
        self.source = FileIO(source)

    def close(self) -> None:
        """Close the end that is written to."""
        if self.into >= 0:
            os.close(self.into)
        self.into = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()
    with suppress(OSError):
        pipe.source.close()


def items(pipe: Pipe, **options: Any) -> Items:
    return Items([Input("pipe", JsonLines, pipe.source)], **options)


async def test_an_item_is_there_as_soon_as_its_line_is(pipe: Pipe) -> None:
    found = items(pipe)
    os.write(pipe.into, b"1\n2\n[3,")
    assert [await anext(found), await anext(found)] == [1, 2]
    os.write(pipe.into, b"4]\n")
    assert await anext(found) == [3, 4]
    os.write(pipe.into, b"5")
    pipe.close()
    assert [item async for item in found] == [5]


async def test_waiting_for_input_can_be_cancelled_and_loses_nothing(pipe: Pipe) -> None:
    found = items(pipe)
    os.write(pipe.into, b"[1,")
    for _ in range(3):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(anext, found)
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
                scope.cancel()
        assert scope.cancelled_caught
    os.write(pipe.into, b"2]\n")
    assert await anext(found) == [1, 2]


async def test_a_stream_that_waits_for_input_stops(pipe: Pipe) -> None:
    @single_task
    def same(item: Any) -> Any:
        return item

    os.write(pipe.into, b"1\n2\n")
    results = []
    async with same(items(pipe)) as stream:
        async for result in stream:
            results.append(result)
            if result == 2:
                stream.stop()
    assert results == [1, 2]


async def test_bad_lines_end_it_or_are_told(pipe: Pipe) -> None:
    os.write(pipe.into, b"1\n?\n2\n!\n3\n")
    pipe.close()
    bad: list[BadLineError] = []
    read: list[Read] = []
    found = items(pipe, bad_line=bad.append, limit=2, read=lambda each, name: read.append(each))
    assert [item async for item in found] == [1, 2]
    assert [each.line for each in read] == [1, 3]
    assert [each.line for each in bad] == [2]  # what is behind the limit is not looked at
    with pytest.raises(StopAsyncIteration):
        await anext(found)


async def test_a_bad_line_is_raised_in_its_place(pipe: Pipe) -> None:
    os.write(pipe.into, b"1\n?\n2\n")
    found = items(pipe)
    assert await anext(found) == 1
    with pytest.raises(BadLineError, match=r"^pipe:2: no JSON"):
        await anext(found)


async def test_files_are_read_to_their_end(tmp_path: Path) -> None:
    numbers = list(range(30_000))  # several pieces
    path = tmp_path / "numbers.jsonl"
    path.write_text("\n".join(map(str, numbers)))
    with FileIO(path) as file:
        assert [item async for item in Items([Input("file", JsonLines, file)])] == numbers


async def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with FileIO(tmp_path / "file", "w") as file, pytest.raises(ReportedError) as caught:
        await anext(Items([Input("name", JsonLines, file)]))
    assert str(caught.value) == "cannot read name: Bad file descriptor"


async def test_a_write_goes_on_as_somebody_reads(pipe: Pipe) -> None:
    data = os.urandom(1_000_000)  # more than fits into the pipe
    received = b""
    output = Output(pipe.into, "pipe", prompt=True)

    async def read() -> None:
        nonlocal received
        while len(received) < len(data):
            await anyio.wait_readable(pipe.source.fileno())
            received += os.read(pipe.source.fileno(), 65536)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await output.write(data)
    assert received == data


async def test_a_write_that_nobody_reads_can_be_given_up(pipe: Pipe) -> None:
    output = Output(pipe.into, "pipe", prompt=True)
    output.give_up()  # there is none
    async with anyio.create_task_group() as group:

        async def give_up() -> None:
            # Once it is there, the rest does not fit.
            await anyio.wait_readable(pipe.source.fileno())
            output.give_up()

        group.start_soon(give_up)
        with pytest.raises(AbortedError):
            await output.write(b"x" * 1_000_000)


async def test_a_reader_that_has_left_is_noticed(pipe: Pipe) -> None:
    output = Output(pipe.into, "pipe", prompt=True)
    pipe.source.close()
    with pytest.raises(ClosedOutputError):
        await output.write(b"x")


async def test_a_file_is_written_when_there_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb", buffering=0) as file:
        output = Output(file.fileno(), "file", prompt=False)
        await output.write(b"x" * 60_000)
        assert path.stat().st_size == 0
        await output.write(b"x" * 60_000)
        assert path.stat().st_size == 120_000
        await output.write(b"y")
        await output.flush()
        assert path.stat().st_size == 120_001


async def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with FileIO(tmp_path / "file") as file, pytest.raises(ReportedError) as caught:
        await Output(file.fileno(), "name", prompt=True).write(b"x")
    assert str(caught.value) == "cannot write name: Bad file descriptor"
