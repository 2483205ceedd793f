"""The file of what has failed: each failure in a line, with the inputs to be tried again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from .._model.instrument import Instrument, RunInfo
from .blocks import Blocks, write_all
from .lineage import Lineage
from .lines import BadLineError, Found, Read, Unread
from .messages import ReportedError, message_of
from .writing import UnwritableError, full_name, to_json


class Origin:
    """An item of the input that is inside the run.

    Attributes:
        file: What its input is called.
        line: Its line there.
        text: It as JSON, as it was before the pipeline got hold of it; ``None`` once it is
            written: who feeds the file back in is to have it once.
    """

    __slots__ = ("file", "line", "text")

    def __init__(self, file: str, line: int, text: str | None) -> None:
        self.file = file
        self.line = line
        self.text = text


class TakesText(Protocol):
    """Where dead letters go."""

    def write(self, text: str, /) -> object: ...


class LetterFile:
    """Writes letters to a file. Whatever goes wrong, what is there can be made whole.

    Args:
        descriptor: Of the file.
        prompt: Whether each letter is written at once.
        pack: Turns a block into what is to be written; ``None`` to write it as it is.

    Attributes:
        make_room: Called with an error in writing: whether to try again.
    """

    def __init__(
        self, descriptor: int, *, prompt: bool, pack: Callable[[bytes], bytes] | None = None
    ) -> None:
        enough = 2**20 if pack is not None else 0 if prompt else 8192
        self._blocks = Blocks(enough, pack)
        self._descriptor = descriptor
        self.make_room: Callable[[OSError], bool] = lambda error: False

    def write(self, text: str, /) -> None:
        """Write a letter, or keep it until there are more.

        Raises:
            OSError: If it cannot be written.
        """
        if self._blocks.add(text.encode()):
            self.flush()

    def flush(self, *, last: bool = False) -> None:
        """Write what is kept. It is the `last` if nothing comes after it.

        Raises:
            OSError: If it cannot be written.
        """
        write_all(self._descriptor, self._blocks.take(last=last), self.make_room)
        self._blocks.wrote()

    def salvage(self) -> int:
        """Make a file that breaks off here a whole one, and return how many letters it has."""
        self._blocks.finish(self._descriptor)
        return self._blocks.whole


class DeadLetters:
    """Writes what fails in one run.

    It is told of every item before the pipeline gets it, in that order, and of the rest by the
    instrument that `watch` makes.

    Args:
        file: Where to.
        path: What the file is called in messages.
        failed: Called when it cannot be written any more, once, with the error.
        files: Whether there are several inputs, so that it has to be said which is meant.

    Attributes:
        count: How many failures were written.
        error: Why it cannot be written any more.
        lineage: What it knows of the items inside the run; ``None`` before there is one.
    """

    def __init__(
        self,
        file: TakesText,
        path: str,
        failed: Callable[[ReportedError], None] | None = None,
        *,
        files: bool = False,
    ) -> None:
        self.count = 0
        self.failed = failed
        self._file = file
        self._path = path
        self._files = files
        self.error: ReportedError | None = None
        self.lineage: Lineage[Origin] | None = None

    def read(self, read: Read, file: str = "") -> None:
        """Note an item of an input."""
        text = to_json(read.item) if read.text is None else read.text
        assert self.lineage is not None  # a run reads nothing before it has made its instruments
        self.lineage.read(Origin(file, read.line, text))

    def bad_line(self, error: BadLineError) -> None:
        """Write that a line of an input was left out."""
        what = {"type": "BadLine", "message": error.why}
        fields = self._places([(error.name, error.line)])
        fields |= {"inputs": "[]", "text": to_json(error.text), "error": to_json(what)}
        self._write(fields)

    def unread(self, unread: Unread) -> None:
        """Write a line of an earlier file of failures as it is: nobody has tried it again."""
        self._put(unread.record)

    def keep(self, rest: Iterable[Found]) -> None:
        """Write the lines of an earlier file of failures that nobody has come to any more."""
        last: Read | None = None
        items: list[Any] = []
        for found in rest:
            if last is not None and not (isinstance(found, Read) and found.line == last.line):
                self._put(_with_inputs(last, items))
                last = None
            if isinstance(found, Read):
                if last is None:
                    last, items = found, []
                items.append(found.item)
            else:
                self._put(found.text if isinstance(found, BadLineError) else found.record)
        if last is not None:
            self._put(_with_inputs(last, items))

    def watch(self, run: RunInfo) -> Instrument:
        """Return what follows the items of the run."""
        self.lineage = Lineage(len(run.stages))
        return _Following(run, self, self.lineage)

    def delivered(self) -> tuple[Origin, ...]:
        """Return what the next result has come from."""
        assert self.lineage is not None
        return self.lineage.delivered()

    def unwritable(
        self, origins: Sequence[Origin], stage: str, result: Any, error: UnwritableError
    ) -> None:
        """Write that the result that came of these inputs is none that the output can hold."""
        fields = self._inputs(origins)
        fields["stage"] = to_json(stage)
        with suppress(UnwritableError):  # then it is left out
            fields["result"] = to_json(result)
        fields["error"] = to_json({"type": "UnwritableResult", "message": str(error)})
        self._write(fields)

    def write(
        self, origins: Sequence[Origin], stage: str, given: Any, error: Exception, attempts: int
    ) -> None:
        """Write that what came of these inputs has failed in a stage."""
        fields = self._inputs(origins)
        fields["stage"] = to_json(stage)
        with suppress(UnwritableError):  # then it is left out
            fields["given"] = to_json(given)
        what = {"type": full_name(type(error)), "message": message_of(error)}
        fields["error"] = to_json(what)
        fields["attempts"] = to_json(attempts)
        self._write(fields)

    def _inputs(self, origins: Sequence[Origin]) -> dict[str, str]:
        inputs = [origin.text for origin in origins if origin.text is not None]
        for origin in origins:
            origin.text = None
        fields = self._places([(origin.file, origin.line) for origin in origins])
        fields["inputs"] = f"[{','.join(inputs)}]"
        return fields

    def _places(self, places: Sequence[tuple[str, int]]) -> dict[str, str]:
        files = {"files": to_json([file for file, _ in places])} if self._files else {}
        return {**files, "lines": to_json([line for _, line in places])}

    def _write(self, fields: Mapping[str, str]) -> None:
        inside = ",".join(f'"{name}":{text}' for name, text in fields.items())
        self._put(f"{{{inside}}}")

    def _put(self, record: str) -> None:
        self.count += 1
        if self.error is not None:
            return
        try:
            self._file.write(f"{record}\n")
        except OSError as error:
            self.error = ReportedError(f"cannot write {self._path}: {error.strerror}")
            if self.failed is not None:
                self.failed(self.error)


def _with_inputs(read: Read, items: list[Any]) -> str:
    """Return the line that an item is from, with these inputs: those before are done."""
    assert read.record is not None
    record = json.loads(read.record)
    if len(record["inputs"]) == len(items):
        return read.record
    return to_json({**record, "inputs": items})


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
