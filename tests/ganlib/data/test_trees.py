"""Files under names, from folders, zips and tars, here and in a store."""

from __future__ import annotations

import errno
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ganlib.data.sources import BadRecordError
from ganlib.data.storage import Location, StoreError
from ganlib.data.trees import FileTree, open_tree
from ganlib.data.trees.handles import BlockHandle
from ganlib.errors import UserError
from tests.s3 import s3_folder  # noqa: F401

FORMS = ["folder", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]
FILES = {
    "a.txt": b"a",
    "b/1.bin": bytes(range(256)) * 300,
    "b/c/empty": b"",
    "names/new\nline": b"n",
    "names/ü.txt": "ü".encode(),
    "Z": os.urandom(5000),  # which no compression makes smaller
}
HIDDEN = {".DS_Store": b"x", "b/._1.bin": b"x", ".git/config": b"x", "__MACOSX/a.txt": b"x"}
ORDER = ["Z", "a.txt", "b/1.bin", "b/c/empty", "names/new\nline", "names/ü.txt"]


def make(folder: Path, form: str, files: dict[str, bytes], name: str = "pictures", top: str = "") -> Path:
    """A folder or an archive of these files, in the order given, below `top` in the archive."""
    path = folder / (name if form == "folder" else name + form)
    if form == "folder":
        for file, content in files.items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_bytes(content)
    elif form == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for number, (file, content) in enumerate(files.items()):
                archive.writestr(top + file, content, zipfile.ZIP_STORED if number % 2 else zipfile.ZIP_DEFLATED)
    else:
        kind = {".tar": "w", ".tgz": "w:gz"}.get(form, f"w:{form[5:]}")
        with tarfile.open(path, kind) as archive:  # type: ignore[call-overload]
            for file, content in files.items():
                member = tarfile.TarInfo(top + file)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def contents(tree: FileTree) -> dict[str, bytes]:
    return {entry.name: tree.read(entry.name) for entry in tree.files}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_hold_the_same(tmp_path: Path, form: str) -> None:
    tree = open_tree(Location.of(make(tmp_path, form, HIDDEN | FILES)))
    assert tree.name == "pictures"
    assert [entry.name for entry in tree.files] == ORDER
    assert contents(tree) == FILES
    assert {entry.name: entry.size for entry in tree.files} == {name: len(content) for name, content in FILES.items()}
    assert "a.txt" in tree
    assert ".DS_Store" not in tree
    with pytest.raises(KeyError):
        tree.read("absent")


@pytest.mark.parametrize("form", ["folder", ".zip", ".tar", ".tar.gz"])
def test_a_store_holds_the_same(tmp_path: Path, form: str, s3_folder: str) -> None:  # noqa: F811
    files = {name: content for name, content in FILES.items() if "\n" not in name}  # moto finds no such key
    path, far = make(tmp_path, form, HIDDEN | files), Location.of(s3_folder) / f"pictures{form.replace('folder', '')}"
    for file in path.rglob("*") if form == "folder" else [path]:
        if file.is_file():
            (far / file.relative_to(path).as_posix() if form == "folder" else far).write(file.read_bytes())
    tree = open_tree(far)
    assert tree.name == "pictures"
    assert [entry.name for entry in tree.files] == sorted(files)
    assert contents(tree) == files
    assert tree.fingerprint() == open_tree(far).fingerprint()
    far.remove()
    # What is gone with its store is no fault of one record, but where the file alone is missing.
    with pytest.raises((BadRecordError, UserError)):
        pickle.loads(pickle.dumps(tree)).read("Z")


def test_a_large_archive_in_a_store_is_read_in_blocks(tmp_path: Path, s3_folder: str) -> None:  # noqa: F811
    files = {f"{number}": os.urandom(400_000) for number in range(8)} | {"large": os.urandom(20 << 20)}
    far = Location.of(s3_folder) / "x.zip"
    far.write(make(tmp_path, ".zip", files).read_bytes())
    tree = open_tree(far)
    with ThreadPoolExecutor(8) as pool:
        names = list(files) * 3
        assert list(pool.map(tree.read, names)) == [files[name] for name in names]


