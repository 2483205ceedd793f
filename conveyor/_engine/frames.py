"""Taking the engine's own frames off the traceback of an error.

A traceback holds the frames that the error passed through, and these hold what they work on: the
item, the stage, the whole run. So an error that somebody keeps would keep all of that, and one that
its frame holds as well would be a reference cycle. The frames of the user's own functions stay.
"""

from __future__ import annotations

from types import TracebackType

_PACKAGE = __name__.partition(".")[0] + "."


def release(error: BaseException, *, whole: bool = True) -> None:
    """Take the engine's frames off, down to the first of somebody else's.

    So it is done for the errors behind it, which it came of or contains.

    Args:
        error: The error. It may well refuse to have attributes set, and is asked for none.
        whole: Whether nothing may be left. False leaves a traceback as it is that has no other
            frames: then the error is the engine's own, and who looks into it needs them.
    """
    found = {id(error)}
    todo = [error]
    while todo:
        each = todo.pop()
        before = each.__traceback__
        after = _outside(before)
        if after is not before and (after is not None or whole):
            each.with_traceback(after)
        behind = [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            behind += each.exceptions
        for other in behind:
            if other is not None and id(other) not in found:
                found.add(id(other))
                todo.append(other)


def empty(cancelled: BaseException) -> None:
    """Take all frames off a cancellation that is about to leave a task of the run.

    Nobody looks at them, and a task group may keep the cancellation, as anyio's on asyncio does in
    a reference cycle. What came before it goes as well, but for other cancellations: anyio tells by
    these whose it is.
    """
    if isinstance(cancelled, BaseExceptionGroup):
        cancelled.with_traceback(None)
        for part in cancelled.exceptions:
            empty(part)
        return
    kind = type(cancelled)
    each: BaseException | None = cancelled
    found: set[int] = set()
    while each is not None and id(each) not in found:
        found.add(id(each))
        each.with_traceback(None)
        if not isinstance(each.__context__, kind):
            each.__context__ = None
        each = each.__context__


def _outside(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__")
        if not (isinstance(name, str) and name.startswith(_PACKAGE)):
            break
        traceback = traceback.tb_next
    return traceback
