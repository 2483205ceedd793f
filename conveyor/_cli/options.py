"""What `conveyor run` was asked for, and whether that can be done."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from . import reading, writing
from .decoding import checked_encoding
from .input import Input
from .lines import Parser, from_json
from .output import fill_closed_descriptors
from .tables import checked_delimiter
from .unpacking import packer_for

_TABLES = ("csv", "tsv")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `conveyor run` was asked for."""

    target: str
    files: tuple[str, ...]
    input_format: str | None
    delimiter: str | None
    encoding: str | None
    on_bad_line: str
    limit: int | None
    output: str
    output_format: str | None
    output_delimiter: str | None
    failures: str | None
    keep_partial: bool
    trace: str | None
    as_completed: bool
    max_parallelism: int | None
    settings: tuple[str, ...]
    backend: str
    uvloop: bool
    progress: bool | None
    report: bool
    traceback: bool

    @property
    def written_as(self) -> str:
        """The format of the results."""
        separated = self.output_delimiter is not None
        return self.output_format or writing.guess_format(self.output, delimiter=separated)

    def read_as(self, path: str) -> str:
        """Return the format of an input."""
        separated = self.delimiter is not None
        return self.input_format or reading.guess_format(path, delimiter=separated)

    def inputs(self) -> list[Input]:
        """Return what is to be read."""

        def made(path: str) -> Input:
            def parser(name: str) -> Parser:
                return reading.parser_for(self.read_as(path), name, self.encoding, self.delimiter)

            return Input(path, parser)

        return [made(path) for path in self.files or ("-",)]


def is_there(package: str) -> bool:
    """Whether a package is installed."""
    return find_spec(package) is not None


def setting(text: str) -> tuple[str, Any]:
    """Return the key and the value of ``--set``.

    Raises:
        click.UsageError: If it has none.
    """
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.UsageError(f"--set takes KEY=VALUE, not {text!r}")
    try:
        return key, from_json(value)
    except ValueError:
        return key, value


def to_delimiter(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Return the character that an option names; for click."""
    if value is None:
        return None
    try:
        return checked_delimiter(value)
    except ValueError as error:
        raise click.UsageError(f"{parameter.opts[-1]} takes {error}") from None


def to_encoding(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Return the encoding that an option names; for click."""
    try:
        return None if value is None else checked_encoding(value)
    except (LookupError, UnicodeError):
        raise click.UsageError(
            f"--encoding takes the name of an encoding, such as latin-1, not {value!r}"
        ) from None


def check_packages(options: Options) -> None:
    """Look whether what is needed is installed.

    Raises:
        click.UsageError: If it is not.
    """
    if options.uvloop and options.backend != "asyncio":
        raise click.UsageError("--uvloop is for --backend asyncio, not for trio")
    needed = {"trio": options.backend == "trio", "uvloop": options.uvloop, "rich": options.progress}
    for name, asked in needed.items():
        if asked and not is_there(name):
            raise click.UsageError(f"{name} is not installed: pip install 'conveyor[{name}]'")


def check_formats(options: Options) -> None:
    """Look whether there is something that the delimiters separate.

    Raises:
        click.UsageError: If there is not.
    """
    read = [options.read_as(path) for path in options.files or ("-",)]
    if options.delimiter is not None and not any(form in _TABLES for form in read):
        raise click.UsageError("--delimiter is for CSV, and no input is: see --input-format")
    if options.output_delimiter is not None and options.written_as not in _TABLES:
        raise click.UsageError("--output-delimiter is for CSV: see --output-format")


def check_files(options: Options, inputs: list[Input]) -> None:
    """Look whether files can be read, and whether none is written that is needed.

    Raises:
        click.UsageError: If something is wrong.
    """
    closed = fill_closed_descriptors()
    if [each.path for each in inputs].count("-") > 1:
        raise click.UsageError("standard input can be read once, and '-' is there twice")
    if 0 in closed and any(each.path == "-" for each in inputs):
        raise click.UsageError("cannot read standard input: it is closed")
    if 1 in closed and options.output == "-":
        raise click.UsageError("cannot write standard output: it is closed")
    for each in inputs:
        try:
            each.check()
        except OSError as error:
            raise click.UsageError(f"cannot read {each.path}: {error.strerror}") from None
    _check_written(options)
    for each in inputs:
        _check_replaced(options, each)
    if options.keep_partial and options.output == "-" and options.failures is None:
        raise click.UsageError("--keep-partial is for what goes into a file: see --output")


def _check_written(options: Options) -> None:
    taken = {} if options.output == "-" else {Path(options.output).resolve(): "--output"}
    for option, path in ("--failures", options.failures), ("--trace", options.trace):
        if path is None:
            continue
        if path == "-":
            raise click.UsageError(f"{option} takes the name of a file, not '-'")
        other = taken.setdefault(Path(path).resolve(), option)
        if other != option and not Path(path).is_char_device():
            raise click.UsageError(f"{option} and {other} are the same file: {path}")
    for path in options.output, options.failures:
        try:
            packer_for(path or "")
        except ValueError as error:
            raise click.UsageError(f"cannot write {path}: {error}") from None


def _check_replaced(options: Options, each: Input) -> None:
    """Look whether what would be written in the place of an input leaves nothing of it out."""
    if options.limit is not None and each.is_file(options.output):
        raise click.UsageError(
            f"--limit would leave out the rest of {each.path}, which --output replaces"
        )
    failures = options.failures
    if failures is not None and each.is_file(failures) and options.read_as(failures) != "failures":
        raise click.UsageError(
            f"--failures would replace the input {each.path}, which is not a file of failures"
        )
    if options.trace is not None and each.is_file(options.trace):
        raise click.UsageError(f"--trace would replace the input {each.path}")
