"""A small network trained on a dataset's own images without labels, for judging where there are none.

Two things are asked of its features at once. They tell each image from all others, and from worse versions of itself:
of an image, moved and mirrored in two ways, one has to find the other among all images of the batch and among those
made worse (instance discrimination; Chen et al. 2020, arXiv 2002.05709, eq. 1). So what tells images apart, colours
and shapes, is in them, and a generator that leaves some of it out is seen. And how an image was made worse, and how
much, has to be read off them by one linear layer; so blur, noise, misplaced parts and images shining through each other
move them, the further the worse. Contrastive learning as it is mostly done would be blind there: its augmentations
blur and recolour on purpose, that features may not change by it. Here images are moved and mirrored, no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ganlib.data.batches import normalise
from ganlib.data.dataset import Dataset
from ganlib.data.locks import held
from ganlib.data.sealed import UNSEALED, read_sealed, write_sealed
from ganlib.data.storage import Location
from ganlib.draws import stream_generator, stream_seed
from ganlib.errors import UserError
from ganlib.evaluation.classifier import judges_batches, judges_of
from ganlib.evaluation.degradations import KINDS, degraded
from ganlib.evaluation.extractor import NetworkExtractor
from ganlib.networks.base import ImageShape
from ganlib.precision import autocast

FILE = "instances.safetensors"
FEATURES, PROJECTED = 128, 64
BATCH = 64
IMAGES = 24_000
"""Images seen in training, each three times, of 64x64; fewer of larger ones, so that it is never a matter of hours."""
MAX_EPOCHS = 20
SIDE = 64
TEMPERATURE = 0.2
SEVERITY_WEIGHT = 10.0


class InstanceNetwork(nn.Module):
    """[N, C, H, W] in [-1, 1] -> float [N, 128] features after a ReLU.

    Four convolutions that halve, the mean over space, a hidden layer. Of images larger than 64 a side, neighbouring
    pixels become channels until they are not: averaged, they would lose the noise and the blur that are to be seen.
    Heads, for training alone: `project`, [N, 64] in which images are told apart; `severity`, [N, 4].
    """

    def __init__(self, image: ImageShape):
        super().__init__()
        self.fold = -(-image.height // SIDE)
        widths = [image.channels * self.fold**2, 32, 64, 128, 128]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.hidden = nn.Linear(widths[-1], FEATURES)
        self.project = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.ReLU(), nn.Linear(FEATURES, PROJECTED))
        self.severity = nn.Linear(FEATURES, len(KINDS))

    def forward(self, x: Tensor) -> Tensor:
        if self.fold > 1:
            whole = [side - side % self.fold for side in x.shape[2:]]
            x = F.pixel_unshuffle(x[:, :, : whole[0], : whole[1]], self.fold)
        return F.relu(self.hidden(self.body(x).mean((2, 3))))


class InstanceExtractor(NetworkExtractor):
    """The features of the network kept with the dataset, which is trained now where there is none yet."""

    name = "instances"

    def __init__(self, dataset: Dataset):
        train_instances(dataset)
        place = dataset.location / FILE
        content = read_sealed(place)
        self.network = InstanceNetwork(ImageShape(*dataset.image_shape))
        try:
            self.network.load_state_dict(load(content))
        except (SafetensorError, RuntimeError) as error:
            raise UserError(f"{place} is not a network of this program; remove it, and it is trained anew") from error
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.digest = hashlib.sha256(content).hexdigest()

    def look(self, images: Tensor) -> tuple[Tensor, None]:
        return self.network(normalise(images)), None

    def _move(self) -> None:
        self.network.to(self.device)


def train_instances(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> None:
    """Trains the network of a dataset of images and keeps it beside the shards; does nothing where it stands.

    Deterministic on one machine; another's has other last digits, and so another digest in its metrics' names.
    """
    place = dataset.location / FILE
    if dataset.columns.dtype == "float32" or place.kind() == "file":
        return
    with held(judges_of(dataset)):
        if place.kind() != "file":  # another process may have trained it by now
            _train(dataset, place, progress)


def _train(dataset: Dataset, place: Location, progress: Callable[[int, int], None] | None) -> None:
    train = dataset.split("train")
    batch = min(BATCH, len(train))
    batches = judges_batches(train, batch)
    height, width, _ = dataset.image_shape
    images = IMAGES * SIDE**2 // max(height * width, SIDE**2)
    steps = max(min(images, MAX_EPOCHS * len(train)) // batch, 1)
    generator = stream_generator("cpu", 0, "instances")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(0, "instances"))
        network = InstanceNetwork(ImageShape(*dataset.image_shape)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        real = batches[step].images
        first, second = _view(real, generator), _view(real, generator)
        worse, severities = degraded(first, generator)
        with autocast("cpu"):
            features = network(torch.cat([first, second, worse]).contiguous(memory_format=torch.channels_last))
            projected, said = network.project(features), network.severity(features)
        truth = torch.cat([torch.zeros(2 * batch, len(KINDS)), severities])
        loss = instance_loss(projected.float(), batch) + SEVERITY_WEIGHT * F.mse_loss(said.float(), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress:
            progress((step + 1) * batch, steps * batch)
    if place.kind() == "file":  # another machine was sooner: an object store has no locks
        return
    write_sealed(place, save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, UNSEALED))


def instance_loss(projected: Tensor, count: int) -> Tensor:
    """The mean over i of -log(exp(s_ij / t) / sum_(k != i) exp(s_ik / t)), a scalar; s: cosines, t = 0.2.

    projected: [m, d]; rows i and j = i + count (and back) are of one image, i < count. The rest, from 2 count on, are
    images that nothing is like: they stand among the k, and are no i.
    """
    unit = F.normalize(projected, dim=1)
    similar = unit[: 2 * count] @ unit.T / TEMPERATURE
    similar = similar.masked_fill(torch.eye(*similar.shape, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(similar, torch.arange(2 * count).roll(count))


def _view(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to an eighth of its sides, what moves in being a reflection, and mirrored or not."""
    n, channels, height, width = images.shape
    mirrored = torch.rand(n, 1, generator=generator) < 0.5
    for axis, size in ((2, height), (3, width)):
        shift = torch.randint(-(size // 8), size // 8 + 1, (n, 1), generator=generator)
        source = (torch.arange(size) + shift).abs()
        source = size - 1 - (size - 1 - source).abs()
        if axis == 3:
            source = torch.where(mirrored, size - 1 - source, source)
        shape = [n, 1, 1, 1]
        shape[axis] = size
        images = images.gather(axis, source.view(shape).expand(n, channels, height, width))
    return images
