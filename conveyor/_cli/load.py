"""Finds the pipeline that a command line names, or says in one line why there is none."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping
from contextlib import redirect_stdout
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import click

from .._pipeline import Pipeline, Task
from .._stream import Stream

Loaded = Pipeline[Any, Any, Any]


class CannotLoad(click.ClickException):
    """There is no pipeline where the command line says. The message is one line."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def load_pipeline(target: str) -> Loaded:
    """Import what `target` names, and return the pipeline.

    The module is looked for in the current directory first, as ``python -m`` does. What it prints
    while it is imported goes to standard error.

    Args:
        target: ``module:attribute`` or ``directory/file.py:attribute``. The attribute may have
            dots in it. It is a pipeline, a task, or a plain function that can be called without
            arguments and returns one.

    Raises:
        CannotLoad: If there is no pipeline; the exit code is 2.
    """
    where, _, attribute = target.rpartition(":")
    if not where or not all(part.isidentifier() for part in attribute.split(".")):
        raise CannotLoad(
            f"{target!r} names no pipeline: write module:attribute or file.py:attribute, "
            "as in shop:pipeline"
        )
    with redirect_stdout(sys.stderr):
        module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
        found = _attribute(module, attribute)
        return _pipeline(found, target, module)


# --- the module


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        hint = f": did you mean {name}.py?" if Path(f"{name}.py").is_file() else ""
        raise CannotLoad(f"{name!r} is no name of a module{hint}")
    if not sys.flags.safe_path:  # where `python -m` looks as well, unless it is told not to
        _look_first(Path.cwd())
    return _import(name)


def _import_file(path: Path) -> ModuleType:
    """Import a file under the name that other modules, and other processes, import it by."""
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "is not there"
        raise CannotLoad(f"the file {str(path)!r} {what}")
    path = path.resolve()
    names, directory = [path.stem], path.parent
    while (directory / "__init__.py").is_file():
        names.insert(0, directory.name)
        directory = directory.parent
    if names[-1] == "__init__":
        names.pop()
    if not names or any("." in name for name in names):
        raise CannotLoad(f"{str(path)!r} cannot be imported: its name is no name of a module")
    _look_first(directory)
    module = _import(".".join(names))
    file = getattr(module, "__file__", None)
    if file is None or not path.samefile(file):
        raise CannotLoad(
            f"{str(path)!r} cannot be imported: its name {module.__name__!r} is that of another "
            f"module, {file or 'which is built in'}"
        )
    return module


def _look_first(directory: Path) -> None:
    if not sys.path or sys.path[0] != str(directory):
        sys.path.insert(0, str(directory))
    importlib.invalidate_caches()


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except SyntaxError as error:
        place = f"{_short(error.filename)}:{error.lineno}" if error.filename else name
        raise CannotLoad(
            f"cannot import {name!r}: {type(error).__name__}: {error.msg} ({place})"
        ) from error
    except ModuleNotFoundError as error:
        place = _place(error)
        if not place and error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise CannotLoad(_missing(name, error)) from error
        _cannot_import(name, error)
    except (Exception, SystemExit) as error:
        _cannot_import(name, error)


def _missing(name: str, error: ModuleNotFoundError) -> str:
    """Say that the module itself is not there."""
    missing = str(error.name)
    parent, _, last = missing.rpartition(".")
    if parent and parent in sys.modules:
        paths = getattr(sys.modules[parent], "__path__", None)
        if paths is None:
            return f"there is no module {name!r}: {parent!r} is a module and no package"
        places = [Path(path) for path in paths]
        message = f"there is no module {last!r} in the package {parent!r}"
    else:
        places = [Path.cwd()]
        message = f"there is no module {missing!r} in {str(Path.cwd())!r}, nor installed"
    close = get_close_matches(last, sorted(set(_modules(places))))
    return f"{message}{_did_you_mean(close)}"


def _modules(places: list[Path]) -> list[str]:
    found = []
    for place in places:
        try:
            entries = list(place.iterdir())
        except OSError:
            continue
        found += [entry.stem for entry in entries if entry.suffix == ".py"]
        found += [entry.name for entry in entries if (entry / "__init__.py").is_file()]
    return found


def _cannot_import(name: str, error: BaseException) -> NoReturn:
    if isinstance(error, SystemExit):
        what = f"it ends the program, with sys.exit({error.code!r})"
    else:
        what = _words(error)
    raise CannotLoad(f"cannot import {name!r}: {what}{_in(_place(error))}") from error


# --- what is in it


