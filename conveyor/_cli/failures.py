"""The file of what has failed: each failure in a line, with the inputs to be tried again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from .._instrument import Instrument, RunInfo
from .lineage import Lineage
from .messages import ReportedError, message_of
from .reading import BadLineError, Read
from .writing import UnwritableError, full_name, to_json


class Origin:
    """An item of the input that is inside the run.

    Attributes:
        line: Its line in the input.
        text: It as JSON, as it was before the pipeline got hold of it; ``None`` once it is
            written: who feeds the file back in is to have it once.
    """

    __slots__ = ("line", "text")

    def __init__(self, line: int, text: str | None) -> None:
        self.line = line
        self.text = text


class DeadLetters:
    """Writes what fails in one run.

    It is told of every item before the pipeline gets it, in that order, and of the rest by the
    instrument that `watch` makes.

    Args:
        file: Where to.
        path: What the file is called in messages.
        failed: Called when it cannot be written any more, once, with the error.

    Attributes:
        count: How many failures were written.
        lineage: What it knows of the items inside the run; ``None`` before there is one.
    """

    def __init__(
        self, file: IO[str], path: str, failed: Callable[[ReportedError], None] | None = None
    ) -> None:
        self.count = 0
        self.failed = failed
        self._file = file
        self._path = path
        self._broken = False
        self.lineage: Lineage[Origin] | None = None

    def read(self, read: Read) -> None:
        """Note an item of the input."""
        origin = Origin(read.line, _text(read))
        assert self.lineage is not None  # a run reads nothing before it has made its instruments
        self.lineage.read(origin)

    def bad_line(self, error: BadLineError) -> None:
        """Write that a line of the input was left out."""
        what = {"type": "BadLine", "message": error.why}
        self._write({"lines": to_json([error.line]), "inputs": "[]", "error": to_json(what)})

    def watch(self, run: RunInfo) -> Instrument:
        """Return what follows the items of the run."""
        self.lineage = Lineage(len(run.stages))
        return _Following(run, self, self.lineage)

    def write(
        self, origins: Sequence[Origin], stage: str, given: Any, error: Exception, attempts: int
    ) -> None:
        """Write that what came of these inputs has failed in a stage."""
        inputs = [origin.text for origin in origins if origin.text is not None]
        for origin in origins:
            origin.text = None
        fields = {
            "lines": to_json([origin.line for origin in origins]),
            "inputs": f"[{','.join(inputs)}]",
            "stage": to_json(stage),
        }
        with suppress(UnwritableError):  # then it is left out
            fields["given"] = to_json(given)
        what = {"type": full_name(type(error)), "message": message_of(error)}
        fields["error"] = to_json(what)
        fields["attempts"] = to_json(attempts)
        self._write(fields)

    def _write(self, fields: Mapping[str, str]) -> None:
        self.count += 1
        if self._broken:
            return
        line = ",".join(f'"{name}":{text}' for name, text in fields.items())
        try:
            self._file.write(f"{{{line}}}\n")
        except OSError as error:
            self._broken = True
            if self.failed is not None:
                self.failed(ReportedError(f"cannot write {self._path}: {error.strerror}"))


class _Following(Instrument):
    def __init__(self, run: RunInfo, letters: DeadLetters, lineage: Lineage[Origin]) -> None:
        super().__init__(run)
        self._letters = letters
        self._lineage = lineage

    def result_sent(self, stage: int, items: Sequence[int]) -> None:
        self._lineage.sent(stage, items)

    def items_settled(self, stage: int, items: Sequence[int]) -> None:
        self._lineage.settled(stage, items)

    def items_failed(
        self, stage: int, items: Sequence[int], what: Any, error: Exception, attempts: int
    ) -> None:
        origins = self._lineage.origins(stage, items)
        self._letters.write(origins, self.run.stages[stage].name, what, error, attempts)


def _text(read: Read) -> str:
    if read.text is not None:
        return read.text
    try:
        return to_json(read.item)
    except UnwritableError:  # 1e999, which is read as infinity
        return json.dumps(read.item)
