"""Places: local paths and a real S3 endpoint behind one interface."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from ganlib.data.storage import Location
from ganlib.errors import UserError
from tests.s3 import endpoint, s3_folder  # noqa: F401


@pytest.fixture(params=["local", "file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty place of each kind."""
    if request.param == "s3":
        return Location.of(request.getfixturevalue("s3_folder"))
    return Location.of(tmp_path / "place" if request.param == "local" else f"file://{tmp_path}/place")


def named(place: Location, recursive: bool = False) -> list[tuple[str, int, bool]]:
    return sorted((entry.name, entry.size, entry.folder) for entry in place.list(recursive))


def test_what_is_written_is_listed_read_and_removed(place: Location) -> None:
    assert place.kind() is None
    (place / "a" / "b.txt").write(b"hello")
    (place / "a/c/d.gz").write(pa.py_buffer(b"buffer"))  # kept as it is, whatever its name
    (place / "e").write(b"")
    assert [place.kind(), (place / "a").kind(), (place / "e").kind(), (place / "f").kind()] == [
        "folder",
        "folder",
        "file",
        None,
    ]
    assert named(place) == [("a", 0, True), ("e", 0, False)]
    assert named(place, recursive=True) == [("a/b.txt", 5, False), ("a/c/d.gz", 6, False), ("e", 0, False)]
    assert ((place / "a/c/d.gz").read(), (place / "e").read(), (place / "a/b.txt").size()) == (b"buffer", b"", 5)
    with (place / "a/b.txt").open() as file:
        assert (file.read_at(2, 1), file.size(), file.seek(3), file.read()) == (b"el", 5, 3, b"lo")
    (place / "a/b.txt").write(b"again")
    assert (place / "a/b.txt").read() == b"again"
    (place / "a/b.txt").remove()
    (place / "a/b.txt").remove()
    assert named(place, recursive=True) == [("a/c/d.gz", 6, False), ("e", 0, False)]
    place.remove()
    place.remove()
    assert place.kind() is None


def test_times_are_of_the_last_change(place: Location) -> None:
    import time

    before = time.time_ns()
    (place / "x").write(b"1")
    (entry,) = place.list()
    # A store keeps whole seconds.
    assert before - 2 * 10**9 <= entry.modified_ns <= time.time_ns() + 10**9
    assert (place / "x").entry() == entry


def test_a_larger_object_is_whole(place: Location) -> None:
    content = os.urandom(11 << 20)  # beyond one part of an upload
    (place / "large").write(content)
    assert (place / "large").read() == content
    with (place / "large").open() as file:
        assert file.read_at(1 << 20, 9 << 20) == content[9 << 20 : 10 << 20]


def test_what_is_absent_is_named(place: Location) -> None:
    for use in (Location.read, Location.size, Location.open, Location.list, Location.entry):
        with pytest.raises(UserError, match=f"cannot read {place}/absent: .*does not exist") as caught:
            use(place / "absent")
        assert "\n" not in str(caught.value)


def test_a_location_means_the_same_in_another_process(place: Location) -> None:
    (place / "x").write(b"far")
    code = "import pickle, sys; sys.stdout.buffer.write(pickle.loads(sys.stdin.buffer.read()).read())"
    sent = pickle.dumps(place / "x")
    root = Path(__file__).parents[3]
    there = subprocess.run([sys.executable, "-c", code], input=sent, stdout=subprocess.PIPE, check=True, cwd=root)
    assert there.stdout == b"far"
    assert Location.of(str(place / "x")) == place / "x"
    assert Location.of(place) is place
    assert ((place / "x").name, (place / "x").parent) == ("x", place)


