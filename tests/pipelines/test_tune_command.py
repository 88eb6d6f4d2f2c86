"""`gan tune`: what it refuses, before Ray is started; what a study is begun with."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.recipe import Recipe
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home, RunFolder
from pipelines.shipped import find_recipe
from pipelines.tracking import mlflow_client
from pipelines.tune import (
    Asked,
    Settings,
    create_study,
    find_study,
    metric_named,
    require_searchable,
    studies_of,
    tune,
)
from tests.pipelines.command import refused
from tuning.record import Study
from tuning.space import Space, own_space

TINY = ["method.generator.width=8", "method.discriminator.width=8", "evaluate.samples=64", "train.images=2700"]
DIGITS = find_recipe("digits", TINY)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home")).create()


@pytest.fixture(scope="module")
def dataset(home: Home) -> Dataset:
    return DatasetRequest(DIGITS.data, home).prepare()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a recipe to tune"),
        (["digits", "--study", "x"], "not both"),
        (["--study", "x"], "there is no study 'x'"),
        (["--study", "x", "--source", "y"], "keeps what it was begun with; leave --source out"),
        (["--study", "x", "--trials", "16", "--no-prune", "--at-once=2"], "leave --trials, --prune, --at-once out"),
        (["digitz"], "did you mean 'digits'"),
        (["digits", "optim.generator.lrr=log(1e-5,1e-2)"], "did you mean optim.generator.lr"),
        (["digits", "optim.generator.lr=log(0,1)"], "logarithm of 0"),
        (["digits", "optim.generator.lr=uniform(1,1)"], "empty"),
        (["digits", "optim.generator.lr=loog(1e-5,1)"], "there is no loog()"),
        (["digits", "method.objective=choice(hinge,3)"], "method.objective is 3"),
        (["digits", "optim.generator.lrr=1e-4"], "did you mean 'optim.generator.lr'"),
        (["digits", "--space", "none.yaml"], "cannot be read"),
        (
            ["digits", "--scheduler", "pbt", "method.penalty.kind=choice(none,r1)"],
            "cannot change while a trial goes on",
        ),
        (["digits", "--metric", "fidd"], "there is no metric 'fidd'; did you mean fid?"),
        (["digits", "--metric", "sharpness"], "neither more nor less of sharpness is better"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], tracking_uri: str
) -> None:
    assert said in refused(capsys, "tune", *words, "--home", tmp_path, "--tracking", tracking_uri)


def two_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of two machines of 2 CPUs each, as Ray tells of it."""
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}] * 2
    monkeypatch.setattr("tuning.study.ray.nodes", lambda: nodes)
    monkeypatch.setattr("tuning.study._most_nodes", list)
    monkeypatch.setattr("pipelines.tune.has_gpus", lambda count: False)


def test_room_is_looked_for_before_minutes_go_into_a_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.tune.connect", lambda workers, spare: None)
    two_machines(monkeypatch)
    words = ["digits", "workers=9", "--home", tmp_path, "--tracking", tracking_uri]
    assert "a trial takes 9 workers of 1 CPUs each, and the cluster has 4 CPUs" in refused(capsys, "tune", *words)
    assert not list((tmp_path / "datasets").glob("*"))


def test_what_is_the_same_for_all_trials_cannot_be_drawn() -> None:
    for path, text in {
        "data.size": "choice(16, 32)", "evaluate.samples": "int(64, 128)", "train.images": "int(100, 200)",
        "train.seed": "int(0, 9)", "workers": "int(0, 2)",
    }.items():  # fmt: skip
        space = Space.parse(DIGITS, {path: text})
        with pytest.raises(UserError, match=f"{path} decides the data, the judge or the length"):
            require_searchable(space, "asha")
    augmented = Space.parse(DIGITS, {"data.augment.crop_padding": "int(0, 2)"})
    require_searchable(augmented, "pbt")
    width = Space.parse(DIGITS, {"method.generator.width": "int(8, 16)"})
    require_searchable(width, "asha")
    with pytest.raises(UserError, match="width cannot change while a trial goes on"):
        require_searchable(width, "pbt")
    require_searchable(Space.parse(DIGITS, own_space(DIGITS)), "pbt")


