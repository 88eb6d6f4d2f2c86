"""The lock of a place: one at a time, however many come and go."""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ganlib.data.locks import held
from ganlib.data.storage import Location


def test_many_at_once_hold_it_in_turn(tmp_path: Path) -> None:
    place, inside, most = Location.of(tmp_path / "x"), [], 0

    def hold(number: int) -> None:
        nonlocal most
        for _ in range(200):
            with held(place):
                inside.append(number)
                most = max(most, len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        for ended in [pool.submit(hold, number) for number in range(4)]:
            ended.result()
    assert most == 1
    assert not list(tmp_path.iterdir())


def test_who_does_not_wait_is_told(tmp_path: Path) -> None:
    place = Location.of(tmp_path / "x")
    with held(place) as ours, held(place, wait=False) as theirs:
        assert (ours, theirs) == (True, False)
    with held(place, wait=False) as ours:
        assert ours


def test_a_file_that_is_removed_as_it_is_locked_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real, left = tmp_path / "x.lock", fcntl.flock, [2]

    def flock(lock: int, how: int) -> None:
        real(lock, how)
        if left[0]:  # whoever held it before has let go by now
            left[0] -= 1
            path.unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with held(Location.of(tmp_path / "x")):
        assert path.exists()
    assert left == [0]
    assert not list(tmp_path.iterdir())
