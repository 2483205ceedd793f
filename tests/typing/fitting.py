"""What may be given where, and what may not: a table that mypy, pyright and our own code judge.

Each function gives what it takes. mypy and pyright have to refuse those that say so, and no other;
tests/check/test_fits.py holds `conveyor._check.fits` to the same. Of a function whose name begins
with `open` it is to say that it does not know. Nothing of it is called.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
    Set,
)
from datetime import date, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path, PurePath
from typing import (
    IO,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Protocol,
    TypedDict,
    TypeVar,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class Animal: ...


class Dog(Animal): ...


class Box(Generic[T]):
    value: T


class Source(Generic[T_co]):
    def get(self) -> T_co:
        raise NotImplementedError


class Sink(Generic[T_contra]):
    def put(self, value: T_contra) -> None: ...


class Ints(list[int]): ...


class Dogs(dict[str, Dog]): ...


class PairBox(Box[tuple[T, T]], Generic[T]): ...


class HasName(Protocol):
    name: str


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.StrEnum):
    FAST = "fast"


class Row(TypedDict):
    a: int


class WideRow(TypedDict):
    a: int
    b: str


class Point(NamedTuple):
    x: int
    y: int


class Call:
    def __call__(self, item: int) -> str:
        return ""


UserId = NewType("UserId", int)


# --- classes
def row_1(given: int) -> int:
    return given


def row_2(given: bool) -> int:
    return given


def row_3(given: int) -> float:
    return given


def row_4(given: int) -> complex:
    return given


def row_5(given: float) -> complex:
    return given


def row_6(given: bool) -> float:
    return given


def row_7(given: Level) -> float:
    return given


def row_8(given: Level) -> int:
    return given


def row_9(given: Mode) -> str:
    return given


def row_10(given: Dog) -> Animal:
    return given


def row_11(given: datetime) -> date:
    return given


def row_12(given: Path) -> PurePath:
    return given


def row_13(given: int) -> object:
    return given


def row_14(given: None) -> object:
    return given


def row_15(given: int) -> Any:
    return given


def row_16(given: int) -> str:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_17(given: str) -> int:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_18(given: float) -> int:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_19(given: complex) -> float:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_20(given: int) -> bool:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_21(given: int) -> Decimal:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_22(given: str) -> bytes:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_23(given: bytes) -> str:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_24(given: Animal) -> Dog:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_25(given: object) -> int:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_26(given: None) -> int:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_27(given: int) -> None:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_28(given: date) -> datetime:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_29(given: Color) -> int:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_30(given: str) -> Mode:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_31(given: Dog) -> list[Dog]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


# --- unions
def row_32(given: int) -> int | str:
    return given


def row_33(given: bool) -> int | None:
    return given


def row_34(given: int) -> float | str:
    return given


def row_35(given: int | str) -> str | int:
    return given


def row_36(given: int | bool) -> int:
    return given


def row_37(given: Literal[1, 2]) -> int:
    return given


def row_38(given: int) -> Annotated[int, "seconds"]:
    return given


def row_39(given: Annotated[int, "seconds"]) -> int:
    return given


def row_40(given: int | str) -> int:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_41(given: int | None) -> int:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_42(given: int) -> str | None:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_43(given: int | str) -> float | None:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


# --- literals and enumerations
def row_44(given: Literal[1]) -> int:
    return given


def row_45(given: Literal[1]) -> float:
    return given


def row_46(given: Literal[1]) -> Literal[1, 2]:
    return given


def row_47(given: Literal["a"]) -> str:
    return given


def row_48(given: Literal["a"]) -> str | int:
    return given


def row_49(given: Literal["a", 1]) -> str | int:
    return given


def row_50(given: Literal["a"]) -> Sequence[str]:
    return given


def row_51(given: Literal[Color.RED]) -> Color:
    return given


def row_52(given: Color) -> Literal[Color.RED, Color.BLUE]:
    return given


def row_53(given: bool) -> Literal[True, False]:
    return given


def row_54(given: int) -> Literal[1]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_55(given: str) -> Literal["a"]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_56(given: Literal[1, 2]) -> Literal[1]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_57(given: Literal[1]) -> str:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_58(given: Literal[True]) -> Literal[1]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_59(given: bool) -> Literal[True]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_60(given: Color) -> Literal[Color.RED]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_61(given: Literal["a", 1]) -> str:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


# --- new types
def row_62(given: UserId) -> int:
    return given


def row_63(given: UserId) -> float:
    return given


def row_64(given: UserId) -> UserId:
    return given


def row_65(given: int) -> UserId:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_66(given: bool) -> UserId:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_67(given: UserId) -> str:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_68(given: list[UserId]) -> list[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


# --- containers that can be changed
def row_69(given: list[int]) -> list[int]:
    return given


def row_70(given: list[int]) -> list[Any]:
    return given


def row_71(given: list[int | str]) -> list[str | int]:
    return given


def row_72(given: Ints) -> list[int]:
    return given


def row_73(given: Ints) -> Sequence[float]:
    return given


def row_74(given: dict[str, int]) -> dict[str, int]:
    return given


def row_75(given: dict[str, list[int]]) -> dict[str, list[int]]:
    return given


def row_76(given: defaultdict[str, int]) -> dict[str, int]:
    return given


def row_77(given: OrderedDict[str, int]) -> MutableMapping[str, int]:
    return given


def row_78(given: Counter[str]) -> dict[str, int]:
    return given


def row_79(given: Dogs) -> dict[str, Dog]:
    return given


def row_80(given: deque[int]) -> MutableSequence[int]:
    return given


def row_81(given: list[int]) -> list[float]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_82(given: list[bool]) -> list[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_83(given: list[Dog]) -> list[Animal]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_84(given: list[int]) -> list[int | str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_85(given: list[int]) -> list[str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_86(given: list[int]) -> set[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_87(given: list[int]) -> tuple[int, ...]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_88(given: set[int]) -> frozenset[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_89(given: list[list[int]]) -> list[list[float]]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_90(given: dict[str, int]) -> dict[str, float]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_91(given: dict[str, int]) -> dict[int, int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_92(given: dict[str, int]) -> dict[str, object]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_93(given: Ints) -> list[float]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_94(given: Dogs) -> dict[str, Animal]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_95(given: Counter[str]) -> dict[str, str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_96(given: dict[str, int]) -> list[str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


# --- containers that cannot
def row_97(given: list[int]) -> Sequence[float]:
    return given


def row_98(given: list[Dog]) -> Sequence[Animal]:
    return given


def row_99(given: list[int]) -> Iterable[object]:
    return given


def row_100(given: set[int]) -> Set[float]:
    return given


def row_101(given: frozenset[bool]) -> frozenset[int]:
    return given


def row_102(given: deque[int]) -> Sequence[int]:
    return given


def row_103(given: str) -> Sequence[str]:
    return given


def row_104(given: str) -> Iterable[str]:
    return given


def row_105(given: str) -> Collection[str]:
    return given


def row_106(given: Mode) -> Sequence[str]:
    return given


def row_107(given: bytes) -> Sequence[int]:
    return given


def row_108(given: range) -> Sequence[int]:
    return given


def row_109(given: range) -> Iterable[float]:
    return given


def row_110(given: dict[str, int]) -> Mapping[str, float]:
    return given


def row_111(given: dict[str, int]) -> Mapping[str, object]:
    return given


def row_112(given: dict[str, int]) -> Iterable[str]:
    return given


def row_113(given: Dogs) -> Mapping[str, Animal]:
    return given


def row_114(given: Mapping[str, int]) -> Collection[str]:
    return given


def row_115(given: Sequence[int]) -> Iterable[float]:
    return given


def row_116(given: Iterator[bool]) -> Iterable[int]:
    return given


def row_117(given: Generator[int, None, None]) -> Iterator[int]:
    return given


def row_118(given: Generator[int, None, None]) -> Iterable[float]:
    return given


def row_119(given: AsyncGenerator[int, None]) -> AsyncIterator[float]:
    return given


def row_120(given: Coroutine[Any, Any, int]) -> Awaitable[float]:
    return given


def row_121(given: list[str]) -> Sequence[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_122(given: Sequence[int]) -> list[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_123(given: Iterable[int]) -> Sequence[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_124(given: Iterator[int]) -> list[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_125(given: str) -> Sequence[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_126(given: str) -> list[str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_127(given: bytes) -> Sequence[str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_128(given: int) -> Iterable[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_129(given: range) -> list[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_130(given: set[int]) -> Sequence[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_131(given: dict[str, int]) -> Mapping[int, int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_132(given: dict[str, int]) -> Mapping[str, str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_133(given: dict[str, int]) -> Iterable[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_134(given: Mapping[str, int]) -> dict[str, int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_135(given: Mapping[str, int]) -> MutableMapping[str, int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_136(given: Generator[int, None, None]) -> Iterator[str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_137(given: Iterator[int]) -> AsyncIterator[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_138(given: Coroutine[Any, Any, int]) -> Awaitable[str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_139(given: Awaitable[int]) -> int:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


# --- tuples
def row_140(given: tuple[int, str]) -> tuple[int, str]:
    return given


def row_141(given: tuple[int, int]) -> tuple[float, float]:
    return given


def row_142(given: tuple[int, int]) -> tuple[int, ...]:
    return given


def row_143(given: tuple[int, ...]) -> tuple[float, ...]:
    return given


def row_144(given: tuple[()]) -> tuple[int, ...]:
    return given


def row_145(given: tuple[int, str]) -> Sequence[int | str]:
    return given


def row_146(given: tuple[int, ...]) -> Iterable[float]:
    return given


def row_147(given: Point) -> tuple[int, int]:
    return given


def row_148(given: Point) -> tuple[float, ...]:
    return given


def row_149(given: tuple[int, str]) -> tuple[str, int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_150(given: tuple[int, int]) -> tuple[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_151(given: tuple[int, ...]) -> tuple[int, int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_152(given: tuple[int, int]) -> list[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_153(given: tuple[int, str]) -> Sequence[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_154(given: tuple[int, int]) -> Point:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_155(given: tuple[str, ...]) -> tuple[int, ...]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_156(given: Point) -> tuple[int, str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_157(given: tuple[int]) -> tuple[()]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


# --- generic classes
def row_158(given: Box[int]) -> Box[int]:
    return given


def row_159(given: Box[int]) -> Box[Any]:
    return given


def row_160(given: PairBox[int]) -> Box[tuple[int, int]]:
    return given


def row_161(given: Source[int]) -> Source[float]:
    return given


def row_162(given: Source[Dog]) -> Source[Animal]:
    return given


def row_163(given: Sink[Animal]) -> Sink[Dog]:
    return given


def row_164(given: Box[int]) -> Box[float]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_165(given: Box[Dog]) -> Box[Animal]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_166(given: PairBox[int]) -> Box[tuple[str, str]]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_167(given: Source[float]) -> Source[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_168(given: Sink[Dog]) -> Sink[Animal]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_169(given: Source[int]) -> Box[int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_170(given: type[Dog]) -> type[Animal]:
    return given


def row_171(given: type[Dog]) -> type:
    return given


def row_172(given: type[Animal]) -> type[Dog]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


# --- typed dictionaries
def row_173(given: Row) -> Row:
    return given


def row_174(given: WideRow) -> Row:
    return given


def row_175(given: Row) -> WideRow:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_176(given: int) -> Row:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_177(given: Row) -> int:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def row_178(given: Row) -> str:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


# --- functions
def row_179(given: int) -> Hashable:
    return given


def row_180(given: Callable[[int], str]) -> Callable[[int], str]:
    return given


def row_181(given: int) -> Callable[[int], str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


# --- left open
def open_182(given: list[Any]) -> list[int]:
    return given


def open_183(given: dict[str, Any]) -> dict[str, int]:
    return given


def open_184(given: dict[str, int | Any]) -> dict[str, int]:
    return given


def open_185(given: tuple[Any, ...]) -> tuple[int, int]:
    return given


def open_186(given: Call) -> Callable[[int], str]:
    return given


def open_187(given: Callable[[object], str]) -> Callable[[int], object]:
    return given


def open_188(given: Callable[[int], str]) -> Callable[[str], str]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def open_189(given: StringIO) -> IO[str]:
    return given


def open_190(given: Animal) -> HasName:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def open_191(given: WideRow) -> Mapping[str, object]:
    return given


def open_192(given: Row) -> dict[str, int]:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def open_193(given: dict[str, int]) -> Row:
    return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]
