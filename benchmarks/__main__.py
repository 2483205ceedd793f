"""`make bench`: ask, print, and after a whole run write RESULTS.md and the pictures."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import machine
from .driver import Driver, failures, pythons
from .engines import LIMITS
from .figures import OURS, Cell, Figures
from .questions import QUESTIONS
from .questions.base import BACKENDS
from .report import Results, page, plain

HERE = Path(__file__).parent
FIGURES = "results.json"
PAGE = "RESULTS.md"


def names(text: str, known: Sequence[str]) -> list[str]:
    chosen = [name.strip() for name in text.split(",")]
    if unknown := [name for name in chosen if name not in known]:
        raise argparse.ArgumentTypeError(
            f"no such name: {unknown[0]}; there are {', '.join(known)}"
        )
    return [name for name in known if name in chosen]


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a small version, to see that all runs; writes nothing"
    )
    parser.add_argument(
        "--only", type=lambda text: names(text, list(QUESTIONS)), default=list(QUESTIONS),
        metavar="QUESTIONS", help=f"of: {', '.join(QUESTIONS)}; prints, and writes nothing",
    )  # fmt: skip
    parser.add_argument(
        "--backend", type=lambda text: names(text, BACKENDS),
        metavar="BACKENDS", help=f"of: {', '.join(BACKENDS)}; prints, and writes nothing",
    )  # fmt: skip
    parser.add_argument("--rounds", type=at_least_one, help="5, or with --quick 1")
    parser.add_argument(
        "--output", type=Path, metavar="DIR",
        help=f"write {PAGE}, {FIGURES} and the pictures to this directory, whatever was asked",
    )  # fmt: skip
    parser.add_argument(
        "--render", action="store_true",
        help=f"measure nothing: print and write what {FIGURES} has, here or in --output",
    )  # fmt: skip
    parser.add_argument(
        "--conveyor-streaming", metavar="PYTHON", default=sys.executable,
        help="the interpreter in whose environment conveyor-streaming is installed",
    )  # fmt: skip
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> Results:
    """Ask all questions in turn and print each one's table as soon as it is there."""
    rounds = options.rounds or (1 if options.quick else 5)
    terminal = sys.stderr.isatty()
    if options.quick:
        print("The small version: figures and verdicts mean nothing.\n")

    def tell(text: str) -> None:
        if terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    cells: list[Cell] = []
    python_of = pythons(options.conveyor_streaming)
    with Driver(rounds=rounds, python_of=python_of, tell=tell, keep=options.quick) as driver:
        for name in options.only:
            question = QUESTIONS[name]
            start = time.perf_counter()
            usual = question.quick_backends if options.quick else question.backends
            backends = options.backend or usual
            cases = [
                case for case in question.cases(quick=options.quick) if case.backend in backends
            ]
            figures = Figures(driver.run(name, cases))
            cells += figures.cells
            tell("")
            if figures.cells:
                print(plain(question, figures))
                print(f"  ({time.perf_counter() - start:.0f} s)\n", flush=True)
    for name in ("trio", "uvloop"):
        with suppress(PackageNotFoundError):
            driver.versions[name] = version(name)
    versions = dict(sorted(driver.versions.items()))
    return Results(date.today().isoformat(), rounds, machine.describe(), versions, cells)


def write(results: Results, folder: Path, pictures: Path) -> None:
    from .pictures import draw  # the measuring process stays small

    folder.mkdir(parents=True, exist_ok=True)
    (folder / FIGURES).write_text(json.dumps(results.to_json(), indent=1) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(page(results), encoding="utf-8")
    for path in (folder / PAGE, *draw(results.figures(), pictures)):
        print(f"wrote {path}")


def main() -> int:
    options = parse()
    if options.render:
        saved = (options.output or HERE) / FIGURES
        results = Results.from_json(json.loads(saved.read_text(encoding="utf-8")))
        for question, figures in results.figures().items():
            print(plain(question, figures))
    else:
        results = measure(options)
    whole = not options.quick and options.only == list(QUESTIONS) and options.backend is None
    if options.output is not None:
        write(results, options.output, options.output)
    elif whole:
        write(results, HERE, HERE.parent / "docs" / "pictures")
    wrong = failures(results.cells, (OURS, *LIMITS))
    for failure in wrong:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
