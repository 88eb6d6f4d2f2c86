"""Pairs of pictures of one scene: side by side in one file, or in two folders under the same names."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ganlib.data.columns import Columns
from ganlib.data.pixels import decode
from ganlib.data.reading import Reading
from ganlib.data.sources.base import BadRecordError, Record, SplitName
from ganlib.data.sources.files import FilesSource, image_names, split_by_folder, split_folders, stem, top_folder
from ganlib.data.trees import FileTree
from ganlib.errors import UserError

_SIDES = ("left", "right")
# (the one that becomes `image`, the other): the picture, and what it is drawn from.
_KNOWN = (("A", "B"), ("target", "input"), ("target", "source"), ("images", "edges"))


class SideBySideSource(FilesSource):
    """Every image file holds two of the same size side by side; `reading.first` says which half is `image`.

    Folders train and test (or val) at the top are splits. An odd width is a BadRecordError.
    """

    kind = "pairs"

    def __init__(self, tree: FileTree, reading: Reading = Reading()) -> None:
        super().__init__(tree, reading)
        names = image_names(tree)
        self._set_records(Columns(partner=True), names, split_by_folder(names))

    def read(self, index: int) -> Record:
        left, right = _halves(self.tree.read(self._names[index]))
        return Record(left, partner=right) if self.reading.first == "left" else Record(right, partner=left)


class HalvesSource(FilesSource):
    """The same files, each half a record of its own, in the domain "left" or "right": pairs that nobody is told of.

    A record is named by its file and, after a #, its half.
    """

    kind = "halves"

    def __init__(self, tree: FileTree, reading: Reading = Reading()) -> None:
        super().__init__(tree, reading)
        names = image_names(tree)
        halves = [f"{name}#{side}" for name in names for side in _SIDES]
        self._set_records(Columns(domain_names=list(_SIDES)), halves, split_by_folder(names))

    def read(self, index: int) -> Record:
        name, _, side = self._names[index].rpartition("#")
        chosen = _SIDES.index(side)
        return Record(_halves(self.tree.read(name))[chosen], domains=(int(chosen == 0), int(chosen == 1)))


def _halves(content: bytes) -> tuple[Image.Image, Image.Image]:
    """The left and the right half of a picture. Raises BadRecordError for an odd width."""
    both = decode(content)
    if both.width % 2:
        raise BadRecordError(f"a pair side by side of odd width, {both.width}")
    half = both.width // 2
    return both.crop((0, 0, half, both.height)), both.crop((half, 0, both.width, both.height))


class PairFoldersSource(FilesSource):
    """Two folders with the same names in them, but for extensions; a record is named by what they share.

    The folders lie at the top, or both in each of train and test (val), or each holds these. `image` comes from A of A
    and B, target of input and target or source and target, images of edges and images, else from the first by name;
    from the other where `reading.first` is "right". A part without its partner, or with two, is a fault; parts of
    different size are a BadRecordError. Raises UserError where there are not two folders.
    """

    kind = "pair-folders"

    def __init__(self, tree: FileTree, reading: Reading = Reading()) -> None:
        super().__init__(tree, reading)
        layout = pair_layout(image_names(tree))
        if layout is None:
            raise UserError(
                f"{tree.location} does not hold two folders of images to match by name; is it the right place?"
            )
        sides = list(layout.sides if reading.first == "left" else layout.sides[::-1])
        self._parts: dict[str, tuple[str, str]] = {}
        for key, parts in layout.parts.items():
            here = [parts.get(side, []) for side in sides]
            if len(here[0]) == len(here[1]) == 1:
                self._parts[key] = here[0][0], here[1][0]
            else:
                reason = "a part of a pair without its partner" if not all(here) else "several files of one name"
                self._faults += ((name, reason) for names in here for name in names)
        if not self._parts:
            raise UserError(f"{tree.location}: no image in {sides[0]} has the name of one in {sides[1]}")
        split_of = (lambda key: layout.splits[top_folder(key)]) if layout.splits else None
        self._set_records(Columns(partner=True), self._parts, split_of)

    def read(self, index: int) -> Record:
        image, partner = (decode(self.tree.read(name)) for name in self._parts[self._names[index]])
        if image.size != partner.size:
            sizes = f"{image.width}x{image.height} and {partner.width}x{partner.height}"
            raise BadRecordError(f"two parts of a pair of different size, {sizes}")
        return Record(image, partner=partner)


@dataclass(frozen=True)
class PairLayout:
    """sides: the two folders, that of `image` first. parts: record -> side -> files. splits: by its top folder."""

    sides: tuple[str, str]
    parts: dict[str, dict[str, list[str]]]
    splits: dict[str, SplitName]

    @property
    def is_sure(self) -> bool:
        """Whether the folders' names say that these are pairs, and at least half of the records have both parts."""
        known = {tuple(sorted(side.lower() for side in sides)) for sides in _KNOWN}
        both = sum(len(parts) == 2 for parts in self.parts.values())
        return tuple(sorted(side.lower() for side in self.sides)) in known and 2 * both >= len(self.parts)


def pair_layout(names: Sequence[str]) -> PairLayout | None:
    """Where the two sides lie; None where there are not just two folders, at the top or below the splits."""
    splits = split_folders(names)
    inner = {name: name.partition("/")[2] for name in names} if splits else {name: name for name in names}
    sides = sorted({top_folder(below) for below in inner.values()})
    if len(sides) != 2 or "" in sides:
        return None
    # side/train/1.png is as good as train/side/1.png
    below_side = [below.partition("/")[2] for below in inner.values()]
    turned = {} if splits else split_folders(below_side)
    parts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, below in inner.items():
        side, _, key = below.partition("/")
        parts[stem(posixpath.join(top_folder(name), key) if splits else key)][side].append(name)
    image_side = {pair[0].lower() for pair in _KNOWN if {s.lower() for s in sides} == {s.lower() for s in pair}}
    if sides[1].lower() in image_side:
        sides.reverse()
    return PairLayout((sides[0], sides[1]), {key: dict(found) for key, found in parts.items()}, splits or turned)
