"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conveyor._files import WholeFile

posix = pytest.mark.skipif(os.name != "posix", reason="permissions, links and pipes of POSIX")
not_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root"
)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with WholeFile(path) as file:
        file.write("größer\n")
        file.flush()
        assert not path.exists()
        [beside] = names(tmp_path)
        assert re.fullmatch(r"\.out\.txt\.[0-9a-f]{8}\.part", beside)
    assert path.read_bytes() == "größer\n".replace("\n", os.linesep).encode()
    assert names(tmp_path) == ["out.txt"]


def test_until_then_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before")
    with WholeFile(str(path)) as file:
        file.write("after")
        file.flush()
        assert path.read_text() == "before"
    assert path.read_text() == "after"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_block_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before")
    with pytest.raises(error), WholeFile(path) as file:
        file.write("after")
        raise error
    assert path.read_text() == "before"
    assert names(tmp_path) == ["out.txt"]


def test_bytes_and_the_ends_of_lines_are_written_as_they_are(tmp_path: Path) -> None:
    with WholeFile(tmp_path / "bytes", "wb") as raw:
        raw.write(b"\xff\r\n\n")
    assert (tmp_path / "bytes").read_bytes() == b"\xff\r\n\n"
    with WholeFile(tmp_path / "text", newline="", encoding="latin-1") as file:
        file.write("ß\r\n\n")
    assert (tmp_path / "text").read_bytes() == b"\xdf\r\n\n"


def test_it_may_be_decided_by_hand_and_once(tmp_path: Path) -> None:
    kept, given_up = WholeFile(tmp_path / "kept"), WholeFile(tmp_path / "given up")
    kept.open().write("1")
    given_up.open().write("2")
    kept.commit()
    given_up.discard()
    assert names(tmp_path) == ["kept"]
    given_up.commit()
    kept.discard()
    kept.commit()
    assert names(tmp_path) == ["kept"]


def test_the_block_may_close_the_file(tmp_path: Path) -> None:
    with WholeFile(tmp_path / "out") as file, file:
        file.write("1")
    assert (tmp_path / "out").read_text() == "1"


def test_a_long_name_leaves_room_for_the_name_beside_it(tmp_path: Path) -> None:
    path = tmp_path / ("ß" * 127)  # 254 bytes
    with WholeFile(path) as file:
        file.write("1")
    assert path.read_text() == "1"


# --- permissions, links, and what is no file


@posix
@pytest.mark.usefixtures("umask")
def test_a_new_file_has_the_permissions_that_open_gives(tmp_path: Path) -> None:
    with WholeFile(tmp_path / "out"):
        pass
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


@posix
@pytest.mark.usefixtures("umask")
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.touch()
    path.chmod(0o606)
    with WholeFile(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o606  # never more than that
    assert stat.S_IMODE(path.stat().st_mode) == 0o606


@posix
@pytest.mark.parametrize("there", [True, False])
def test_of_a_symbolic_link_the_target_is_replaced(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    if there:
        (folder / "real").write_text("before")
    link, again = tmp_path / "link", tmp_path / "again"
    link.symlink_to("elsewhere/real")
    again.symlink_to("link")
    with WholeFile(again) as file:
        file.write("after")
        assert len(names(folder)) == 1 + there  # beside the target: a rename stays on its disk
    assert again.readlink() == Path("link")
    assert link.readlink() == Path("elsewhere/real")
    assert (folder / "real").read_text() == "after"
    assert names(tmp_path) == ["again", "elsewhere", "link"]


@posix
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    with WholeFile(path) as file:
        file.write("through it")
    reader.join()
    assert read == ["through it"]
    assert path.is_fifo()
    assert names(tmp_path) == ["pipe"]


@posix
def test_a_device_is_not_replaced() -> None:
    with WholeFile("/dev/null") as file:
        file.write("1")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@posix
def test_standard_output_may_be_named() -> None:
    code = "from conveyor._files import WholeFile\nwith WholeFile('/dev/stdout') as f: f.write('1')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1", "")


# --- what cannot be written


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("folder", IsADirectoryError),
        ("folder/", IsADirectoryError),
        ("new/", IsADirectoryError),
        ("", FileNotFoundError),
        ("missing/out", FileNotFoundError),
        ("file/out", NotADirectoryError),
    ],
)
def test_it_is_refused_at_once_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, kind: type[OSError]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(kind) as caught:
        WholeFile(path).open()
    assert str(caught.value) == f"[Errno {caught.value.errno}] {caught.value.strerror}: {path!r}"
    assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path / "folder") == []


@posix
@not_root
def test_what_may_not_be_written_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.touch()
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="out"):
        WholeFile(path).open()
    assert names(tmp_path) == ["out"]


@posix
def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "a"))):
        WholeFile(tmp_path / "a").open()


def test_an_unknown_encoding_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="klingon"):
        WholeFile(tmp_path / "out", encoding="klingon").open()
    assert names(tmp_path) == []


@posix
def test_a_failure_to_put_it_in_place_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out"
    file = WholeFile(path)
    file.open().write("1")
    path.mkdir()  # meanwhile
    with pytest.raises(OSError, match=re.escape(repr(str(path)))):
        file.commit()
    assert names(tmp_path) == ["out"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full disk is a device here")  # noqa: PTH110
def test_a_full_disk_is_told() -> None:
    file = WholeFile("/dev/full")
    file.open().write("1")
    with pytest.raises(OSError, match="'/dev/full'"):
        file.commit()
    file.discard()


@pytest.mark.parametrize("path", [b"out", 1, None])
def test_a_path_is_a_string(path: Any) -> None:
    with pytest.raises(TypeError, match=f"must be a str or a Path, not {re.escape(repr(path))}"):
        WholeFile(path)


def test_a_mode_is_known() -> None:
    wrong: Any = "a"
    with pytest.raises(ValueError, match="mode must be 'w' or 'wb', not 'a'"):
        WholeFile("out", wrong)
