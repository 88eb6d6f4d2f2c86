"""What each worker runs: the trainer's ticks, written to the run's folder by the first worker.

The same loop serves one process and N Ray workers, some of which may be taken away at any moment. All of them leave it
at the same round: what only one of them knows (a full disk, SIGTERM) reaches the others by `Trainer.interrupt`.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ray.train.collective import broadcast_from_rank_zero

from ganlib.cores import cores, threads_of
from ganlib.data import Dataset
from ganlib.errors import UserError
from ganlib.files import remove_unfinished, write_atomically
from ganlib.pictures import png
from ganlib.recipe import Recipe
from ganlib.sheets import sheet
from ganlib.training.checkpoint import checkpoint_name, newest_checkpoint
from ganlib.training.trainer import Tick, Trainer
from ganlib.training.world import World
from pipelines.health import health_tags, reason_to_stop, verdicts_of
from pipelines.journal import PASSED_OVER_TAG, Journal
from pipelines.notice import RelievedError, answer, heeding, wish_of
from pipelines.run_folder import RunFolder
from pipelines.writers import LocalWriter, RayWriter, Shelf, Writer, unjudged

FAILURES = "failures"
"""The folder, below a run's, of what its workers could not do."""
ALIKE_SECONDS = 20.0
"""How long one that has failed waits for the others to have failed as well."""

_log = logging.getLogger(__name__)


class Start(NamedTuple):
    """What the first worker tells the others before the training: where it begins, or why it cannot.

    threads: of each worker.
    """

    resume: str | None = None
    unjudged: tuple[str, ...] = ()
    threads: int = 1
    failure: str | None = None


class End(NamedTuple):
    """What it tells them after it: a line for the person, or that others take the workers' places."""

    failure: str | None = None
    others_follow: bool = False


def train_loop(config: dict[str, Any]) -> str | None:
    """Trains the run of `config["run_folder"]` from its newest checkpoint to its end, or to where it is asked to end.

    Returns a line for the person where they have to act: their mistake, a run that diverged, a full disk. Raises
    RelievedError, on all workers, where the run is to go on with others; UserError where some workers alone cannot, as
    on a node that does not see the dataset, which `failure_of` says then.
    """
    run = RunFolder(Path(config["run_folder"]))
    world, on_ray = World.current(), bool(config["workers"])
    with ExitStack() as stack:
        keeper = Keeper(run, stack) if world.rank == 0 else None
        start = Start(*_from_the_first(keeper.start(config["workers"]) if keeper is not None else None))
        if start.failure:
            return str(start.failure)
        torch.set_num_threads(start.threads)
        try:
            recipe = run.recipe()
            dataset = Dataset.open(run.facts().dataset_path)
            trainer = Trainer(recipe, dataset, resume=Path(start.resume) if start.resume else None, world=world)
            shelf = keeper.shelf(recipe) if keeper is not None else None
            writer: Writer = RayWriter(run, shelf)
            if not on_ray:
                assert shelf is not None
                writer = LocalWriter(shelf)
            stack.callback(_without_raising, writer.close, now=True)  # does nothing where it was closed before
            for name in start.unjudged:
                writer.judge(name)
            with heeding(trainer, run, on_ray):
                if keeper is not None:
                    keeper.begin(trainer, start.resume)
                for tick in trainer.run():
                    if keeper is not None:
                        keeper.look_after(tick, trainer, writer)
                    if tick.due & {"checkpoint", "evaluation"}:
                        name = checkpoint_name(tick.images_seen)
                        snapshot = trainer.snapshot() if keeper is not None else None
                        writer.write(name, snapshot, "evaluation" in tick.due, tick.metrics)
            end = End(*_from_the_first(keeper.end(trainer, writer, on_ray) if keeper is not None else None))
            writer.close(now=trainer.interrupted)
        except UserError as error:
            if failed_alike(run, world.rank, world.size, str(error)):
                return str(error)
            raise  # so that Ray ends the others, who wait for this one
        if end.others_follow:
            raise RelievedError(f"the workers of {run.name} leave; others go on from its newest checkpoint")
        return end.failure