@pytest.mark.parametrize("form", [".zip", ".tar"])
def test_the_one_folder_that_all_was_packed_in_is_dropped(tmp_path: Path, form: str) -> None:
    tree = open_tree(Location.of(make(tmp_path, form, {"__MACOSX/x": b""} | FILES, top="pictures/")))
    assert contents(tree) == FILES
    tree = open_tree(Location.of(make(tmp_path, form, {"a": b"1", "b": b"2"}, "two", top="top/below/")))
    assert [entry.name for entry in tree.files] == ["below/a", "below/b"]


@pytest.mark.parametrize("form", FORMS)
def test_a_tree_reads_in_another_process_and_in_threads(tmp_path: Path, form: str) -> None:
    tree = open_tree(Location.of(make(tmp_path, form, FILES)))
    code = "import pickle, sys; sys.stdout.buffer.write(pickle.loads(sys.stdin.buffer.read()).read('b/1.bin'))"
    tree.read("Z")  # with its file open
    there = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(tree), stdout=-1, check=True)
    assert there.stdout == FILES["b/1.bin"]
    again = pickle.loads(pickle.dumps(tree))
    assert again.files == tree.files
    start = threading.Barrier(8)

    def read(name: str) -> bytes:
        return again.read(name)

    def first(_: int) -> None:
        start.wait()
        assert contents(again) == FILES

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(first, range(8)))
        assert list(pool.map(read, ["Z", "b/1.bin"] * 200)) == [FILES["Z"], FILES["b/1.bin"]] * 200