def test_a_metric_is_known_by_its_name_before_anything_is_trained(dataset: Dataset) -> None:
    assert metric_named("fid", DIGITS, dataset).startswith("fid/classifier-")
    assert metric_named("fid/classifier", DIGITS, dataset) == metric_named("fid", DIGITS, dataset)
    label = metric_named("fid", DIGITS, dataset).removeprefix("fid/")
    assert metric_named("modes/covered", DIGITS, dataset) == f"modes/covered/{label}"
    assert metric_named("recall", DIGITS, dataset) == f"recall/{label}"
    with pytest.raises(UserError, match=r"there is no metric 'fido'.*fid/classifier") as raised:
        metric_named("fido", DIGITS, dataset)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("asked", "measured", "found"),
    [
        ("called", ["called/classifier-1a2b3c4d", "called/classifier-1a2b3c4d/blond"], "called/classifier-1a2b3c4d"),
        ("called/blond", ["called/random-1a2b3c4d", "called/random-1a2b3c4d/blond"], "called/random-1a2b3c4d/blond"),
        ("fid_class", ["fid_class/random-1a2b3c4d", "fid_class/random-1a2b3c4d/7"], "fid_class/random-1a2b3c4d"),
        ("kid/random", ["kid/random-1a2b3c4d", "kid_se/random-1a2b3c4d"], "kid/random-1a2b3c4d"),
        ("box_iou", ["box_iou", "box_iou_se", "box_iou_real"], "box_iou"),
    ],
)
def test_a_name_without_judge_or_class_means_the_mean_that_there_is(
    asked: str, measured: list[str], found: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.tune.judge", lambda *told: dict.fromkeys(measured, 0.5))
    assert metric_named(asked, DIGITS, dataset) == found


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("fid_target", "may be fid_target/classifier-1a2b3c4d or fid_target/random-1a2b3c4d; name"),
        ("sharpness", "neither more nor less of sharpness is better"),
        ("judge_accuracy", "neither more nor less"),
        ("fid_target_se/random", "neither more nor less of fid_target_se/random is"),
    ],
)
def test_what_cannot_be_searched_for(asked: str, said: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [f"fid_target{what}/{judge}-1a2b3c4d" for what in ("", "_se") for judge in ("random", "classifier")]
    measured = [*targets, *(f"{target}/blond" for target in targets), "sharpness", "judge_accuracy"]
    monkeypatch.setattr("pipelines.tune.judge", lambda *told: dict.fromkeys(measured, 0.5))
    with pytest.raises(UserError, match=said):
        metric_named(asked, DIGITS, dataset)


def test_an_extractor_that_needs_labels_needs_labels(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(12):
        Image.effect_noise((16, 16), 40 + number).save(tmp_path / f"{number}.png")
    home = Home(tmp_path / "home").create()
    untold = ["method.condition.kind=none", "data.classes=0"]
    recipe = DIGITS.with_overrides("evaluate.extractor=classifier", "train.batch=8", *untold)
    unlabelled = DatasetRequest(recipe.data, home, str(tmp_path)).prepare()
    with pytest.raises(UserError, match="classifier"):
        metric_named("fid", recipe, unlabelled)


def test_a_study_begins_with_what_it_needs_to_go_on(home: Home, dataset: Dataset, tracking_uri: str) -> None:
    settings = Settings(dataset_path=str(dataset.location), finalists=2, seeds=2)
    folder = create_study(Asked(DIGITS, {}, 5, seed=9), dataset, home, "s", settings, tracking_uri)
    study = Study.read(folder / "study.json")
    assert study.space == Space.parse(DIGITS, own_space(DIGITS)).texts
    assert (study.rungs, study.mode, study.trials_wanted, study.seed) == ([900, 2700], "min", 5, 9)
    assert Recipe.parse(study.recipe).train.images == 2700
    kept = Settings.read(folder / "settings.json")
    assert kept.points == [Space.parse(DIGITS, own_space(DIGITS)).point(DIGITS)]
    assert find_study(home, "s") == folder.resolve()
    short = DIGITS.with_overrides("train.images=300")
    with pytest.raises(UserError, match="too short for asha"):
        create_study(Asked(short, {}, 5), dataset, home, "t", settings, tracking_uri)
    recall = create_study(Asked(DIGITS, {}, 5, metric="recall"), dataset, home, "r", settings, tracking_uri)
    assert Study.read(recall / "study.json").mode == "max"


def test_a_study_that_another_process_runs_is_left_to_it(home: Home, dataset: Dataset, tracking_uri: str) -> None:
    settings = Settings(dataset_path=str(dataset.location), finalists=0, seeds=1)
    folder = create_study(Asked(DIGITS, {}, 5), dataset, home, "held", settings, tracking_uri)
    before = (folder / "study.json").read_bytes()
    with RunFolder(folder).locked("study"), pytest.raises(UserError, match=f"study held .* process {os.getpid()} "):
        tune(folder, tracking_uri, print)
    assert (folder / "study.json").read_bytes() == before


def test_a_warm_start_takes_the_best_of_studies_on_this_data(home: Home, dataset: Dataset, tracking_uri: str) -> None:
    client = mlflow_client(tracking_uri)
    experiment = client.create_experiment("digits")
    best = {"optim.*.lr": 3e-3}
    for digest, values in ((dataset.digest, best), ("another", {"optim.*.lr": 4e-3}), (dataset.digest, {"x": 1})):
        tags = {"gan.kind": "study", "gan.study.dataset": digest, "gan.study.best": json.dumps(values)}
        client.create_run(experiment, tags=tags)
    settings = Settings(dataset_path=str(dataset.location), finalists=0, seeds=1)
    asked = Asked(DIGITS, {"optim.*.lr": "log(1e-4,1e-2)"}, 5, warm=True)
    folder = create_study(asked, dataset, home, "warm", settings, tracking_uri)
    assert Settings.read(folder / "settings.json").points == [{"optim.*.lr": 1e-3}, best]
    shutil.rmtree(folder)


def test_what_a_study_takes_is_counted_on_its_cluster(
    home: Home, dataset: Dataset, tracking_uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not on this machine, before there is a connection; of a cluster of its own every CPU is for trials. Once before
    the dataset, and once by what goes on with the study."""
    asked: list[tuple[int, int]] = []

    def connected(workers: int, spare: int) -> None:
        asked.append((workers, spare))
        if len(asked) == 2:
            raise UserError("as far as this test goes")

    monkeypatch.setattr("pipelines.tune.connect", connected)
    two_machines(monkeypatch)
    before = {path.name for path in studies_of(home).glob("*")}
    said = refused(capsys, "tune", "digits", *TINY, "--home", home.path, "--tracking", tracking_uri)
    assert "as far as this test goes" in said
    (folder,) = [path for path in studies_of(home).glob("*") if path.name not in before]
    settings = Settings.read(folder / "settings.json")
    assert (settings.at_once, settings.cpus, settings.gpus) == (None, 1, None)
    assert asked == [(1, 0)] * 2