def failed_alike(run: RunFolder, rank: int, size: int, said: str, seconds: float = ALIKE_SECONDS) -> bool:
    """Notes why this worker, of `size`, ends, and whether all of them end so, within so long."""
    if size == 1:
        return True
    folder = run.path / FAILURES
    try:
        write_atomically(folder / str(rank), said)
    except UserError:  # a full disk is what most likely it is about
        return True
    deadline = time.monotonic() + seconds
    while not all((folder / str(other)).is_file() for other in range(size)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def failure_of(run: RunFolder) -> str | None:
    """Why a worker of the run ended that Ray started last; None where none said why."""
    said = sorted((run.path / FAILURES).glob("[0-9]*"))
    return said[0].read_text() if said else None


class Keeper:
    """What the first worker does beside the training: the journal, the pictures, the checkpoints.

    What goes wrong here concerns this worker alone; it is kept, and interrupts the training, so that all end together.
    """

    def __init__(self, run: RunFolder, stack: ExitStack):
        self.run, self._stack = run, stack
        self.failure: str | None = None

    def start(self, workers: int) -> Start:
        """Opens the journal, once no other process writes it, and finds where to begin."""
        shutil.rmtree(self.run.path / FAILURES, ignore_errors=True)  # the others wait for this to be over
        try:
            self.journal = self._stack.enter_context(Journal(self.run.path, "train"))
            remove_unfinished(self.run.path / "checkpoint-*")
            found = newest_checkpoint(self.run.path, lambda amiss: self.journal.tags({PASSED_OVER_TAG: amiss}))
            # As if all workers were on this machine: where Ray places them after a fault then changes no sum's order.
            threads = self.run.threads(threads_of(max(workers, 1), cores()))
        except UserError as error:
            return Start(failure=str(error))
        return Start(str(found) if found else None, tuple(unjudged(self.run)), threads)

    def shelf(self, recipe: Recipe) -> Shelf:
        """Where the checkpoints stand."""
        self._shelf = Shelf(self.run, self.journal, recipe.train.keep_checkpoints)
        return self._shelf

    def begin(self, trainer: Trainer, resume: str | None) -> None:
        """What there is to be said before the first round."""
        if resume is None:
            self._do(trainer, lambda: draw_samples(trainer, self.run, self.journal))
        else:  # written, perhaps, by a process that died before it could say so
            self._do(trainer, lambda: self.journal.checkpoint(trainer.progress.images, Path(resume).name))

    def look_after(self, tick: Tick, trainer: Trainer, writer: Writer) -> None:
        """What there is to be said, drawn and judged at a tick."""

        def work() -> None:
            record(tick, trainer, self.run, self.journal)
            stop = look_after(self.run, trainer.recipe, self.journal) if tick.due else None
            if stop or (stop := writer.failure()):
                raise UserError(stop)

        self._do(trainer, work)

    def end(self, trainer: Trainer, writer: Writer, on_ray: bool) -> End:
        """Leaves a checkpoint of an interrupted run, answers whoever asked for its end, and says what follows."""
        writer.written()
        name = checkpoint_name(trainer.progress.images)
        if trainer.interrupted and not (self.run.path / name).exists():
            self._do(trainer, lambda: self._shelf.put(name, trainer.snapshot(), judge=False))
        wish = wish_of(self.run)
        answer(self.run)
        failure = self.failure or writer.failure()
        return End(failure, on_ray and trainer.interrupted and failure is None and wish != "stop")

    def _do(self, trainer: Trainer, work: Callable[[], None]) -> None:
        try:
            work()
        except UserError as error:
            self.failure = self.failure or str(error)
            trainer.interrupt()


def _from_the_first(said: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """What the first worker says (None on the others), on all of them; as a bare tuple: Ray's actor that passes it on
    would import the module of any other type, and torch with it, while all workers wait."""
    heard: tuple[Any, ...] = broadcast_from_rank_zero(None if said is None else tuple(said))
    return heard


def _without_raising(work: Callable[..., None], **how: Any) -> None:
    try:
        work(**how)
    except Exception:
        _log.debug("while a training ended otherwise", exc_info=True)


def record(tick: Tick, trainer: Trainer, run: RunFolder, journal: Journal) -> None:
    """What a tick says, into the journal; a grid where one is due."""
    facts = {"images_per_second": tick.images_per_second, "seconds": tick.seconds}
    if trainer.recipe.elastic:
        facts["workers"] = trainer.world.size
    journal.metrics(tick.images_seen, {**tick.metrics, **facts})
    if "samples" in tick.due:
        draw_samples(trainer, run, journal)


def look_after(run: RunFolder, recipe: Recipe, journal: Journal) -> str | None:
    """The run's health, into the journal. Why it is to stop here, where its recipe lets it be stopped."""
    verdicts = verdicts_of(run)
    journal.tags(health_tags(verdicts))
    return reason_to_stop(run, verdicts) if recipe.train.stop_when_unhealthy else None


def draw_samples(trainer: Trainer, run: RunFolder, journal: Journal) -> None:
    """A picture stamped with the images seen, laid out by what the generator is told (`ganlib.sheets`)."""
    images = trainer.progress.images
    path = run.pictures / f"samples-{images:012d}.png"
    write_atomically(path, png(sheet(trainer.recipe, trainer.dataset, trainer.sample)))
    journal.picture(images, "samples", path)
