"""The journal: what is written is read back, once, whatever kills the writer."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ganlib.errors import UserError
from pipelines.journal import Journal, read_entries, read_metrics


def lines(run: Path, writer: str = "train") -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "journal" / f"{writer}.jsonl").read_text().splitlines()]


def test_metrics_of_all_writers_come_back_in_the_order_of_images_seen(tmp_path: Path) -> None:
    with Journal(tmp_path, "train") as train, Journal(tmp_path, "evaluate") as evaluate:
        train.metrics(64, {"loss/generator": 0.75, "images_per_second": 100.0})
        evaluate.metrics(128, {"fid/classifier": 42.5}, checkpoint="checkpoint-000000128")
        train.metrics(128, {"loss/generator": 0.5})
        evaluate.metrics(64, {"fid/classifier": 50.0}, checkpoint="checkpoint-000000064")  # finished later
    assert read_metrics(tmp_path) == {
        "loss/generator": [(64, 0.75), (128, 0.5)],
        "images_per_second": [(64, 100.0)],
        "fid/classifier": [(64, 50.0), (128, 42.5)],
    }
    assert lines(tmp_path, "evaluate")[0]["checkpoint"] == "checkpoint-000000128"


def test_every_record_has_its_kind_and_the_time_in_milliseconds(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    before = time.time()
    with Journal(tmp_path, "driver") as journal:
        journal.params({"optim.generator.lr": 1e-4, "name": "digits", "betas": [0.5, 0.99], "compile": False})
        journal.tags({"host": "here"})
        journal.dataset("digits", "ab" * 32, "sklearn", {"images": 1797})
        journal.checkpoint(64, "checkpoint-000000064")
        journal.picture(64, "samples", tmp_path / "pictures" / "samples.png")
        journal.artifact(tmp_path / "pictures", folder="plots")
        journal.finish("FINISHED")
    records = lines(tmp_path, "driver")
    assert all(before * 1000 - 1 <= record["time"] <= time.time() * 1000 for record in records)  # type: ignore[operator]
    assert [{name: value for name, value in record.items() if name != "time"} for record in records] == [
        {
            "kind": "params",
            "values": {"optim.generator.lr": "0.0001", "name": "digits", "betas": "[0.5, 0.99]", "compile": "false"},
        },
        {"kind": "tags", "values": {"host": "here"}},
        {
            "kind": "dataset",
            "name": "digits",
            "digest": "ab" * 32,
            "source": "sklearn",
            "profile": {"images": 1797},
        },
        {"kind": "checkpoint", "images_seen": 64, "name": "checkpoint-000000064"},
        {"kind": "picture", "images_seen": 64, "key": "samples", "path": "pictures/samples.png"},
        {"kind": "artifact", "path": "pictures", "folder": "plots"},
        {"kind": "finish", "status": "FINISHED"},
    ]


def test_numbers_that_json_lacks_survive_in_a_file_that_any_json_reader_reads(tmp_path: Path) -> None:
    with Journal(tmp_path, "train") as journal:
        journal.metrics(1, {"nan": math.nan, "up": math.inf, "down": -math.inf, "tiny": 5e-324, "third": 1 / 3})

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    json.loads((tmp_path / "journal" / "train.jsonl").read_text(), parse_constant=refuse)
    metrics = read_metrics(tmp_path)
    assert math.isnan(metrics["nan"][0][1])
    assert {name: metrics[name] for name in ("up", "down", "tiny", "third")} == {
        "up": [(1, math.inf)],
        "down": [(1, -math.inf)],
        "tiny": [(1, 5e-324)],
        "third": [(1, 1 / 3)],
    }


def test_a_resumed_run_that_repeats_ticks_records_them_once(tmp_path: Path) -> None:
    picture = tmp_path / "samples.png"
    for _ in range(2):
        with Journal(tmp_path, "train") as journal:
            for images in (64, 128, 192):
                journal.metrics(images, {"loss": 1.0 / images})
                journal.picture(images, "samples", picture)
                journal.checkpoint(images, f"checkpoint-{images:09}")
            journal.metrics(192, {"loss": 9.0, "rate": 5.0})  # one value that stands, one that is new
    assert read_metrics(tmp_path) == {"loss": [(64, 1 / 64), (128, 1 / 128), (192, 1 / 192)], "rate": [(192, 5.0)]}
    kinds = [record["kind"] for record in lines(tmp_path)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"metrics": 4, "picture": 3, "checkpoint": 3}


def test_a_torn_last_line_is_left_alone_by_readers_and_cut_by_the_next_writer(tmp_path: Path) -> None:
    with Journal(tmp_path, "train") as journal:
        journal.metrics(64, {"loss": 1.0})
    path = tmp_path / "journal" / "train.jsonl"
    whole = path.read_bytes()
    for cut in (1, 10, len(whole) - 1):
        path.write_bytes(whole + whole[:cut])
        assert [entry.end for entry in read_entries(path)] == [len(whole)]
        with Journal(tmp_path, "train") as journal:
            assert path.read_bytes() == whole
            journal.metrics(128, {"loss": 0.5})
        assert read_metrics(tmp_path) == {"loss": [(64, 1.0), (128, 0.5)]}
        path.write_bytes(whole)


def test_entries_read_from_an_offset_are_those_that_follow_it(tmp_path: Path) -> None:
    with Journal(tmp_path, "train") as journal:
        for images in range(5):
            journal.metrics(images, {"loss": float(images)})
    path = tmp_path / "journal" / "train.jsonl"
    entries = list(read_entries(path))
    assert entries[-1].end == path.stat().st_size
    for index, entry in enumerate(entries):
        assert list(read_entries(path, entry.end)) == entries[index + 1 :]
    assert list(read_entries(tmp_path / "journal" / "none.jsonl")) == []


def test_a_line_that_is_no_record_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Journal(tmp_path, "train") as journal:
        journal.metrics(64, {"loss": 1.0})
        with (tmp_path / "journal" / "train.jsonl").open("ab") as file:
            file.write(b"\0\0\0\0\n[1]\n")
        journal.metrics(128, {"loss": 0.5})
    assert read_metrics(tmp_path) == {"loss": [(64, 1.0), (128, 0.5)]}
    assert len(caplog.records) == 2


@pytest.mark.parametrize("name", ["", "/loss", "loss/", "loss//g", "loss?", "a\nb"])
def test_a_name_that_mlflow_would_refuse_is_refused_at_the_source(tmp_path: Path, name: str) -> None:
    with Journal(tmp_path, "train") as journal:
        with pytest.raises(ValueError, match="not a metric's name"):
            journal.metrics(1, {name: 1.0})
        with pytest.raises(ValueError, match="not a picture's key"):
            journal.picture(1, name, tmp_path / "a.png")


def test_a_path_outside_the_run_folder_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "run", "train") as journal, pytest.raises(ValueError, match="subpath"):
        journal.artifact(tmp_path / "elsewhere.txt")


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file, not a folder")
    with pytest.raises(UserError, match=r"cannot write the journal .*train\.jsonl: Not a directory"):
        Journal(tmp_path / "run", "train")


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for the disk: a write across it is cut short, as one on a full disk is."""
    script = f"""
import resource, signal
from pathlib import Path
from ganlib.errors import UserError
from pipelines.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path({str(tmp_path)!r}), "train")
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    for images in range(10):
        journal.metrics(images, {{"loss": 1.0}})
except UserError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.metrics(99, {{"loss": 2.0}})
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("cannot write the journal")
    assert read_metrics(tmp_path) == {"loss": [(0, 1.0), (99, 2.0)]}


def test_a_writer_killed_at_any_moment_and_started_again_leaves_every_tick_once(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from pipelines.journal import Journal
with Journal(Path({str(tmp_path)!r}), "train") as journal:
    for images in range(20000):
        journal.metrics(images, {{"loss/generator": images / 7, "loss/discriminator": images / 3}})
"""
    path = tmp_path / "journal" / "train.jsonl"
    path.parent.mkdir()
    path.touch()
    moments = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script])
        size = path.stat().st_size
        while path.stat().st_size == size:  # until it appends
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(moments.random() / 20)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run([sys.executable, "-c", script], check=True)
    assert read_metrics(tmp_path) == {
        "loss/generator": [(images, images / 7) for images in range(20000)],
        "loss/discriminator": [(images, images / 3) for images in range(20000)],
    }
