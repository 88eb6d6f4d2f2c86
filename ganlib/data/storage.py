"""Where files are: on this machine's disks or in an object store, behind one small interface."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, urlencode

import pyarrow as pa

from ganlib.data.stores import client, store_options
from ganlib.errors import UserError
from ganlib.files import write_atomically

_STORES = ("s3", "gs")


class StoreError(UserError):
    """What holds the files, or the way to it, failed: no file is to blame, and to go on later may help."""


class FileEntry(NamedTuple):
    """What a listing says of a file or folder; `name` is relative to what was listed, its parts joined by "/".

    modified_ns: nanoseconds since 1970; on a local disk of the last change to content or entry (ctime, which unpacking
    and copying cannot set back). Of a folder, size and modified_ns are 0.
    """

    name: str
    size: int
    modified_ns: int
    folder: bool = False


@dataclass(frozen=True)
class Location:
    """A file or folder, there or not. Made by `Location.of`; picklable, and means the same in another process.

    Credentials are those of the process that uses it, found as the store's own tools find them (AWS_ACCESS_KEY_ID, the
    machine's role, ...). Every method raises UserError, with one line, where the disk or the store refuses; StoreError
    where it is a store, unless what is asked for is not there.

    scheme: "file", "s3" or "gs". path: absolute, or "bucket/key". options: of the store's client, sorted.
    """

    scheme: str
    path: str
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, spec: str | Path | Location) -> Location:
        """The place that a local path, file://, s3://bucket/key or gs://bucket/key names.

        After `?`, endpoint_override (host:port or URL), scheme (http or https), region and anonymous=true may be given
        for an object store; otherwise AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL and AWS_REGION say the first and the third.
        Nothing is decoded in keys. Raises UserError for a scheme or an option that is not known.
        """
        if isinstance(spec, Location):
            return spec
        scheme, separator, rest = str(spec).partition("://")
        if isinstance(spec, Path) or not separator or "/" in scheme:
            return cls("file", _absolute(str(spec)))
        if scheme == "file":
            host, slash, path = rest.partition("/")
            if host not in ("", "localhost") or not slash:
                raise UserError(f"{spec} names no file of this machine; write file:///folder/file, or its plain path")
            return cls("file", _absolute(unquote(f"/{path}")))
        if scheme not in _STORES:
            raise UserError(f"{spec} begins with {scheme}://, which is not read; name a path, file://, s3:// or gs://")
        path, _, query = rest.partition("?")
        path = "/".join(part for part in path.split("/") if part)
        if not path:
            raise UserError(f"{spec} names no bucket; write {scheme}://bucket/folder")
        return cls(scheme, path, store_options(str(spec), query))

    @property
    def local(self) -> Path | None:
        return Path(self.path) if self.scheme == "file" else None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Location:
        """The folder that it is in; of a bucket, and of "/", itself."""
        above = self.path.rpartition("/")[0] or ("/" if self.scheme == "file" else self.path)
        return Location(self.scheme, above, self.options)

    def __str__(self) -> str:
        if self.scheme == "file":
            return self.path
        query = urlencode(self.options, safe=":/")
        return f"{self.scheme}://{self.path}" + (f"?{query}" if query else "")

    def __truediv__(self, name: str) -> Location:
        return Location(self.scheme, f"{self.path.rstrip('/')}/{name}", self.options)

    def kind(self) -> Literal["file", "folder"] | None:
        """What is there; None for nothing."""
        with self._faults("read"):
            if self.scheme == "file":
                return _local_kind(self.path)
            return _remote_kind(self._store().get_file_info(self.path))

    def size(self) -> int:
        """Bytes of the file."""
        with self._faults("read"):
            if self.scheme == "file":
                return Path(self.path).stat().st_size
            return int(self._file_info().size)

    def entry(self) -> FileEntry:
        """What a listing of its parent says of this file."""
        with self._faults("read"):
            if self.scheme == "file":
                found = Path(self.path).stat()
                return FileEntry(self.name, found.st_size, found.st_ctime_ns)
            info = self._file_info()
            return FileEntry(self.name, info.size, info.mtime_ns or 0)

    def copy(self, target: Location) -> None:
        """Put the file at `target`, in the same object store, which does it by itself."""
        with self._faults("copy"):
            self._store().copy_file(self.path, target.path)

    def list(self, recursive: bool = False) -> list[FileEntry]:
        """What is in the folder, in no stated order: files and folders, or, `recursive`, the files at any depth.

        On a local disk, links to files are followed, and those to folders where they stand in this folder itself: a
        deeper one may lead back up, as one that points at this folder or above it does, which is passed over. A link to
        nothing is listed, of size 0; what is neither file nor folder (a socket, a device) is not.
        """
        with self._faults("read"):
            if self.scheme == "file":
                return list(_walk(self.path, "", recursive))
            return _remote_list(self, self._store(), recursive)

    def open(self) -> Any:
        """A pyarrow NativeFile to read from, seekable; its `read_at` may be called from several threads."""
        with self._faults("read"):
            if self.scheme == "file":
                return pa.OSFile(os.fsencode(self.path), "rb")
            return self._store().open_input_file(self.path)

    def read(self) -> bytes:
        """The file's bytes."""
        with self._faults("read"):
            if self.scheme == "file":
                return Path(self.path).read_bytes()
            with self._store().open_input_file(self.path) as file:
                return read_whole(file, file.size(), 0)

    def write(self, content: bytes | pa.Buffer) -> None:
        """Make it a file of this content: a reader sees the old one or the new, never half. Parent folders are made."""
        if self.scheme == "file":
            # A memoryview is written as it stands; bytes() would copy a whole shard.
            write_atomically(Path(self.path), memoryview(content))  # type: ignore[arg-type]
            return
        # compression: Arrow would compress what is called .gz once more.
        with self._faults("write"), self._store().open_output_stream(self.path, compression=None) as stream:
            stream.write(content)  # the object appears when the stream is closed without an error

    def remove(self) -> None:
        """Remove the file, or the folder with all that is in it; nothing there is fine."""
        with self._faults("remove"):
            if self.scheme == "file":
                _remove(Path(self.path))
                return
            kind = _remote_kind(self._store().get_file_info(self.path))
            if kind is not None:
                remove = self._store().delete_file if kind == "file" else self._store().delete_dir
                with suppress(FileNotFoundError):  # the folder is gone with the last of its objects
                    remove(self.path)

    def _file_info(self) -> Any:
        info = self._store().get_file_info(self.path)
        if _remote_kind(info) != "file":
            raise FileNotFoundError(f"{self} is no file")
        return info

    def _store(self) -> Any:
        return client(self.scheme, self.path.partition("/")[0], self.options)

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise UserError(f"cannot {doing} {one_line(str(self))}: it does not exist") from error
        except (OSError, pa.ArrowException, ValueError) as error:  # ValueError: a name that no path can have
            text = f"cannot {doing} {one_line(str(self))}: {_reason(error)}"
            if self.scheme == "file":
                raise UserError(text) from error
            advice = "check that the store can be reached, the bucket's name and region, and the credentials"
            raise StoreError(f"{text}; {advice}") from error


