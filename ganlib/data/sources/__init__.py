"""Readers of what people have: bundled digits, IDX files, folders of images."""

import os
from pathlib import Path

from ganlib.data.sources.base import SPLITS, BadRecordError, Source, SplitName
from ganlib.data.sources.digits import DigitsSource
from ganlib.data.sources.folder import FolderSource
from ganlib.data.sources.idx import IdxSource
from ganlib.errors import UserError

__all__ = ["SPLITS", "BadRecordError", "Source", "SplitName", "open_source"]

KINDS = ("digits", "idx", "mnist", "folder")


def open_source(spec: str | Path | None, kind: str | None = None) -> Source:
    """The source that `spec` names: "digits" (bundled), a folder with IDX files, or a folder of images.

    kind, "digits", "idx", "mnist" or "folder", settles how to read it; None looks. Without `spec`, "digits" needs
    nothing and "mnist" is downloaded once into ~/.cache/ganlib ($XDG_CACHE_HOME is honoured). Raises UserError.
    """
    if kind is not None and kind not in KINDS:
        raise UserError(f"there is no source kind {kind!r}; it is one of {', '.join(KINDS)}")
    if kind == "digits" or (kind is None and spec == "digits"):
        if spec not in (None, "digits"):
            raise UserError(f"the bundled digits are read from no folder; leave {spec} out or choose another kind")
        return DigitsSource()
    if spec is None:
        if kind == "mnist":
            return IdxSource(_downloaded_mnist())
        raise UserError("no source is given; name a folder, or 'digits' for the bundled ones")
    folder = Path(spec).expanduser()
    try:
        if not folder.is_dir():
            raise UserError(
                f"the source {folder} is a file; unpack it if it is an archive, and name the folder"
                if folder.exists()
                else f"the source {folder} does not exist; name a folder, or 'digits' for the bundled ones"
            )
        if kind in ("idx", "mnist") or (kind is None and IdxSource.is_in(folder)):
            return IdxSource(folder)
    except OSError as error:
        raise UserError(f"cannot read the source {folder}: {error.strerror}") from error
    return FolderSource(folder)


def _downloaded_mnist() -> Path:
    """The folder with MNIST's four IDX files, fetched by torchvision unless it is there already."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ganlib"
    folder = cache / "MNIST" / "raw"
    # torchvision unpacks a file once its download is whole and checked: the unpacked ones vouch for the packed.
    files = [f"{split}-{what}" for split in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    if all((folder / file).is_file() for file in files):
        return folder
    from torchvision.datasets import MNIST  # a slow import, needed here only

    try:
        MNIST(cache, download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"cannot download MNIST into {cache} ({str(error).strip().splitlines()[-1]}); "
            "give the folder of its IDX files with --source"
        ) from error
    return folder
