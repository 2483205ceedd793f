"""The command `conveyor run`."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from io import FileIO
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any

import anyio
import click

from .. import _files
from .._context import ExecutionMode
from .._pipeline import Pipeline
from .._stream import Stream
from . import reading, writing
from .failures import DeadLetters
from .input import Items, open_input
from .load import load_pipeline
from .messages import AbortedError, LogLines, ReportedError, say, say_error
from .output import (
    ClosedOutputError,
    Output,
    TerminalOutput,
    fill_closed_descriptors,
    standard_output,
)
from .work import Work

DONE = 0
FAILED = 1
USAGE = 2
DONE_WITH_FAILURES = 3
INTERRUPTED = 130
CLOSED_OUTPUT = 141  # what a shell shows of a process that SIGPIPE has ended


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `conveyor run` was asked for."""

    target: str
    file: str
    input_format: str | None
    on_bad_line: str
    limit: int | None
    output: str
    output_format: str | None
    failures: str | None
    trace: str | None
    as_completed: bool
    max_parallelism: int | None
    settings: tuple[str, ...]
    backend: str
    uvloop: bool
    progress: bool | None
    report: bool
    traceback: bool


@click.command(
    short_help="Run a pipeline over a file or standard input.",
    epilog="""\b
Examples:
  conveyor run shop:pipeline orders.jsonl > results.jsonl
  tail -f access.log | conveyor run logs:parse --input-format lines
  conveyor run shop:pipeline orders.csv -o results.csv --failures failed.failures.jsonl
  conveyor run shop:pipeline failed.failures.jsonl

\b
Exit codes:
    0  done
    1  failed
    2  usage: an option, the pipeline, or a file that cannot be opened
    3  done, but for items that failed or lines that were left out
  130  interrupted, by Ctrl-C or SIGTERM
  141  nobody reads the output any more
""",
)
@click.argument("target", metavar="MODULE:PIPELINE")
@click.argument("file", metavar="[FILE|-]", default="-")
@click.option(
    "--input-format",
    type=click.Choice(reading.FORMATS),
    help="What the input is: a JSON text in every line, lines as strings, CSV with a header, or "
    "what --failures wrote. [default: as the file's name says; else jsonl]",
)
@click.option(
    "--on-bad-line",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do at a line that is not in this format.",
)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Read N items at most.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="-",
    help="Where the results go; the file appears when all is done. [default: standard output]",
)
@click.option(
    "--output-format",
    type=click.Choice(writing.FORMATS),
    help="[default: as the output's name says; else jsonl]",
)
@click.option(
    "--failures",
    metavar="FILE",
    help="Go on when items fail, and write them here, to be fed back in.",
)
@click.option("--as-completed", is_flag=True, help="Results as they finish, in any order.")
@click.option(
    "--max-parallelism",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many of the pipeline's functions may run at one moment.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="An entry of the context's data. The value is JSON, or else a string. Can be repeated.",
)
@click.option(
    "--backend", type=click.Choice(["asyncio", "trio"]), default="asyncio", show_default=True
)
@click.option("--uvloop", is_flag=True, help="Run asyncio on uvloop.")
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Show the run as it goes, on standard error. [default: if that is a terminal and the "
    "results go elsewhere]",
)
@click.option("--report", is_flag=True, help="At the end, print where the time went.")
@click.option("--trace", metavar="FILE", help="Record every call, for https://ui.perfetto.dev.")
@click.option("--traceback", is_flag=True, help="Show errors with their tracebacks.")
def run(**given: Any) -> int:
    """Run a pipeline over the items of FILE, or of standard input.

    MODULE:PIPELINE names a pipeline, or a task, in a module that can be imported from here.
    Results go to standard output as soon as they are there; everything else, also what the
    pipeline's functions print, goes to standard error.
    """
    options = Options(**given)
    _check_packages(options)
    _check_files(options)
    data = dict(map(_setting, options.settings))
    with ExitStack() as stack:
        try:
            return _run(options, data, stack)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            say_error(error, with_traceback=options.traceback)
            return FAILED


def _run(options: Options, data: dict[str, Any], stack: ExitStack) -> int:
    file, name = _opened(options.file, stack)
    output = None if options.output == "-" else _begun(options.output, "wb", stack)
    letters = None
    failures = None if options.failures is None else _begun(options.failures, "w", stack)
    if failures is not None:
        letters = DeadLetters(failures[1], options.failures or "")
    descriptor = stack.enter_context(standard_output())

    pipeline = _configured(load_pipeline(options.target), options, data)
    bad_lines = _BadLines(letters)
    items = Items(
        file,
        reading.PARSERS[options.input_format or reading.guess_format(options.file)](name),
        limit=options.limit,
        bad_line=bad_lines if options.on_bad_line == "skip" else None,
        read=None if letters is None else letters.read,
    )
    to_terminal = output is None and os.isatty(descriptor)
    progress = options.progress
    if progress is None:
        progress = _is_terminal(sys.stderr) and not to_terminal and _is_there("rich")
    if output is not None:
        number = output[1].fileno()
        out = Output(number, options.output, prompt=not S_ISREG(os.fstat(number).st_mode))
    elif to_terminal and progress:
        out = TerminalOutput()
    else:
        out = Output(descriptor, "standard output", prompt=True)
    work = Work(
        pipeline,
        items,
        out,
        writing.WRITERS[options.output_format or writing.guess_format(options.output)](),
        letters=letters,
        progress=progress,
    )
    stack.enter_context(LogLines(skipped=letters is None, with_traceback=options.traceback))
    try:
        with ExitStack() as tracing:
            if options.trace is not None:
                _record(work.stream, options.trace, tracing)
            anyio.run(
                work.run,
                backend=options.backend,
                backend_options={"use_uvloop": True} if options.uvloop else {},
            )
    except AbortedError:
        return INTERRUPTED
    except ClosedOutputError:
        return CLOSED_OUTPUT
    finally:
        if options.report:
            _report(work.stream.statistics())
    for begun in output, failures:
        if begun is not None:
            _commit(begun[0])
    failed = work.failed
    if failed:
        items_failed = "1 item" if failed == 1 else f"{failed} items"
        where = f", see {options.failures}" if letters is not None else ""
        say(f"{items_failed} failed{where}")
    if work.signal is not None:
        return INTERRUPTED
    return DONE_WITH_FAILURES if failed or bad_lines.count else DONE


