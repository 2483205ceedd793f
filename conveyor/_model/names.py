"""What somebody may have meant by a name that there is not."""

from __future__ import annotations

from collections.abc import Iterable

_SHORT = 4  # up to here a letter more or less, or another one, makes another word: data, date


def slip(name: str, known: Iterable[str]) -> str | None:
    """Return which of `known` is sure to be meant by `name`, if one is.

    That is one from which `name` differs by a slip: a letter is dropped, doubled, changed or
    swapped with its neighbour, or there is the ``s`` of a plural too many.
    """
    for right in known:
        if _is_slip(name, right):
            return right
    return None


def _is_slip(name: str, right: str) -> bool:
    longer = len(name) - len(right)
    if name == right or not -1 <= longer <= 2:
        return False
    same = next((n for n, (a, b) in enumerate(zip(name, right, strict=False)) if a != b), None)
    if same is None:  # one is how the other begins
        rest = name[len(right) :]
        return rest in ("s", "es", right[-1]) or (longer < 0 and len(right) > _SHORT)
    if longer == 1:
        return name[same + 1 :] == right[same:] and name[same] == right[same - 1 : same]
    if longer == -1:
        return name[same:] == right[same + 1 :] and len(right) > _SHORT
    if longer:
        return False
    if name[same : same + 2] == right[same : same + 2][::-1]:
        return name[same + 2 :] == right[same + 2 :]
    return name[same + 1 :] == right[same + 1 :] and len(right) > _SHORT


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return which of `known` may be meant by `name`, if one is much like it."""
    from difflib import get_close_matches  # only to say what is wrong

    return next(iter(get_close_matches(name, sorted(known), n=1)), None)
