"""A training in one process that is told to go, whose disk is full, whose checkpoint is cut, that is started twice."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ganlib import files
from ganlib.errors import UserError
from ganlib.training.checkpoint import read_contents
from pipelines import journal as module
from pipelines import train as stage
from pipelines.journal import Journal, journal_folder, read_entries
from pipelines.notice import wish_of
from pipelines.run_folder import Home, RunFolder
from pipelines.shipped import find_recipe
from pipelines.tracking import mlflow_client
from pipelines.train_loop import failed_alike, failure_of
from tests.cluster.processes import descendants, wait_until
from tests.cluster.tiny import TINY, lengths, prepare, the_run, ticks_of, weights
from tests.pipelines.command import gan, refused

LENGTHS = lengths(ticks=40, checkpoint_every=10, evaluate_every=20)
SLOWLY = """
from pathlib import Path
from pipelines.cli import main
from tests.cluster.slowly import slow_rounds
slow_rounds(Path({!r}))
main()
"""
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tracking(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    shutil.copyfile(empty_database, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with the dataset alone."""
    home = Home(tmp_path_factory.mktemp("home")).create()
    prepare(home)
    return home


def copy_of(home: Home, path: Path) -> Home:
    shutil.copytree(home.path, path)
    return Home(path)


@pytest.fixture(scope="module")
def whole(home: Home, tracking: str, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run that nothing disturbs."""
    own = copy_of(home, tmp_path_factory.mktemp("whole") / "home")
    assert gan("train", "ring", *TINY, *LENGTHS, "--home", own.path, "--tracking", tracking) == 0
    return the_run(own)


@pytest.fixture(scope="module")
def left(home: Home, tracking: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str, int]:
    """The same run, told to go by SIGTERM after its sixteenth tick; what it said, and its exit status."""
    own = copy_of(home, tmp_path_factory.mktemp("left") / "home")
    words = ["train", "ring", *TINY, *LENGTHS, "--home", str(own.path), "--tracking", tracking]
    (own.path / "pace").write_text("0.05")
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY.format(str(own.path / "pace")), *words],
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    try:
        wait_until(lambda: list(own.runs.glob("*/run.json")) and len(ticks_of(the_run(own).path)) >= 16)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=400)
    finally:
        process.kill()
    return own, said, process.returncode


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_a_line_and_a_status(left: tuple[Home, str, int], tracking: str) -> None:
    home, said, status = left
    run = the_run(home)
    newest = stage.newest_name(run)
    assert status == 128 + signal.SIGTERM
    assert said.splitlines()[-1] == (
        f"gan: run {run.name} was ended by SIGTERM, {newest} stands; `gan train --run {run.name}` goes on"
    )
    assert newest is not None
    # One more than the regular ones, every ten ticks.
    assert read_contents(run.path / newest).progress.rounds % 100 != 0
    assert not run.finished
    experiment = mlflow_client(tracking).get_experiment_by_name("ring").experiment_id
    (tracked,) = mlflow_client(tracking).search_runs([experiment], f"attributes.run_name = '{run.name}'")
    assert tracked.info.status == "KILLED"


@pytest.mark.slow
def test_what_sigterm_ended_goes_on_bit_for_bit(
    left: tuple[Home, str, int], whole: RunFolder, tracking: str, tmp_path: Path
) -> None:
    home = copy_of(left[0], tmp_path / "home")
    run = the_run(home)
    assert gan("train", "--run", run.name, "--home", home.path, "--tracking", tracking) == 0
    assert weights(run.last_checkpoint()) == weights(whole.last_checkpoint())
    assert ticks_of(run.path) == ticks_of(whole.path)
    judged = [path.name for path in (whole.path / "evaluations").glob("*.json")]
    assert len(judged) == 2
    assert sorted(path.name for path in (run.path / "evaluations").glob("*.json")) == sorted(judged)


@pytest.mark.slow
def test_a_checkpoint_cut_in_the_middle_is_said_and_the_one_before_is_used(
    left: tuple[Home, str, int], whole: RunFolder, tracking: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = copy_of(left[0], tmp_path / "home")
    run = the_run(home)
    before, cut = sorted(run.path.glob("checkpoint-*"))[-2:]
    size = (cut / "generator.safetensors").stat().st_size
    os.truncate(cut / "generator.safetensors", 100)
    with caplog.at_level(logging.WARNING):
        assert gan("train", "--run", run.name, "--home", home.path, "--tracking", tracking) == 0
    (said,) = {record.getMessage() for record in caplog.records if "is used instead" in record.getMessage()}
    assert said == (
        f"checkpoint {cut} is incomplete: generator.safetensors has 100 bytes of {size}; {before.name} is used instead"
    )
    records = [entry.record for entry in read_entries(journal_folder(run.path) / "train.jsonl")]
    assert said in [record["values"].get("gan.passed_over") for record in records if record["kind"] == "tags"]
    assert weights(run.last_checkpoint()) == weights(whole.last_checkpoint())
    assert ticks_of(run.path) == ticks_of(whole.path)


@contextlib.contextmanager
def held(run: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains `run`, or seems to."""
    script = f"""
import time
from pathlib import Path
from pipelines.run_folder import RunFolder
with RunFolder(Path({str(run.path)!r})).locked():
    print("held", flush=True)
    time.sleep(1000)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_second_job_on_a_run_is_refused_and_a_killed_one_holds_nothing(
    home: Home, tmp_path: Path, tracking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = copy_of(home, tmp_path / "home")
    run = stage.create_run(find_recipe("ring", [*TINY, *LENGTHS]), prepare(own), own, "ring-1")
    with held(run) as process:
        said = refused(capsys, "train", "--run", "ring-1", "--home", own.path, "--tracking", tracking)
        assert f"run ring-1 is being trained by process {process.pid} on " in said
        assert not (run.path / "journal").exists()
        longer = ["--add-epochs", 3, "--home", own.path, "--tracking", tracking]
        assert "is being trained by" in refused(capsys, "train", "--run", "ring-1", *longer)
        assert run.recipe() == run.first_recipe()  # the length stays that of the training that goes on
        process.kill()
        process.wait()
        with run.locked():
            pass


def test_workers_that_fail_alike_end_alike_and_one_that_fails_alone_says_why(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert failure_of(run) is None
    assert failed_alike(run, 0, 1, "alone")
    assert failure_of(run) is None
    assert not failed_alike(run, 1, 3, "no such shard", 0.3)
    assert failure_of(run) == "no such shard"
    with ThreadPoolExecutor(2) as others:  # within the time that it waits
        assert [*others.map(lambda rank: failed_alike(run, rank, 3, "the same", 60), (0, 2))] == [True, True]


def test_a_wish_is_one_of_two_words_and_nothing_else(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert wish_of(run) is None
    for said, wish in (("stop", "stop"), ("resize", "resize"), ("", None)):  # empty: a file that is being written
        (tmp_path / "wish").write_text(said)
        assert wish_of(run) == wish


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_in_one_line_and_it_goes_on_when_there_is_room(
    home: Home, whole: RunFolder, small_disk: Path, tracking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = copy_of(home, small_disk / "home")
    run = stage.create_run(find_recipe("ring", [*TINY, *LENGTHS]), prepare(own), own, "ring-1")
    words = ["train", "--run", "ring-1", "--home", own.path, "--tracking", tracking]
    with (small_disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))
    said = refused(capsys, *words)
    assert "No space left on device" in said
    assert str(run.path) in said
    (small_disk / "filler").unlink()

    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    said = refused(capsys, *words)
    assert said == f"gan: cannot write {run.path}/lock: Read-only file system; a run is trained where it can be written"
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)

    assert gan(*words) == 0
    assert weights(run.last_checkpoint()) == weights(whole.last_checkpoint())
    assert ticks_of(run.path) == ticks_of(whole.path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["optimizers.safetensors", "progress.json"])
def test_a_checkpoint_that_the_disk_refuses_ends_the_run_and_the_one_before_stands(
    name: str, home: Home, whole: RunFolder, tmp_path: Path, tracking: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """From the second checkpoint on, at 6,400 images, all are refused as they reach the disk."""
    own = copy_of(home, tmp_path / "home")
    run = stage.create_run(find_recipe("ring", [*TINY, *LENGTHS]), prepare(own), own, "ring-1")
    words = ["train", "--run", "ring-1", "--home", own.path, "--tracking", tracking]
    sync = files._sync

    def full(path: Path) -> None:
        if path.name == name and "checkpoint-000000003200" not in path.parent.name:
            raise OSError(28, os.strerror(28))
        sync(path)

    with monkeypatch.context() as patched:
        patched.setattr(files, "_sync", full)
        said = refused(capsys, *words)
    assert said.startswith(f"gan: cannot write {run.path}/checkpoint-000000006400: No space left on device; ")
    assert [path.name for path in run.path.glob("*checkpoint-*")] == ["checkpoint-000000003200"]
    assert gan(*words) == 0
    assert weights(run.last_checkpoint()) == weights(whole.last_checkpoint())


@pytest.mark.slow
def test_a_judge_that_is_killed_is_replaced(home: Home, tmp_path: Path, tracking: str) -> None:
    """SIGKILL of the process that judges, beside a training in the calling process."""
    own = copy_of(home, tmp_path / "home")
    (own.path / "pace").write_text("0.05")
    script = SLOWLY.format(str(own.path / "pace"))
    words = ["train", "ring", *TINY, *LENGTHS, "--home", str(own.path), "--tracking", tracking]
    process = subprocess.Popen([sys.executable, "-c", script, *words], cwd=REPOSITORY)
    try:
        wait_until(lambda: descendants("spawn_main", process.pid) or process.poll() is not None)
        judges = descendants("spawn_main", process.pid)
        assert len(judges) == 1
        os.kill(judges[0], signal.SIGKILL)
        (own.path / "pace").unlink()
        assert process.wait(400) == 0
    finally:
        process.kill()
    run = the_run(own)
    assert len(list((run.path / "evaluations").glob("*.json"))) == 2


def test_a_clock_that_is_set_back_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1_000, 2_000, 500, 600, 400, 3_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock) * 1_000_000)
    for images in ((64, 128, 192), (256, 320, 384)):
        with Journal(tmp_path, "train") as journal:
            for seen in images:
                journal.metrics(seen, {"loss": 1 / seen})
    records = [entry.record for entry in read_entries(journal_folder(tmp_path) / "train.jsonl")]
    assert [record["time"] for record in records] == [1_000, 2_000, 2_000, 2_000, 2_000, 3_000]
    assert [record["images_seen"] for record in records] == [64, 128, 192, 256, 320, 384]


def test_a_journal_is_written_by_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.3)
    with Journal(tmp_path, "train"):
        with pytest.raises(UserError, match=r"another process writes the journal .*train\.jsonl; wait for it"):
            Journal(tmp_path, "train")
        with Journal(tmp_path, "evaluate"):
            pass
    with Journal(tmp_path, "train"):
        pass
