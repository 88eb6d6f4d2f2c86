"""A trial of a study, on tiny digits and in this process: where it starts, how it is judged, what it leaves behind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from ganlib.data import Dataset
from ganlib.training.checkpoint import checkpoint_name
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home, RunFacts, RunFolder
from pipelines.shipped import find_recipe
from pipelines.trial import Share, error_of
from pipelines.trial_workers import checkpoints_by_workers
from tuning.member import Task
from tuning.rungs import with_rungs

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
        unique=f"{number}", recipe="digits", dataset_path=str(dataset.location), dataset_name=dataset.name,
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


def test_a_metric_has_the_error_that_was_measured_with_it() -> None:
    measured = {"fid_se/random-1a2b3c4d": 1.0, "modes/kl_se": 2.0, "called_se/blond": 3.0, "box_iou_se": 4.0}
    for metric, error in {
        "fid/random-1a2b3c4d": 1.0, "modes/kl": 2.0, "called/blond": 3.0, "box_iou": 4.0, "mode_share_min": None,
    }.items():  # fmt: skip
        assert error_of(metric, measured) == error
