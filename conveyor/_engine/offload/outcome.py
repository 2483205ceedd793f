"""How the outcome of a call travels back from a worker: its result, or the exception.

Executors leave that to pickle, which is not made for exceptions. It loses their causes and their
tracebacks; it calls their class with `args`, which fails where that takes other arguments; and it
gives up where an attribute cannot be pickled. Some pools break for good over such an exception.
So a worker describes the exception, and what arrives here is an exception of the same class with
the same message, attributes, notes and causes. The worker's traceback is one of its notes.

Light on imports: this is what a worker has to load beside the function itself.
"""

from __future__ import annotations

import io
import pickle
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, final

from ..._model.by_name import look_up

HIGHEST = pickle.HIGHEST_PROTOCOL
OURS = __name__.partition(".")[0]  # the package
HEADING = "Traceback in the worker (most recent call last):\n"


# --- results and exceptions alike


def outcome_of(name: str, call: Callable[..., Any], *args: Any) -> bytes:
    """Call a function and return its outcome, to be sent to `unpack`."""
    try:
        result = call(*args)
    except BaseException as error:  # noqa: ASYNC103 - raised on where the outcome is unpacked
        return pack_error(error)  # noqa: ASYNC104 - as above
    try:
        return pickle.dumps((True, result), HIGHEST)
    except Exception as error:
        kind = type(result).__name__
        _note(error, f"{name!r} returned an object of type {kind}, which cannot be pickled")
        return pack_error(error)


def pack_error(error: BaseException) -> bytes:
    """Return an exception as the outcome of a call."""
    return pickle.dumps((False, _describe(error, [])), HIGHEST)


def unpack(outcome: bytes) -> Any:
    """Return the result of a call, or raise its exception."""
    try:
        returned, value = pickle.loads(outcome)
    except Exception as unreadable:
        _note(unreadable, "what the function returned cannot be unpickled here")
        raise
    if returned:
        return value
    error = _restore(value)
    try:
        raise error
    finally:
        del error, value  # the traceback holds this frame: a reference cycle


