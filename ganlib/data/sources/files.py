"""What the sources made of files share: which files are pictures, and the splits that their folders state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ganlib.data.columns import Columns
from ganlib.data.reading import Reading
from ganlib.data.sources.base import Source, SplitName
from ganlib.data.trees import FileTree
from ganlib.errors import UserError
from ganlib.files import canonical_digest

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
_TEST_FOLDERS = {"test", "val", "valid", "validation"}


class FilesSource(Source):
    """A source whose records come from files of a tree. `_set_records` is called once, while it is opened.

    table: the one of its files that a person named; another beside it would be another source.
    """

    def __init__(self, tree: FileTree, reading: Reading, table: str | None = None) -> None:
        self.tree, self.reading, self._named = tree, reading, [table] if table else []
        self.name, self.location = tree.name, tree.location
        self._faults: list[tuple[str, str]] = []

    def _set_records(self, columns: Columns, names: Iterable[str], split_of: Callable[[str], SplitName] | None) -> None:
        """`split_of` is None where the source has no splits of its own."""
        self._columns = columns
        self._names, self._splits = in_order(names, split_of)
        self._faults.sort()

    @property
    def columns(self) -> Columns:
        return self._columns

    @property
    def names(self) -> Sequence[str]:
        return self._names

    @property
    def splits(self) -> Mapping[SplitName, range] | None:
        return self._splits

    @property
    def faults(self) -> Sequence[tuple[str, str]]:
        return self._faults

    def fingerprint(self) -> str:
        # All files of the tree: those that are passed over might be what makes a fault, or a class.
        return canonical_digest(
            [self.kind, self.reading.model_dump(exclude={"kind"}), self.tree.fingerprint(), *self._named]
        )


def is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS)


def image_names(tree: FileTree) -> list[str]:
    """The pictures of the tree, in order. Raises UserError where there are none."""
    names = [entry.name for entry in tree.files if is_image(entry.name)]
    if not names:
        raise UserError(f"{tree.location} holds no images ({', '.join(IMAGE_EXTENSIONS)}); is it the right place?")
    return names


def split_folders(names: Iterable[str]) -> dict[str, SplitName]:
    """What the top folders say: {"train": "train", "val": "test"}, say; empty where they name no splits.

    They do where "train" stands beside any of test, val, valid and validation, which all count as test, and nothing
    else stands there.
    """
    tops = {top_folder(name) for name in names}
    rest = tops - {"train"}
    if "train" not in tops or not rest or not rest <= _TEST_FOLDERS:
        return {}
    return {top: "train" if top == "train" else "test" for top in tops}


def split_by_folder(names: Sequence[str]) -> Callable[[str], SplitName] | None:
    folders = split_folders(names)
    return (lambda name: folders[top_folder(name)]) if folders else None


def top_folder(name: str) -> str:
    """The first folder of the name; "" where it lies in none."""
    return name.partition("/")[0] if "/" in name else ""


def stem(name: str) -> str:
    """The name, with its folders, without the last extension."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)


def in_order(
    names: Iterable[str], split_of: Callable[[str], SplitName] | None
) -> tuple[list[str], dict[SplitName, range] | None]:
    """Sorted by code point, within each split where there are splits; with the rows of each."""
    ordered = sorted(names)
    if split_of is None:
        return ordered, None
    train = [name for name in ordered if split_of(name) == "train"]
    test = [name for name in ordered if split_of(name) == "test"]
    return train + test, {"train": range(len(train)), "test": range(len(train), len(ordered))}
