"""How fast N workers train a recipe, by a model that is stated here.

A round of training (`Trainer._round`) does the same on every worker, on its slice of the global batch, and waits for
the others wherever numbers of all are added up: gradients, a side's at a time, once a step; the two moments of each
batch norm, forward and backward; little else. Nothing of that is hidden behind computing, so

    t(n) = computing(slice) + sum over all-reduces of t(bytes, n)          images/s = batch D-steps / t(n)

`computing`: counted operations (`ganlib.scaling.work`) by a GPU's roofline (`ganlib.scaling.gpus`), each kernel taking
max(flops / (a peak), bytes / (b bandwidth)) and all together no less than their launches; or, of a CPU, what was
measured on this machine on the same slice (`ganlib.scaling.calibration`), times the workers that share a core.
`t(bytes, n)`: a ring's or a tree's (`ganlib.scaling.links`), between processes of one machine at the rate that was
measured for a part of that size. A loss's weights travel flat, in float32:
4 bytes a parameter. Latents, masks and orders are drawn for the whole batch by each worker: what that takes does not
shrink with the slice, and is counted.

Left out: reading data, which runs ahead where the split is resident; pictures, checkpoints and evaluation, which run
beside the training; the end of a tick, which reads the metrics and looks once more at a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from ganlib.scaling.calibration import Calibration
from ganlib.scaling.gpus import Gpu
from ganlib.scaling.links import Behind, Cluster, Link
from ganlib.scaling.work import Work


@dataclass(frozen=True)
class Prediction:
    """Of one round on so many workers. Seconds; memory in bytes a worker, all tensors of the training."""

    work: Work
    computing: float
    communicating: float
    bound: str

    @property
    def seconds(self) -> float:
        return self.computing + self.communicating

    @property
    def images_per_second(self) -> float:
        return self.work.images / self.seconds

    @property
    def communication(self) -> float:
        """The share of the time that goes into messages."""
        return self.communicating / self.seconds


def messages(work: Work, cluster: Cluster) -> float:
    """Seconds of a round's all-reduces."""
    return sum(times * cluster.all_reduce(size, work.workers) for size, times in work.messages.items())


def predict_gpu(work: Work, gpu: Gpu, per_machine: int, network: Link) -> Prediction:
    """On GPUs of one sort, `per_machine` of them in a machine, machines joined by `network`, each by its own link."""
    computing, bound = gpu.seconds(work)
    communicating = messages(work, Cluster(per_machine, gpu.inside, network))
    return Prediction(work, computing, communicating, "messages" if communicating > computing else bound)


def predict_cpu(work: Work, calibration: Calibration, per_machine: int, network: Link | None = None) -> Prediction:
    """On machines like this one, `per_machine` workers on each, joined by `network`; None: by the loopback.

    Workers that share a core share it in computing and in passing messages on: both take so many times as long.
    """
    here = min(work.workers, per_machine)
    crowding = calibration.crowding(here)
    inside = calibration.loopback.shared(crowding)
    between = inside if network is None else Behind(network, inside)
    computing = calibration.rounds[work.workers] * crowding
    communicating = messages(work, Cluster(per_machine, inside, between, trees=False))
    return Prediction(work, computing, communicating, "messages" if communicating > computing else "computing")
