"""Shipping the journal to MLflow: everything arrives, once, whatever is killed."""

import json
import logging
import math
import multiprocessing
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from pipelines.journal import Journal
from pipelines.sender import Sender
from pipelines.tracking import close_run, experiment_id, mlflow_client, open_run
from tests.pipelines.conftest import Server

DIGEST = "0123456789abcdef" * 4
CHECKPOINT = "checkpoint-000000000128"


def write_run(folder: Path) -> None:
    """A run with records of every kind from all three writers."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    with Journal(folder, "driver") as driver, Journal(folder, "train") as train, Journal(folder, "evaluate") as judge:
        driver.params({"optim.generator.lr": 1e-4, "optim.generator.betas": [0.5, 0.99], "name": "digits"})
        driver.params({f"field.{index}": index for index in range(150)})  # more than a request may hold
        driver.tags({"host.name": "vm"})
        driver.dataset("digits", DIGEST, "sklearn", {"images": 1797})
        for images in (64, 128):
            train.metrics(images, {"loss/generator": 1 / images, "rate": math.nan if images == 64 else math.inf})
            Image.new("L", (600, 300), images).save(pictures / f"samples-{images}.png")
            train.picture(images, "samples/fixed noise", pictures / f"samples-{images}.png")
        train.checkpoint(128, CHECKPOINT)
        judge.metrics(128, {"fid/classifier": 42.5, "score/classifier": math.nan}, checkpoint=CHECKPOINT)
        (folder / "curves.svg").write_text("<svg/>")
        driver.artifact(folder / "curves.svg", "plots")
        driver.artifact(pictures)
        driver.finish("FINISHED")


def replica(tracking_uri: str, run_id: str) -> dict[str, object]:
    """All that MLflow holds of a run, in plain values."""
    client = mlflow_client(tracking_uri)
    run = client.get_run(run_id)
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    histories = {key: client.get_metric_history(run_id, key) for key in sorted(run.data.metrics)}
    artifacts: list[str] = []
    folders = [""]
    while folders:
        for item in client.list_artifacts(run_id, folders.pop() or None):
            (folders if item.is_dir else artifacts).append(item.path)
    return {
        "status": run.info.status,
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": {key: [(m.step, m.timestamp, repr(m.value)) for m in items] for key, items in histories.items()},
        "datasets": [(d.dataset.name, d.dataset.digest, d.dataset.profile) for d in run.inputs.dataset_inputs],
        "outputs": [(output.model_id, output.step) for output in run.outputs.model_outputs],
        "models": [
            (m.name, str(m.status), m.params, m.tags, [(x.key, x.value, x.step, x.dataset_digest) for x in m.metrics])
            for m in models
        ],
        "artifacts": sorted(artifacts),
    }


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    write_run(folder)
    return folder


def shipped(run_folder: Path, tracking_uri: str) -> str:
    """The run's id after everything was shipped."""
    sender = Sender(run_folder, tracking_uri, "tests", "a run", tags={"version.torch": "2"})
    assert sender.drain(60) == 0
    assert sender.run_id is not None
    return sender.run_id


def test_every_kind_of_record_arrives(run_folder: Path, tracking_uri: str) -> None:
    run_id = shipped(run_folder, tracking_uri)
    client = mlflow_client(tracking_uri)
    run = client.get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("a run", "FINISHED")
    assert client.get_experiment(run.info.experiment_id).name == "tests"
    assert run.data.params == {
        "optim.generator.lr": "0.0001",
        "optim.generator.betas": "[0.5, 0.99]",
        "name": "digits",
        **{f"field.{index}": str(index) for index in range(150)},
    }
    assert {"host.name": "vm", "version.torch": "2", "gan.images": "128", "mlflow.loggedImages": "True"}.items() <= (
        run.data.tags.items()
    )
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("digits", DIGEST[:36])
    assert json.loads(dataset.dataset.profile) == {"images": 1797, "digest": DIGEST}
    assert json.loads(dataset.dataset.source) == {"uri": "sklearn"}

    history = client.get_metric_history(run_id, "loss/generator")
    assert [(metric.step, metric.value) for metric in history] == [(64, 1 / 64), (128, 1 / 128)]
    nan, infinity = client.get_metric_history(run_id, "rate")
    assert math.isnan(nan.value)
    assert infinity.value == sys.float_info.max  # SQL has no infinity; so MLflow writes it
    artifacts = Path(tracking_uri.removeprefix("sqlite:///")).parent / "artifacts" / run_id / "artifacts"
    assert (artifacts / "plots" / "curves.svg").read_text() == "<svg/>"
    assert (artifacts / "pictures" / "samples-64.png").exists()


