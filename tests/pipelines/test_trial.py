"""A trial of a study, on tiny digits and in this process: where it starts, how it is judged, what it leaves behind."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.recipe import Recipe
from ganlib.training.checkpoint import checkpoint_name, read_checkpoint
from ganlib.training.trainer import Trainer
from pipelines.journal import Journal
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home, RunFacts, RunFolder
from pipelines.rungs import Share, where_to_start
from pipelines.shipped import find_recipe
from pipelines.trial import TrainTrial, keep_reading
from pipelines.trial_workers import checkpoints_by_workers
from pipelines.tune import write_best
from tests.ganlib.conftest import assert_equal
from tuning.ledger import Ledger
from tuning.member import Task, UnhealthyError
from tuning.record import Reading, Study
from tuning.rungs import with_rungs
from tuning.space import Space

RUNGS = (256, 512, 768)
TINY = find_recipe(
    "digits",
    ["method.generator.width=8", "method.discriminator.width=8", "evaluate.samples=64", "train.precision=fp32"],
)
RECIPE = with_rungs(TINY.with_overrides(f"train.images={RUNGS[-1]}"), list(RUNGS))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return DatasetRequest(RECIPE.data, Home(tmp_path_factory.mktemp("home")).create()).prepare()


def trial_of(folder: Path, number: int, dataset: Dataset, **more: Any) -> tuple[Task, RunFolder]:
    """A task, and its folder as the study's driver makes it."""
    task = Task(number, more.pop("recipe", RECIPE), folder / f"{number:04d}", RUNGS, **more)
    facts = RunFacts(
        recipe="digits", dataset_path=str(dataset.location), dataset_name=dataset.name,
        dataset_digest=dataset.digest, created=0,
    )  # fmt: skip
    return task, RunFolder.create(task.folder, facts, task.recipe.dump())


class InThisProcess:
    """In the place of Ray Train: one worker, the thread that calls `fit`. What they were told is in `all`."""

    all: list[InThisProcess]

    def __init__(self, train_loop: Any, train_loop_config: dict[str, Any], **configs: Any):
        self.train_loop, self.told, self.configs = train_loop, train_loop_config, configs
        self.all.append(self)

    def fit(self) -> None:
        self.train_loop(self.told)


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[InThisProcess]:
    monkeypatch.setattr(InThisProcess, "all", [], raising=False)
    monkeypatch.setattr("ray.train.torch.TorchTrainer", InThisProcess)
    monkeypatch.setattr("ray.train.collective.broadcast_from_rank_zero", lambda told: told)
    return InThisProcess.all


@pytest.mark.parametrize("pauses", [False, True])
def test_workers_of_a_trial_that_pauses_train_no_further(
    pauses: bool, dataset: Dataset, trainers: list[InThisProcess], tmp_path: Path
) -> None:
    """Else what they leave at the next rung would be taken for trained since the trial took over another's weights."""
    task, run = trial_of(tmp_path, 3, dataset, pauses=pauses)
    names = [checkpoint_name(images) for images in RUNGS]
    made = checkpoints_by_workers(task, run, dataset, 0, Share(0.5, 0.5))
    assert next(made).name == names[0]
    for thread in threading.enumerate():
        if thread.name == "trial-3":
            thread.join()
    assert sorted(path.name for path in run.path.glob("checkpoint-*")) == (names[:1] if pauses else names)
    assert [path.name for path in made] == names[1:]
    begun = [Path(trainer.told["start"]).name if trainer.told["start"] else None for trainer in trainers]
    assert begun == ([None, *names[:-1]] if pauses else [None])
    scaling = trainers[0].configs["scaling_config"]
    assert (scaling.use_gpu, scaling.resources_per_worker) == (True, {"CPU": 0.5, "GPU": 0.5})
    assert trainers[0].configs["torch_config"].backend == "gloo"


def reading(task: Task, dataset: Dataset, prune: bool = False) -> Reading:
    """The next one of the trial, which then pauses."""
    readings = TrainTrial(str(dataset.location), "fid/classifier", prune=prune)(task)
    try:
        return next(readings)
    finally:
        readings.close()  # type: ignore[attr-defined]


