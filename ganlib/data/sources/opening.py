"""From what a person names to the source that reads it."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from ganlib.data.reading import Reading, SourceKind
from ganlib.data.sources.base import Source
from ganlib.data.storage import Location
from ganlib.data.trees import FileTree, is_archive, open_tree
from ganlib.errors import UserError

# Each source is imported where it is opened: workers unpickle one kind, and must start fast.

_KINDS: tuple[str, ...] = get_args(SourceKind)
_GAUSSIANS = ("gaussian-mixture-1d", "gaussian-ring", "gaussian-grid")
# Read from no place of the person's; the words of all of these name a source without any.
_PLACELESS = ("digits", "random-fields", *_GAUSSIANS)
WORDS = (*_PLACELESS, "mnist", "fashion-mnist", "cifar10", "celeba", "stacked-mnist", "placed-mnist")
# The options of reading that only some kinds have a use for.
_READ_BY: dict[str, tuple[str, ...]] = {
    "first": ("pairs", "pair-folders"),
    "attributes": ("attributes", "celeba"),
    "image_column": ("captions", "parquet"),
    "caption_column": ("captions", "parquet"),
    "label_column": ("parquet",),
    "domain_rule": ("captions", "parquet"),
}
_NONE_GIVEN = "no source is given; name a folder, an archive or a file, or 'digits' for the bundled ones"


def open_source(spec: str | Path | None, reading: Reading = Reading(), *, kind: str | None = None) -> Source:
    """The source that `spec` names; `kind` stands before `reading.kind`, and None of both recognises what is there.

    spec: a folder, zip, tar, Parquet file or table of captions, as a path, file://, s3:// or gs://; or the word of a
    source that needs no place: "digits", "mnist", "fashion-mnist", "cifar10", "celeba" and those made on the spot (a
    folder of such a name is written ./mnist). MNIST and its kin, and "stacked-mnist" and "placed-mnist", which are made
    of it, are downloaded unless `spec` is the folder of the files.

    Recognised, the first that fits: Parquet files; IDX files; trainA and trainB (domains); a table of captions, or a
    .txt beside most images (captions); list_attr_* (attributes); train and val or test of pictures twice as wide as
    high (pairs); two folders of a pair's names with the same files in both (pair-folders); else a folder of images.
    Raises UserError.
    """
    if kind is not None and kind not in _KINDS:
        near = get_close_matches(kind, _KINDS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(_KINDS)}"
        raise UserError(f"there is no source kind {kind!r}; {hint}")
    chosen = kind or reading.kind
    if chosen is None and isinstance(spec, str) and spec in WORDS:
        chosen = spec
    if spec == chosen:
        spec = None
    if chosen is not None:
        source = _of_kind(chosen, spec, reading)
    elif spec is not None:
        source = _by_recognition(Location.of(spec), reading)
    else:
        raise UserError(_NONE_GIVEN)
    for option, kinds in _READ_BY.items():
        if getattr(reading, option) != getattr(Reading(), option) and source.kind not in kinds:
            raise UserError(
                f"{source.name} is read as {source.kind}, which has no use for {option} (that is for "
                f"{' and '.join(kinds)}); leave it out, or say the kind"
            )
    return source


def _of_kind(kind: str, spec: str | Path | None, reading: Reading) -> Source:
    if kind in _PLACELESS:
        if spec is not None:
            raise UserError(f"{kind!r} is read from no place; leave {spec} out, or choose another kind")
        return _placeless(kind, reading)
    location = None if spec is None else Location.of(spec)
    if kind in WORDS:
        return _of_a_known_set(kind, location, reading)
    if location is None:
        raise UserError(_NONE_GIVEN)
    return _of_a_place(kind, location, reading)


def _placeless(kind: str, reading: Reading) -> Source:
    if kind == "digits":
        from ganlib.data.sources.digits import DigitsSource

        return DigitsSource()
    if kind == "random-fields":
        from ganlib.data.sources.made import RandomFieldsSource

        return RandomFieldsSource(reading)
    from ganlib.data.sources.made import GaussianSource

    return GaussianSource(kind, reading)


def _of_a_known_set(kind: str, location: Location | None, reading: Reading) -> Source:
    if kind == "stacked-mnist":
        from ganlib.data.sources.made import StackedMnistSource

        return StackedMnistSource(location, reading)
    if kind == "placed-mnist":
        from ganlib.data.sources.made import PlacedMnistSource

        return PlacedMnistSource(location, reading)
    if location is not None and kind == "cifar10":
        from ganlib.data.sources.cifar import Cifar10Source

        return Cifar10Source(location)
    if location is not None:
        return _of_a_place("attributes" if kind == "celeba" else "idx", location, reading)
    from ganlib.data.sources.torchvision_sets import TorchvisionSource

    return TorchvisionSource(kind, reading)


def _of_a_place(kind: str, location: Location, reading: Reading) -> Source:
    if kind == "idx":
        from ganlib.data.sources.idx import IdxSource

        return IdxSource(location)
    if kind == "parquet":
        from ganlib.data.sources.parquet import ParquetSource

        return ParquetSource(location, reading)
    if kind in ("captions", "attributes") and not is_archive(location.name) and location.kind() == "file":
        return _of_files(kind, open_tree(location.parent), reading, location.name)
    return _of_files(kind, open_tree(location), reading)


def _of_files(kind: str, tree: FileTree, reading: Reading, table: str | None = None) -> Source:
    if kind == "captions":
        from ganlib.data.sources.captions import CaptionsSource

        return CaptionsSource(tree, reading, table)
    if kind == "attributes":
        from ganlib.data.sources.attributes import AttributesSource

        return AttributesSource(tree, reading, table)
    if kind == "pairs":
        from ganlib.data.sources.pairs import SideBySideSource

        return SideBySideSource(tree, reading)
    if kind == "pair-folders":
        from ganlib.data.sources.pairs import PairFoldersSource

        return PairFoldersSource(tree, reading)
    if kind == "halves":
        from ganlib.data.sources.pairs import HalvesSource

        return HalvesSource(tree, reading)
    if kind == "domains":
        from ganlib.data.sources.domains import DomainsSource

        return DomainsSource(tree, reading)
    from ganlib.data.sources.folder import FolderSource

    return FolderSource(tree, reading)


def _by_recognition(location: Location, reading: Reading) -> Source:
    from ganlib.data.sources.recognition import kind_of_file, kind_of_tree

    if location.kind() == "file" and not is_archive(location.name):
        kind = kind_of_file(location)
        if kind is not None:
            return _of_a_place(kind, location, reading)
    tree = open_tree(location)
    kind = kind_of_tree(tree, reading)
    if kind in ("idx", "parquet"):
        return _of_a_place(kind, location, reading)
    return _of_files(kind, tree, reading)
