"""Files that carry their own digest: what is kept beside a dataset, and each change to it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from ganlib.data.sealed import UNSEALED, is_as_written, read_sealed, write_sealed
from ganlib.data.storage import Location
from ganlib.errors import UserError

CONTENTS = {
    "json": json.dumps(UNSEALED | {"values": [1.5, None], "nested": {"sha256": "f" * 64}}).encode(),
    "safetensors": save({"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 2))}, UNSEALED),
}


@pytest.mark.parametrize("form", CONTENTS)
def test_it_reads_as_its_format_and_its_digest_is_that_of_what_was_to_be_written(tmp_path: Path, form: str) -> None:
    content, place = CONTENTS[form], Location.of(tmp_path / "kept")
    write_sealed(place, content)
    written = read_sealed(place)
    digest = hashlib.sha256(content).hexdigest()
    assert written == content.replace(b"0" * 64, digest.encode(), 1)
    if form == "json":
        assert json.loads(written) == json.loads(content) | {"sha256": digest}
    else:
        np.testing.assert_array_equal(load(written)["a"], np.arange(6))


@pytest.mark.parametrize("form", CONTENTS)
def test_every_bit_and_every_cut_tells(tmp_path: Path, form: str) -> None:
    place = Location.of(tmp_path / "kept")
    write_sealed(place, CONTENTS[form])
    written = read_sealed(place)
    start = written.index(b'"sha256"')
    word = range(start, written.index(b'"', start + 20) + 1)
    for at in range(len(written)):
        for bit in range(8):
            changed = bytearray(written)
            changed[at] ^= 1 << bit
            # Where the digest is no longer to be found, it is not known.
            assert is_as_written(bytes(changed)) in ((False, None) if at in word else (False,))
        assert is_as_written(written[:at]) in ((False,) if at >= word.stop else (None,))
    place.write(written[:-1])
    with pytest.raises(UserError, match=f"{place} has changed since it was written; remove it"):
        read_sealed(place)


def test_what_has_no_digest_is_taken_and_what_has_no_room_for_one_is_not_written(tmp_path: Path) -> None:
    place = Location.of(tmp_path / "kept")
    place.write(save({"a": np.zeros(3)}))
    assert load(read_sealed(place))["a"].shape == (3,)
    with pytest.raises(ValueError, match="no room for its digest"):
        write_sealed(place, b"{}")
