"""Images with a table of attributes, as CelebA comes: chosen attributes become domains."""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from ganlib.data.columns import Columns
from ganlib.data.pixels import decode
from ganlib.data.reading import Reading
from ganlib.data.sources.base import Record, SplitName
from ganlib.data.sources.files import FilesSource, image_names, split_by_folder
from ganlib.data.sources.tables import Finder
from ganlib.data.trees import FileTree
from ganlib.errors import UserError

_VALUES = {"1": 1, "-1": 0, "0": 0}
_PARTITION = "list_eval_partition"
_SPLITS: dict[str, SplitName] = {"0": "train", "1": "test", "2": "test"}
_NO_ROW, _NO_IMAGE = "an image without attributes", "attributes whose image is missing"
_TWO_ROWS = "an image of two rows that do not agree"


class AttributesSource(FilesSource):
    """Every image that the table has a row for; the attributes that the reading chooses (none: all) are its domains.

    table: CelebA's list_attr_celeba.txt (the count of rows, the attributes' names, then rows of an image's name and 1
    or -1 for each), or a CSV with one header and 1, and -1 or 0; None finds list_attr_*.txt or .csv, however deep.
    Images are called by the end of their paths. CelebA's list_eval_partition beside it says the splits, of which
    validation counts as test; else folders train and test do. A row without its image, an image without its row or of
    two that do not agree, and a row that cannot be read are faults. Raises UserError for a table cut short and for an
    attribute that it has not.
    """

    kind = "attributes"

    def __init__(self, tree: FileTree, reading: Reading = Reading(), table: str | None = None) -> None:
        super().__init__(tree, reading, table)
        images = image_names(tree)
        table = table or attribute_table(tree)
        if table is None:
            raise UserError(
                f"{tree.location} holds no table of attributes (list_attr_*.txt or .csv); is it the right place?"
            )
        lines = list(_cells(tree, table))
        header, rows = self._header(table, lines)
        chosen = list(reading.attributes) or header
        columns = [self._column(table, header, attribute) for attribute in chosen]
        finder = Finder(images)
        values: dict[str, list[int]] = {}
        for called, *cells in rows:
            image = finder.find(table, called)
            found = [_VALUES.get(cells[column].strip()) for column in columns] if len(cells) == len(header) else []
            if image is None:
                self._faults.append((called, _NO_IMAGE))
            elif len(cells) != len(header):
                self._faults.append((image, f"{len(cells)} attributes in its row, and {len(header)} in the table"))
            elif None in found:
                self._faults.append((image, f"its attribute {chosen[found.index(None)]!r} is neither 1 nor -1 or 0"))
            elif values.setdefault(image, known := [value for value in found if value is not None]) != known:
                self._faults.append((image, _TWO_ROWS))
        for name in {name for name, why in self._faults if why == _TWO_ROWS}:
            del values[name]
        faulty = {name for name, _ in self._faults}
        self._faults += ((image, _NO_ROW) for image in images if image not in values and image not in faulty)
        if not values:
            raise UserError(f"{tree.place(table)} has a row for none of the images; is it the table of these?")
        partition = self._partition(table, finder)
        if partition is not None:
            self._faults += ((image, f"not in {_PARTITION}") for image in values if image not in partition)
            values = {image: value for image, value in values.items() if image in partition}
        split_of = partition.__getitem__ if partition is not None else split_by_folder(images)
        self._set_records(Columns(domain_names=chosen), values, split_of)
        self._values: NDArray[np.uint8] = np.array([values[name] for name in self._names], np.uint8)

    def read(self, index: int) -> Record:
        image = decode(self.tree.read(self._names[index]))
        return Record(image, domains=tuple(self._values[index].tolist()))

    def _header(self, table: str, lines: list[list[str]]) -> tuple[list[str], list[list[str]]]:
        """The attributes' names, and the rows after them."""
        place = self.tree.place(table)
        if len(lines) > 1 and len(lines[0]) == 1 and re.fullmatch("[0-9]{1,18}", lines[0][0]):
            count, header, rows = int(lines[0][0]), lines[1], lines[2:]
            if len(rows) != count:
                raise UserError(f"{place} says that it has {count} rows and has {len(rows)}; fetch it again")
        else:
            # One name for the column of images, then the attributes.
            header, rows = [cell.strip() for cell in lines[0][1:]] if lines else [], lines[1:]
        if not header or len(set(header)) < len(header):
            raise UserError(f"{place} does not begin with the names of its attributes, each once; correct it")
        return header, rows

    def _column(self, table: str, header: Sequence[str], attribute: str) -> int:
        if attribute not in header:
            near = get_close_matches(attribute, header, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(header)}"
            raise UserError(f"{self.tree.place(table)} has no attribute {attribute!r}; {hint}")
        return header.index(attribute)

    def _partition(self, table: str, finder: Finder) -> dict[str, SplitName] | None:
        """{image: split} where CelebA's list of splits lies beside the table."""
        beside = (posixpath.join(posixpath.dirname(table), _PARTITION + extension) for extension in (".txt", ".csv"))
        found = next((name for name in beside if name in self.tree), None)
        if found is None:
            return None
        splits: dict[str, SplitName] = {}
        for cells in _cells(self.tree, found):
            image = finder.find(found, cells[0])
            if image is not None and len(cells) == 2 and cells[1].strip() in _SPLITS:
                splits[image] = _SPLITS[cells[1].strip()]
        if "train" not in splits.values():
            raise UserError(f"{self.tree.place(found)} puts no image into the training split (0); is it CelebA's?")
        return splits


def is_attribute_table(name: str) -> bool:
    base = posixpath.basename(name).lower()
    return base.startswith("list_attr") and base.endswith((".txt", ".csv"))


def attribute_table(tree: FileTree) -> str | None:
    """The one table of attributes in the tree; None without. Raises UserError for several."""
    found = [entry.name for entry in tree.files if is_attribute_table(entry.name)]
    if len(found) > 1:
        raise UserError(f"{tree.location} holds two tables of attributes, {found[0]} and {found[1]}; leave one there")
    return found[0] if found else None


def _cells(tree: FileTree, table: str) -> Iterator[list[str]]:
    """The cells of each line that is not blank: apart by commas in a .csv, else by spaces."""
    text = tree.text(table)
    if table.lower().endswith(".csv"):
        try:
            yield from (cells for cells in csv.reader(io.StringIO(text, newline=""), strict=True) if cells)
        except csv.Error as error:
            raise UserError(f"{tree.place(table)}: {error}; correct it and begin again") from error
        return
    yield from (cells for line in text.split("\n") if (cells := line.split()))
