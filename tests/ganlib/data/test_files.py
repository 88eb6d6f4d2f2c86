"""ganlib.files: the old thing or the new, never half."""

import hashlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganlib.errors import UserError
from ganlib.files import atomic_folder, canonical_digest, file_digest, write_atomically


@pytest.fixture
def little_disk() -> Iterator[int]:
    """Files may grow to this many bytes only: the kernel refuses the rest, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield 4096
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_write_makes_parents_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, "é")
    assert path.read_bytes() == b"\xc3\xa9"
    write_atomically(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert everything(tmp_path) == ["a", "a/b.txt"]


def test_a_write_that_the_disk_cuts_short_leaves_the_old_file(tmp_path: Path, little_disk: int) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(UserError, match=f"cannot write {path}: File too large"):
        write_atomically(path, bytes(little_disk + 1))
    assert path.read_text() == "old"
    assert everything(tmp_path) == ["file"]


@pytest.mark.parametrize("place", ["file/below", "/proc/nowhere/file"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"cannot write .*{place}"):
        write_atomically(tmp_path / place, "x")
    with pytest.raises(UserError, match=f"cannot write .*{place}"), atomic_folder(tmp_path / place):
        pytest.fail("the block of a folder that cannot be made was entered")
    assert everything(tmp_path) == ["file"]


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for content in ("old", "new"):
        with atomic_folder(path) as folder:
            (folder / content).write_text(content)
            assert everything(path) == ([] if content == "old" else ["old"])
    assert everything(tmp_path) == ["folder", "folder/new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, ConnectionResetError])
def test_a_folder_whose_block_raises_is_removed_and_the_error_kept(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as folder:
        (folder / "old").touch()

    def fail() -> None:
        with atomic_folder(path) as folder:
            (folder / "new").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert everything(tmp_path) == ["folder", "folder/old"]


def test_a_folder_on_a_full_disk_is_removed_and_the_path_named(tmp_path: Path, little_disk: int) -> None:
    path = tmp_path / "folder"

    def fill() -> None:
        with atomic_folder(path) as folder:
            (folder / "large").write_bytes(bytes(little_disk + 1))

    with pytest.raises(UserError, match=f"cannot write {path}: File too large"):
        fill()
    assert everything(tmp_path) == []


def test_of_two_writers_the_second_keeps_or_replaces_what_the_first_left(tmp_path: Path) -> None:
    for keep, left in ((True, "first"), (False, "second")):
        path = tmp_path / str(keep)
        with atomic_folder(path, keep_existing=keep) as second:
            with atomic_folder(path, keep_existing=keep) as first:
                (first / "first").touch()
            (second / "second").touch()
        assert everything(path) == [left]
    assert everything(tmp_path) == ["False", "False/second", "True", "True/first"]


def test_digests(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    text = rb'{"a":[1,0.5,null],"\u00e9":true}'
    assert canonical_digest({"é": True, "a": (1, 0.5, None)}) == hashlib.sha256(text).hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_digest(float("nan"))
    with pytest.raises(UserError, match=r"cannot read .*absent"):
        file_digest(tmp_path / "absent")