def test_a_checkpoint_is_a_logged_model_with_its_scores_and_their_dataset(run_folder: Path, tracking_uri: str) -> None:
    run_id = shipped(run_folder, tracking_uri)
    client = mlflow_client(tracking_uri)
    run = client.get_run(run_id)
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    assert (model.name, str(model.status)) == (CHECKPOINT, "READY")
    assert model.params == {"images_seen": "128"}
    assert model.tags["gan.checkpoint"] == str(run_folder / CHECKPOINT)
    # The NaN is on the run, not here, where MLflow would show it as 0.
    assert [(m.key, m.value, m.step, m.dataset_name, m.dataset_digest) for m in model.metrics] == [
        ("fid/classifier", 42.5, 128, "digits", DIGEST[:36])
    ]
    assert math.isnan(client.get_metric_history(run_id, "score/classifier")[0].value)
    assert [(output.model_id, output.step) for output in run.outputs.model_outputs] == [(model.model_id, 128)]
    assert client.list_logged_model_artifacts(model.model_id) == []


def test_pictures_have_the_names_that_mlflow_gives_its_own(run_folder: Path, tracking_uri: str) -> None:
    """The UI finds key, step and time of an image in its file name; the last part only keeps names apart."""
    run_id = shipped(run_folder, tracking_uri)
    client = mlflow_client(tracking_uri)
    folder = Path(tracking_uri.removeprefix("sqlite:///")).parent / "artifacts"
    records = [json.loads(line) for line in (run_folder / "journal" / "train.jsonl").read_text().splitlines()]
    other = client.create_run(client.get_run(run_id).info.experiment_id).info.run_id
    for record in records:
        if record["kind"] == "picture":
            with Image.open(run_folder / record["path"]) as image:
                client.log_image(other, image, key=record["key"], step=record["images_seen"], timestamp=record["time"])

    def contents(run: str) -> dict[str, bytes]:
        uuid = "+01234567-89ab-cdef-0123-456789abcdef"
        files = sorted((folder / run / "artifacts" / "images").iterdir())
        return {file.name[: -len(uuid + end)] + end: file.read_bytes() for file in files for end in (ending(file),)}

    def ending(file: Path) -> str:
        return "+compressed.webp" if file.name.endswith("+compressed.webp") else ".png"

    assert len(contents(run_id)) == 4
    assert contents(run_id) == contents(other)
    assert (
        client.get_run(run_id).data.tags["mlflow.loggedImages"]
        == (client.get_run(other).data.tags["mlflow.loggedImages"])
    )


def test_shipping_the_same_records_again_changes_nothing(run_folder: Path, tracking_uri: str) -> None:
    """As after a kill between shipping and noting it, at each record in turn: the notes go back, MLflow does not."""
    run_id = shipped(run_folder, tracking_uri)
    once = replica(tracking_uri, run_id)
    sent_file = run_folder / "journal" / "sent.json"
    sent = json.loads(sent_file.read_text())
    blank: dict[str, object] = {"offsets": {}, "models": {}, "dataset": None, "images_seen": 0, "finished_by": None}
    for forgotten in (blank, blank | {"run_id": None}):
        sent_file.write_text(json.dumps(sent | forgotten))
        assert shipped(run_folder, tracking_uri) == run_id
        assert replica(tracking_uri, run_id) == once
    assert json.loads(sent_file.read_text()) == sent


