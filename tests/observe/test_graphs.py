"""Pipelines and runs as pictures, whatever the tasks are called."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor import (
    LatencyStatistics,
    LoggingErrorHandler,
    Pipeline,
    RateLimit,
    StageStatistics,
    StreamStatistics,
    batch_task,
    single_task,
)
from conveyor._observe.report.words import plain, shortened

DOT = shutil.which("dot")
needs_dot = pytest.mark.skipif(DOT is None, reason="Graphviz is not installed")


@single_task(concurrency_limit=8, rate_limit=RateLimit(5))
def fetch(item: Any) -> Any:
    return item


@batch_task(max_size=16)
def embed(items: list[Any]) -> list[Any]:
    return items


def named(*names: str) -> Pipeline[Any, Any]:
    return Pipeline(*(single_task(lambda item: item, task_name=name) for name in names))


A_RUN = StreamStatistics(
    "r",
    (
        StageStatistics("fetch", received=1200, emitted=1190, failed=10, queued=0, blocked=41),
        StageStatistics("embed", 1100, 1088, queued=90, batches=68, slots=4, busy=42, full=41),
    ),
    queued=3,
    total=5000,
    read=1200,
    delivered=1085,
    elapsed=42,
    consumer_waited=40,
)

# --- what is in them


def test_a_pipeline_in_mermaid() -> None:
    assert (
        (fetch | embed).to_mermaid()
        == """\
flowchart LR
    n0(["input"])
    n1["fetch<br/>concurrency_limit=8<br/>rate_limit=RateLimit#40;5, per=1.0, burst=1.0#41;"]
    n2[["embed<br/>max_size=16"]]
    n3(["results"])
    n0 --> n1
    n1 --> n2
    n2 --> n3"""
    )


def test_a_pipeline_in_dot() -> None:
    assert (
        (fetch | embed).to_dot()
        == """\
digraph pipeline {
    rankdir=LR
    node [shape=box]
    n0 [label="input", shape=oval]
    n1 [label="fetch\\nconcurrency_limit=8\\nrate_limit=RateLimit(5, per=1.0, burst=1.0)"]
    n2 [label="embed\\nmax_size=16", peripheries=2]
    n3 [label="results", shape=oval]
    n0 -> n1
    n1 -> n2
    n2 -> n3
}"""
    )


def test_a_run_in_mermaid_has_its_numbers_and_marks_the_bottleneck() -> None:
    assert (
        A_RUN.to_mermaid()
        == """\
