"""Evaluation spread over Ray's processes: they make the samples and take the features, by number, in pieces.

A sample is a function of the seed and its number, and a piece has its size whatever the number of processes; what they
hand back is put together in the order of the numbers. So every sum is taken over the same numbers in the same order,
and two or seven processes give one's metrics to the last digit. Features come back rather than their sums: metrics of
neighbours want them, and of a piece they are smaller than a matrix of covariances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ganlib.data import Dataset
from ganlib.data.storage import Location
from ganlib.devices import best_device
from ganlib.errors import UserError
from ganlib.evaluation.extractors import Extractor, extractor_for
from ganlib.sampling import Sampler, load_sampler
from pipelines.cluster import connect, most_of

PIECE = 32
"""Images of one task: a thousand are shared fairly among seven, and Inception works on as many at once."""
UNDER_WAY = 2
"""Tasks that a process has at once, so that it never waits for the next."""


@contextmanager
def processes(
    count: int, dataset: Dataset, extractor: Extractor, checkpoint: Path | None = None
) -> Iterator[Sequence[Any]]:
    """So many processes with `extractor`, opened for `dataset`, and the generator in the folder `checkpoint`.

    The GPUs of the cluster that nobody has now are theirs in equal shares; where there are none, each has a core.
    Raises UserError where Ray cannot be started, is too small, loses a process, or has other weights where it runs one;
    and what a process raises of its own.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    connect(count)
    if (cpus := most_of("CPU")) < count:  # Ray would wait for more of them to come
        raise UserError(
            f"{count} workers take a CPU each, and the cluster has {cpus:g} CPUs; lower --workers, or add nodes"
        )
    share = gpu_share(ray.available_resources().get("GPU", 0), count)
    remote = ray.remote(num_cpus=1, num_gpus=share)(Worker)
    actors = [remote.remote() for _ in range(count)]
    try:
        labels = ray.get(
            [actor.open.remote(checkpoint, dataset.location, extractor.name, share > 0) for actor in actors]
        )
        if others := set(labels) - {extractor.label}:
            raise UserError(f"a process of Ray's has {others.pop()}, not {extractor.label}: give it the same weights")
        yield actors
    except RayTaskError as error:
        if isinstance(error.cause, UserError):  # without Ray's traceback around it
            raise error.cause from None
        raise
    except RayError as error:
        raise UserError(
            f"a process of Ray's was lost while it judged ({' '.join(str(error).split())[:200]}); is memory short? "
            "Run it again, with fewer --workers"
        ) from error
    finally:
        for actor in actors:
            ray.kill(actor)


def gpu_share(free: float, count: int) -> float:
    """Of a GPU, for each of `count` processes: a whole one, or as many to each GPU as have to share it; 0 for none.

    Cut off at the fourth decimal, the last that Ray counts: rounded up, the last process would wait for ever.
    """
    whole = int(free)
    return 0 if not whole else 1 if whole >= count else 10_000 // -(-count // whole) / 10_000


class Worker:
    """One process: an extractor of its own, and a generator where there is a checkpoint."""

    def open(self, checkpoint: Path | None, dataset: Location, extractor: str, gpu: bool) -> str:
        """Loads both, on a GPU where it has a share of one (Ray hides none from others), and returns the extractor's
        label. No constructor does it: of what goes wrong in one, Ray hands on a text, that the process died.
        """
        device = best_device() if gpu else "cpu"
        self.sampler = load_sampler(checkpoint, device) if checkpoint is not None else None
        self.extractor = extractor_for(Dataset.open(dataset), extractor).to(device)
        return self.extractor.label

    def sample(self, count: int, seed: int, first: int, told: dict[str, Any]) -> np.ndarray:
        """As a Sampler's."""
        assert self.sampler is not None
        return self.sampler.sample(count, seed, first, **told)

    def features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """As an Extractor's."""
        return self.extractor.features(images.copy())  # Ray's own may not be written to, which torch wants


class ShardedSampler(Sampler):
    """A Sampler whose samples are made by workers."""

    def __init__(self, checkpoint: Path, actors: Sequence[Any]):
        super().__init__(checkpoint)
        self._actors = actors

    def sample(self, count: int, seed: int = 0, first: int = 0, interpolate: int = 0, **told: Any) -> np.ndarray:
        """uint8 [count, H, W, C], as `Sampler.sample` has it. Between inputs or texts this process goes alone."""
        if interpolate or count <= PIECE:
            return super().sample(count, seed, first, interpolate, **told)

        def ask(actor: Any, at: int) -> Any:
            part = {name: value[at : at + PIECE] for name, value in told.items()}
            return actor.sample.remote(min(PIECE, count - at), seed, first + at, part)

        return np.concatenate(_in_order(self._actors, ask, count))


class ShardedExtractor(Extractor):
    """An Extractor whose features are taken by workers."""

    def __init__(self, extractor: Extractor, actors: Sequence[Any]):
        self.name, self.digest, self.knows_classes = extractor.name, extractor.digest, extractor.knows_classes
        self.takes_floats = extractor.takes_floats
        self._actors = actors

    def features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        def ask(actor: Any, at: int) -> Any:
            return actor.features.remote(images[at : at + PIECE])

        features, probabilities = zip(*_in_order(self._actors, ask, len(images)), strict=True)
        return np.concatenate(features), None if probabilities[0] is None else np.concatenate(probabilities)


def _in_order(actors: Sequence[Any], ask: Callable[[Any, int], Any], count: int) -> list[Any]:
    """The answers to `ask` for the pieces from 0, PIECE, ... on below `count`, in that order.

    Whoever is free has the next piece.
    """
    import ray

    waiting = list(range(0, count, PIECE))[::-1]
    under_way: dict[Any, tuple[int, Any]] = {}
    answers: dict[int, Any] = {}
    idle = list(actors) * UNDER_WAY
    while waiting or under_way:
        while waiting and idle:
            at, actor = waiting.pop(), idle.pop(0)
            under_way[ask(actor, at)] = at, actor
        done, _ = ray.wait(list(under_way))
        for answer in done:
            at, actor = under_way.pop(answer)
            answers[at] = ray.get(answer)
            idle.append(actor)
    return [answers[at] for at in sorted(answers)]
