"""Every shipped recipe on tiny data: it trains, is interrupted and goes on, samples; alone and on two workers.

Widths and batches are shrunk for time, as far as a recipe's networks have any; all else is as shipped.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ganlib.data import Dataset, Preparation, Reading, open_source, prepare_dataset
from ganlib.inputs import told_of
from ganlib.methods.base import SampleRequest
from ganlib.recipe import Recipe
from ganlib.sampling import load_sampler
from ganlib.training.trainer import Tick, Trainer

from .captioned import bars
from .conftest import assert_equal, tiny_recipe
from .domains_data import digits_in_domains
from .tape import Tape

SHIPPED = {path.stem: path for path in sorted((Path(__file__).parents[2] / "pipelines" / "recipes").glob("*.yaml"))}
CAPTIONED = {"avatars-text", "gan-cls", "gawwn", "placed-digits", "placed-digits-keypoints"}
"""Those whose rounds are never replayed: captions are read by Python."""
STEPS = 20
BATCH = 4
SMALLER = {"width": 8, "widest": 16, "group_size": 4, "blocks": 1}
"""What the fields of networks become where they are more."""

# Rounding alone parts the gradients of two workers from those of one; divided by their own size they would all count.
_STEADY = "optim.*.eps=1e-3"
TOGETHER = {
    "avatars": [_STEADY, "train.precision=fp32"],
    # Batch norm of five images lets a last bit grow from step to step (at dcgan-64's own rate to 16 times the bound
    # in twenty, one process against itself with its weights' last bits moved); where steps are small it does not.
    "avatars-48": [_STEADY, "optim.*.lr=2e-6"],
    "avatars-large": [_STEADY, "train.precision=fp32"],
    "dcgan-64": [_STEADY, "optim.*.lr=5e-6"],
    "digits": [_STEADY, "train.precision=fp32"],
    # The sign of L1's gradient turns on a last bit of an output, and Adam makes a whole step of it.
    "facades": [_STEADY, "optim.*.lr=1e-5", "train.precision=fp32", "method.l1=1"],
    "gan-mlp": [],
    "grid": [_STEADY],
    "mnist": [_STEADY, "train.precision=fp32"],
    # Under L1 a pixel's gradient changes its sign where rounding takes the pixel past its target.
    "mnist-encoder": [_STEADY, "method.reconstruction.kind=l2"],
    "mnist-small": [_STEADY, "optim.*.lr=2e-6"],
    "ring": [_STEADY],
    "ring-collapse": [_STEADY],
    "stacked-mnist": [_STEADY, "train.precision=fp32"],
    "stacked-mnist-large": [_STEADY, "train.precision=fp32"],
    "theory-1d": [_STEADY],
    "wgan": [],
    "wgan-gp": [_STEADY, "optim.*.lr=3e-5"],
    "leave-out": ["train.steps={adaptive: leave-out, margin: 0.001}", _STEADY],
    "until-risen": ["train.steps={generator: 4, adaptive: until-risen, margin: 0.001}", _STEADY],
}
"""What two workers run, and with what overrides: of the shipped recipes, or of the tests' own.