flowchart LR
    n0(["input"])
    n1["fetch<br/>busy 0 #37;<br/>10 failed"]
    n2[["embed<br/>busy 100 #37;"]]
    n3(["results<br/>1,085 delivered"])
    n0 -->|"1,200 of 5,000"| n1
    n1 -->|"1,190, 90 waiting"| n2
    n2 -->|"1,088, 3 waiting"| n3
    classDef bottleneck fill:#fde2e2,stroke:#c0392b,color:#000000
    class n2 bottleneck"""
    )


def test_a_run_in_dot_has_its_numbers_and_marks_the_bottleneck() -> None:
    lines = A_RUN.to_dot().splitlines()
    assert r'    n1 [label="fetch\nbusy 0 %\n10 failed"]' in lines
    assert '    n1 -> n2 [label="1,190, 90 waiting"]' in lines
    assert [line.split()[0] for line in lines if "class=bottleneck" in line] == ["n2"]


@pytest.mark.parametrize(
    ("run", "marked"),
    [
        (StreamStatistics("r", (StageStatistics("a"),), elapsed=9, input_waited=9), "n0"),
        (StreamStatistics("r", (StageStatistics("a"),), elapsed=9, delivered=1), "n2"),
        (StreamStatistics("r", (StageStatistics("a"),), elapsed=9, consumer_waited=9), None),
        (
            StreamStatistics(
                "r",
                (StageStatistics("a"), StageStatistics("b", occupied=8, held=8)),
                elapsed=9,
                consumer_waited=9,
            ),
            "n2",
        ),
        (
            StreamStatistics(
                "r",
                (StageStatistics("a", occupied=8, crowded_for=8),),
                elapsed=9,
                consumer_waited=9,
            ),
            None,  # max_parallelism is in no box
        ),
        (StreamStatistics("r", (StageStatistics("a"),)), None),
    ],
)
def test_what_is_marked(run: StreamStatistics, marked: str | None) -> None:
    classes = re.findall(r"class (\w+) bottleneck", run.to_mermaid())
    assert classes == ([marked] if marked else [])
    boxes = re.findall(r"(\w+) \[.*class=bottleneck", run.to_dot())
    assert boxes == classes


def test_options_are_short_and_tell_no_secrets() -> None:
    class Secret:
        token = "hunter2"

        def __call__(self, error: Exception, *args: object) -> tuple[bool, None]:
            return True, None

        def __repr__(self) -> str:
            raise AssertionError("nobody asks for the repr of what users pass")

        def __eq__(self, other: object) -> bool:
            raise AssertionError("nor whether it is equal to anything")

        __hash__ = None  # type: ignore[assignment]

    def by_length(item: str) -> int:
        return len(item)

    task = single_task(
        fetch.func,
        task_name="t",
        error_handler=Secret(),
        retry_on=(ValueError, OSError),
        retry_attempts=3,
        retry_delay=1,  # the default, as another type
        key=by_length,
        executor=None,
    )
    shown = task.with_inputs("hunter2", key="hunter2").to_dot()
    assert shown.splitlines()[4] == (
        r'    n1 [label="t\nretry_attempts=3\nretry_on=(ValueError, OSError)'
        r'\nerror_handler=Secret\nkey=by_length"]'
    )


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"retry_attempts": 3, "timeout": 0.5}, "retry_attempts=3, timeout=0.5"),
        ({"concurrency_limit": math.inf}, "concurrency_limit=inf"),
        ({"on_error": "skip_item"}, "on_error='skip_item'"),
        ({"spread": False}, "spread=False"),
        (
            {"on_error": "skip_item", "max_failures": Fraction(1, 20)},
            "on_error='skip_item', max_failures=1/20",
        ),
        ({"error_handler": LoggingErrorHandler()}, "error_handler=LoggingErrorHandler"),
        ({"rate_limit": RateLimit(2), "cost": len}, "rate_limit=RateLimit(2, per=1.0, burst=1.0)"),
        ({"executor": "thread"}, "executor='thread'"),
        ({"retry_on": (OSError,)}, "retry_on=(OSError)"),
    ],
)
def test_options_are_written_as_they_were_given(options: dict[str, Any], shown: str) -> None:
    text = single_task(len, **options).to_dot()
    assert shown in text.replace(r"\n", ", ")


def test_a_very_long_name_is_shortened() -> None:
    text = named("x" * 100_000).to_mermaid()
    assert len(text) < 300
    assert "xxx…xxx" in text


# --- any name is safe

NASTY = [
    *('end "', "]", '"]', "#quot;", "#35;", ";", "<b>x</b>", "a\nb", "%%{init: {}}%%", "`x`"),
    *("style a fill:#f00;", "-->", "A" * 500, "日本", "e\u0301", "\ud800", "\x1b[31m", "\\", "\\N"),
    *("&lt;", "&#60;", "1. x", "_x_", "**x**", "$$x$$", "", "ﬂ°°60¶ß", "www.example.com", "\u202e"),
]
names = st.lists(
    st.text(max_size=30) | st.lists(st.sampled_from(NASTY), max_size=4).map("".join),
    min_size=1,
    max_size=8,
)

BOX = re.compile(r'    n(\d+)(\(\[|\[\[|\[)"((?:[^"<>#&;`*$%\\]|#\d+;|<br/>)*)"(\]\)|\]\]|\])')
ARROW = re.compile(r"    n(\d+) --> n(\d+)")


def shown(name: str) -> str:
    """Return what is to be seen of a name."""
    return shortened(plain(name), 60)


@given(names)
def test_any_name_is_one_text_in_mermaid(names: list[str]) -> None:
    first, *lines = named(*names).to_mermaid().splitlines()
    count = len(names) + 2
    assert first == "flowchart LR"
    boxes = [BOX.fullmatch(line) for line in lines[:count]]
    arrows = [ARROW.fullmatch(line) for line in lines[count:]]
    texts = [re.sub(r"#(\d+);", lambda m: chr(int(m[1])), box[3]) for box in boxes if box]
    assert texts == ["input", *(shown(name) or "\u200b" for name in names), "results"]
    assert [arrow.groups() for arrow in arrows if arrow] == [
        (str(index), str(index + 1)) for index in range(count - 1)
    ]
    assert len(arrows) == count - 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("open_invoice", "open_invoice"),
        ("_x_", "#95;x#95;"),
        ("a__b", "a#95;#95;b"),
        ("by-key", "by-key"),
        ("- a", "#45; a"),
        ("0.5, 1.", "0.5, 1#46;"),
        ("www.a.b", "www#46;a#46;b"),
        ("é日😀", "é日😀"),
        ("", "#8203;"),
    ],
)
def test_what_stays_readable_in_mermaid(name: str, text: str) -> None:
    assert f'["{text}"]' in named(name).to_mermaid()


@needs_dot
@given(names)
@settings(max_examples=25)
def test_graphviz_draws_any_name_as_it_is(names: list[str]) -> None:
    drawing = draw(named(*names).to_dot())
    texts = [node_text(node) for node in drawing["objects"]]
    assert texts == [["input"], *([shown(name)] if name else [] for name in names), ["results"]]
    assert len(drawing["edges"]) == len(names) + 1


@needs_dot
def test_graphviz_draws_options_and_numbers_on_lines_of_their_own() -> None:
    drawing = draw((fetch | embed).to_dot())
    assert node_text(drawing["objects"][2]) == ["embed", "max_size=16"]
    drawing = draw(A_RUN.to_dot())
    assert node_text(drawing["objects"][1]) == ["fetch", "busy 0 %", "10 failed"]
    assert [edge["label"] for edge in drawing["edges"]] == [
        "1,200 of 5,000",
        "1,190, 90 waiting",
        "1,088, 3 waiting",
    ]
    assert [node.get("class") for node in drawing["objects"]] == [None, None, "bottleneck", None]


def draw(source: str) -> Any:
    """Return Graphviz's drawing of a graph, all it complains about being an error."""
    assert DOT is not None
    done = subprocess.run(
        [DOT, "-Tjson"], input=source.encode(), capture_output=True, timeout=30, check=True
    )
    assert done.stderr == b""
    return json.loads(done.stdout)


def node_text(node: Any) -> list[str]:
    """Return the lines that stand in a node."""
    return [step["text"] for step in node.get("_ldraw_", ()) if step["op"] == "T"]


def test_the_median_is_in_the_advice_alone() -> None:
    stage = StageStatistics("a", latency=LatencyStatistics(1, 1.0, 1.0, 1.0, 1.0, 1.0))
    assert "1 s" not in StreamStatistics("r", (stage,), elapsed=1).to_mermaid()
