"""A pipeline as a picture, in the languages of Mermaid and Graphviz. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .bottleneck import find_bottleneck
from .finding import Kind
from .words import count_text, options_of, part_of, plain, share_text, shortened

if TYPE_CHECKING:
    from ..._model.figures import StageStatistics, StreamFigures
    from ..._model.spec import Spec

NAME = 60  # how long a line in a box gets
FILL, STROKE, INK = "#fde2e2", "#c0392b", "#000000"  # of the bottleneck, on any page
# What is escaped for Mermaid: all of Latin-1 but letters, digits, spaces and what cannot be
# Markdown where it stands, as in ``max_size=4, 0.5``.
SPECIAL = re.compile(
    r"(?![^\W_]|[ ,=\u0100-\U0010ffff]|(?<=[^\W_])[_-](?=[^\W_])|(?<=\d)\.(?=\d))."
)


@dataclass(frozen=True, slots=True)
class Node:
    """A box: its lines, whether it is an end of the pipeline, and whether it takes batches."""

    lines: Sequence[str]
    end: bool = False
    batch: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """Boxes in a row.

    Attributes:
        nodes: From the input to the results.
        edges: What stands on the arrow behind each node but the last; empty for nothing.
        bottleneck: The place of the node that is marked; ``None`` if none is.
    """

    nodes: Sequence[Node]
    edges: Sequence[str]
    bottleneck: int | None = None


def pipeline_graph(specs: Sequence[Spec]) -> Graph:
    """Return the picture of a pipeline: its tasks, with the options that were given."""
    nodes = [Node(["input"], end=True)]
    for spec in specs:
        options = options_of(spec)
        lines = [spec.name, *(f"{name}={value}" for name, value in options.items())]
        nodes.append(Node(lines, batch="max_size" in options))
    nodes.append(Node(["results"], end=True))
    return Graph(nodes, [""] * (len(specs) + 1))


def run_graph(statistics: StreamFigures) -> Graph:
    """Return the picture of a run: what has passed, what waits, and what limits it."""
    stages = statistics.stages
    read = count_text(statistics.read)
    if statistics.total is not None:
        read += f" of {count_text(statistics.total)}"
    passed = [read, *(count_text(stage.emitted) for stage in stages)]
    waiting = [*(stage.queued for stage in stages), statistics.queued]
    edges = [
        f"{count}, {count_text(wait)} waiting" if wait else count
        for count, wait in zip(passed, waiting, strict=True)
    ]
    boxes = [
        Node([stage.name, *_numbers(stage, statistics)], batch=stage.batches > 0)
        for stage in stages
    ]
    results = [f"{count_text(statistics.delivered)} delivered"]
    nodes = [Node(["input"], end=True), *boxes, Node(["results", *results], end=True)]
    found = find_bottleneck(statistics)
    marked: int | None = None
    if found.kind is Kind.INPUT:
        marked = 0
    elif found.kind is Kind.CONSUMER:
        marked = len(nodes) - 1
    elif found.kind is not Kind.NOTHING and found.stage is not None:
        marked = found.stage + 1
    return Graph(nodes, edges, marked)


def _numbers(stage: StageStatistics, statistics: StreamFigures) -> list[str]:
    """Return what is told of a stage in its box."""
    told: list[str] = []
    if statistics.timed and statistics.elapsed > 0:
        told.append(f"busy {share_text(part_of(stage.busy, statistics.elapsed))}")
    names = ("running", "filtered", "failed", "skipped", "retried", "dropped", "cancelled")
    counts = ((name, getattr(stage, name)) for name in names)
    return [*told, *(f"{count_text(count)} {name}" for name, count in counts if count)]


def _lines(node: Node) -> list[str]:
    return [shortened(plain(line), NAME) for line in node.lines]


# Mermaid


def to_mermaid(graph: Graph) -> str:
    """Return a flowchart from left to right."""
    lines = ["flowchart LR"]
    for index, node in enumerate(graph.nodes):
        text = "<br/>".join(map(_mermaid_text, _lines(node)))
        begin, end = ("([", "])") if node.end else ("[[", "]]") if node.batch else ("[", "]")
        lines.append(f'    n{index}{begin}"{text}"{end}')
    for index, edge in enumerate(graph.edges):
        text = f'|"{_mermaid_text(edge)}"|' if edge else ""
        lines.append(f"    n{index} -->{text} n{index + 1}")
    if graph.bottleneck is not None:
        lines.append(f"    classDef bottleneck fill:{FILL},stroke:{STROKE},color:{INK}")
        lines.append(f"    class n{graph.bottleneck} bottleneck")
    return "\n".join(lines)


def _mermaid_text(text: str) -> str:
    """Return `text` for a string in quotes.

    Whatever could mean anything there, or to Markdown or HTML, is written by its number.
    """
    if not text:
        return "#8203;"  # of no width: a string in quotes may not be empty
    return SPECIAL.sub(lambda match: f"#{ord(match[0])};", text)


# Graphviz


def to_dot(graph: Graph) -> str:
    """Return a directed graph from left to right."""
    lines = ["digraph pipeline {", "    rankdir=LR", "    node [shape=box]"]
    for index, node in enumerate(graph.nodes):
        text = r"\n".join(map(_dot_text, _lines(node)))
        options = [f'label="{text}"']
        if node.end:
            options.append("shape=oval")
        elif node.batch:
            options.append("peripheries=2")
        if index == graph.bottleneck:
            options.append(
                f'class=bottleneck, style=filled, fillcolor="{FILL}", color="{STROKE}", '
                f'fontcolor="{INK}"'
            )
        lines.append(f"    n{index} [{', '.join(options)}]")
    for index, edge in enumerate(graph.edges):
        label = f' [label="{_dot_text(edge)}"]' if edge else ""
        lines.append(f"    n{index} -> n{index + 1}{label}")
    return "\n".join([*lines, "}"])


def _dot_text(text: str) -> str:
    r"""Return `text` for a string in quotes, where ``\N`` and ``&lt;`` mean something."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
