"""A run of seconds: points on a ring, small perceptrons, plain gradient descent, which does not let rounding grow."""

from pathlib import Path

from ganlib.data import Dataset
from ganlib.files import file_digest
from pipelines.journal import journal_folder, metric_values, read_entries
from pipelines.prepare import DatasetRequest
from pipelines.run_folder import Home, RunFolder
from pipelines.shipped import find_recipe

ROUNDS_A_TICK = 10
BATCH = 32
SGD = "{kind: sgd, lr: 0.02, momentum: 0.5}"
TINY = [
    "data.read.count=2000", f"train.batch={BATCH}", f"train.tick={ROUNDS_A_TICK * BATCH}", "train.precision=fp32",
    "evaluate.samples=100", "method.generator.widths=[16]", "method.discriminator.widths=[16]",
    f"optim.generator={SGD}", f"optim.discriminator={SGD}",
]  # fmt: skip
BY_THE_CLOCK = ("images_per_second", "seconds", "workers")


def lengths(ticks: int, checkpoint_every: int, evaluate_every: int) -> list[str]:
    """Overrides for a run of so many ticks, with a checkpoint and an evaluation every so many."""
    tick = ROUNDS_A_TICK * BATCH
    return [
        f"train.images={ticks * tick}",
        f"train.checkpoint_every={checkpoint_every * tick}",
        f"train.evaluate_every={evaluate_every * tick}",
        f"train.sample_every={ticks * tick}",
    ]


def prepare(home: Home) -> Dataset:
    """The dataset of the tiny run, in `home`."""
    return DatasetRequest(find_recipe("ring", TINY).data, home).prepare()


def ticks_of(run_folder: Path) -> dict[int, dict[str, float]]:
    """images_seen -> what the training measured there, but for what a clock had to say. Each tick is there once."""
    found: dict[int, dict[str, float]] = {}
    for entry in read_entries(journal_folder(run_folder) / "train.jsonl"):
        if entry.record["kind"] == "metrics":
            assert entry.record["images_seen"] not in found
            values = metric_values(entry.record)
            found[entry.record["images_seen"]] = {k: v for k, v in values.items() if k not in BY_THE_CLOCK}
    return found


def weights(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of each file of weights, and of the optimizers' state."""
    return {path.name: file_digest(path) for path in sorted(checkpoint.glob("*.safetensors"))}


def the_run(home: Home) -> RunFolder:
    """The only run of `home`."""
    (path,) = home.runs.iterdir()
    return RunFolder(path)
