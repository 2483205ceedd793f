"""`conveyor check` and `conveyor graph`: what they say, and with which exit code."""

from __future__ import annotations

import functools
import json
import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from test_cli_page import session

from _elsewhere import Scale, square
from conveyor import LoggingErrorHandler, Pipeline, RateLimit, Task, batch_task, single_task
from conveyor._check.plan import Plan, plan_of, stage_of
from conveyor._cli.check import check, report
from conveyor._cli.graph import graph
from test_docs import DOCS, blocks

SHOP = """
    from __future__ import annotations

    from typing import NamedTuple

    from conveyor import RateLimit, batch_task, single_task

    class Page(NamedTuple):
        url: str

    class Row(NamedTuple):
        page: Page

    @single_task(retry_attempts=3, timeout=10, rate_limit=RateLimit(20), on_error="skip_item")
    async def fetch(url: str) -> Page | None:
        return Page(url)

    @single_task(executor="thread", concurrency_limit=4)
    def parse(page: Page) -> list[Row]:
        return [Row(page)]

    @single_task
    def clean(row):
        return row

    @batch_task(max_size=100, max_wait=0.5)
    async def store(rows: list[Row]) -> int:
        return len(rows)

    pipeline = fetch | parse | store
    cleaned = fetch | parse | clean | store
    broken = fetch | store | parse
    bounded = parse.with_execution_mode("as_completed").with_context(
        max_parallelism=2, buffer_size=10, db="x"
    )
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("shop", None)


def invoke(command: click.Command, *args: str) -> Result:
    return CliRunner().invoke(command, args, catch_exceptions=False)


def plan(*tasks: Pipeline[Any, Any, Any]) -> Plan:
    return plan_of(functools.reduce(lambda left, right: left | right, tasks))


# --- what is said


def test_what_will_run_and_what_goes_between() -> None:
    result = invoke(check, "shop:pipeline")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == textwrap.dedent("""\
        shop:pipeline: takes str, gives int, in order

        fetch  async, on the event loop, 100 at once
               20 calls per second, 3 tries, 10 s a try, on_error=skip_item
          -> Page (ok)
        parse  sync, in threads, 4 at once
          -> Row (ok)
        store  async, on the event loop, 1 at once
               batches of up to 100, after 500 ms
        """)


def test_what_is_not_known_is_no_mismatch() -> None:
    result = invoke(check, "shop:cleaned")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[5:9] == [
        "parse  sync, in threads, 4 at once",
        "  -> Row (unknown: clean has no annotation for what it takes)",
        "clean  sync, on the event loop, 100 at once",
        "  -> ? (unknown: clean has no annotation for what it returns)",
    ]


def test_a_mismatch_is_one_line_and_exit_code_1() -> None:
    result = invoke(check, "shop:broken")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: fetch gives Page, and store takes Row\n"
        "Error: store gives int, and parse takes Page\n"
    )
    assert "  -> Page into Row (mismatch)\n" in result.stdout
    assert "  -> int into Page (mismatch)\n" in result.stdout


def test_the_settings_of_the_run() -> None:
    result = invoke(check, "shop:bounded")
    assert result.stdout == textwrap.dedent("""\
        shop:bounded: takes Page, gives list[Row], as completed
          at most 2 calls at once in all
          at most 10 items between two tasks
          context data: db

        parse  sync, in threads, 4 at once
        """)
    assert result.stderr == (
        "Warning: parse may run 4 at once by its concurrency_limit, and the whole run 2 by "
        "max_parallelism\n"
    )
    assert result.exit_code == 0  # a warning is no problem


def test_all_of_it_as_json() -> None:
    result = invoke(check, "shop:broken", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    said = json.loads(result.stdout)
    assert said["pipeline"] == "shop:broken"
    assert (said["takes"], said["gives"], said["execution_mode"]) == ("str", "list[Row]", "ordered")
    assert [stage["name"] for stage in said["stages"]] == ["fetch", "store", "parse"]
    assert said["stages"][1] == {
        "name": "store",
        "kind": "async",
        "batches": "up to 100, after 500 ms",
        "runs": "event loop",
        "at_once": 1,
        "options": [],
    }
    assert said["edges"][0] == {
        "giver": "fetch",
        "taker": "store",
        "gives": "Page",
        "takes": "Row",
        "verdict": "mismatch",
        "why": "",
    }
    assert said["problems"] == [
        "fetch gives Page, and store takes Row",
        "store gives int, and parse takes Page",
    ]
    assert said["warnings"] == []


# --- the stages


def nop(item: int) -> int:
    return item


def weigh(item: int) -> int:
    return item


def decide(error: Exception, item: object, task_name: str, attempt: int) -> tuple[bool, None]:
    return True, None


@single_task(executor="process")
def heavy(item: int) -> int:
    return item


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ()),
        ({"retry_attempts": 2}, ("2 tries",)),
        ({"timeout": 0.25}, ("250 ms a try",)),
        ({"on_error": "emit_failure"}, ("on_error=emit_failure",)),
        (
            {"on_error": "skip_item", "max_failures": Fraction(1, 100)},
            ("on_error=skip_item", "max_failures=1/100"),
        ),
        ({"key": weigh}, ("1 at once for each weigh",)),
        ({"key": weigh, "per_key": 3}, ("3 at once for each weigh",)),
        ({"rate_limit": RateLimit(5)}, ("5 calls per second",)),
        ({"rate_limit": RateLimit(90, per=60)}, ("90 calls per 60 s",)),
        ({"rate_limit": RateLimit(90, per=60), "cost": weigh}, ("90 of its costs per 60 s",)),
        ({"error_handler": LoggingErrorHandler()}, ("errors handled by LoggingErrorHandler",)),
        ({"error_handler": decide}, ("errors handled by decide",)),
        ({"spread": True}, ("spread=True",)),
        ({"spread": False}, ("spread=False",)),
    ],
)
def test_the_options_of_a_task(options: dict[str, Any], said: tuple[str, ...]) -> None:
    assert stage_of(single_task(**options)(nop).spec).options == said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_size": 5}, "up to 5"),
        ({"max_size": 5, "min_size": 2}, "up to 5, at least 2"),
        ({"max_size": 5, "max_wait": 2}, "up to 5, after 2 s"),
        ({"max_size": 5, "by": weigh}, "up to 5, one for each weigh"),
        ({"max_size": 5, "max_weight": 100, "weight": weigh}, "up to 5, weigh 100 at most"),
        ({"max_size": 5, "flush_when_idle": True}, "up to 5, when idle"),
        ({"max_size": 5, "drop_remainder": True}, "up to 5, the remainder dropped"),
    ],
)
def test_how_batches_are_made(options: dict[str, Any], said: str) -> None:
    assert stage_of(batch_task(**options)(nop).spec).batches == said


@pytest.mark.parametrize(
    ("executor", "runs"),
    [(None, "event loop"), ("thread", "threads"), ("process", "processes")],
)
def test_where_a_task_runs(executor: Any, runs: str) -> None:
    assert stage_of(square.with_options(executor=executor).spec).runs == runs


def test_an_executor_of_the_users_is_named_by_its_class() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert stage_of(single_task(nop, executor=pool).spec).runs == "ThreadPoolExecutor"


def test_how_many_run_at_once() -> None:
    assert stage_of(single_task(nop).spec).at_once == 100
    assert stage_of(single_task(concurrency_limit=7)(nop).spec).at_once == 7
    unlimited = single_task(concurrency_limit=math.inf)(nop)
    assert stage_of(unlimited.spec).at_once is None
    assert "nop  sync, on the event loop, any number at once" in list(report("x", plan(unlimited)))


def test_side_inputs_are_counted() -> None:
    def add(item: int, *more: int, last: int = 0) -> int:
        return item

    assert stage_of(single_task(add).with_inputs(1).spec).options == ("1 side input",)
    assert stage_of(single_task(add).with_inputs(1, last=2).spec).options == ("2 side inputs",)


# --- what goes in and comes out


def test_what_a_pipeline_takes_and_gives() -> None:
    @single_task
    def many(text: str) -> list[int]: ...

    @single_task(on_error="emit_failure")
    def one(number: int) -> float | None: ...

    @single_task
    def end(number: float) -> None: ...

    found = plan(many)
    assert (found.takes, found.gives) == ("str", "list[int]")
    found = plan(many, one)
    assert (found.takes, found.gives) == ("str", "float | Failure")
    found = plan(many, one, end)
    assert found.gives == "nothing | Failure"
    assert plan(end).gives == "nothing"
    assert plan(single_task(lambda item: item)).gives is None
    assert next(report("x:y", plan(single_task(lambda item: item)))) == (
        "x:y: takes unknown, gives unknown, in order"
    )


# --- problems and warnings


def problems(*tasks: Pipeline[Any, Any, Any]) -> tuple[str, ...]:
    return plan(*tasks).problems


def test_a_function_that_cannot_be_called() -> None:
    def two(item: int, other: int) -> int: ...

    @batch_task(max_size=2)
    def lost(items: list[int], db: str) -> int: ...

    assert problems(single_task(two)) == (
        (
            "two cannot be called with an item: two(item, other) needs 'other' as well; give it "
            "with two.with_inputs(other=...)"
        ),
    )
    assert problems(single_task(two).with_inputs(1)) == ()
    assert problems(single_task(two).with_inputs(1, 2)) == (
        (
            "two cannot be called with an item and its side inputs: two(item, other) takes 2 "
            "arguments by place, and would get 3: the item and 2 from with_inputs"
        ),
    )
    assert problems(lost) == (
        (
            "lost cannot be called with a batch: lost(items, db) needs 'db' as well; give it "
            "with lost.with_inputs(db=...)"
        ),
    )
    assert problems(Scale.apply) == (
        (
            "apply cannot be called with an item: apply(self, item) is a method; take the task "
            "from an instance, as in Scale(...).apply"
        ),
    )
    assert problems(Scale(2).apply) == ()


def test_and_a_pipeline_that_is_called_says_the_same() -> None:
    def two(item: int, other: int) -> int: ...

    task = single_task(two)
    with pytest.raises(TypeError, match="task 'two' cannot be called") as caught:
        task([1])
    assert str(caught.value).replace("task 'two'", "two") == problems(task)[0]


def test_a_batch_function_that_takes_no_list() -> None:
    @batch_task(max_size=2)
    def store(row: str) -> int: ...

    assert problems(store) == ("store gets its batches as lists, and takes str",)


@pytest.mark.parametrize("executor", ["process", "pool"])
def test_a_function_that_cannot_travel(executor: str) -> None:
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with pool:
        where: Any = pool if executor == "pool" else executor
        (problem,) = problems(single_task(executor=where)(lambda item: item))
        assert problem.startswith("<lambda> cannot run in ")
        assert "the function '<lambda>' is a lambda." in problem
        assert problems(square.with_options(executor=where)) == ()
        assert problems(Scale(2).apply.with_options(executor=where)) == ()
    assert problems(heavy) == ()
    assert problems(single_task(executor="thread")(lambda item: item)) == ()


def test_the_problems_of_all_tasks_are_said() -> None:
    def two(item: int, other: int) -> int: ...
    def three(item: str, other: int, more: int) -> int: ...

    assert problems(single_task(two), single_task(three)) == (
        "two gives int, and three takes str",
        (
            "two cannot be called with an item: two(item, other) needs 'other' as well; give it "
            "with two.with_inputs(other=...)"
        ),
        (
            "three cannot be called with an item: three(item, other, more) needs 'other' and "
            "'more' as well; give it with three.with_inputs(other=..., more=...)"
        ),
    )


def test_a_task_that_lets_nothing_through() -> None:
    def note(item: int) -> None: ...

    noting, passing = single_task(note), single_task(nop)
    found = plan(passing, noting, passing)
    assert found.warnings[0] == "note gives nothing, so nothing reaches the tasks behind it"
    assert found.edges[1].verdict == "unknown"
    assert found.edges[1].why == "note gives nothing, as its annotation says"
    assert plan(passing, noting).warnings == ()


def test_limits_beyond_that_of_the_run() -> None:
    @single_task(concurrency_limit=20)
    def busy(item: int) -> int: ...

    at_20 = Pipeline(busy).with_context(max_parallelism=20)
    assert plan(at_20).warnings == ()
    assert plan(at_20.with_context(max_parallelism=19)).warnings == (
        "busy may run 20 at once by its concurrency_limit, and the whole run 19 by max_parallelism",
    )
    # The default was not chosen, and no limit is a way to leave it to the run.
    assert plan(single_task(nop).with_context(max_parallelism=2)).warnings == ()
    unlimited = busy.with_options(concurrency_limit=math.inf)
    assert plan(unlimited.with_context(max_parallelism=2)).warnings == ()


def test_tasks_of_one_name() -> None:
    task: Task[Any, Any, Any] = single_task(nop)
    assert plan(task, task.with_options(task_name="other"), task).warnings == (
        "2 tasks are called nop: task_name tells them apart",
    )


# --- graphs


def test_a_graph_in_both_languages() -> None:
    result = invoke(graph, "shop:pipeline")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("flowchart ")
    assert result.stdout.endswith("\n")
    assert not result.stdout.endswith("\n\n")

    result = invoke(graph, "shop:pipeline", "--format", "dot")
    assert result.stdout.startswith("digraph ")
    for name in ("fetch", "parse", "store"):
        assert name in result.stdout


def test_a_graph_is_what_the_pipeline_says() -> None:
    text = invoke(graph, "shop:broken", "--format", "mermaid").stdout
    module = sys.modules["shop"]
    assert text.rstrip("\n") == module.broken.to_mermaid().rstrip("\n")


@pytest.mark.parametrize("command", [check, graph])
@pytest.mark.parametrize("args", [(), ("shop:pipeline", "more"), ("shop:pipeline", "--what")])
def test_wrong_usage_is_exit_code_2(command: click.Command, args: tuple[str, ...]) -> None:
    result = invoke(command, *args)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_an_unknown_format_is_exit_code_2() -> None:
    result = invoke(graph, "shop:pipeline", "--format", "png")
    assert result.exit_code == 2
    assert "'png' is not one of 'mermaid', 'dot'" in result.stderr


# --- from outside


@pytest.fixture
def conveyor(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "conveyor", *args],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )

    return run


def test_the_program(conveyor: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = conveyor("check", "shop:pipeline")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  -> Page (ok)\n" in done.stdout

    done = conveyor("check", "shop:broken")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: fetch gives Page, and store takes Row",
        "Error: store gives int, and parse takes Page",
    ]

    done = conveyor("graph", "shop.py:pipeline")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("flowchart ")

    for command in ("check", "graph"):
        done = conveyor(command, "shop:pipelines")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("Error: 'shop' has no 'pipelines': did you mean 'pipeline'?")
        assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="the page is written for a Unix shell")
def test_the_sessions_of_the_page(tmp_path: Path) -> None:
    page = [*blocks((DOCS / "how-to" / "checking.md").read_text("utf-8"))]
    source = [block.text for block in page if block.language == "python"]
    (tmp_path / "shop.py").write_text("\n".join(source), "utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    sessions = [block for block in page if block.language == "console"]
    assert len(sessions) > 4
    for block in sessions:
        assert session(block.text, tmp_path, path) == block.text, f"line {block.line}"
