"""The command `conveyor check`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

import click

from .._check.plan import Plan, StagePlan, plan_of
from .load import load_pipeline
from .messages import say


@click.command(
    short_help="Say what would run, and whether its tasks fit together.",
    epilog="""\b
Examples:
  conveyor check shop:pipeline
  conveyor check src/shop.py:pipeline --json

\b
Exit codes:
  0  nothing is wrong, as far as the annotations say
  1  something is sure to go wrong: a line each on standard error
  2  usage: an option, or there is no such pipeline
""",
)
@click.argument("target", metavar="MODULE:PIPELINE")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON, for programs.")
@click.pass_context
def check(context: click.Context, target: str, as_json: bool) -> None:
    """Import a pipeline, and say what would run. Nothing of it is run.

    What each task returns is compared with what the next one takes, as their annotations say.
    Where these say nothing certain, neither does this.
    """
    plan = plan_of(load_pipeline(target))
    if as_json:
        click.echo(json.dumps({"pipeline": target, **asdict(plan)}, indent=2))
    else:
        for line in report(target, plan):
            click.echo(line)
        for problem in plan.problems:
            say(f"Error: {problem}")
        for warning in plan.warnings:
            say(f"Warning: {warning}")
    context.exit(1 if plan.problems else 0)


def report(target: str, plan: Plan) -> Iterator[str]:
    """Yield the lines that describe a plan."""
    order = "in order" if plan.execution_mode == "ordered" else "as completed"
    yield f"{target}: takes {plan.takes or 'unknown'}, gives {plan.gives or 'unknown'}, {order}"
    for line in _settings(plan):
        yield f"  {line}"
    yield ""
    width = max(len(stage.name) for stage in plan.stages)
    for number, stage in enumerate(plan.stages):
        yield f"{stage.name:{width}}  {_stage(stage)}"
        if more := ", ".join([*_batches(stage), *stage.options]):
            yield f"{'':{width}}  {more}"
        for edge in plan.edges[number : number + 1]:
            why = f": {edge.why}" if edge.why else ""
            entering = f" into {edge.takes}" if edge.verdict == "mismatch" else ""
            yield f"  -> {edge.gives or '?'}{entering} ({edge.verdict}{why})"


def _settings(plan: Plan) -> Iterator[str]:
    if plan.max_parallelism is not None:
        yield f"at most {plan.max_parallelism} calls at once in all"
    if plan.buffer_size != 100:
        yield f"at most {plan.buffer_size} items between two tasks"
    if plan.data:
        yield f"context data: {', '.join(plan.data)}"


def _stage(stage: StagePlan) -> str:
    where = "on the event loop" if stage.runs == "event loop" else f"in {stage.runs}"
    return f"{stage.kind}, {where}, {stage.at_once or 'any number'} at once"


def _batches(stage: StagePlan) -> list[str]:
    return [] if stage.batches is None else [f"batches of {stage.batches}"]
