"""Images with captions, from tables and from text files beside them, and the domains that captions say."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest

from ganlib.data.reading import Reading
from ganlib.data.sources import BadRecordError, Source, open_source
from ganlib.errors import UserError

from .conftest import SHARED
from .pictures import Content, as_folder, as_zip, noise, pngs, same

TWO = pngs("a/1.png", "b/2.png")


def captions(source: Source) -> dict[str, tuple[str, ...]]:
    return {name: source.read(index).captions for index, name in enumerate(source.names)}


TABLES: dict[str, dict[str, Content]] = {
    "csv": {"captions.csv": "file,caption\n1.png,one\n2.png,two\n2.png,too\n"},
    "paths": {"captions.csv": "file,caption\na/1.png,one\n./b/2.png,two\nb/2.png,too\n"},
    "without a header": {"captions.csv": "1.png,one\n2.png,two\n2.png,too\n"},
    "mark and line ends": {"captions.csv": b"\xef\xbb\xbffile,caption\r\n1.png,one\r\n2.png,two\r\n2.png,too\r\n"},
    "other columns": {"metadata.csv": "id,text,file_name\n7,one,1.png\n8,two,2.png\n9,too,2.png\n"},
    "tsv": {"x.tsv": "image\tcaption\n1.png\tone\n2.png\ttwo\n2.png\ttoo\n"},
    "jsonl": {"x.jsonl": '{"file": "1.png", "text": "one"}\n\n{"text": ["two", "too"], "file": "2.png"}\n'},
    "txt": {"a/1.txt": "one\n", "b/2.txt": b"\xef\xbb\xbf two \r\n\r\ntoo"},
}


@pytest.mark.parametrize("case", TABLES)
def test_every_way_of_saying_it_gives_the_same(tmp_path: Path, case: str) -> None:
    source = open_source(as_folder(tmp_path, TWO | TABLES[case]))
    assert (source.kind, source.faults, source.splits) == ("captions", [], None)
    assert source.columns.model_dump(exclude_defaults=True) == {"captions": True}
    assert captions(pickle.loads(pickle.dumps(source))) == {"a/1.png": ("one",), "b/2.png": ("two", "too")}
    assert same(source.read(1).image, noise(1))


def test_cells_may_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    table = 'file,caption\n1.png,"red, ""green""\nand blue"\n2.png,ü\u2028x\n'
    source = open_source(as_folder(tmp_path, pngs("1.png", "2.png") | {"captions.csv": table}))
    assert captions(source) == {"1.png": ('red, "green"\nand blue',), "2.png": ("ü\u2028x",)}


def test_columns_may_be_named(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, TWO | {"x.csv": "file,caption,de,was\n1.png,one,eins,2.png\n2.png,two,zwei,1.png\n"})
    reading = Reading(kind="captions", image_column="was", caption_column="de")
    assert captions(open_source(folder, reading)) == {"a/1.png": ("zwei",), "b/2.png": ("eins",)}
    with pytest.raises(UserError, match=r"x.csv has no column 'captoin'; did you mean 'caption'\?"):
        open_source(folder / "x.csv", Reading(caption_column="captoin"))
    with pytest.raises(UserError, match=r"x.csv has no column 'zzz'; its columns are file, caption, de, was"):
        open_source(folder / "x.csv", Reading(image_column="zzz"))
    as_folder(tmp_path / "other", TWO | {"captions.csv": "a,b,c\n1.png,one,x\n"})
    with pytest.raises(
        UserError, match=r"captions.csv has no column of a usual name for the image; .*\(image_column\)"
    ):
        open_source(tmp_path / "other")


def test_captions_without_images_and_images_without_captions_are_faults(tmp_path: Path) -> None:
    files = pngs("1.png", "2.png", "3.png", "x/4.png", "y/4.png")
    table = "file,caption\n1.png,one\nabsent.png,two\n4.png,several\n3.png, \n1.png,a,b\n../1.png,out\n"
    source = open_source(as_folder(tmp_path, files | {"captions.csv": table}))
    assert captions(source) == {"1.png": ("one",)}
    assert source.faults == [
        ("../1.png", "a caption whose image is missing"),
        ("2.png", "an image without a caption"),
        ("3.png", "an image without a caption"),
        ("4.png", "a caption whose image is missing"),
        ("absent.png", "a caption whose image is missing"),
        ("captions.csv, line 6", "a row of 3 cells in a table of 2 columns"),
        ("x/4.png", "an image without a caption"),
        ("y/4.png", "an image without a caption"),
    ]


def test_lines_of_json_that_are_none_are_faults(tmp_path: Path) -> None:
    lines = [
        '{"file": "1.png", "text": "one"}',
        "{",
        "[1]",
        '{"file": 3, "text": "x"}',
        '{"file": "1.png", "text": [1]}',
    ]
    lines += ["[" * 100_000, '{"file": "2.png", "text": ["", "two"]}']
    source = open_source(as_folder(tmp_path, pngs("1.png", "2.png") | {"x.jsonl": "\n".join(lines)}))
    assert captions(source) == {"1.png": ("one",), "2.png": ("two",)}
    assert source.faults == [
        ("x.jsonl, line 2", "no JSON"),
        ("x.jsonl, line 3", "no JSON object"),
        ("x.jsonl, line 4", "no text for image and caption"),
        ("x.jsonl, line 5", "no text for image and caption"),
        ("x.jsonl, line 6", "no JSON"),
    ]


def test_half_a_character_is_a_fault(tmp_path: Path) -> None:
    """JSON may spell one of a pair of surrogates alone, which no UTF-8 holds; a whole pair is a character."""
    said = [("1.png", "\\ud83d\\ude00"), ("2.png", "\\ud800"), ("\\udc00.png", "x")]
    table = "\n".join(f'{{"file": "{file}", "text": "{text}"}}' for file, text in said)
    source = open_source(as_folder(tmp_path, pngs("1.png", "2.png") | {"x.jsonl": table}))
    assert captions(source) == {"1.png": ("\U0001f600",)}
    assert source.faults == [
        ("2.png", "an image without a caption"),
        ("x.jsonl, line 2", "text that is no Unicode"),
        ("x.jsonl, line 3", "text that is no Unicode"),
    ]


def test_text_files_without_images_and_images_without_text_are_faults(tmp_path: Path) -> None:
    texts: dict[str, Content] = {"1.txt": "one", "3.txt": " \n", "4.txt": b"\xff", "5.txt": "five", "README.txt": "x"}
    source = open_source(as_folder(tmp_path, pngs("1.png", "2.png", "3.png", "4.png") | texts))
    assert source.names == ["1.png", "3.png", "4.png"]
    assert source.faults == [("2.png", "an image without a caption"), ("5.txt", "a caption whose image is missing")]
    assert source.read(0).captions == ("one",)
    with pytest.raises(BadRecordError, match="an image without a caption"):
        source.read(1)
    with pytest.raises(BadRecordError, match="its captions are not UTF-8 at byte 0"):
        source.read(2)
    drawn = open_source(tmp_path, Reading(domain_rule={"odd": ["one"]}))
    assert drawn.names == ["1.png"]
    assert set(drawn.faults) - set(source.faults) == {
        ("3.png", "an image without a caption"),
        ("4.png", "its captions are not UTF-8 at byte 0"),
    }


def test_tables_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for number, (table, message) in enumerate(
        [
            ("file,caption\n1.png,\xff\n".encode("latin-1"), "captions.csv is not UTF-8 at byte 19; save it as UTF-8"),
            (b'file,caption\n1.png,"one\n', "captions.csv, line 2: unexpected end of data"),
            (b"file,caption\n1.png," + b"x" * 200_000, "captions.csv, line 2: field larger than field limit"),
            (b"", "captions.csv has no column of a usual name for the image"),
            (b"file,caption\nabsent.png,one\n", "holds no image with a caption"),
        ]
    ):
        folder = as_folder(tmp_path / str(number), pngs("1.png") | {"captions.csv": table})
        with pytest.raises(UserError) as caught:
            open_source(folder)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_splits_have_tables_of_their_own_or_one(tmp_path: Path) -> None:
    images = pngs("train/1.png", "train/2.png", "test/1.png")
    own: dict[str, Content] = {
        "train/metadata.csv": "file_name,text\n1.png,one\n2.png,two\n",
        "test/metadata.csv": "file_name,text\n1.png,other\n",
    }
    one: dict[str, Content] = {"all.csv": "file,text\ntrain/1.png,one\ntrain/2.png,two\ntest/1.png,other\n"}
    for number, tables in enumerate((own, one)):
        source = open_source(as_zip(tmp_path / f"{number}.zip", images | tables))
        assert source.splits == {"train": range(2), "test": range(2, 3)}
        assert captions(source) == {"train/1.png": ("one",), "train/2.png": ("two",), "test/1.png": ("other",)}
        assert source.faults == []


def test_domains_are_drawn_by_words_at_their_boundaries(tmp_path: Path) -> None:
    said = {
        "1.png": "Blonde hair and red eyes",
        "2.png": "long pink hair",
        "3.png": "reddish hair, pink eyes",
        "4.png": "blond; PINK hair",
        "5.png": "no hair",
    }
    table = "\n".join(json.dumps({"file": file, "caption": [caption]}) for file, caption in said.items())
    folder = as_folder(tmp_path, pngs(*said) | {"x.jsonl": table})
    source = open_source(folder, Reading(domain_rule={"fair": ["blonde?"], "pink": ["pink hair"], "red": ["red"]}))
    assert source.columns.domain_names == ["fair", "pink", "red"]
    assert {name: source.read(index).domains for index, name in enumerate(source.names)} == {
        "1.png": (1, 0, 1),
        "2.png": (0, 1, 0),
        "4.png": (1, 1, 0),
    }
    assert source.faults == []
    assert source.fingerprint() != open_source(folder).fingerprint()
    for rule, message in (
        ({"a": ["("]}, "the domain 'a': '(' is no regular expression"),
        ({"a": []}, "the domain 'a' has no words"),
        ({"fair": ["blonde"], "green": ["green"]}, "no caption puts a record into the domain 'green'"),
    ):
        with pytest.raises(UserError) as caught:
            open_source(folder, Reading(domain_rule=rule))
        assert message in str(caught.value)


def test_real_avatars() -> None:
    archive = SHARED / "avatars.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    with zipfile.ZipFile(archive) as file:
        lines = file.read("captions.csv").decode().splitlines()[1:]
    said = dict(line.split(",", 1) for line in lines)  # by hand: no caption there is quoted
    source = open_source(archive)
    assert (source.kind, source.name, len(source.names), source.faults) == ("captions", "avatars", 12_000, [])
    assert source.names == sorted(f"images/{file}" for file in said)
    for index in range(0, 12_000, 1000):
        assert source.read(index).captions == (said[source.names[index].removeprefix("images/")],)
    drawn = open_source(archive, Reading(domain_rule={"blonde": ["blonde"], "blue": ["blue hair"]}))
    by_hand = {
        f"images/{file}": (int("blonde" in caption.split()), int("blue hair" in caption))
        for file, caption in said.items()
    }
    by_hand = {name: domains for name, domains in by_hand.items() if any(domains)}
    assert drawn.names == sorted(by_hand)
    assert drawn.faults == []
    for index in range(0, len(drawn.names), 100):
        assert drawn.read(index).domains == by_hand[drawn.names[index]]


def test_a_table_that_is_named_is_another_source_than_the_one_beside_it(tmp_path: Path) -> None:
    """Prepared data are found again by the fingerprint."""
    as_folder(tmp_path, pngs("1.png") | {"a.csv": "file,caption\n1.png,one\n", "b.csv": "file,caption\n1.png,two\n"})
    first, second = (open_source(tmp_path / name) for name in ("a.csv", "b.csv"))
    assert (captions(first), captions(second)) == ({"1.png": ("one",)}, {"1.png": ("two",)})
    assert first.fingerprint() != second.fingerprint()


def test_a_splits_table_calls_none_of_the_other_splits_images(tmp_path: Path) -> None:
    images = pngs("train/1.png", "test/1.png", "test/2.png")
    tables = {
        "train/captions.csv": "file,caption\n1.png,one\n2.png,lost\n",
        "test/captions.csv": "file,caption\n1.png,won\n2.png,two\n",
    }
    source = open_source(as_folder(tmp_path, images | tables))
    assert captions(source) == {"train/1.png": ("one",), "test/1.png": ("won",), "test/2.png": ("two",)}
    assert source.faults == [("2.png", "a caption whose image is missing")]