class _BadLines:
    """Tells of lines that are left out, and counts them."""

    def __init__(self, letters: DeadLetters | None) -> None:
        self.count = 0
        self._letters = letters

    def __call__(self, error: reading.BadLineError) -> None:
        self.count += 1
        say(f"Warning: {error}: skipped")
        if self._letters is not None:
            self._letters.bad_line(error)


def _check_packages(options: Options) -> None:
    if options.uvloop and options.backend != "asyncio":
        raise click.UsageError("--uvloop is for --backend asyncio, not for trio")
    needed = {"trio": options.backend == "trio", "uvloop": options.uvloop, "rich": options.progress}
    for name, asked in needed.items():
        if asked and not _is_there(name):
            raise click.UsageError(f"{name} is not installed: pip install 'conveyor[{name}]'")


def _check_files(options: Options) -> None:
    closed = fill_closed_descriptors()
    if 0 in closed and options.file == "-":
        raise click.UsageError("cannot read standard input: it is closed")
    if 1 in closed and options.output == "-":
        raise click.UsageError("cannot write standard output: it is closed")
    taken = {} if options.output == "-" else {Path(options.output).resolve(): "--output"}
    for option, path in ("--failures", options.failures), ("--trace", options.trace):
        if path is None:
            continue
        if path == "-":
            raise click.UsageError(f"{option} takes the name of a file, not '-'")
        other = taken.setdefault(Path(path).resolve(), option)
        if other != option and not Path(path).is_char_device():
            raise click.UsageError(f"{option} and {other} are the same file: {path}")


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.UsageError(f"--set takes KEY=VALUE, not {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _opened(path: str, stack: ExitStack) -> tuple[FileIO, str]:
    try:
        file, name = open_input(path)
    except OSError as error:
        name = "standard input" if path == "-" else path
        raise click.UsageError(f"cannot read {name}: {error.strerror}") from None
    stack.enter_context(file)
    return file, name


def _begun(path: str, mode: Any, stack: ExitStack) -> tuple[_files.WholeFile[Any], IO[Any]]:
    """Return a file that appears if it is committed."""
    whole: _files.WholeFile[Any] = _files.WholeFile(path, mode)
    try:
        file = whole.open()
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {error.strerror}") from None
    stack.callback(whole.discard)
    return whole, file


def _commit(file: _files.WholeFile[Any]) -> None:
    try:
        file.commit()
    except OSError as error:
        raise ReportedError(f"cannot write {file.path}: {error.strerror}") from error


def _record(stream: Stream[Any], path: str, stack: ExitStack) -> None:
    from .._trace import record_trace

    try:
        stack.enter_context(record_trace(stream, path))
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {error.strerror}") from None


def _configured(
    pipeline: Pipeline[Any, Any], options: Options, data: dict[str, Any]
) -> Pipeline[Any, Any]:
    settings: dict[str, Any] = {"data": data} if data else {}
    if options.as_completed:
        settings["execution_mode"] = ExecutionMode.AS_COMPLETED
    if options.max_parallelism is not None:
        settings["max_parallelism"] = options.max_parallelism
    if options.failures is not None:
        pipeline = _going_on(pipeline)
    return pipeline.with_context(**settings)


def _going_on(pipeline: Pipeline[Any, Any]) -> Pipeline[Any, Any]:
    """Return the pipeline with tasks that skip an item where they would end the run."""
    stages: list[Any] = [
        task.with_options(on_error="skip_item") if task.spec.on_error == "fail" else task
        for task in pipeline.stages
    ]
    settings = pipeline._settings  # pyright: ignore[reportPrivateUsage]
    return Pipeline(*stages).with_context(**settings)


def _is_there(package: str) -> bool:
    return find_spec(package) is not None


def _is_terminal(file: Any) -> bool:
    try:
        return bool(file.isatty())
    except (AttributeError, ValueError):
        return False


def _report(statistics: Any) -> None:
    if not (_is_terminal(sys.stderr) and _is_there("rich")):
        say(str(statistics))
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.capture() as captured:
        console.print(statistics)
    say(captured.get().rstrip("\n"))
