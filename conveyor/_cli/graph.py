"""The command `conveyor graph`."""

from __future__ import annotations

import click

from .load import load_pipeline


@click.command(
    short_help="Print a pipeline as a graph, for Mermaid or Graphviz.",
    epilog="""\b
Examples:
  conveyor graph shop:pipeline > shop.mmd
  conveyor graph shop:pipeline --format dot | dot -Tsvg > shop.svg

\b
Exit codes:
  0  done
  2  usage: an option, or there is no such pipeline
""",
)
@click.argument("target", metavar="MODULE:PIPELINE")
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid", "dot"]),
    default="mermaid",
    show_default=True,
    help="For Mermaid, which GitHub and many editors draw, or for Graphviz.",
)
def graph(target: str, form: str) -> None:
    """Import a pipeline, and print its tasks and how they follow one another as a graph."""
    pipeline = load_pipeline(target)
    text = pipeline.to_dot() if form == "dot" else pipeline.to_mermaid()
    click.echo(text.rstrip("\n"))
