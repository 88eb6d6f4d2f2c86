"""Files that carry their own SHA-256, so that what is found of a dataset and kept beside it cannot change unseen.

The digest stands within the file, in JSON's or a safetensors' own words: nothing has to be written at once with another
file, and any reader of the format reads it.
"""

from __future__ import annotations

import hashlib
import re

from ganlib.data.storage import Location
from ganlib.errors import UserError

UNSEALED = {"sha256": "0" * 64}
"""What stands for the digest until it is known: metadata of a safetensors, or the first of JSON's fields."""
_SEAL = re.compile(rb'"sha256": ?"([0-9a-f]{64})"')
_HEAD = 256


def write_sealed(place: Location, content: bytes) -> None:
    """Write `content`, which has UNSEALED near its beginning, with its digest there: the SHA-256 of `content`. Raises
    UserError where that cannot be."""
    found = _SEAL.search(content, 0, _HEAD)
    if found is None or found[1] != UNSEALED["sha256"].encode():
        raise ValueError("the content has no room for its digest")
    sealed = bytearray(content)
    sealed[slice(*found.span(1))] = hashlib.sha256(content).hexdigest().encode()
    place.write(bytes(sealed))


def read_sealed(place: Location) -> bytes:
    """The file's bytes. One without a digest, as they were once written, is taken as it is. Raises UserError where
    there is no file, or it has changed."""
    content = place.read()
    if is_as_written(content) is False:
        raise UserError(f"{place} has changed since it was written; remove it, and it is made anew")
    return content


def is_as_written(content: bytes) -> bool | None:
    """Whether the digest that it carries is its own; None where it carries none."""
    found = _SEAL.search(content, 0, _HEAD)
    if found is None:
        return None
    start, stop = found.span(1)
    state = hashlib.sha256(content[:start] + UNSEALED["sha256"].encode())
    state.update(memoryview(content)[stop:])
    return state.hexdigest().encode() == found[1]