def test_a_run_stays_of_the_kind_that_it_was_begun_as(run_folder: Path, tracking_uri: str) -> None:
    for kind, version in (("trial", "1"), ("training", "2")):
        sender = Sender(run_folder, tracking_uri, "tests", "a run", tags={"gan.kind": kind, "version.torch": version})
        assert sender.drain(60) == 0
    assert sender.run_id is not None
    tags = mlflow_client(tracking_uri).get_run(sender.run_id).data.tags
    assert (tags["gan.kind"], tags["version.torch"]) == ("trial", "2")


def test_another_store_and_one_that_was_lost_get_the_whole_journal(
    run_folder: Path, tracking_uri: str, empty_database: Path, tmp_path: Path
) -> None:
    run_id = shipped(run_folder, tracking_uri)
    other = f"sqlite:///{shutil.copy(empty_database, tmp_path / 'other.db')}"
    elsewhere = shipped(run_folder, other)
    assert replica(other, elsewhere)["metrics"] == replica(tracking_uri, run_id)["metrics"]
    mlflow_client(other).delete_run(elsewhere)
    again = shipped(run_folder, other)
    assert again != elsewhere
    assert replica(other, again)["metrics"] == replica(tracking_uri, run_id)["metrics"]


def test_what_is_recorded_after_the_end_says_that_the_run_goes_on(run_folder: Path, tracking_uri: str) -> None:
    run_id = shipped(run_folder, tracking_uri)
    client = mlflow_client(tracking_uri)
    with Journal(run_folder, "evaluate") as judge:  # a late score is no resumption
        judge.metrics(192, {"fid/classifier": 40.0})
    shipped(run_folder, tracking_uri)
    assert client.get_run(run_id).info.status == "FINISHED"
    with Journal(run_folder, "driver") as driver:
        driver.tags({"host.name": "another"})
        shipped(run_folder, tracking_uri)
        assert client.get_run(run_id).info.status == "RUNNING"
        driver.finish("FAILED")
    shipped(run_folder, tracking_uri)
    assert client.get_run(run_id).info.status == "FAILED"


def test_a_parameter_changed_on_resume_keeps_its_first_value_and_the_new_one_as_a_tag(
    run_folder: Path, tracking_uri: str
) -> None:
    with Journal(run_folder, "driver") as driver:
        driver.params({"optim.generator.lr": 2e-4, "name": "digits"})
    run = mlflow_client(tracking_uri).get_run(shipped(run_folder, tracking_uri))
    assert run.data.params["optim.generator.lr"] == "0.0001"
    assert {key: value for key, value in run.data.tags.items() if key.startswith("resumed.")} == {
        "resumed.optim.generator.lr": "0.0002"
    }