def test_a_population_changes_real_weights_and_its_best_recipe_makes_them_again(
    dataset: Dataset, tmp_path: Path
) -> None:
    """Trial 1 takes over the weights of trial 0 at the first rung, at a rate of its own; it goes on from its own at the
    second. Bit for bit, these are the weights that its recipe, with its schedule, trains from nothing."""
    space = Space.parse(RECIPE, {"optim.*.lr": "log(1e-4, 1e-1)"})
    study = Study(
        name="p", recipe=RECIPE.model_dump(mode="json"), dataset=dataset.digest, space=space.texts, search="random",
        scheduler="pbt", metric="fid/classifier", seed=0, trials_wanted=2, rungs=list(RUNGS), began=0,
    )  # fmt: skip
    ledger = Ledger(study, space, tmp_path / "study.json")
    for number, rate in enumerate((1e-3, 3e-2)):
        ledger.begin({"optim.*.lr": rate}, RECIPE.train.seed)
        task, _ = trial_of(tmp_path, number, dataset, recipe=ledger.recipe(number))
        ledger.read(number, 0, reading(task, dataset))
    taken = tmp_path / "0000" / checkpoint_name(RUNGS[0])
    ledger.mutate(1, {"optim.*.lr": 4e-3}, RUNGS[0], 0)
    for place, start in ((1, taken), (2, tmp_path / "0001" / checkpoint_name(RUNGS[1]))):
        recipe = ledger.recipe(1)
        task = Task(1, recipe, tmp_path / "0001", RUNGS, place, (taken.parent, RUNGS[0]), True)
        assert where_to_start(task, RunFolder(task.folder)) == start
        ledger.read(1, place, reading(task, dataset))
        assert study.trials[1].readings[place].images == RUNGS[place]
    study.best = 1
    best = write_best(ledger, tmp_path)
    assert best is not None
    replayed = Trainer(Recipe.load(best), dataset, "cpu")
    assert [tick.images_seen for tick in replayed.run()] == list(RUNGS)
    assert_equal(replayed.snapshot(), read_checkpoint(tmp_path / "0001" / checkpoint_name(RUNGS[-1])))

    shutil.rmtree(taken)
    lost, run = trial_of(tmp_path, 2, dataset, after=1, start=(taken.parent, RUNGS[0]))
    with pytest.raises(UserError, match="which trial 2 was to go on with, is gone"):
        where_to_start(lost, run)


def go_far_off(run: RunFolder) -> None:
    """Has the run's journal say what is fatal: fakes that are ten spreads of the data away from it, at each tick."""
    with Journal(run.path, "train") as journal:
        for images in range(8, RUNGS[0] + 8, 8):
            journal.metrics(images, {"d_real": 0.9, "d_fake": 0.1, "variety": 1.0, "shift": 10.0})


def test_new_weights_are_not_judged_by_what_the_old_ones_did(dataset: Dataset, tmp_path: Path) -> None:
    good, _ = trial_of(tmp_path, 0, dataset)
    reading(good, dataset)
    for number, start in ((1, None), (2, (good.folder, RUNGS[0]))):
        task, run = trial_of(tmp_path, number, dataset, after=1, start=start)
        go_far_off(run)
        if start is None:
            shutil.copytree(good.folder / checkpoint_name(RUNGS[0]), run.path / checkpoint_name(RUNGS[0]))
            with pytest.raises(UnhealthyError, match=r"mean is .* spreads"):
                reading(task, dataset, prune=True)
        else:
            assert reading(task, dataset, prune=True).images == RUNGS[1]


@pytest.mark.parametrize("times", [0.5, 2])
def test_a_bad_trial_that_still_gets_better_goes_on(times: float, dataset: Dataset, tmp_path: Path) -> None:
    """Its FID at the first rung was twice, or half, that of the weights from which it goes on."""
    good, _ = trial_of(tmp_path, 0, dataset)
    now = reading(good, dataset)
    task, run = trial_of(tmp_path, 1, dataset, after=1)
    go_far_off(run)
    shutil.copytree(good.folder / checkpoint_name(RUNGS[0]), run.path / checkpoint_name(RUNGS[0]))
    keep_reading(run, now.model_copy(update={"value": times * now.value}), 0)
    if times > 1:
        assert reading(task, dataset, prune=True).value < times * now.value
    else:
        with pytest.raises(UnhealthyError, match=r"mean is .* spreads"):
            reading(task, dataset, prune=True)
