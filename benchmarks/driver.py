"""Asks the workers, round by round, and keeps what they answer."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from .engines import ENGINES, ConveyorStreaming
from .figures import Case, Cell
from .questions.base import BACKENDS

ROOT = Path(__file__).parents[1]
# Without the current directory, where conveyor-streaming's environment would find our package
# first: what is installed in an environment comes before it.
START = f"import sys; sys.path.append({str(ROOT)!r}); from benchmarks.worker import main; main()"
STARTING = 60  # seconds for imports, on a machine that is busy


class NoAnswerError(Exception):
    """A worker has ended or takes too long; the message stands in the table."""


class Worker:
    """The process of one engine on one backend."""

    def __init__(self, python: str, engine: str, backend: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            self._process = subprocess.Popen(
                [python, "-I", "-c", START, engine, backend],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                encoding="utf-8",
            )
        except OSError as error:
            self._errors.close()
            raise NoAnswerError(f"not installed: {error}") from error
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        # A pipe has no time limit everywhere, but a queue has.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.version: str | None = None
        try:
            started = self._answer(STARTING)
        except NoAnswerError:
            self.close()
            raise
        if "missing" in started:
            self.close()
            raise NoAnswerError(f"not installed: {started['missing']}")
        self.version = started["version"]

    def ask(self, question: str, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Run one round.

        Raises:
            NoAnswerError: If there is none. The worker is closed then.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"question": question, "params": params}) + "\n")
            self._process.stdin.flush()
            return self._answer(seconds)
        except (NoAnswerError, OSError) as error:
            self.close()
            if isinstance(error, OSError):
                raise NoAnswerError("ended") from error
            raise

    def close(self) -> None:
        """End the process. It has nothing to clean up."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):  # what could not be sent to a process that is gone need not be
            self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise NoAnswerError(f"timed out: {seconds:g} s") from None
        if not line:
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise NoAnswerError("ended: " + ("".join(last)[:80] or "without a word"))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")


def turned(engines: Sequence[str], by: int) -> list[str]:
    """Return the engines from another one on, so that none always comes after the same one."""
    by %= len(engines) or 1
    return [*engines[by:], *engines[:by]]


class Driver:
    """Runs cases. Workers live as long as a question is asked on their backend.

    With `keep` they live until the driver is left, which saves the time to start them.
    """

    def __init__(
        self,
        *,
        rounds: int,
        python_of: Callable[[str], str],
        tell: Callable[[str], None] = lambda text: None,
        keep: bool = False,
    ) -> None:
        self._rounds = rounds
        self._python_of = python_of
        self._tell = tell
        self._keep = keep
        self._workers: dict[tuple[str, str], Worker] = {}
        self.versions: dict[str, str] = {}

    def run(self, question: str, cases: Sequence[Case]) -> list[Cell]:
        """Return a cell for every case and engine."""
        cells = []
        for backend in BACKENDS:
            for case in cases:
                if case.backend == backend:
                    self._tell(f"{question}: {case.label}, {case.backend}")
                    cells += self._case(question, case)
            if not self._keep:
                self.close()
        return cells

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _case(self, question: str, case: Case) -> list[Cell]:
        cells = {
            engine: Cell(
                question, case.label, case.backend, engine, case.params_of(engine).get("items")
            )
            for engine in case.engines
        }
        if case.warm is not None:
            for cell in cells.values():
                self._ask(cell, case, warm=True)
        rounds = min(self._rounds, case.rounds or self._rounds)
        for number in range(rounds):
            for engine in turned(case.engines, number):
                if cells[engine].note is None:
                    self._ask(cells[engine], case, warm=False)
        return list(cells.values())

    def _ask(self, cell: Cell, case: Case, *, warm: bool) -> None:
        """Run one round and put the outcome into the cell."""
        place = (cell.engine, cell.backend)
        params = case.params_of(cell.engine)
        if warm:
            params |= case.warm or {}
        if case.fresh and place in self._workers:
            self._workers.pop(place).close()
        try:
            if place not in self._workers:
                self._workers[place] = Worker(self._python_of(cell.engine), *place)
            worker = self._workers[place]
            if worker.version is not None:
                self.versions[str(ENGINES[cell.engine].distribution)] = worker.version
            answer = worker.ask(cell.question, params, case.seconds)
        except NoAnswerError as error:
            self._workers.pop(place, None)
            cell.note = str(error)
            return
        if case.fresh:
            self._workers.pop(place).close()
        cell.note = answer.get("note")
        if cell.note is None and not warm:
            cell.values.append(answer["value"])

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


def pythons(conveyor_streaming: str) -> Callable[[str], str]:
    """Return what tells the interpreter in whose environment an engine is installed."""
    return lambda engine: conveyor_streaming if engine == ConveyorStreaming.name else sys.executable


def failures(cells: Iterable[Cell], engines: Sequence[str]) -> list[str]:
    """Return what went wrong with these engines, and who is not there at all."""
    return [
        f"{cell.question}: {cell.case}, {cell.backend}, {cell.engine}: {cell.note or 'no figure'}"
        for cell in cells
        if (cell.engine in engines and (cell.note or not cell.values))
        or (cell.note or "").startswith("not installed")
    ]