def test_a_process_that_was_forked_reads_too(tmp_path: Path) -> None:
    tree = open_tree(Location.of(make(tmp_path, ".tar.gz", FILES)))
    child = os.fork()
    if child == 0:
        os._exit(0 if contents(tree) == FILES else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert contents(tree) == FILES


@pytest.mark.parametrize("form", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/etc/out.png", ".."])
def test_entries_that_climb_out_are_refused(tmp_path: Path, form: str, name: str) -> None:
    path = make(tmp_path, form, {"in.png": b"x", name: b"x"})
    with pytest.raises(UserError, match="holds an entry that climbs out of it, '" + name):
        open_tree(Location.of(path))


@pytest.mark.parametrize("form", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_broken_archives_are_named(tmp_path: Path, form: str) -> None:
    whole = make(tmp_path, form, FILES).read_bytes()
    for number, content in enumerate(
        [b"", b"no archive, but of some length\n" * 50, whole[: len(whole) // 2], whole[:700]]
    ):
        path = tmp_path / f"{number}{form}"
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{path} is a broken {form[1:4]} or none .*; fetch it again") as caught:
            open_tree(Location.of(path))
        assert "\n" not in str(caught.value)


def test_a_tar_with_a_broken_header_in_its_middle_is_not_taken_for_a_shorter_one(tmp_path: Path) -> None:
    path = make(tmp_path, ".tar", {"1": b"x" * 512, "2": b"y" * 512})
    content = bytearray(path.read_bytes())
    content[1024 + 3] ^= 1  # the second header's checksum is wrong now
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken tar or none .no header at byte 1024"):
        open_tree(Location.of(path))


def test_a_tar_whose_sizes_lead_back_ends(tmp_path: Path) -> None:
    path = make(tmp_path, ".tar", {"1": b"", "2": b""})
    content = bytearray(path.read_bytes())
    header = content[512:1024]
    header[124:136] = b"\xff" * 10 + (-1024 & 0xFFFF).to_bytes(2, "big")  # its size, in base 256: -1,024
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    content[512:1024] = header
    path.write_bytes(content)
    with pytest.raises(UserError, match="broken tar or none"):
        open_tree(Location.of(path))


def test_zip_entries_that_are_damaged_are_bad_records_each(tmp_path: Path) -> None:
    files = {f"{number}.txt": b"some text, again and again " * 50 for number in range(3)}
    path = make(tmp_path, ".zip", files)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        offsets = [info.header_offset for info in archive.infolist()]
    content[offsets[1] + 30 + 5 + 700] ^= 4  # stored: its checksum is wrong
    content[offsets[2]] ^= 1  # no header
    path.write_bytes(content)
    tree = open_tree(Location.of(path))
    assert tree.read("0.txt") == files["0.txt"]
    with pytest.raises(BadRecordError, match="checksum"):
        tree.read("1.txt")
    with pytest.raises(BadRecordError, match="no header"):
        tree.read("2.txt")


def test_a_zip_entry_inflates_to_what_it_says_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(50 << 20))
        archive.writestr("x", b"")
    content = path.read_bytes()
    directory = content.index(b"PK\1\2")
    for claimed, message in ((10, "checksum or size"), (2 << 30, "larger than 1 GiB")):
        path.write_bytes(content[: directory + 24] + struct.pack("<I", claimed) + content[directory + 28 :])
        with pytest.raises(BadRecordError, match=message):
            open_tree(Location.of(path)).read("bomb")


def test_zips_that_cannot_be_read_in_place_say_so(tmp_path: Path) -> None:
    for method, word in ((zipfile.ZIP_BZIP2, "BZIP2"), (zipfile.ZIP_LZMA, "LZMA")):
        path = tmp_path / f"{word}.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("a.png", b"x" * 100)
        with pytest.raises(UserError, match=f"{path}: 'a.png' is packed with {word}, which is not read; pack it"):
            open_tree(Location.of(path))
    path = make(tmp_path, ".zip", {"a.png": b"x"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # the flag of encryption
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"pictures.zip is encrypted \('a.png'\)"):
        open_tree(Location.of(path))


def test_zip_names_in_utf_8_that_do_not_say_so(tmp_path: Path) -> None:
    path = make(tmp_path, ".zip", {"ü.png": b"x", "a": b""})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 9] &= ~8  # the flag of UTF-8, bit 11
    path.write_bytes(content)
    assert [entry.name for entry in open_tree(Location.of(path)).files] == ["a", "ü.png"]


def test_links_in_a_tar_lead_to_its_files(tmp_path: Path) -> None:
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind, target in (
            ("./a/file", tarfile.REGTYPE, ""),
            ("a/symbolic", tarfile.SYMTYPE, "file"),
            ("b/up", tarfile.SYMTYPE, "../a/symbolic"),
            ("b/hard", tarfile.LNKTYPE, "a/file"),
            ("b/out", tarfile.SYMTYPE, "../../../etc/passwd"),
            ("b/circle", tarfile.SYMTYPE, "circle"),
            ("b/pipe", tarfile.FIFOTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, target, 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"text"))
    tree = open_tree(Location.of(path))
    assert [entry.name for entry in tree.files] == ["a/file", "a/symbolic", "b/circle", "b/hard", "b/out", "b/up"]
    for name in ("a/file", "a/symbolic", "b/hard", "b/up"):
        assert tree.read(name) == b"text"
    for name in ("b/out", "b/circle"):
        with pytest.raises(BadRecordError, match="a link to no file in the archive"):
            tree.read(name)


def test_of_a_name_that_an_archive_has_twice_the_later_counts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for content in (b"old", b"newer"):
            member = tarfile.TarInfo("a")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        zipped.writestr("a", b"old")
        with pytest.warns(UserWarning, match="Duplicate"):
            zipped.writestr("a", b"newer")
    for name in ("x.tar", "x.zip"):
        assert contents(open_tree(Location.of(tmp_path / name))) == {"a": b"newer"}


def test_folders_with_odd_names_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / os.fsdecode(b"\xff.txt")).write_bytes(b"odd")
    (top / "nothing").symlink_to("absent")
    tree = open_tree(Location.of(top))
    assert [entry.name for entry in tree.files] == ["\\xff.txt", "nothing"]
    assert tree.read("\\xff.txt") == b"odd"
    with pytest.raises(BadRecordError, match=r"^cannot be read: No such file or directory$"):
        tree.read("nothing")
    (top / "\\xff.txt").write_bytes(b"text")
    with pytest.raises(UserError, match="two files whose names differ only in bytes that are not UTF-8"):
        open_tree(Location.of(top))


@pytest.mark.parametrize("form", ["folder", ".zip", ".tar"])
def test_fingerprints_follow_what_is_there(tmp_path: Path, form: str) -> None:
    def fingerprint(files: dict[str, bytes]) -> str:
        path = tmp_path / f"pictures{form.replace('folder', '')}"
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
        return open_tree(Location.of(make(tmp_path, form, files))).fingerprint()

    path = make(tmp_path, form, FILES)
    tree = open_tree(Location.of(path))
    assert tree.fingerprint() == open_tree(Location.of(path)).fingerprint()
    others = [FILES | {"a.txt": b"b"}, FILES | {"a.txt": b"aa"}, FILES | {"c": b""}, {"a.txt": b"a"}]
    found = {tree.fingerprint(), *map(fingerprint, others)}
    assert len(found) == 5
    assert tree.fingerprint(["Z"]) != tree.fingerprint(["a.txt"]) != tree.fingerprint()


def test_a_zip_is_the_same_wherever_it_lies(tmp_path: Path) -> None:
    path = make(tmp_path, ".zip", FILES)
    shutil.copy(path, tmp_path / "copy.zip")
    assert open_tree(Location.of(path)).fingerprint() == open_tree(Location.of(tmp_path / "copy.zip")).fingerprint()


def test_text(tmp_path: Path) -> None:
    path = make(tmp_path, ".zip", {"bom": b"\xef\xbb\xbf\xc3\xbc", "latin": b"abc\xfc", "x": b""})
    tree = open_tree(Location.of(path))
    assert tree.text("bom") == "ü"
    with pytest.raises(UserError, match=f"{path}/latin is not UTF-8 at byte 3; save it as UTF-8"):
        tree.text("latin")


def test_what_is_no_tree_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"the source {tmp_path}/absent does not exist"):
        open_tree(Location.of(tmp_path / "absent"))
    (tmp_path / "x.rar").touch()
    with pytest.raises(UserError, match=f"the source {tmp_path}/x.rar is a file of a kind that is not read"):
        open_tree(Location.of(tmp_path / "x.rar"))


def test_a_connection_that_ends_early_is_no_bad_record() -> None:
    """Arrow gives what came: a zip's entry, or a picture, would look broken and be skipped."""

    class Short:
        def size(self) -> int:
            return 100

        def read_at(self, count: int, offset: int) -> bytes:
            return bytes(min(count, 40))

    with pytest.raises(StoreError, match="ended after 40 of 100 bytes"):
        BlockHandle(Short(), Location.of("s3://bucket/x.zip")).read_at(100, 0)


def test_a_disk_that_went_away_is_no_bad_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.png").write_bytes(b"x")
    tree = open_tree(Location.of(tmp_path))

    def fail(number: int):  # type: ignore[no-untyped-def]
        def read(path: Path) -> bytes:
            raise OSError(number, os.strerror(number))

        return read

    monkeypatch.setattr(Path, "read_bytes", fail(errno.ESTALE))
    with pytest.raises(StoreError, match="Stale file handle"):
        tree.read("1.png")
    monkeypatch.setattr(Path, "read_bytes", fail(errno.EIO))
    with pytest.raises(BadRecordError, match="Input/output error"):
        tree.read("1.png")
