"""Tables of attributes whose columns become domains."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from ganlib.data.reading import Reading
from ganlib.data.sources import Source, open_source
from ganlib.errors import UserError

from .pictures import Content, as_folder, as_zip, pngs

IMAGES = pngs(*(f"img_align_celeba/{number}.jpg" for number in range(1, 5)))
# CelebA's own layout: the count, the names, and rows padded with spaces.
TABLE = """4
Black_Hair Smiling Young
1.jpg -1  1  1
2.jpg  1 -1  1
3.jpg -1 -1 -1
4.jpg  1  1 -1
"""
CSV = "image_id,Black_Hair,Smiling,Young\n1.jpg,-1,1,1\n2.jpg,1,-1,1\n3.jpg,0,0,0\n4.jpg,1,1,-1\n"
ALL = {"1": (0, 1, 1), "2": (1, 0, 1), "3": (0, 0, 0), "4": (1, 1, 0)}


def domains(source: Source) -> dict[str, tuple[int, ...] | None]:
    return {name: source.read(index).domains for index, name in enumerate(source.names)}


def named(values: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"img_align_celeba/{number}.jpg": value for number, value in values.items()}


@pytest.mark.parametrize(("table", "content"), [("list_attr_celeba.txt", TABLE), ("anno/list_attr_celeba.csv", CSV)])
def test_all_attributes_are_domains(tmp_path: Path, table: str, content: str) -> None:
    source = open_source(as_zip(tmp_path / "celeba.zip", IMAGES | {table: content}))
    assert (source.kind, source.name, source.splits, source.faults) == ("attributes", "celeba", None, [])
    assert source.columns.model_dump(exclude_defaults=True) == {"domain_names": ["Black_Hair", "Smiling", "Young"]}
    assert domains(pickle.loads(pickle.dumps(source))) == named(ALL)


def test_chosen_attributes_are_domains_in_the_order_of_the_choice(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, IMAGES | {"list_attr_celeba.txt": TABLE})
    source = open_source(folder, Reading(attributes=["Young", "Black_Hair"]))
    assert source.columns.domain_names == ["Young", "Black_Hair"]
    assert domains(source) == named({number: (value[2], value[0]) for number, value in ALL.items()})
    assert source.fingerprint() != open_source(folder).fingerprint()
    with pytest.raises(UserError, match=r"list_attr_celeba.txt has no attribute 'Smilin'; did you mean 'Smiling'\?"):
        open_source(folder, Reading(attributes=["Smilin"]))
    with pytest.raises(UserError, match="has no attribute 'zzz'; it has Black_Hair, Smiling, Young"):
        open_source(folder, Reading(attributes=["zzz"]))


def test_celebas_partition_says_the_splits(tmp_path: Path) -> None:
    partition: dict[str, Content] = {"list_eval_partition.txt": "1.jpg 2\n2.jpg 0\n3.jpg 1\n4.jpg 0\n"}
    source = open_source(as_folder(tmp_path, IMAGES | {"list_attr_celeba.txt": TABLE} | partition))
    assert source.names == [f"img_align_celeba/{number}.jpg" for number in (2, 4, 1, 3)]
    assert source.splits == {"train": range(2), "test": range(2, 4)}
    assert domains(source) == named(ALL)


def test_rows_and_images_without_each_other_are_faults(tmp_path: Path) -> None:
    table = "5\nA B\n1.jpg 1 1\n9.jpg 1 1\n2.jpg 1\n3.jpg 1 2\nimg_align_celeba/5.jpg 1 -1\n"
    images = IMAGES | pngs("img_align_celeba/5.jpg")
    source = open_source(as_folder(tmp_path, images | {"list_attr_celeba.txt": table}))
    assert domains(source) == named({"1": (1, 1), "5": (1, 0)})
    assert source.faults == [
        ("9.jpg", "attributes whose image is missing"),
        ("img_align_celeba/2.jpg", "1 attributes in its row, and 2 in the table"),
        ("img_align_celeba/3.jpg", "its attribute 'B' is neither 1 nor -1 or 0"),
        ("img_align_celeba/4.jpg", "an image without attributes"),
    ]


def test_an_image_of_two_rows_that_do_not_agree_is_a_fault(tmp_path: Path) -> None:
    table = "5\nA B\n1.jpg 1 1\n2.jpg 1 1\n3.jpg 1 1\n3.jpg 1 1\n2.jpg 1 -1\n"
    source = open_source(as_folder(tmp_path, IMAGES | {"list_attr_celeba.txt": table}))
    assert domains(source) == named({"1": (1, 1), "3": (1, 1)})
    assert ("img_align_celeba/2.jpg", "an image of two rows that do not agree") in source.faults


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE.replace("4\n", "5\n", 1), "says that it has 5 rows and has 4; fetch it again"),
        ("", "does not begin with the names of its attributes"),
        ("4\n", "does not begin with the names of its attributes"),
        ("1\nA A\n1.jpg 1 1\n", "does not begin with the names of its attributes, each once"),
        ("1\nA\n9.jpg 1\n", "has a row for none of the images"),
    ],
)
def test_tables_that_are_none_are_named(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        open_source(as_folder(tmp_path, IMAGES | {"list_attr_celeba.txt": table}))
    assert message in str(caught.value)


def test_a_count_of_any_length_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, pngs("1.png") | {"list_attr.txt": "9" * 5000 + "\nYoung\n1.png 1\n"})
    with pytest.raises(UserError, match="does not begin with the names of its attributes"):
        open_source(folder)


def test_without_a_table_or_with_two_it_says_so(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, IMAGES)
    with pytest.raises(UserError, match="holds no table of attributes"):
        open_source(folder, kind="attributes")
    as_folder(folder, {"list_attr_a.txt": TABLE, "list_attr_b.txt": TABLE})
    with pytest.raises(UserError, match=r"two tables of attributes, list_attr_a.txt and list_attr_b.txt; leave one"):
        open_source(folder)
    assert open_source(folder / "list_attr_a.txt").kind == "attributes"


def test_a_table_that_is_named_is_another_source_than_the_one_beside_it(tmp_path: Path) -> None:
    turned = TABLE.replace(" 1", " x").replace("-1", "1").replace(" x", " -1")
    as_folder(tmp_path, IMAGES | {"list_attr_a.txt": TABLE, "list_attr_b.txt": turned})
    first, second = (open_source(tmp_path / f"list_attr_{name}.txt") for name in "ab")
    assert domains(first) == named(ALL) != domains(second)
    assert first.fingerprint() != second.fingerprint()
