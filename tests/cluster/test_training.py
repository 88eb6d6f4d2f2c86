"""Training on real Ray workers: the chain, and a worker that is killed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganlib.evaluation.names import meant
from ganlib.files import file_digest
from pipelines.cluster import connect
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home, RunFolder
from pipelines.shipped import find_recipe
from pipelines.tracking import mlflow_client
from pipelines.workflow import run_chain
from tests.cluster.processes import train_workers

pytestmark = pytest.mark.slow

RECIPE = "digits"
OVERRIDES = [
    "workers=2", "train.images=1920", "train.tick=320", "train.sample_every=640", "train.checkpoint_every=640",
    "train.evaluate_every=640", "train.precision=fp32", "evaluate.samples=64", "method.generator.width=8",
    "method.discriminator.width=8",
]  # fmt: skip


def request(home: Home) -> DatasetRequest:
    return DatasetRequest(find_recipe(RECIPE).data, home)


def weights(checkpoint: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted(checkpoint.glob("*.safetensors"))}


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray, as `gan` starts it for two workers."""
    import ray

    connect(2)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home")).create()


@pytest.fixture(scope="module")
def tracking_uri(home: Home) -> str:
    return f"sqlite:///{home.path}/mlflow.db"


@pytest.fixture(scope="module")
def chain(cluster: None, home: Home, tracking_uri: str) -> RunFolder:
    """A chain of two workers that nothing disturbs."""
    said: list[str] = []
    outcome = run_chain(find_recipe(RECIPE, OVERRIDES), request(home), tracking_uri, said.append)
    assert said[0] == "prepare ..."
    assert outcome.published is not None
    assert outcome.published.champion
    return outcome.run


def test_the_chain_is_one_parent_with_its_stages(chain: RunFolder, tracking_uri: str) -> None:
    client = mlflow_client(tracking_uri)
    experiment = client.get_experiment_by_name("digits").experiment_id
    runs = client.search_runs([experiment])
    (parent,) = [run for run in runs if run.data.tags.get("gan.kind") == "chain"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.data.tags["gan.kind"] for run in children) == ["evaluate", "prepare", "publish", "training"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    (training,) = [run for run in children if run.data.tags["gan.kind"] == "training"]
    history = client.get_metric_history(training.info.run_id, "loss/generator")
    assert [metric.step for metric in history] == [320, 640, 960, 1280, 1600, 1920]
    assert training.data.params["workers"] == "2"
    assert training.data.params["optim.generator.lr"] == "0.001"
    # One logged model a checkpoint, the distance of each linked to it.
    (fid,) = meant("fid/classifier", training.data.metrics)
    judged = client.get_metric_history(training.info.run_id, fid)
    assert [metric.step for metric in judged] == [640, 1280, 1920]
    models = client.search_logged_models([experiment], filter_string=f"source_run_id = '{training.info.run_id}'")
    checkpoints = [model for model in models if any(metric.key == fid for metric in model.metrics or [])]
    assert len({model.model_id for model in checkpoints}) >= 3
    artifacts = {item.path for item in client.list_artifacts(training.info.run_id, "pictures")}
    # 1,920 images are more than an epoch of the 1,603 digits.
    assert artifacts == {"pictures/animation.gif", "pictures/curves.png", "pictures/epochs.png"}


def test_a_second_chain_does_nothing_again(chain: RunFolder, home: Home, tracking_uri: str) -> None:
    before = weights(chain.last_checkpoint())
    said: list[str] = []
    again = run_chain(find_recipe(RECIPE, OVERRIDES), request(home), tracking_uri, said.append)
    assert said == [
        "prepare: as before",
        f"train: as before, {chain.name}",
        "evaluate: as before",
        "publish: as before",
    ]
    assert again.run == chain
    assert weights(chain.last_checkpoint()) == before


def test_a_killed_worker_costs_nothing_but_time(chain: RunFolder, tmp_path: Path) -> None:
    """SIGKILL of one of two workers: the run ends by itself with the weights of the undisturbed one."""
    home = Home(tmp_path / "home").create()
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            if list(home.runs.glob("*/checkpoint-000000000640/progress.json")) and (workers := train_workers()):
                os.kill(workers[-1], signal.SIGKILL)
                killed.append(workers[-1])
                return
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    outcome = run_chain(find_recipe(RECIPE, OVERRIDES), request(home), uri, lambda line: None)
    thread.join()
    assert len(killed) == 1
    assert weights(outcome.checkpoint) == weights(chain.last_checkpoint())
    client = mlflow_client(uri)
    experiment = client.get_experiment_by_name("digits").experiment_id
    (training,) = client.search_runs([experiment], "tags.`gan.kind` = 'training'")
    history = client.get_metric_history(training.info.run_id, "loss/generator")
    assert [metric.step for metric in history] == [320, 640, 960, 1280, 1600, 1920]