The other recipes' methods have such a test in a file of their own, and mnist-large in test_workers.
"""
FEWER = {
    "avatars": 10,
    "avatars-48": 4,
    "avatars-large": 10,
    "mnist-encoder": 10,
    "stacked-mnist-large": 10,
    "wgan-gp": 10,
}
"""Steps of what two workers run, where they are not `STEPS`, which would take these more than five seconds."""
WORKERS = 2


def smaller(recipe: Recipe, steps: int = STEPS) -> Recipe:
    """The recipe at `BATCH` images a step for `steps` discriminator steps, of which ten are a tick."""
    overrides = [f"train.batch={BATCH}", f"train.images={BATCH * steps}", f"train.tick={BATCH * steps // 2}"]
    for name, value in recipe.flat().items():
        field = name.rpartition(".")[2]
        if name.startswith("method.") and isinstance(value, int) and value > SMALLER.get(field, value):
            overrides.append(f"{name}={SMALLER[field]}")
        elif name.startswith("method.") and field == "widths":
            overrides.append(f"{name}={[min(width, 32) for width in value]}")
    if recipe.data.classes:
        overrides.append("data.classes=10")  # the digits' own
    if "domains" in recipe.method.needs:
        overrides.append(f"data.size={min(recipe.data.size, 64)}")
    if "partner" in recipe.method.needs:
        overrides += ["data.pairs=edges", f"data.size={min(recipe.data.size, 64)}"]
    if recipe.data.keypoints:
        overrides.append("data.keypoints=3")  # those of captioned.bars
    return recipe.with_overrides(*overrides)


@cache
def data(into: Path, shape: tuple[int, int, int], source: str | None, pairs: Literal["none", "edges"]) -> Dataset:
    """Digits in that shape, as pairs with their contours or alone; points are drawn from the recipe's own density."""
    height, width, channels = shape
    if height == 1:
        opened = open_source(source, Reading(count=400))
        return prepare_dataset(opened, Preparation(size=8), into, "points")
    assert height == width
    # Resizing all 1,797 of them to the largest sizes would take longer than the trainings.
    preparation = Preparation(size=height, channels=1 if channels == 1 else 3, test_share=0.1, pairs=pairs)
    return prepare_dataset(open_source("digits"), preparation, into, f"digits{height}x{channels}-{pairs}")


def dataset_of(recipe: Recipe, into: Path) -> Dataset:
    if "captions" in recipe.method.needs:
        return bars(into, size=recipe.data.size, channels=recipe.data.channels)
    if "domains" in recipe.method.needs:
        several, channels = not recipe.method.one_domain, 1 if recipe.data.channels == 1 else 3
        return digits_in_domains(into, recipe.data.size, channels, recipe.data.domains, 80, several)
    source = recipe.data.source if recipe.data.points else None
    return data(into, tuple(recipe.image), source, recipe.data.pairs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in CAPTIONED])
