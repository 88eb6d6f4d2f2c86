"""What a person asks a generator for, in words and numbers, as a SampleRequest has it: one image's at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganlib.data.geometry import fit
from ganlib.data.pixels import decode
from ganlib.data.preparation import Preparation
from ganlib.errors import UserError

MOST_NAMED = 20
"""Names that a message lists; of more it says how many."""


def asked_domains(text: str, names: Sequence[str], count: int) -> NDArray[np.uint8]:
    """uint8 [count]: 1 for the domain that `text` names, or for each of several between commas.

    `names` are the domains' in their order, or none where they are not known; a number names a domain too.
    Raises UserError for an unknown domain, with those that are known.
    """
    row = np.zeros(count, np.uint8)
    whole = [text.strip()]
    # A name may have a comma in it.
    for word in whole if whole[0] in names else whole[0].split(","):
        row[_domain(word.strip(), names, count)] = 1
    return row


def _domain(word: str, names: Sequence[str], count: int) -> int:
    if word in names:
        return names.index(word)
    if word.isdecimal() and int(word) < count:
        return int(word)
    known = f"by number alone, 0 to {count - 1}"
    if names:
        more = len(names) - MOST_NAMED
        known = ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    raise UserError(f"there is no domain {word!r} (known: {known})")


def asked_box(values: Any) -> NDArray[np.float32]:
    """float32 [4] of four numbers: x, y, width, height as shares of the sides. Raises UserError for anything else."""
    numbers = _numbers(values)
    if numbers is None or len(numbers) != 4:
        raise UserError(
            f"a box is x, y, width and height as shares of the sides, as in 0.1,0.2,0.5,0.5; not {_shown(values)}"
        )
    return np.array(numbers, np.float32)


def asked_keypoints(points: Any, count: int) -> NDArray[np.float32]:
    """float32 [count, 3] of x, y (shares of the sides) of each part, None or nothing for one that is not there.

    A third number, 1 or 0, may say of a part whether it is there. Raises UserError for other numbers of parts or of
    numbers.
    """
    if not _is_list(points) or len(points) != count:
        given = len(points) if _is_list(points) else repr(points)
        raise UserError(f"keypoints are those of {count} parts, each there or not; not of {given}")
    rows = np.zeros((count, 3), np.float32)
    for row, point in zip(rows, points, strict=True):
        if point is None or (_is_list(point) and len(point) == 0):
            continue
        numbers = _numbers(point)
        if numbers is None or len(numbers) not in (2, 3) or numbers[2:] not in ([], [0], [1]):
            raise UserError(f"a keypoint is x and y as shares of the sides, as in 0.5,0.25; not {_shown(point)}")
        if numbers[2:] != [0]:
            row[:] = *numbers[:2], 1
    return rows


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if _is_list(value) else repr(value)


def _numbers(values: Any) -> list[float] | None:
    """Finite numbers, or None for what is not a list of them."""
    if not _is_list(values):
        return None
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None


def asked_image(data: bytes, preparation: Preparation) -> NDArray[np.uint8]:
    """uint8 [size, size, C]: an image file's bytes, prepared as a dataset's. Raises BadRecordError."""
    return fit(decode(data), preparation.size, preparation.channels, preparation.fit)