@final
class Carrier(Exception):  # noqa: N818 - not an error, but what carries one
    """Carries an exception out of an executor that pickles in its own way, or not at all.

    It is described when it is pickled: where it stays in this process, `error` is the very object
    that was raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {_text(error)}")
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (_describe(self.error, []),)


def _arrived(description: _Description) -> Carrier:
    error = _restore(description)
    assert isinstance(error, Exception)  # as it was before
    return Carrier(error)


# --- exceptions


# Of an exception: its class and their bases, as module and name; its message; the pickle of it, or
# None if that does not give the same exception; else `args` and attributes, as far as they can be
# pickled; its notes; the frames; its cause and its context, with whether the latter is suppressed.
_Description = tuple[
    list[tuple[str, str]],
    str | None,
    bytes | None,
    tuple[bytes, ...],
    dict[str, bytes],
    list[str],
    str,
    Any,
    Any,
    bool,
]
DEEPEST = 10  # of causes and of groups in groups; a description is pickled by recursion


def _describe(error: BaseException, above: list[BaseException]) -> _Description:
    above = [*above, error]  # those that this one is the cause of: a chain may be a ring

    def linked(other: BaseException | None) -> _Description | None:
        if other is None or len(above) >= DEEPEST or any(other is one for one in above):
            return None
        return _describe(other, above)

    bases = [(c.__module__, c.__qualname__) for c in type(error).__mro__ if c is not object]
    text = _text(error)
    args: tuple[bytes, ...] = ()
    state: dict[str, bytes] = {}
    dumped = _dumped(error, above)
    if dumped is None or _unpickled(dumped, bases, text) is None:
        dumped = None
        args = tuple(_dumped(arg, above) or pickle.dumps(repr_of(arg)) for arg in error.args)
        for name, value in getattr(error, "__dict__", {}).items():
            if name != "__notes__" and (packed := _dumped(value, above)) is not None:
                state[name] = packed
    return (
        bases,
        text,
        dumped,
        args,
        state,
        [note for note in getattr(error, "__notes__", ()) if isinstance(note, str)],
        _frames(error.__traceback__),
        linked(error.__cause__),
        None if error.__suppress_context__ else linked(error.__context__),
        error.__suppress_context__,
    )


class _Pickler(pickle.Pickler):
    """Describes the exceptions in what it pickles: those of a group, or of a `BatchError`."""

    def __init__(self, file: io.BytesIO, top: object, above: list[BaseException]) -> None:
        super().__init__(file, HIGHEST)
        self._top = top
        self._above = above

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, BaseException):
            return NotImplemented
        if obj is self._top:
            # By its own means: tblib, which Dask brings, has every exception pickled with all that
            # it came of, however long that chain is. Here that is described beside it.
            return obj.__reduce_ex__(HIGHEST)
        if len(self._above) >= DEEPEST or any(obj is one for one in self._above):
            return NotImplemented  # plain pickle can tie a ring through attributes
        return _restore, (_describe(obj, self._above),)


def _dumped(value: object, above: list[BaseException]) -> bytes | None:
    file = io.BytesIO()
    try:
        _Pickler(file, value, above).dump(value)
    except Exception:
        return None
    return file.getvalue()


def _loaded(dumped: bytes) -> Any:
    try:
        return pickle.loads(dumped)
    except Exception as error:
        return f"<{type(error).__name__} in unpickling: {_text(error)}>"


def _restore(description: _Description) -> BaseException:
    bases, text, dumped, args, state, notes, frames, cause, context, suppress = description
    error = None if dumped is None else _unpickled(dumped, bases, text)
    if error is None:
        values = {name: _loaded(value) for name, value in state.items()}
        error = stand_in(bases, text, tuple(map(_loaded, args)), values)
    there = getattr(error, "__notes__", ())
    for note in (*notes, HEADING + frames if frames else ""):
        if note and note not in there:
            _note(error, note)
    if cause is not None:
        error.__cause__ = _restore(cause)
    if context is not None:
        error.__context__ = _restore(context)
    error.__suppress_context__ = suppress
    return error


def _unpickled(
    dumped: bytes, bases: list[tuple[str, str]], text: str | None
) -> BaseException | None:
    """Return what pickle makes of an exception, if that is the same."""
    try:
        error = pickle.loads(dumped)
    except Exception:
        return None
    same = isinstance(error, BaseException) and type(error).__qualname__ == bases[0][1]
    return error if same and _text(error) == text else None


def stand_in(
    bases: list[tuple[str, str]], text: str | None, args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    """Return an exception that pickle cannot make: without calling its class.

    Where the class is not found, or gives another message, it is of a class of the same name
    that derives from the first of the `bases` that is found.
    """
    for cls in _classes(bases):
        error = _made(cls, args, state)
        if error is None:
            continue
        if (cls.__module__, cls.__qualname__) == bases[0] and _text(error) == text:
            return error
        try:
            named = _named(cls, bases, text, args, state)
        except Exception:  # the class wants no others to derive from it
            continue
        error = _made(named, args, state)
        if error is not None:
            return error
    raise AssertionError("every exception derives from BaseException")


def _classes(bases: list[tuple[str, str]]) -> list[type[BaseException]]:
    found = []
    for module, name in bases:
        try:
            cls = look_up(module, name)
        except Exception:  # a local class, or a module that is not there
            continue
        if isinstance(cls, type) and issubclass(cls, BaseException):
            found.append(cls)
    return found


def _made(
    cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException | None:
    try:
        error = cls.__new__(cls, *args)
        error.args = args
        error.__dict__.update(state)
    except Exception:
        return None
    return error


def _named(
    base: type[BaseException],
    bases: list[tuple[str, str]],
    text: str | None,
    args: tuple[Any, ...],
    state: dict[str, Any],
) -> type[BaseException]:
    module, name = bases[0]
    names: dict[str, Any] = {"__module__": module, "__qualname__": name}
    names["__str__"] = lambda _: "" if text is None else text
    names["__reduce__"] = lambda _: (stand_in, (bases, text, args, state))
    return type(name.rpartition(".")[2], (base,), names)


# --- what an exception may refuse


def _text(error: BaseException) -> str | None:
    try:
        return str(error)
    except Exception:
        return None


def repr_of(value: object) -> str:
    """Return the `repr` of anything, also if it has none."""
    try:
        return repr(value)
    except Exception:
        return object.__repr__(value)


def _note(error: BaseException, note: str) -> None:
    with suppress(Exception):  # it takes none: then it arrives without
        error.add_note(note)


def _frames(tb: TracebackType | None) -> str:
    """Return the frames of a traceback, beginning with the function's own."""
    while tb is not None and _is_ours(tb.tb_frame):
        tb = tb.tb_next
    try:
        return "".join(traceback.format_tb(tb))
    except Exception:  # a source file that cannot be read
        return ""


def _is_ours(frame: FrameType) -> bool:
    package = frame.f_globals.get("__package__")
    return isinstance(package, str) and package.partition(".")[0] == OURS
