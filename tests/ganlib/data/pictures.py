"""Small pictures, and files of them, for the tests of sources."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

Content = bytes | str


def noise(seed: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """Random RGB of (width, height)."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pngs(*names: str, size: tuple[int, int] = (12, 10)) -> dict[str, Content]:
    """{name: PNG}; the picture is noise of the seed that is the name's place, from 0."""
    return {name: encoded(noise(seed, size)) for seed, name in enumerate(names)}


def as_folder(path: Path, files: Mapping[str, Content]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def as_zip(path: Path, files: Mapping[str, Content]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def as_tar(path: Path, files: Mapping[str, Content]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def same(image: object, other: Image.Image | Iterable[int]) -> bool:
    return np.array_equal(np.asarray(image), np.asarray(other))
