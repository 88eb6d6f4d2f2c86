"""Unpaired domains: trainA, trainB, testA, testB, or one folder a domain."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ganlib.data.columns import Columns
from ganlib.data.pixels import decode
from ganlib.data.reading import Reading
from ganlib.data.sources.base import Record, SplitName
from ganlib.data.sources.files import FilesSource, image_names, split_by_folder, top_folder
from ganlib.data.trees import FileTree
from ganlib.errors import UserError

_FOLDER = re.compile(r"(train|test|val)([A-Z][A-Za-z0-9]*)")


class DomainsSource(FilesSource):
    """Every image is in the one domain that its folder names; domains in the order of their names.

    Folders trainA, trainB and testA, testB (or valA, valB; any capitalised name for A) are splits and domains at once,
    where there are no others. Else each folder at the top is a domain; or each in train and test (or val), where these
    are all that stands at the top. Raises UserError for fewer than two domains and for images in none.
    """

    kind = "domains"

    def __init__(self, tree: FileTree, reading: Reading = Reading()) -> None:
        super().__init__(tree, reading)
        names = image_names(tree)
        split_of: Callable[[str], SplitName] | None
        if has_domain_folders(names):
            parts = {name: _FOLDER.fullmatch(top_folder(name)) for name in names}
            owners = {name: found[2] for name, found in parts.items() if found}
            tests = any(found[1] != "train" for found in parts.values() if found)
            split_of = _split_by_prefix if tests else None
        else:
            split_of = split_by_folder(names)
            inner = (lambda name: name.partition("/")[2]) if split_of else (lambda name: name)
            owners = {name: top_folder(inner(name)) for name in names}
        domains = sorted(set(owners.values()))
        if "" in domains:
            stray = next(name for name in names if not owners[name])
            raise UserError(f"{tree.location} holds an image in no domain's folder ({stray}); move it into one")
        if len(domains) < 2:
            raise UserError(
                f"{tree.location} holds one domain only ({domains[0]}); give each domain a folder of its own"
            )
        self._set_records(Columns(domain_names=domains), names, split_of)
        self._owners = [domains.index(owners[name]) for name in self._names]

    def read(self, index: int) -> Record:
        image = decode(self.tree.read(self._names[index]))
        count = len(self.columns.domain_names or ())
        return Record(image, domains=tuple(int(domain == self._owners[index]) for domain in range(count)))


def has_domain_folders(names: Iterable[str]) -> bool:
    """Whether all lie in folders trainA, testB and the like, of two domains at least, each with a train folder."""
    folders = [_FOLDER.fullmatch(top) for top in {top_folder(name) for name in names}]
    trained = {found[2] for found in folders if found and found[1] == "train"}
    return all(folders) and len(trained) >= 2 and all(found[2] in trained for found in folders if found)


def _split_by_prefix(name: str) -> SplitName:
    return "train" if name.startswith("train") else "test"