def test_a_record_that_mlflow_refuses_does_not_hold_up_the_others(
    run_folder: Path, tracking_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Journal(run_folder, "train") as train:
        train.metrics(192, {"a/../b": 1.0})  # MLflow wants no such path
        train.metrics(192, {"loss/generator": 0.25})
        train.picture(192, "gone", run_folder / "pictures" / "gone.png")
        (run_folder / "text.png").write_bytes(b"no picture")
        train.picture(192, "text", run_folder / "text.png")
        (run_folder / "short.png").write_bytes((run_folder / "pictures" / "samples-64.png").read_bytes()[:90])
        train.picture(192, "short", run_folder / "short.png")
        train.metrics(256, {"loss/generator": 0.125})
    history = mlflow_client(tracking_uri).get_metric_history(shipped(run_folder, tracking_uri), "loss/generator")
    assert [(m.step, m.value) for m in history] == [(64, 1 / 64), (128, 1 / 128), (192, 0.25), (256, 0.125)]
    refusals = [record.getMessage() for record in caplog.records if "refuses" in record.getMessage()]
    assert len(refusals) == 4
    assert "a/../b" in refusals[0]
    assert "gone.png is gone" in refusals[1]
    assert "text.png is no whole picture" in refusals[2]
    assert "short.png is no whole picture" in refusals[3]


def test_a_strangers_run_folder_uploads_nothing_from_elsewhere(
    run_folder: Path, tmp_path: Path, tracking_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever wrote the folder wrote its journal too, and made its links."""
    (tmp_path / "elsewhere").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "elsewhere" / "private.png")
    (run_folder / "link.png").symlink_to(tmp_path / "elsewhere" / "private.png")
    (run_folder / "album").mkdir()
    (run_folder / "album" / "inside.png").symlink_to(tmp_path / "elsewhere" / "private.png")
    (run_folder / "door").symlink_to(tmp_path / "elsewhere")
    paths = ["../elsewhere/private.png", str(tmp_path / "elsewhere" / "private.png"), "link.png", "door/private.png"]
    with (run_folder / "journal" / "driver.jsonl").open("a") as journal:
        for number, path in enumerate(paths):
            picture = {"kind": "picture", "time": 1, "images_seen": number, "key": "stolen", "path": path}
            artifact = {"kind": "artifact", "time": 1, "path": path, "folder": "stolen"}
            journal.write(f"{json.dumps(picture)}\n{json.dumps(artifact)}\n")
        for path in ("album", "door", "..", "../elsewhere"):
            journal.write(json.dumps({"kind": "artifact", "time": 1, "path": path, "folder": "stolen"}) + "\n")
    held = replica(tracking_uri, shipped(run_folder, tracking_uri))
    assert [name for name in held["artifacts"] if "stolen" in name or "private" in name] == []  # type: ignore[attr-defined]
    assert "plots/curves.svg" in held["artifacts"]  # type: ignore[operator]
    refusals = [record.getMessage() for record in caplog.records if "refuses" in record.getMessage()]
    assert len(refusals) == 2 * len(paths) + 4
    assert all("is not in the run's folder" in said for said in refusals)


def test_the_thread_ships_while_the_journal_grows(tmp_path: Path, tracking_uri: str) -> None:
    sender = Sender(tmp_path / "run", tracking_uri, "tests", "growing")
    sender.start()
    client = mlflow_client(tracking_uri)
    with Journal(tmp_path / "run", "train") as train:
        for images in (1, 2):
            train.metrics(images, {"loss": float(images)})
            deadline = time.monotonic() + 30
            while sender.run_id is None or len(client.get_metric_history(sender.run_id, "loss")) < images:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            sender.start()  # once more, as after a drain
        train.metrics(3, {"loss": 3.0})
    assert sender.drain(30) == 0
    assert [thread for thread in threading.enumerate() if thread.name == "mlflow-sender"] == []
    assert sender.run_id is not None
    assert [m.value for m in client.get_metric_history(sender.run_id, "loss")] == [1.0, 2.0, 3.0]


def test_a_child_run_is_nested_and_the_chain_opens_and_closes_its_parent_once(
    run_folder: Path, tracking_uri: str
) -> None:
    parents = [open_run(tracking_uri, "tests", "the chain", {"stage": "chain"}, "unique") for _ in range(2)]
    assert parents[0] == parents[1]
    sender = Sender(run_folder, tracking_uri, "tests", "train", parent_run_id=parents[0])
    assert sender.drain(60) == 0
    client = mlflow_client(tracking_uri)
    (child,) = client.search_runs([experiment_id(client, "tests")], f"tags.mlflow.parentRunId = '{parents[0]}'")
    assert child.info.run_id == sender.run_id
    close_run(tracking_uri, parents[0], "FAILED")
    parent = client.get_run(parents[0])
    assert (parent.info.status, parent.info.run_name, parent.data.tags["stage"]) == ("FAILED", "the chain", "chain")
    assert open_run(tracking_uri, "tests", "the chain", {}, "unique") == parents[0]
    assert client.get_run(parents[0]).info.status == "RUNNING"


def test_a_sender_killed_at_random_moments_ships_everything_once(tracking_uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder)
    count = 3000
    with Journal(folder, "train") as train:
        for images in range(1000, 1000 + count):
            train.metrics(images, {"loss/a": images / 7, "loss/b": -images / 3})
            if images % 500 == 0:
                train.picture(images, "samples/late", folder / "pictures" / "samples-64.png")
                train.checkpoint(images, f"checkpoint-{images:012}")
    # Forked, so that a kill costs no import of mlflow; nothing here has opened this store yet.
    fork = multiprocessing.get_context("fork")
    size = (folder / "journal" / "train.jsonl").stat().st_size
    chance = random.Random(1)
    for share in sorted(chance.uniform(0, 0.9) for _ in range(4)):
        process = fork.Process(target=lambda: Sender(folder, tracking_uri, "tests", "killed").drain(60))
        process.start()
        while noted(folder) < share * size:
            assert process.is_alive()
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert noted(folder) < size
    sender = Sender(folder, tracking_uri, "tests", "killed")
    assert sender.drain(60) == 0
    client = mlflow_client(tracking_uri)
    (run,) = client.search_runs([experiment_id(client, "tests")])
    assert run.info.run_id == sender.run_id
    for key, factor in (("loss/a", 1 / 7), ("loss/b", -1 / 3)):
        history = client.get_metric_history(run.info.run_id, key)
        steps = [metric.step for metric in history]
        assert steps == list(range(1000, 1000 + count))
        assert [metric.value for metric in history] == pytest.approx([step * factor for step in steps], rel=1e-15)
    models = client.search_logged_models([run.info.experiment_id])
    names = [CHECKPOINT, *(f"checkpoint-{images:012}" for images in range(1000, 4000, 500))]
    assert sorted(model.name for model in models) == names
    assert len(run.outputs.model_outputs) == len(names)
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2 * (2 + 6)


def noted(run_folder: Path) -> int:
    """The bytes of the training's journal that the sender has noted as sent."""
    sent = run_folder / "journal" / "sent.json"
    return int(json.loads(sent.read_text())["offsets"].get("train.jsonl", 0)) if sent.exists() else 0


@pytest.mark.slow
def test_a_server_killed_while_records_arrive_has_each_once_when_it_is_back(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pipelines.sender")
    write_run(tmp_path / "run")
    sender = Sender(tmp_path / "run", server.uri, "killed server", "a run")
    sender.start()
    with Journal(tmp_path / "run", "train") as train:
        writing = threading.Thread(target=lambda: record(train), daemon=True)

        def record(journal: Journal) -> None:
            for images in range(1000, 6000):
                journal.metrics(images, {"loss/a": images / 7, "loss/b": images / 3})
                time.sleep(0.0005)

        writing.start()
        while not received(server, "loss/a"):  # it is in the middle of it
            time.sleep(0.02)
        server.kill()
        writing.join()
        at_the_kill = received(server, "loss/a")
        assert 0 < at_the_kill < 5000
        assert sender.drain(3) > 0
        server.start()
        sender.start()
        assert sender.drain(120) == 0
    assert sender.run_id is not None
    client = mlflow_client(server.uri)
    for key, divisor in (("loss/a", 7), ("loss/b", 3)):
        with sqlite3.connect(server.folder / "mlflow.db") as database:
            rows = database.execute("SELECT step, value FROM metrics WHERE key = ? ORDER BY rowid", (key,)).fetchall()
        assert rows == [(images, images / divisor) for images in range(1000, 6000)]
    assert any("is away" in record.getMessage() for record in caplog.records)
    run = client.get_run(sender.run_id)
    assert (run.info.status, len(run.outputs.model_outputs)) == ("FINISHED", 1)
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert len(client.list_artifacts(sender.run_id, "images")) == 4
    (artifact,) = client.list_artifacts(sender.run_id, "plots")
    assert Path(client.download_artifacts(sender.run_id, artifact.path, str(tmp_path))).read_text() == "<svg/>"


def received(server: Server, key: str) -> int:
    with sqlite3.connect(server.folder / "mlflow.db") as database:
        return int(database.execute("SELECT count(*) FROM metrics WHERE key = ?", (key,)).fetchone()[0])
