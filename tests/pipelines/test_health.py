"""`gan health`, advice applied, runs that end early: as a person types it, on points that take seconds."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ganlib.data import Dataset
from pipelines.health import TAG_LENGTH, VERDICTS_TAG, health_tags
from pipelines.journal import journal_folder, read_entries, read_metrics
from pipelines.run_folder import Home, RunFolder
from pipelines.tracking import HEALTH_TAG, experiment_id, mlflow_client
from pipelines.train import create_run
from tests.ganlib.health.made import diagnosed
from tests.pipelines.command import gan, refused

STUCK = [
    "data.read.count=2000", "train.batch=64", "train.images=6400", "train.tick=320", "train.sample_every=1600",
    "train.checkpoint_every=6400", "train.evaluate_every=6400", "evaluate.samples=200", "optim.generator.lr=1e-9",
]  # fmt: skip
"""A generator that does not move from where it began: points close together in the middle of the ring."""


@pytest.fixture(scope="module")
def tracking(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    shutil.copyfile(empty_database, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def home(tracking: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one run, that was stopped for its health."""
    path = tmp_path_factory.mktemp("home")
    words = ["train", "ring", *STUCK, "train.stop_when_unhealthy=true", "--home", path, "--tracking", tracking]
    assert gan(*words) == 2
    return path


def the_run(home: Path) -> RunFolder:
    return RunFolder(min((home / "runs").iterdir(), key=lambda path: (path / "run.json").stat().st_mtime_ns))


def test_a_run_is_stopped_where_it_is_certain_and_says_why(home: Path) -> None:
    """At 3,200 images, ten ticks, the second time that samples are due: after eight there is a verdict at all."""
    run = the_run(home)
    driver = read_entries(journal_folder(run.path) / "driver.jsonl")
    (said,) = {entry.record["values"]["gan.ended"] for entry in driver if "gan.ended" in entry.record.get("values", {})}
    assert said.startswith("stopped at 3,200 images because of mode-collapse: two samples are 0.")
    assert f"gan train --from {run.name} --apply-advice" in said
    assert not run.finished
    assert [path.name for path in run.path.glob("checkpoint-*")] == ["checkpoint-000000003200"]
    assert read_metrics(run.path)["d_real"][-1][0] == 3_200


def test_verdicts_are_tags_and_a_column_of_runs(home: Path, tracking: str, capsys: pytest.CaptureFixture[str]) -> None:
    client = mlflow_client(tracking)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    (stopped,) = [run for run in client.search_runs(ids) if run.info.run_name == the_run(home).name]
    assert stopped.info.status == "FAILED"
    assert stopped.data.tags[HEALTH_TAG].startswith("mode-collapse!")
    verdicts = json.loads(stopped.data.tags[VERDICTS_TAG])
    assert verdicts[0]["name"] == "mode-collapse"
    # The last four of ten ticks, each of which says so: (4 + 1) / (4 + 2).
    assert verdicts[0]["confidence"] == pytest.approx(5 / 6)
    assert verdicts[0]["images"] == [2_240, 3_200]
    capsys.readouterr()
    assert gan("runs", "--home", home, "--tracking", tracking) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    column = head.split("\t").index("health")
    (row,) = [row.split("\t") for row in rows if the_run(home).name in row]
    assert row[column].startswith("mode-collapse!")


def test_verdicts_are_json_that_any_reader_reads_and_mlflow_keeps_whole(tracking_uri: str) -> None:
    """A run that diverged has NaN for evidence; and MLflow cuts a long tag."""
    from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

    def no_number(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    diverged = diagnosed(loss__generator=[1.0] * 25 + [math.nan] * 5)["diverged"]
    assert math.isnan(diverged.evidence["loss/generator"])
    many = [diverged, *(replace(diverged, name=f"other-{number}", says="x" * 400) for number in range(30))]
    client = mlflow_client(tracking_uri)
    run = client.create_run(experiment_id(client, "health")).info.run_id
    for verdicts, least in (([diverged], 1), (many, 5)):
        for name, value in health_tags(verdicts).items():
            client.set_tag(run, name, value)
        kept = client.get_run(run).data.tags[VERDICTS_TAG]
        found = json.loads(kept, parse_constant=no_number)
        assert [one["name"] for one in found] == [verdict.name for verdict in verdicts[: len(found)]]
        assert found[0]["evidence"] == {"loss/generator": "nan"}
        assert least <= len(found)
        assert len(kept) <= TAG_LENGTH == MAX_TAG_VAL_LENGTH
    assert len(found) < len(many)


def test_health_prints_numbers_range_and_the_advice(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert gan("health", the_run(home).name, "--home", home) == 0
    said = capsys.readouterr().out
    assert "mode-collapse (severe, confidence 0.83)" in said
    assert "from 2,240 to 3,200 images: variety 0." in said
    assert "  method.objective: non-saturating -> relativistic   (mode-collapse)" in said


def test_advice_is_applied_in_a_new_run_that_says_what_it_changed(
    home: Path, tracking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "home"
    shutil.copytree(home, again)
    old = the_run(again)
    capsys.readouterr()
    words = ["--from", old.name, "--apply-advice", "optim.generator.lr=1e-3", "train.images=640"]
    words += ["train.stop_when_unhealthy=false"]
    assert gan("train", *words, "--home", again, "--tracking", tracking) == 0
    said = capsys.readouterr().out
    assert f"changed, as the health of {old.name} advises:" in said
    assert "method.objective: non-saturating -> relativistic" in said
    (new,) = [RunFolder(path) for path in (again / "runs").iterdir() if path.name != old.name]
    assert new.recipe().method.objective == "relativistic"
    assert new.recipe().optim.generator.lr == 1e-3
    assert new.facts().dataset_digest == old.facts().dataset_digest
    tags: dict[str, str] = {}
    for entry in read_entries(new.path / "journal" / "driver.jsonl"):
        tags |= entry.record["values"] if entry.record["kind"] == "tags" else {}
    assert tags["gan.from"] == old.name
    assert "method.objective" in tags["gan.advice"]
    # Of what has no history there is nothing to say.
    fresh = create_run(old.recipe(), Dataset.open(old.facts().dataset_path), Home(again), "fresh")
    assert "no advice to apply" in refused(
        capsys, "train", "--from", fresh.name, "--apply-advice", "--home", again, "--tracking", tracking
    )


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["train", "--apply-advice"], "name it with --from"),
        (["train", "digits", "--apply-advice"], "name it with --from"),
        (["train", "--from", "x", "--resume"], "leave out --run, --resume"),
        (["train", "--from", "x"], "no run 'x'"),
        (["health", "x"], "no run 'x'"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], part: str, tmp_path: Path, tracking: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    assert part in refused(capsys, *words, "--home", tmp_path)


def test_a_recipe_beside_from_is_refused(home: Path, tracking: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "train", "digits", "--from", the_run(home).name, "--home", home, "--tracking", tracking)
    assert "path=value" in said
