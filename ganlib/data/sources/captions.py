"""Images with captions: a table of them, or a .txt beside each image."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from ganlib.data.columns import Columns
from ganlib.data.pixels import decode
from ganlib.data.reading import Reading
from ganlib.data.sources import tables
from ganlib.data.sources.base import BadRecordError, Record
from ganlib.data.sources.files import (
    FilesSource,
    image_names,
    is_image,
    split_by_folder,
    split_folders,
    stem,
    top_folder,
)
from ganlib.data.sources.rules import DomainRule
from ganlib.data.trees import FileTree
from ganlib.errors import UserError

_NO_CAPTION, _NO_IMAGE = "an image without a caption", "a caption whose image is missing"
# Text that lies beside images and is no caption.
_ASIDE = {"readme", "license", "licence", "copying", "notice", "changelog", "requirements"}


class CaptionsSource(FilesSource):
    """Every image of the tree with its captions, named by its path; several rows of one image are several captions.

    table: a .csv, .tsv or .jsonl at the top, or one in each of train and test (val); None finds it. Its columns for
    image and caption are those that the reading names, or usual ones (file, image, ...; caption, text, ...); a JSON
    line may hold a list of captions, a CSV without a header holds image and caption. An image is called by its path
    from the table's folder, or by the end of its path where one image only ends so.
    Without a table, a .txt of an image's name beside it holds one caption a line.
    With a domain rule, records have the domains that it draws, and those in none are left out.

    A caption without its image, an image without a caption, and a row that cannot be read are faults. Raises UserError
    for a table that cannot be read or has no such columns.
    """

    kind = "captions"

    def __init__(self, tree: FileTree, reading: Reading = Reading(), table: str | None = None) -> None:
        super().__init__(tree, reading, table)
        images = image_names(tree)
        found = [table] if table is not None else caption_tables(tree, reading)
        # Of text files, captions are read when their image is: there may be as many as images.
        self._captions: dict[str, tuple[str, ...]] | None = self._of_tables(images, found) if found else None
        self._texts = {} if found else self._beside(images)
        named: Sequence[str] = list(self._captions if self._captions is not None else self._texts)
        self._domains: dict[str, tuple[int, ...]] = {}
        if reading.domain_rule:
            rule = DomainRule(reading.domain_rule)
            drawn = {name: rule.domains(captions) for name, captions in self._all_captions(named)}
            self._domains = {name: domains for name, domains in drawn.items() if domains is not None}
            rule.check(self._domains.values(), str(tree.location))
            named = list(self._domains)
        if not named:
            raise UserError(f"{tree.location} holds no image with a caption; name the table's columns, or another kind")
        domain_names = list(reading.domain_rule) or None
        self._set_records(Columns(captions=True, domain_names=domain_names), named, split_by_folder(images))

    def read(self, index: int) -> Record:
        name = self._names[index]
        image = decode(self.tree.read(name))
        return Record(image, captions=self._captions_of(name), domains=self._domains.get(name))

    def _captions_of(self, name: str) -> tuple[str, ...]:
        if self._captions is not None:
            return self._captions[name]
        try:
            text = self.tree.read(self._texts[name]).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadRecordError(f"its captions are not UTF-8 at byte {error.start}") from error
        captions = tuple(line.strip() for line in text.splitlines() if line.strip())
        if not captions:
            raise BadRecordError(_NO_CAPTION)
        return captions

    def _all_captions(self, names: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        for name in names:
            try:
                yield name, self._captions_of(name)
            except BadRecordError as error:
                self._faults.append((name, str(error)))

    def _of_tables(self, images: Sequence[str], found: Sequence[str]) -> dict[str, tuple[str, ...]]:
        captions: dict[str, list[str]] = {}
        for table in found:
            # A table in the folder of a split calls none of another's images, which may have the same names.
            folder = posixpath.join(posixpath.dirname(table), "")
            finder = tables.Finder([image for image in images if image.startswith(folder)])
            columns = tables.caption_columns(self.tree, table, self.reading)
            if columns.image is None or columns.caption is None:
                lacking = "image" if columns.image is None else "caption"
                raise UserError(
                    f"{self.tree.place(table)} has no column of a usual name for the {lacking}; say which it is "
                    f"({lacking}_column)"
                )
            for row in tables.rows(self.tree, table):
                called, said = row.values.get(columns.image), _strings(row.values.get(columns.caption))
                if row.fault or not isinstance(called, str) or said is None:
                    self._faults.append((row.place, row.fault or "no text for image and caption"))
                elif (image := finder.find(table, called)) is None:
                    self._faults.append((called, _NO_IMAGE))
                else:
                    captions.setdefault(image, []).extend(said)
        self._faults += ((image, _NO_CAPTION) for image in images if not captions.get(image))
        return {image: tuple(said) for image, said in captions.items() if said}

    def _beside(self, images: Sequence[str]) -> dict[str, str]:
        """The text file of each image that has one."""
        texts = text_stems(self.tree)
        stems = {stem(image) for image in images}
        self._faults += ((text, _NO_IMAGE) for key, text in texts.items() if key not in stems)
        self._faults += ((image, _NO_CAPTION) for image in images if stem(image) not in texts)
        return {image: texts[stem(image)] for image in images if stem(image) in texts}


def caption_tables(tree: FileTree, reading: Reading) -> list[str]:
    """The tables of captions at the top, or, for lack of these, in the folders of the splits: at most one a folder.

    Raises UserError for two in one folder.
    """
    candidates = [entry.name for entry in tree.files if entry.name.lower().endswith(tables.TABLES)]
    folders = split_folders([entry.name for entry in tree.files if is_image(entry.name)])
    top = [table for table in candidates if "/" not in table and _holds_captions(tree, table, reading)]
    if not top:
        inner = [table for table in candidates if table.count("/") == 1 and top_folder(table) in folders]
        top = [table for table in inner if _holds_captions(tree, table, reading)]
    by_folder: dict[str, str] = {}
    for table in top:
        other = by_folder.setdefault(posixpath.dirname(table), table)
        if other != table:
            raise UserError(f"{tree.location} holds two tables of captions, {other} and {table}; leave one there")
    return top


def text_stems(tree: FileTree) -> Mapping[str, str]:
    """The text files that may be captions, by their names without .txt."""
    names = [entry.name for entry in tree.files if entry.name.lower().endswith(".txt")]
    return {stem(name): name for name in names if posixpath.basename(stem(name)).lower() not in _ASIDE}


def _holds_captions(tree: FileTree, table: str, reading: Reading) -> bool:
    # A table of this name is meant so, and what is wrong with it is to be said.
    meant = stem(posixpath.basename(table)).lower() == "captions"
    try:
        columns = tables.caption_columns(tree, table, reading)
    except UserError:
        if meant:
            raise
        return False
    return meant or None not in columns


def _strings(value: object) -> list[str] | None:
    """The captions in a cell, without the empty ones; None for what is no text."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        return None
    return [text.strip() for text in values if text.strip()]