def test_spellings_of_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for spec in ("x y", "./x y", "~/x y", "b/../x y", f"file://{tmp_path}/x%20y", tmp_path / "x y", Path("x y")):
        assert Location.of(spec) == Location("file", f"{tmp_path}/x y")
    assert Location.of("x").local == tmp_path / "x"
    assert Location.of("/").list()
    s3 = Location.of("s3://bucket//a/b/?region=eu-west-1&endpoint_override=http://host:9")
    assert (s3.scheme, s3.path, s3.name, s3.local) == ("s3", "bucket/a/b", "b", None)
    assert str(s3) == "s3://bucket/a/b?endpoint_override=http://host:9&region=eu-west-1"
    assert Location.of(str(s3)) == s3
    assert str(Location.of("gs://bucket") / "x") == "gs://bucket/x"
    # A file's name may hold anything.
    assert Location.of("./a?b://c") == Location("file", f"{tmp_path}/a?b:/c")
    assert Location.of("file:///a%3Fb?c#d") == Location("file", "/a?b?c#d")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("http://host/x", "begins with http://, which is not read; name a path, file://, s3:// or gs://"),
        ("s3://", "names no bucket; write s3://bucket/folder"),
        ("gs:///", "names no bucket; write gs://bucket/folder"),
        ("file://host/x", "names no file of this machine"),
        ("s3://b/x?regoin=a", "no option 'regoin'; did you mean 'region'?"),
        ("s3://b/x?zzz=1", "no option 'zzz'; they are endpoint_override, scheme, region, anonymous"),
        ("a\0b", "is no path: it holds a zero byte"),
    ],
)
def test_what_is_no_place_is_refused(spec: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Location.of(spec)
    assert message in str(caught.value)


def test_refusals_of_a_store_are_one_line(s3_folder: str) -> None:  # noqa: F811
    with pytest.raises(UserError, match=r"cannot read s3://no-such/x: .*NO_SUCH_BUCKET.*; check that") as caught:
        Location.of("s3://no-such/x").list()
    assert "Request ID" not in str(caught.value)
    with pytest.raises(UserError, match=r"cannot write s3://no-such/x: .*NO_SUCH_BUCKET"):
        Location.of("s3://no-such/x").write(b"")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dead = f"{s3_folder}?endpoint_override=http://127.0.0.1:{port}"
    with pytest.raises(UserError, match=r"cannot read s3://.*NETWORK_CONNECTION.*; check that the store can"):
        Location.of(dead).kind()


def test_the_endpoint_may_be_in_the_place_itself(s3_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    (Location.of(s3_folder) / "x").write(b"1")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert (Location.of(f"{s3_folder}?endpoint_override={endpoint()}") / "x").read() == b"1"
    host = endpoint().removeprefix("http://")
    assert (Location.of(f"{s3_folder}?endpoint_override={host}&scheme=http") / "x").read() == b"1"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint())
    assert (Location.of(s3_folder) / "x").read() == b"1"


def test_a_store_that_is_not_there_is_an_error_within_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganlib.data.stores._RETRY_SECONDS", 1)
    place = Location.of("gs://bucket/x?endpoint_override=http://127.0.0.1:9&anonymous=true")
    with pytest.raises(UserError, match=r"cannot read gs://bucket/x.*; check that the store can be reached") as caught:
        place.read()
    assert "\n" not in str(caught.value)


def test_links_are_followed_as_far_as_they_cannot_circle(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/1").write_bytes(b"1")
    top = tmp_path / "top"
    (top / "a").mkdir(parents=True)
    (top / "a/2").write_bytes(b"22")
    (top / "far").symlink_to(tmp_path / "far")
    (top / "file").symlink_to(tmp_path / "far/1")
    (top / "a/deep").symlink_to(tmp_path / "far")  # a folder, deeper: not followed
    (top / "a/back").symlink_to(top)
    (top / "self").symlink_to(top)  # up: passed over
    (top / "up").symlink_to(tmp_path)
    (top / "nothing").symlink_to(tmp_path / "absent")
    (top / "circle").symlink_to(top / "circle")
    os.mkfifo(top / "pipe")
    assert named(Location.of(top), recursive=True) == [
        ("a/2", 2, False),
        ("circle", 0, False),
        ("far/1", 1, False),
        ("file", 1, False),
        ("nothing", 0, False),
    ]
    with pytest.raises(UserError, match="pipe: it is neither a file nor a folder"):
        Location.of(top / "pipe").kind()
    with pytest.raises(UserError, match="Too many levels of symbolic links"):
        Location.of(top / "circle").kind()
    Location.of(top / "far").remove()  # the link, not what it leads to
    assert (tmp_path / "far/1").exists()


def test_names_of_any_bytes(tmp_path: Path) -> None:
    raw = ["\n", "ü", os.fsdecode(b"\xff")]
    for name in raw:
        (Location.of(tmp_path) / name).write(name.encode("utf-8", "surrogateescape"))
    assert sorted(entry.name for entry in Location.of(tmp_path).list()) == sorted(raw)
    for name in raw:
        assert (Location.of(tmp_path) / name).open().read() == name.encode("utf-8", "surrogateescape")
