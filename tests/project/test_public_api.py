"""What `import conveyor` brings, and what it does not."""

from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys

import pytest

import conveyor


def test_every_public_name_is_there_and_says_where_it_is_from() -> None:
    assert list(conveyor.__all__) == sorted(conveyor.__all__)
    for name in conveyor.__all__:
        assert getattr(conveyor, name).__module__ == "conveyor"
    public = {name for name in vars(conveyor) if not name.startswith("_")}
    assert public == set(conveyor.__all__)


@pytest.mark.parametrize("name", conveyor.__all__)
def test_every_public_name_and_method_has_a_docstring(name: str) -> None:
    thing = getattr(conveyor, name)
    assert thing.__doc__
    if inspect.isclass(thing):
        for method, value in vars(thing).items():
            if not method.startswith("_") and inspect.isfunction(value):
                assert value.__doc__, f"{name}.{method}"


def test_the_one_dependency_is_anyio() -> None:
    required = importlib.metadata.requires("conveyor") or []
    assert [line for line in required if "extra ==" not in line] == ["anyio>=4.14"]


def test_neither_loop_is_imported_unless_it_is_used() -> None:
    script = """
import sys
import conveyor, anyio
assert "trio" not in sys.modules
assert "uvloop" not in sys.modules

@conveyor.single_task
async def work(item):
    return item

print(anyio.run(work([1, 2]).collect))
assert "trio" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", "[1, 2]\n")


def test_to_describe_a_pipeline_brings_no_event_loop() -> None:
    script = """
import sys
import conveyor

@conveyor.single_task
def work(item):
    return item

pipeline = work | work.with_options(retry_attempts=2)
assert not {"anyio", "asyncio", "logging", "conveyor._stream"} & set(sys.modules)
print(len(pipeline), set(conveyor.__all__) <= set(dir(conveyor)))
assert "asyncio" not in sys.modules
conveyor.Stream
assert "asyncio" in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", "2 True\n")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = conveyor.nothing


def test_a_stream_can_be_made_before_the_loop_runs() -> None:
    import anyio

    stream = conveyor.single_task(lambda item: item + 1)([1, 2])
    assert anyio.run(stream.collect) == [2, 3]
