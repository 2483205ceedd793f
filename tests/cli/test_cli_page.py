"""What the page about the command line shows is what the commands print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from test_docs import DOCS, Block, blocks

PAGE = DOCS / "how-to" / "command-line.md"


@pytest.mark.skipif(sys.platform == "win32", reason="the page is written for a Unix shell")
def test_the_sessions_of_the_page(tmp_path: Path) -> None:
    page = [*blocks(PAGE.read_text("utf-8"))]
    (tmp_path / "shop.py").write_text(first(page, "python"))
    (tmp_path / "orders.jsonl").write_text(first(page, "json"))
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    for block in page:
        if block.language == "console":
            assert session(block.text, tmp_path, path) == block.text, f"line {block.line}"


def first(page: list[Block], language: str) -> str:
    return next(block.text for block in page if block.language == language)


def session(text: str, where: Path, path: str) -> str:
    """Run the commands of a session and return it as it came out."""
    shown = ""
    for line in text.splitlines(keepends=True):
        if not line.startswith("$ "):
            continue
        done = subprocess.run(
            ["bash", "-c", line[2:]],
            env={**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=where,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        shown += line + done.stdout
    return shown
