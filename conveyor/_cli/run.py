"""The command `conveyor run`."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from stat import S_ISREG
from typing import Any

import anyio
import click

from .._model.modes import ExecutionMode
from .._pipeline import Pipeline
from . import reading, writing
from .failures import DeadLetters, LetterFile
from .files import Files, Written
from .input import Input, Items
from .lines import BadLineError, Unread
from .load import load_pipeline
from .messages import AbortedError, LogLines, ReportedError, say, say_error
from .options import (
    Options,
    check_files,
    check_formats,
    check_packages,
    is_there,
    setting,
    to_delimiter,
    to_encoding,
)
from .output import ClosedOutputError, Output, TerminalOutput, standard_output
from .stopping import INTERRUPTED, InterruptedCommand, Interrupts
from .tracing import Tracing
from .unpacking import packer_for
from .work import Work

DONE = 0
FAILED = 1
DONE_WITH_FAILURES = 3
CLOSED_OUTPUT = 141  # what a shell shows of a process that SIGPIPE has ended


@click.command(
    short_help="Run a pipeline over files or standard input.",
    epilog="""\b
Examples:
  conveyor run shop:pipeline orders.jsonl > results.jsonl
  conveyor run shop:pipeline 2024-*.jsonl.gz -o results.jsonl.gz
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
@click.argument("files", metavar="[FILE|-]...", nargs=-1)
@click.option(
    "--input-format",
    type=click.Choice(reading.FORMATS),
    help="What the input is: a JSON text in every line, a JSON array, lines as strings, CSV with a "
    "header, the same with tabs, or what --failures wrote. [default: as the file's name says; else "
    "jsonl]",
)
@click.option(
    "--delimiter",
    metavar="CHAR",
    callback=to_delimiter,
    help=r"What separates the fields of CSV, ';' or '\t' say. [default: a comma; in TSV a tab]",
)
@click.option(
    "--encoding",
    metavar="NAME",
    callback=to_encoding,
    help="The input's encoding. [default: as its byte order mark says; else UTF-8]",
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
    "--output-delimiter",
    metavar="CHAR",
    callback=to_delimiter,
    help="What is to separate the fields of CSV. [default: a comma; in TSV a tab]",
)
@click.option(
    "--failures",
    metavar="FILE",
    help="Go on when items fail, and write them here, to be fed back in.",
)
@click.option(
    "--keep-partial",
    is_flag=True,
    help="If the run does not come to its end, keep what there is of its files: results.jsonl is "
    "then results.partial.jsonl.",
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
    """Run a pipeline over the items of each FILE, or of standard input.

    MODULE:PIPELINE names a pipeline, or a task, in a module that can be imported from here.
    Results go to standard output as soon as they are there; everything else, also what the
    pipeline's functions print, goes to standard error.
    """
    options = Options(**given)
    check_packages(options)
    check_formats(options)
    inputs = options.inputs()
    check_files(options, inputs)
    data = dict(map(setting, options.settings))
    files = Files(keep=options.keep_partial)
    try:
        with Interrupts(files.close) as interrupts, files, ExitStack() as stack:
            command = _Command(options, inputs, data, files, interrupts, stack)
            try:
                return command.run()
            except (click.ClickException, click.exceptions.Exit):
                raise
            except Exception as error:
                say_error(error, with_traceback=options.traceback)
                return FAILED
    except InterruptedCommand as error:
        say(f"Interrupted by {error} before anything was run.")
        return INTERRUPTED


class _Command:
    """One `conveyor run`: begins its files, runs the pipeline, and puts the files in place."""

    def __init__(
        self,
        options: Options,
        inputs: list[Input],
        data: dict[str, Any],
        files: Files,
        interrupts: Interrupts,
        stack: ExitStack,
    ) -> None:
        self._options = options
        self._inputs = inputs
        self._data = data
        self._files = files
        self._interrupts = interrupts
        self._stack = stack
        self._output: Written | None = None
        self._letters: DeadLetters | None = None
        self._letter_file: LetterFile | None = None

    def run(self) -> int:
        """Do all of it, and return the exit code."""
        options = self._options
        self._open()
        descriptor = self._stack.enter_context(standard_output())
        pipeline = _configured(load_pipeline(options.target), options, self._data)
        self._interrupts.check()
        self._interrupts.begin()
        letters = self._letters
        bad_lines = _BadLines(letters)
        items = Items(
            self._inputs,
            limit=options.limit,
            bad_line=bad_lines if options.on_bad_line == "skip" else None,
            read=None if letters is None else letters.read,
            unread=bad_lines.unread,
        )
        self._stack.callback(items.close)
        to_terminal = self._output is None and os.isatty(descriptor)
        progress = options.progress
        if progress is None:
            progress = _is_terminal(sys.stderr) and not to_terminal and is_there("rich")
        writer = writing.writer_for(options.written_as, options.output_delimiter)
        out = self._to(descriptor, writer, above_picture=to_terminal and progress)
        work = Work(
            pipeline,
            items,
            out,
            writer,
            letters=letters,
            progress=progress,
            interrupts=self._interrupts,
        )
        self._stack.enter_context(
            LogLines(skipped=letters is None, with_traceback=options.traceback)
        )
        tracing = Tracing(work.stream, options.trace)
        try:
            with tracing:
                out.make_room = tracing.make_room
                if self._letter_file is not None:
                    self._letter_file.make_room = tracing.make_room
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
        self._finish(items)
        if failed := work.failed:
            items_failed = "1 item" if failed == 1 else f"{failed} items"
            where = f", see {options.failures}" if letters is not None else ""
            say(f"{items_failed} failed{where}")
        if work.signal is not None:
            return INTERRUPTED
        if tracing.failed:
            return FAILED
        return DONE_WITH_FAILURES if failed or bad_lines.count else DONE

    def _open(self) -> None:
        """Open what there is to be read first, and begin what is to be written."""
        options, first = self._options, self._inputs[0]
        try:
            first.open()
        except OSError as error:
            name = "standard input" if first.path == "-" else first.path
            raise click.UsageError(f"cannot read {name}: {error.strerror}") from None
        self._stack.callback(first.close)
        if options.output != "-":
            self._output = self._files.open(options.output, "result")
        if options.failures is not None:
            written = self._files.open(options.failures, "failure")
            file = LetterFile(
                written.descriptor, prompt=self._files.keep, pack=packer_for(options.failures)
            )
            written.salvage = file.salvage
            self._letter_file = file
            self._letters = DeadLetters(file, options.failures, files=len(self._inputs) > 1)

    def _to(self, descriptor: int, writer: writing.Writer, *, above_picture: bool) -> Output:
        """Return where the results go."""
        output = self._output
        if output is None:
            if above_picture:
                return TerminalOutput()
            return Output(descriptor, "standard output", prompt=True)
        number = output.descriptor
        prompt = self._files.keep or not S_ISREG(os.fstat(number).st_mode)
        out = Output(number, output.path, prompt=prompt, pack=packer_for(output.path))
        output.salvage = lambda: out.salvage(writer.end().encode())
        return out

    def _finish(self, items: Items) -> None:
        """Put the files in their places: nothing has failed."""
        output, failures = self._output, self._options.failures
        if output is not None and items.leaves(output.path):
            kept = self._files.put_aside(output)
            say(f"{output.path} is as it was: not all of it was read")
            if kept is not None:
                say(kept)
        if self._letters is not None and self._letter_file is not None:
            assert failures is not None
            self._letters.keep(items.rest(failures))
            if self._letters.error is not None:
                raise self._letters.error
            try:
                self._letter_file.flush(last=True)
            except OSError as error:
                raise ReportedError(f"cannot write {failures}: {error.strerror}") from error
        self._files.commit()


class _BadLines:
    """Tells of lines that are left out, and counts them."""

    def __init__(self, letters: DeadLetters | None) -> None:
        self.count = 0
        self._letters = letters

    def __call__(self, error: BadLineError) -> None:
        self.count += 1
        say(f"Warning: {error}: skipped")
        if self._letters is not None:
            self._letters.bad_line(error)

    def unread(self, unread: Unread, name: str) -> None:
        """Tell of a line that could not be read in an earlier run, and that nobody has mended."""
        self.count += 1
        what = "skipped" if self._letters is None else "kept"
        say(f"Warning: {name}:{unread.line}: a line without inputs ({unread.why}): {what}")
        if self._letters is not None:
            self._letters.unread(unread)


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


def _is_terminal(file: Any) -> bool:
    try:
        return bool(file.isatty())
    except (AttributeError, ValueError):
        return False


def _report(statistics: Any) -> None:
    if not (_is_terminal(sys.stderr) and is_there("rich")):
        say(str(statistics))
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.capture() as captured:
        console.print(statistics)
    say(captured.get().rstrip("\n"))