def test_a_recipe_whose_rounds_are_replayed_trains_the_same(name: str, folder: Path) -> None:
    """Bit for bit, at a rate that does not fall: a recording has it as a float32."""
    recipe = Recipe.load(SHIPPED[name]).with_overrides("optim.*.decay.kind=constant", "train.precision=fp32")
    recipe = smaller(recipe, 4 if name == "avatars-48" else STEPS)
    dataset, tape = dataset_of(recipe, folder), Tape()
    plain, replayed = Trainer(recipe, dataset, "cpu"), Trainer(recipe, dataset, "cpu", recorder=tape)
    ticks, again = list(plain.run()), list(replayed.run())
    assert sum(tape.replayed)
    assert_equal(replayed.snapshot(), plain.snapshot())
    assert [tick.metrics for tick in again] == [tick.metrics for tick in ticks]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_trains_is_resumed_and_samples(name: str, folder: Path, tmp_path: Path) -> None:
    recipe = smaller(Recipe.load(SHIPPED[name]))
    dataset = dataset_of(recipe, folder)
    whole = Trainer(recipe, dataset)
    before = whole.snapshot()
    ticks: list[Tick] = []
    for tick in whole.run():
        ticks.append(tick)
        if len(ticks) == 1:
            taken = whole.snapshot()
    assert len(ticks) == 2
    rounds = whole.progress.discriminator_steps // recipe.train.steps.discriminator
    assert (whole.progress.discriminator_steps, whole.progress.rounds) == (STEPS, rounds)
    for tick in ticks:
        assert {"loss/discriminator", "loss/generator", "d_real", "d_fake"} <= tick.metrics.keys()
    # Both sides have learned something, in all of their weights that have a gradient.
    for stem in ("generator", "discriminator"):
        moved = [not torch.equal(x, taken.tensors[stem][n]) for n, x in before.tensors[stem].items() if x.dim() > 1]
        assert sum(moved) > len(moved) / 2, stem

    checkpoint = taken.write(tmp_path / "checkpoint")
    resumed = Trainer(Recipe.load(checkpoint / "recipe.yaml"), dataset, resume=checkpoint)
    (rest,) = resumed.run()
    assert_equal(resumed.snapshot(), whole.snapshot())
    assert rest.metrics == ticks[1].metrics

    images = whole.sample(5, seed=3).numpy()
    assert images.shape == (5, *recipe.image)
    assert images.dtype == (np.float32 if recipe.data.points else np.uint8)
    told = told_of(dataset, whole.recipe.method, 5, 3)  # the recipe with what it took from the dataset
    sampler = load_sampler(whole.snapshot().write(tmp_path / "last"))
    np.testing.assert_array_equal(sampler.sample(5, seed=3, **told), images)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_round_makes_all_its_tensors_where_it_trains(name: str, folder: Path) -> None:
    """What a step makes without saying where lands on the device `meta` here, and would on the CPU beside a GPU: it
    has no numbers, and whatever is computed with it has none either, or is refused."""
    trainer = Trainer(smaller(Recipe.load(SHIPPED[name])), dataset_of(smaller(Recipe.load(SHIPPED[name])), folder))
    steps = trainer.recipe.train.steps.discriminator
    trainer.batches = {index: trainer.batches[index] for index in range(2 * steps)}  # type: ignore[assignment]
    with torch.device("meta"):
        for _ in range(2):
            trainer._round(trainer._meter, last=False)
    metrics = trainer._meter.read()
    assert {"loss/discriminator", "loss/generator", "gradient/generator"} <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())
    assert {parameter.device.type for parameter in trainer.method.parameters()} == {trainer.device.type}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_generator_on_a_gpu_samples_there(name: str, folder: Path) -> None:
    """On tensors without numbers, which no GPU is needed for, and of whose devices PyTorch takes the same care."""
    method = Recipe.load(SHIPPED[name]).method
    if "captions" in method.needs or method.one_domain:
        pytest.skip("its text encoder asks CUDA itself, or its generator goes by the numbers")
    trainer = Trainer(smaller(Recipe.load(SHIPPED[name])), dataset_of(smaller(Recipe.load(SHIPPED[name])), folder))
    told = told_of(trainer.dataset, trainer.recipe.method, 3, 1)
    with FakeTensorMode(allow_non_fake_inputs=True):
        generator = trainer.method.generator.to("cuda")
        images = trainer.method.sample(generator, SampleRequest(3, 1, **told))
    assert images.shape == (3, *trainer.recipe.image)
    assert images.device.type == "cpu"


def together_recipe(name: str, scratch: Path) -> Recipe:
    """At a batch that two workers do not share evenly, every round a tick."""
    if name in SHIPPED:
        steps = FEWER.get(name, STEPS)
        return smaller(Recipe.load(SHIPPED[name], TOGETHER[name]), steps).with_overrides(
            "train.batch=5", f"train.images={5 * steps}", "train.tick=5"
        )
    return tiny_recipe(scratch, *TOGETHER[name], "train.batch=7", "train.images=70", "train.tick=7")


def stacked(ticks: list[Tick]) -> dict[str, Tensor]:
    """The metrics, float64 [ticks]; nan in a tick that has none of that name."""
    names = {name for tick in ticks for name in tick.metrics}
    missing = float("nan")
    return {
        name: torch.tensor([tick.metrics.get(name, missing) for tick in ticks], dtype=torch.float64) for name in names
    }


