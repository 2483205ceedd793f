"""The command `conveyor`, also as `python -m conveyor`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        args: What follows the name of the program; ``None`` (the default) for those of this
            process.
    """
    try:
        try:
            import_module("click")
        except ImportError:
            print(  # noqa: T201 - this is a program
                "Error: the command line needs more packages: pip install 'conveyor[cli]'",
                file=sys.stderr,
            )
            return 2
        from ._cli.app import call

        return call(args)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