def _attribute(module: ModuleType, path: str) -> Any:
    found: Any = module
    for depth, name in enumerate(path.split(".")):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            if place := _place(error):
                raise CannotLoad(f"cannot get {path!r}: {_words(error)}{_in(place)}") from error
            parts = path.split(".")[:depth]
            owner = ".".join([module.__name__, *parts])
            raise CannotLoad(f"{owner!r} has no {name!r}{_instead(found, name, parts)}") from error
        except Exception as error:
            raise CannotLoad(f"cannot get {path!r}: {_words(error)}{_in(_place(error))}") from error
    return found


def _instead(owner: Any, name: str, parts: list[str]) -> str:
    """Say what there is in the place of a name that is not there."""
    try:
        names: Mapping[str, Any] = vars(owner)
    except TypeError:
        return ""
    public = [each for each in names if not each.startswith("_")]
    pipelines = [each for each in public if isinstance(names[each], Pipeline)]
    pipelines.sort(key=lambda each: isinstance(names[each], Task))  # the longer ones first
    close = get_close_matches(name, pipelines) or get_close_matches(name, public)
    hint = _did_you_mean(close[:1])
    others = [".".join([*parts, each]) for each in pipelines if each not in close[:1]]
    if others:
        more = ", ..." if len(others) > 8 else ""
        hint += " There" if hint else "; there"
        hint += f" {'are' if len(others) > 1 else 'is'} {'also ' if close else ''}"
        hint += f"{', '.join(others[:8])}{more}"
    elif not close:
        hint += "; there is no pipeline in it"
    return hint


def _pipeline(found: Any, target: str, module: ModuleType) -> Loaded:
    if isinstance(found, Pipeline):
        return found
    _refuse_stream(found, target)
    if isinstance(found, type):
        raise CannotLoad(f"{target!r} is the class {found.__name__!r}, and no pipeline")
    if not callable(found):
        others = _instead(module, "", []).removeprefix("; ")
        raise CannotLoad(f"{target!r} is {_what(found)}, and no pipeline; {others}")
    made = _made(found, target)
    _refuse_stream(made, target)
    if not isinstance(made, Pipeline):
        raise CannotLoad(f"the function {target!r} returned {_what(made)}, and no pipeline")
    return made


def _made(function: Callable[..., Any], target: str) -> Any:
    """Return what a function makes that needs no arguments."""
    decorate = "decorate it with @single_task or @batch_task"
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise CannotLoad(
            f"{target!r} is an async function: {decorate}, or name a plain function that "
            "returns a pipeline"
        )
    try:
        inspect.signature(function).bind()
    except TypeError:
        raise CannotLoad(
            f"{target!r} is a function that takes arguments: to make a task of it, {decorate}; "
            "one that makes a pipeline has to do without"
        ) from None
    except ValueError:
        raise CannotLoad(f"{target!r} is {_what(function)}, and no pipeline") from None
    try:
        made = function()
    except (Exception, SystemExit) as error:
        raise CannotLoad(f"{target!r} failed: {_words(error)}{_in(_place(error))}") from error
    if isinstance(made, Coroutine):
        made.close()
        raise CannotLoad(
            f"the function {target!r} returned a coroutine: it has to be a plain function that "
            "returns a pipeline"
        )
    return made


def _refuse_stream(found: object, target: str) -> None:
    if isinstance(found, Stream):
        found.stop()  # or it would warn that nobody has read it
        raise CannotLoad(
            f"{target!r} is a stream, which is one run with its input: name the pipeline that is "
            "called to make it"
        )


# --- words


def _what(thing: object) -> str:
    if thing is None:
        return "None"
    text = repr(thing)
    shown = f" {text}" if isinstance(thing, str | int | float) and len(text) <= 40 else ""
    return f"of type {type(thing).__name__}:{shown}" if shown else f"of type {type(thing).__name__}"


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if len(text) > 300:
        text = f"{text[:300]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _place(error: BaseException) -> str:
    """Return where in the user's files it came up, "" if in none of them.

    The deepest place is often in a library, that was called in a wrong way: so it is the deepest
    outside of those, if there is one.
    """
    ours = str(Path(__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen importlib", ours))
        and "importlib" not in Path(frame.filename).parts
    ]
    own = [frame for frame in frames if not _is_library(frame.filename)]
    for frame in (own or frames)[-1:]:
        return f"{_short(frame.filename)}:{frame.lineno}"
    return ""


def _is_library(file: str) -> bool:
    parts = Path(file).parts
    return (
        "site-packages" in parts
        or file.startswith((os.path.dirname(os.__file__), "<"))  # noqa: PTH120 - of the library
        or Path(file).is_relative_to(Path(__file__).parents[1])
    )


def _short(file: str) -> str:
    """Return a file's name as one would write it here."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return file


def _in(place: str) -> str:
    return f" ({place})" if place else ""


def _did_you_mean(names: list[str]) -> str:
    return f": did you mean {' or '.join(map(repr, names))}?" if names else ""