def cut_and_whole(recipe: Recipe, dataset: Dataset, checkpoint: Path, rank: int) -> dict[str, Tensor]:
    """The metrics of a run, of which the first worker takes a checkpoint halfway, and what comes of that.

    "resumed/*": the metrics of the run that goes on from there. "apart": how many tensors of its end are not those of
    the run that was not cut. "sample": five images of the checkpoint.
    """
    whole, ticks = Trainer(recipe, dataset), []
    for tick in whole.run():
        ticks.append(tick)
        if rank == 0 and 2 * tick.images_seen == tick.images_total:
            whole.snapshot().write(checkpoint)
    dist.barrier()
    resumed = Trainer(Recipe.load(checkpoint / "recipe.yaml"), dataset, resume=checkpoint)
    found = {"sample": resumed.sample(5, seed=3)}
    rest = stacked(list(resumed.run()))
    ours, theirs = resumed.snapshot().tensors, whole.snapshot().tensors
    apart = [not torch.equal(x, theirs[stem][name]) for stem, part in ours.items() for name, x in part.items()]
    found["apart"] = torch.tensor(sum(apart))
    return found | stacked(ticks) | {f"resumed/{name}": values for name, values in rest.items()}


def work(rank: int, folder: Path, datasets: dict[str, Path]) -> None:
    """The body of one worker process."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=WORKERS, timeout=timedelta(seconds=300))
    for name, dataset in datasets.items():
        scratch = folder / f"worker-{rank}"
        scratch.mkdir(exist_ok=True)
        recipe = together_recipe(name, scratch)
        found = cut_and_whole(recipe, Dataset.open(dataset), folder / f"{name}-checkpoint", rank)
        save_file(found, folder / f"{name}-{rank}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def together(folder: Path, tmp_path_factory: pytest.TempPathFactory, forkserver: ForkServerContext) -> Path:
    """The folder in which two processes, that ran together, have left what they found."""
    found = tmp_path_factory.mktemp("together")
    datasets = {name: dataset_of(together_recipe(name, found), folder).path for name in TOGETHER}
    processes.start_processes(work, (found, datasets), WORKERS, start_method=forkserver.get_start_method())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", TOGETHER)
def test_two_workers_train_as_one_and_go_on_from_a_checkpoint(
    name: str, together: Path, folder: Path, tmp_path: Path
) -> None:
    def equal(found: Tensor, expected: Tensor, of: str, bound: float = 0.0) -> None:
        torch.testing.assert_close(
            found, expected, rtol=0, atol=bound, equal_nan=True, msg=lambda said: f"{of}: {said}"
        )

    recipe = together_recipe(name, tmp_path)
    dataset = dataset_of(recipe, folder)
    alone = stacked(list(Trainer(recipe, dataset).run()))
    first, second = (load_file(together / f"{name}-{rank}") for rank in range(WORKERS))
    assert first.keys() == second.keys()
    for key, values in first.items():
        equal(second[key], values, key)
    rest = {key.removeprefix("resumed/"): first.pop(key) for key in list(first) if key.startswith("resumed/")}
    sample, apart = first.pop("sample"), first.pop("apart")
    assert first.keys() == alone.keys()
    for metric, values in alone.items():
        scale = values.nan_to_num().abs().max().clamp(min=1).item()
        # Where rounding takes one unit past ReLU's corner its gradient jumps, and the norm with it; a loss does not.
        bound = 5e-3 if metric.startswith("gradient/") else 3e-4
        equal(first[metric], values, metric, bound * scale)

    assert apart == 0
    for metric, values in rest.items():
        assert len(first[metric]) == 2 * len(values)
        equal(values, first[metric][-len(values) :], metric)
    sampler = load_sampler(together / f"{name}-checkpoint")
    told = told_of(dataset, sampler.recipe.method, 5, 3)
    np.testing.assert_array_equal(sampler.sample(5, seed=3, **told), sample.numpy())

    if name == "leave-out":
        taken = alone["left_out/discriminator"]
        assert 0 < taken.mean() < 1
    if name == "until-risen":
        assert 1 < alone["steps/generator"].mean() < 4


def test_only_captions_keep_a_recipe_from_being_replayed() -> None:
    assert {name for name, path in SHIPPED.items() if "captions" in Recipe.load(path).method.needs} == CAPTIONED
