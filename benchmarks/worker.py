"""The process of one engine: it answers one question a line, on one backend.

It starts with a line that tells whether the engine is there. Then, for each line of JSON that
names a question and its parameters, it runs one round and answers with a line: a value, or what was
wrong.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from .engines import ENGINES
from .questions import QUESTIONS
from .work import WrongResultError


def runner(backend: str) -> Callable[..., Any]:
    """Return what runs an async function to its end, in a loop of its own."""
    name = "trio" if backend == "trio" else "asyncio"
    options = {"use_uvloop": True} if backend == "uvloop" else {}

    def run(function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        return anyio.run(function, *args, backend=name, backend_options=options)

    return run


def answer(engine: Any, request: dict[str, Any], run: Callable[..., Any]) -> dict[str, Any]:
    """Run one round."""
    gc.collect()
    try:
        return {"value": QUESTIONS[request["question"]].measure(engine, request["params"], run)}
    except WrongResultError as wrong:
        return {"note": f"wrong: {wrong}"}
    # Whatever an engine fails with is to stand in the table. No loop is running any more.
    except BaseException as error:  # noqa: ASYNC103
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, KeyboardInterrupt):
            raise
        text = " ".join(str(error).split())[:80]
        return {"note": f"failed: {type(error).__name__}: {text}"}  # noqa: ASYNC104


def main() -> None:
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    kind = ENGINES[sys.argv[1]]
    run = runner(sys.argv[2])
    try:
        engine = kind()
        version = importlib.metadata.version(kind.distribution) if kind.distribution else None
    except ImportError as error:
        say({"missing": str(error)})
        return
    say({"version": version})
    for line in sys.stdin:
        say(answer(engine, json.loads(line), run))


if __name__ == "__main__":
    main()
