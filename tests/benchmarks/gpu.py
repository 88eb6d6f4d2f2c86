"""A GPU: rounds of training as they are, replayed as CUDA graphs, and what `gan plan` says of them.

Trainers of shipped recipes on bundled digits, brought to their size, take turns of a tick each. What the GPU is busy
with is the sum of its kernels' times, as torch's profiler has them. Prints the GPU's name; without one it says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from ganlib import Dataset, Preparation, Recipe, Trainer, open_source, prepare_dataset
from ganlib.scaling.gpus import GPUS, Gpu
from ganlib.scaling.work import count_work
from ganlib.training.trainer import Tick
from pipelines.shipped import find_recipe
from tests.benchmarks.report import Target, arguments, conclude, interleaved, show

RECIPES: dict[str, list[str]] = {
    "mnist": [],
    "avatars": [],
    "dcgan-64": [],
    "dcgan-64, batch 512": ["train.batch=512"],
    "stacked-mnist-large": [],
    "wgan-gp": ["data.size=64", "data.channels=3"],
}
"""Small networks, whose kernels a GPU waits for, and larger ones."""

ROUNDS = 64
"""In a tick: whole periods of the lazy penalties."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--rounds", type=int, default=3, help="repetitions that count")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no GPU here: nothing was measured")
        conclude([], options.json)
        return
    name = torch.cuda.get_device_name(0)
    gpu = next((gpu for gpu in GPUS.values() if gpu.name.upper() in name.upper().split()), None)
    rows, targets = [], []
    with tempfile.TemporaryDirectory() as folder:
        for title in options.recipes:
            recipe = find_recipe(title.split(",")[0], [*RECIPES[title], "train.precision=bf16"])
            row, ratio = measured(title, recipe, dataset_of(recipe, Path(folder)), gpu, options.rounds)
            rows.append(row)
            targets.append(Target(f"{title}: replayed to as they are", ratio, 1))
            print(*row, flush=True)
    print(f"{name}; torch {torch.__version__}")
    show("Training, bfloat16", ["recipe", "batch", "as they are, images/s", "replayed, images/s", "ratio",
                                "a round, ms", "busy, ms", "predicted, ms", "MB"], rows)  # fmt: skip
    conclude(targets, options.json)


def measured(
    title: str, recipe: Recipe, dataset: Dataset, gpu: Gpu | None, rounds: int
) -> tuple[tuple[str, ...], float]:
    images = recipe.train.batch * recipe.train.steps.discriminator
    train = recipe.train.model_copy(update={"images": 10**9, "epochs": None, "tick": ROUNDS * images, "schedule": ()})
    torch.cuda.reset_peak_memory_stats()
    ticks = {
        graphs: Trainer(recipe.model_copy(update={"train": train.model_copy(update={"graphs": graphs})}), dataset).run()
        for graphs in (False, True)
    }
    found = interleaved(title, {str(graphs): rate(ticks[graphs]) for graphs in ticks}, rounds)
    plain, replayed = found["False"], found["True"]
    busy = busy_seconds(lambda: next(ticks[True])) / ROUNDS
    predicted = f"{gpu.seconds(count_work(recipe))[0] * 1e3:.2f}" if gpu is not None else "-"
    row = (
        title, str(recipe.train.batch), f"{plain:,.0f}", f"{replayed:,.0f}", f"{replayed / plain:.2f}",
        f"{images / replayed * 1e3:.2f}", f"{busy * 1e3:.2f}", predicted,
        f"{torch.cuda.max_memory_allocated() / 1e6:,.0f}",
    )  # fmt: skip
    return row, replayed / plain


def rate(ticks: Iterator[Tick]) -> Callable[[], float]:
    return lambda: next(ticks).images_per_second


def busy_seconds(work: Callable[[], object]) -> float:
    """What all kernels together take that the GPU does meanwhile."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        work()
    kernels = [event for event in profiled.events() or [] if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum(event.device_time_total for event in kernels) * 1e-6


def dataset_of(recipe: Recipe, folder: Path) -> Dataset:
    """Bundled digits as the recipe wants them; pairs of nothing, domains and captions there are not."""
    data = recipe.data
    name = f"digits-{data.size}-{data.channels}"
    return prepare_dataset(
        open_source("digits"), Preparation(size=data.size, channels=data.channels), folder / name, name
    )


if __name__ == "__main__":
    main()
