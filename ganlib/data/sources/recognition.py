"""What kind of source lies at a place, told from names, the heads of tables, and a few pictures."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Literal

from PIL import Image

from ganlib.data.reading import Reading
from ganlib.data.sources.attributes import attribute_table, is_attribute_table
from ganlib.data.sources.base import BadRecordError
from ganlib.data.sources.captions import caption_tables, text_stems
from ganlib.data.sources.domains import has_domain_folders
from ganlib.data.sources.files import is_image, split_folders, stem
from ganlib.data.sources.pairs import pair_layout
from ganlib.data.sources.tables import TABLES
from ganlib.data.storage import Location
from ganlib.data.trees import FileTree, is_archive
from ganlib.errors import UserError

Kind = Literal["parquet", "idx", "domains", "captions", "attributes", "pairs", "pair-folders", "folder"]

_IDX = re.compile(r"(train|t10k)-(images[-.]idx3|labels[-.]idx1)-ubyte(\.gz)?")
_LOOKED_AT = 8


def kind_of_file(location: Location) -> Kind | None:
    """Of a file that is no archive, by its name; None for one that no source reads. Raises UserError."""
    name = location.name
    if _IDX.fullmatch(name):
        raise UserError(f"{location} is one IDX file of several; name the folder that holds them")
    if name.lower().endswith(".parquet"):
        return "parquet"
    if is_attribute_table(name):
        return "attributes"
    return "captions" if name.lower().endswith(TABLES) else None


def kind_of_tree(tree: FileTree, reading: Reading) -> Kind:
    """The first that fits; "folder" where nothing does, be there images or not. Raises UserError."""
    names = [entry.name for entry in tree.files]
    images = [name for name in names if is_image(name)]
    if not is_archive(tree.location.name) or tree.location.kind() == "folder":
        if sum(name.lower().endswith(".parquet") for name in names) > len(images):
            return "parquet"
        if any(_IDX.fullmatch(name) for name in names):
            return "idx"
    if images and has_domain_folders(images):
        return "domains"
    if images and _has_captions(tree, images, reading):
        return "captions"
    if attribute_table(tree) is not None:
        return "attributes"
    if images and _are_side_by_side(tree, images):
        return "pairs"
    layout = pair_layout(images)
    return "pair-folders" if layout is not None and layout.is_sure else "folder"


def _has_captions(tree: FileTree, images: Sequence[str], reading: Reading) -> bool:
    if caption_tables(tree, reading):
        return True
    texts = text_stems(tree)
    return 2 * sum(stem(image) in texts for image in images) >= len(images)


def _are_side_by_side(tree: FileTree, images: Sequence[str]) -> bool:
    """Whether, right in train and in test or val, pictures lie of which the first are twice as wide as high."""
    return (
        bool(split_folders(images))
        and all(image.count("/") == 1 for image in images)
        and all(_is_twice_as_wide(tree, image) for image in images[:_LOOKED_AT])
    )


def _is_twice_as_wide(tree: FileTree, image: str) -> bool:
    try:
        with Image.open(io.BytesIO(tree.read(image))) as picture:
            return picture.width == 2 * picture.height
    except (BadRecordError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
