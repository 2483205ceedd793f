"""Finding the pipeline that a command line names, and every reason why there may be none."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from click.testing import CliRunner

from conveyor import Pipeline, Task
from conveyor._cli.check import check
from conveyor._cli.load import CannotLoad, load_pipeline

Write = Callable[..., Path]

SHOP = """
    from conveyor import Pipeline, single_task

    @single_task
    def double(number: int) -> int:
        return 2 * number

    @single_task
    def halve(number: int) -> float:
        return number / 2

    pipeline = double | halve
    nothing = None
    answer = 42
    lines = ["a", "b"]

    class Shop:
        @single_task
        def price(self, product: str) -> int:
            return len(product)

        both = pipeline

    shop = Shop()

    def make():
        return pipeline

    def make_task(copies=1):
        return double

    def make_number():
        return 7

    def make_stream():
        return pipeline([1])

    def make_with(factor):
        return pipeline

    def make_none():
        return None

    def undecorated(item, more=1):
        return item

    async def waiting():
        return pipeline

    async def generating():
        yield pipeline

    def failing():
        raise LookupError("no\\n  configuration")

    later = lambda: waiting()
    stream = pipeline([1, 2, 3])
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a file below a new current directory; what is imported from there is forgotten."""
    modules = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
        return path

    yield write
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]


def refusal(target: str) -> str:
    """Return why there is no such pipeline: one line, and exit code 2."""
    with pytest.raises(CannotLoad) as caught:
        load_pipeline(target)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    return caught.value.message


# --- what is found


@pytest.mark.parametrize(
    ("attribute", "shown"),
    [
        ("pipeline", "<Pipeline double | halve>"),
        ("double", "<Task double>"),
        ("shop.price", "<Task price>"),
        ("Shop.both", "<Pipeline double | halve>"),
        ("make", "<Pipeline double | halve>"),
        ("make_task", "<Task double>"),
    ],
)
def test_a_pipeline_a_task_or_what_makes_one(write: Write, attribute: str, shown: str) -> None:
    write("shop.py", SHOP)
    for target in ("shop", "shop.py", "./shop.py"):
        found = load_pipeline(f"{target}:{attribute}")
        assert isinstance(found, Pipeline)
        assert repr(found) == shown


def test_the_current_directory_comes_first(write: Write, tmp_path: Path) -> None:
    write("elsewhere/shop.py", "from conveyor import single_task\n")
    write("shop.py", SHOP)
    sys.path.insert(0, str(tmp_path / "elsewhere"))
    assert isinstance(load_pipeline("shop:pipeline"), Pipeline)
    assert sys.path[0] == str(tmp_path)
    load_pipeline("shop:pipeline")
    assert sys.path.count(str(tmp_path)) == 1


def test_modules_of_packages_have_their_relative_imports(write: Write, tmp_path: Path) -> None:
    write("src/store/__init__.py")
    write("src/store/part/__init__.py", SHOP)
    write("src/store/part/other.py", "from . import pipeline\nfrom .. import part\n")
    found = load_pipeline("src/store/part/other.py:pipeline")
    assert found is sys.modules["store.part"].pipeline
    assert load_pipeline("src/store/part/__init__.py:pipeline") is found
    assert sys.path[0] == str(tmp_path / "src")
    assert load_pipeline("store.part.other:part.pipeline") is found


def test_a_file_that_is_no_identifier_can_be_named(write: Write) -> None:
    write("my-shop.py", SHOP)
    assert isinstance(load_pipeline("my-shop.py:double"), Task)
    assert refusal("my-shop:double") == (
        "'my-shop' is no name of a module: did you mean my-shop.py?"
    )


def test_a_directory_without_an_init_is_a_package_as_well(write: Write) -> None:
    write("store/shop.py", SHOP)
    assert isinstance(load_pipeline("store.shop:pipeline"), Pipeline)


def test_what_a_module_prints_is_no_result(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("shop.py", SHOP + "    print('imported')\n")
    load_pipeline("shop:pipeline")
    assert capsys.readouterr() == ("", "imported\n")


# --- what is not: the target and the module


@pytest.mark.parametrize(
    "target", ["shop", "shop.py", "", ":", "shop:", ":pipeline", "shop:a b", "shop:a..b", "shop:1"]
)
def test_a_target_has_two_parts(write: Write, target: str) -> None:
    write("shop.py", SHOP)
    assert refusal(target) == (
        f"{target!r} names no pipeline: write module:attribute or file.py:attribute, "
        "as in shop:pipeline"
    )


def test_a_module_that_is_not_there(write: Write, tmp_path: Path) -> None:
    assert refusal("shop:pipeline") == (
        f"there is no module 'shop' in {str(tmp_path)!r}, nor installed"
    )
    write("shops.py")
    write("store/__init__.py")
    assert refusal("shop:pipeline").endswith(", nor installed: did you mean 'shops'?")
    assert refusal("stroe.part:pipeline").endswith(", nor installed: did you mean 'store'?")


def test_a_module_that_is_not_in_its_package(write: Write) -> None:
    write("store/__init__.py")
    write("store/orders.py")
    assert refusal("store.order:pipeline") == (
        "there is no module 'order' in the package 'store': did you mean 'orders'?"
    )
    assert refusal("store.orders.new:pipeline") == (
        "there is no module 'store.orders.new': 'store.orders' is a module and no package"
    )


def test_a_module_that_is_not_in_its_package_in_an_archive(write: Write, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("packed/__init__.py", "")
    sys.path.append(str(tmp_path / "all.zip"))
    assert refusal("packed.order:x") == "there is no module 'order' in the package 'packed'"


@pytest.mark.parametrize("name", ["shop..py", "a/b", ".shop", "shop.", "1shop"])
def test_what_is_no_name_of_a_module(write: Write, name: str) -> None:
    assert refusal(f"{name}:pipeline").startswith((f"{name!r} is no name of a module", "the file"))


def test_a_file_that_is_not_there(write: Write) -> None:
    assert refusal("shop.py:pipeline") == "the file 'shop.py' is not there"
    write("dir.py/inside.txt")
    assert refusal("dir.py:pipeline") == "the file 'dir.py' is a directory"


def test_a_file_whose_name_cannot_be_imported(write: Write) -> None:
    path = write("a.b.py", SHOP)
    assert refusal("a.b.py:pipeline") == (
        f"{str(path)!r} cannot be imported: its name is no name of a module"
    )


def test_a_file_with_the_name_of_another_module(write: Write) -> None:
    path = write("textwrap.py", SHOP)
    assert refusal("textwrap.py:pipeline") == (
        f"{str(path)!r} cannot be imported: its name 'textwrap' is that of another module, "
        f"{textwrap.__file__}"
    )
    path = write("builtins.py", SHOP)
    assert refusal("builtins.py:pipeline") == (
        f"{str(path)!r} cannot be imported: its name 'builtins' is that of another module, "
        "which is built in"
    )


def test_an_import_in_it_that_fails(write: Write) -> None:
    write("shop.py", "import conveyor\nimport not_installed_anywhere\n")
    assert refusal("shop:pipeline") == (
        "cannot import 'shop': ModuleNotFoundError: No module named 'not_installed_anywhere' "
        "(shop.py:2)"
    )
    write("outer.py", "import shop\n")
    assert refusal("outer:pipeline").endswith("'not_installed_anywhere' (shop.py:2)")
    # It is not taken for the module itself, though it has its name.
    write("store/__init__.py", "\n\nimport store.missing\n")
    assert refusal("store.missing:pipeline") == (
        "cannot import 'store.missing': ModuleNotFoundError: No module named 'store.missing' "
        "(store/__init__.py:3)".replace("/", os.sep)
    )
    write("names.py", "from conveyor import single_tusk\n")
    message = refusal("names:pipeline")
    assert message.startswith(
        "cannot import 'names': ImportError: cannot import name 'single_tusk'"
    )
    assert message.endswith("(names.py:1)")


def test_an_error_in_the_module_names_its_place(write: Write) -> None:
    write("shop.py", "\n\ndef broken():\n    return int('seven')\n\nbroken()\n")
    assert refusal("shop:pipeline") == (
        "cannot import 'shop': ValueError: invalid literal for int() with base 10: 'seven' "
        "(shop.py:4)"
    )
    write("calls.py", "import json\n\njson.loads('{')\n")  # it is raised in the library
    assert refusal("calls:pipeline").endswith("(calls.py:3)")
    write("bare.py", "raise RuntimeError\n")
    assert refusal("bare:pipeline") == "cannot import 'bare': RuntimeError (bare.py:1)"


def test_a_place_outside_of_the_current_directory_is_named_in_full(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("shop.py", "1 / 0\n")
    write("inside/empty.txt")
    monkeypatch.chdir(tmp_path / "inside")
    assert refusal("../shop.py:pipeline").endswith(
        f"ZeroDivisionError: division by zero ({path}:1)"
    )


def test_a_wrong_use_of_ours_names_the_users_line(write: Write) -> None:
    write("shop.py", "from conveyor import single_task\n\nx = single_task(timeout=0)(len)\n")
    assert refusal("shop:x") == (
        "cannot import 'shop': ValueError: timeout must be a number of seconds above 0, or None, "
        "not 0 (shop.py:3)"
    )


def test_a_long_error_is_cut(write: Write) -> None:
    write("shop.py", "raise ValueError('x' * 1000 + chr(10) + 'y')\n")
    message = refusal("shop:pipeline")
    assert "x..." in message
    assert len(message) < 400


def test_a_syntax_error(write: Write) -> None:
    write("shop.py", "x = 1\ndef f(:\n")
    assert refusal("shop:pipeline") == (
        "cannot import 'shop': SyntaxError: invalid syntax (shop.py:2)"
    )
    write("outer.py", "import shop\n")
    assert refusal("outer:pipeline") == (
        "cannot import 'outer': SyntaxError: invalid syntax (shop.py:2)"
    )


def test_a_module_that_ends_the_program(write: Write) -> None:
    write("shop.py", "import sys\n\nsys.exit(3)\n")
    assert refusal("shop:pipeline") == (
        "cannot import 'shop': it ends the program, with sys.exit(3) (shop.py:3)"
    )


def test_ctrl_c_while_it_is_imported_is_no_error_of_the_module(write: Write) -> None:
    write("shop.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_pipeline("shop:pipeline")


# --- what is not: the attribute


def test_an_attribute_that_is_not_there(write: Write) -> None:
    write("shop.py", SHOP)
    assert refusal("shop:pipelin") == (
        "'shop' has no 'pipelin': did you mean 'pipeline'? There are also double, halve"
    )
    assert refusal("shop:xyz") == "'shop' has no 'xyz'; there are pipeline, double, halve"
    assert refusal("shop:undecoratet") == (
        "'shop' has no 'undecoratet': did you mean 'undecorated'? There are also pipeline, double, "
        "halve"
    )
    assert refusal("shop:Shop.prices") == (
        "'shop.Shop' has no 'prices': did you mean 'price'? There is also Shop.both"
    )
    assert refusal("shop:answer.x") == "'shop.answer' has no 'x'"


def test_a_module_without_a_pipeline(write: Write) -> None:
    write("empty.py")
    assert refusal("empty:pipeline") == "'empty' has no 'pipeline'; there is no pipeline in it"


def test_a_module_with_many(write: Write) -> None:
    lines = "".join(f"task{number} = double\n" for number in range(10))
    write("many.py", textwrap.dedent(SHOP) + lines)
    assert refusal("many:xyz").endswith(
        "there are pipeline, double, halve, task0, task1, task2, task3, task4, ..."
    )


def test_an_attribute_that_fails(write: Write) -> None:
    write(
        "lazy.py",
        """
        def __getattr__(name):
            if name == "broken":
                raise ValueError("no database")
            if name == "inner":
                return None.inner
            raise AttributeError(name)
        """,
    )
    assert refusal("lazy:broken") == "cannot get 'broken': ValueError: no database (lazy.py:4)"
    assert refusal("lazy:inner").startswith("cannot get 'inner': AttributeError: ")


A_STREAM = (
    "is a stream, which is one run with its input: name the pipeline that is called to make it"
)
HAS_ARGUMENTS = (
    "is a function that takes arguments: to make a task of it, decorate it with @single_task or "
    "@batch_task; one that makes a pipeline has to do without"
)
IS_ASYNC = (
    "is an async function: decorate it with @single_task or @batch_task, or name a plain function "
    "that returns a pipeline"
)


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("answer", "is of type int: 42, and no pipeline; there are pipeline, double, halve"),
        ("lines", "is of type list, and no pipeline; there are pipeline, double, halve"),
        ("nothing", "is None, and no pipeline; there are pipeline, double, halve"),
        ("Shop", "is the class 'Shop', and no pipeline"),
        ("stream", A_STREAM),
        ("make_stream", A_STREAM),
        ("undecorated", HAS_ARGUMENTS),
        ("make_with", HAS_ARGUMENTS),
        ("waiting", IS_ASYNC),
        ("generating", IS_ASYNC),
        ("failing", "failed: LookupError: no configuration (shop.py:54)"),
    ],
)
def test_an_object_that_is_no_pipeline(write: Write, attribute: str, said: str) -> None:
    write("shop.py", SHOP)
    assert refusal(f"shop:{attribute}") == f"'shop:{attribute}' {said}"


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("make_number", "returned of type int: 7, and no pipeline"),
        ("make_none", "returned None, and no pipeline"),
        (
            "later",
            "returned a coroutine: it has to be a plain function that returns a pipeline",
        ),
    ],
)
def test_a_function_that_makes_something_else(write: Write, attribute: str, said: str) -> None:
    write("shop.py", SHOP)
    assert refusal(f"shop:{attribute}") == f"the function 'shop:{attribute}' {said}"


def test_a_builtin_that_says_nothing_of_its_arguments(write: Write) -> None:
    write("shop.py", "it = iter\nkind = int\n")
    assert refusal("shop:it").startswith("'shop:it' is ")
    assert refusal("shop:kind") == "'shop:kind' is the class 'int', and no pipeline"


# --- from outside


def test_click_says_it_in_one_line(write: Write) -> None:
    result = CliRunner().invoke(check, ["shop:pipeline"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: there is no module 'shop' in ")
    assert result.stderr.count("\n") == 1


COMMAND = """
import sys
from conveyor._cli.check import check
check.main(sys.argv[1:], prog_name="conveyor check")
"""


def run(*args: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", COMMAND, *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_process_ends_with_2_and_no_traceback(write: Write) -> None:
    write("shop.py", "import sys\nprint('to standard output')\nraise ValueError('no')\n")
    done = run("shop:pipeline")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "to standard output\nError: cannot import 'shop': ValueError: no (shop.py:3)\n"
    )


def test_a_process_that_is_not_to_look_in_the_current_directory_does_not(write: Write) -> None:
    path = write("shop.py", SHOP)
    assert run("shop:double").returncode == 0
    done = run("shop:double", options=("-P",))
    assert done.returncode == 2
    assert "there is no module 'shop'" in done.stderr
    assert run(f"{path}:double", options=("-P",)).returncode == 0  # but where it is told to