def read_whole(file: Any, count: int, offset: int) -> bytes:
    """`count` bytes of a NativeFile in a store. Raises OSError for fewer: a broken connection must be no bad record."""
    content = bytes(file.read_at(count, offset))
    if len(content) < count:
        raise OSError(f"the connection ended after {len(content):,} of {count:,} bytes")
    return content


def one_line(text: str) -> str:
    """A text for people to read: line ends, what steers a terminal, bytes that are not UTF-8 as backslash escapes."""
    escapes = {c: c.encode("unicode_escape").decode() for c in set(text) if not c.isprintable()}
    # A byte that is no UTF-8 stands in a name as a lone surrogate, U+DC80 to U+DCFF.
    escapes |= {c: f"\\x{ord(c) - 0xDC00:02x}" for c in escapes if 0xDC80 <= ord(c) <= 0xDCFF}
    return "".join(escapes.get(c, c) for c in text)


def _absolute(path: str) -> str:
    """Absolute, so that it means the same in a process with another working folder; links are kept, but for `..`."""
    if "\0" in path:
        raise UserError(f"{path!r} is no path: it holds a zero byte")
    try:
        expanded = Path(path).expanduser() if path.startswith("~") else Path(path)
    except RuntimeError as error:
        raise UserError(f"{path}: nobody of that name has a home folder here; write the path out") from error
    return str(expanded.resolve() if ".." in expanded.parts else expanded.absolute())


def _local_kind(path: str) -> Literal["file", "folder"] | None:
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode):
        return "file"
    raise OSError("it is neither a file nor a folder")


def _remote_kind(info: Any) -> Literal["file", "folder"] | None:
    from pyarrow.fs import FileType

    return {FileType.File: "file", FileType.Directory: "folder"}.get(info.type)  # type: ignore[return-value]


def _remote_list(location: Location, store: Any, recursive: bool) -> list[FileEntry]:
    from pyarrow.fs import FileSelector

    found, folders = [], set()
    # Arrow lists no folder of Google's store but those that have an object of their own.
    selector = FileSelector(location.path, recursive=recursive or location.scheme == "gs")
    for info in store.get_file_info(selector):
        name, is_file = info.path[len(location.path) + 1 :], _remote_kind(info) == "file"
        if is_file and (recursive or "/" not in name):
            found.append(FileEntry(name, info.size, info.mtime_ns or 0))
        elif not recursive:
            folders.add(name.partition("/")[0])
    return found + [FileEntry(folder, 0, 0, folder=True) for folder in folders]


def _walk(root: str, below: str, recursive: bool) -> Iterator[FileEntry]:
    with os.scandir(f"{root}/{below}") as entries:
        for entry in entries:
            name = below + entry.name
            try:
                found = entry.stat()
            except OSError:  # a link to nothing, or in a circle
                yield FileEntry(name, 0, entry.stat(follow_symlinks=False).st_ctime_ns)
                continue
            if stat.S_ISREG(found.st_mode):
                yield FileEntry(name, found.st_size, found.st_ctime_ns)
            elif stat.S_ISDIR(found.st_mode) and not (entry.is_symlink() and (below or _leads_up(root, entry.path))):
                if recursive:
                    yield from _walk(root, f"{name}/", recursive)
                else:
                    yield FileEntry(name, 0, 0, folder=True)


def _leads_up(root: str, link: str) -> bool:
    return Path(root).resolve().is_relative_to(Path(link).resolve())


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        pass


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno and error.strerror:
        return os.strerror(error.errno)
    # Amazon's request numbers say nothing to a person.
    return re.sub(r" \(Request ID: [^)]*\)", "", " ".join(str(error).split()))
