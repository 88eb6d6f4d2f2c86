"""The dataset's own classifier: a small network trained at preparation, whose features judge samples.

It tells the classes apart; in a dataset without classes whose records are in one domain each, the domains. Where
records are in several domains, hair and eyes, it says of each whether an image is in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn

from ganlib.data.batches import Batches, normalise, open_batches
from ganlib.data.dataset import Dataset, Split
from ganlib.data.locks import held
from ganlib.data.manifest import ClassifierRecord
from ganlib.data.storage import Location
from ganlib.draws import stream_seed
from ganlib.errors import UserError
from ganlib.evaluation.extractor import NetworkExtractor
from ganlib.networks.base import ImageShape
from ganlib.precision import autocast

FILE = "classifier.safetensors"
FEATURES = 128
BATCH = 128
"""Images that are judged at once."""
GRADED = 1024
"""Images on which it is itself graded at once."""
IMAGES = 120_000
"""Images seen in training the classifier: two epochs of MNIST, more of smaller sets."""
MAX_EPOCHS = 20


class Classifier(nn.Module):
    """[N, C, H, W] in [-1, 1] -> (float [N, 128] features after a ReLU, float [N, classes] logits).

    Four convolutions with one halving each two, then a hidden layer; images larger than 32 are first averaged down to
    at most 32 pixels a side.
    """

    def __init__(self, image: ImageShape, classes: int):
        super().__init__()
        shrink = -(-image.height // 32)
        quarter = -(-(image.height // shrink) // 4)
        self.body = nn.Sequential(
            nn.AvgPool2d(shrink) if shrink > 1 else nn.Identity(),
            nn.Conv2d(image.channels, 32, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, 2, 1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(quarter),
            nn.Flatten(),
            nn.Linear(64 * quarter * quarter, FEATURES),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x)
        return features, self.head(features)


def train_classifier(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Trains the classifier of a dataset of classes, or of domains, and keeps it beside the shards.

    Its accuracy, which the manifest keeps, is of the test split (where that is empty, of the training split).
    Deterministic on one machine. Does nothing where the classifier stands already, nor for points of a density, whose
    truth is known.
    """
    names = dataset.judged_names or dataset.attribute_names
    if dataset.manifest.classifier is not None or names is None or dataset.columns.dtype == "float32":
        return dataset
    with held(judges_of(dataset)):
        dataset = Dataset.open(dataset.location)  # another process may have trained it by now
        return dataset if dataset.manifest.classifier is not None else _train(dataset, len(names), progress)


def judges_of(dataset: Dataset) -> Location:
    """What is held while a judge of the dataset is trained: two at once on the cores of one take many times as long."""
    return dataset.location / "judge"


def _train(dataset: Dataset, outputs: int, progress: Callable[[int, int], None] | None) -> Dataset:
    train = dataset.split("train")
    batch = min(BATCH, len(train))
    batches = judges_batches(train, batch)
    steps = min(IMAGES, MAX_EPOCHS * len(train)) // batch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(0, "classifier"))
        network = Classifier(ImageShape(*dataset.image_shape), outputs)
        network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(network.parameters(), 2e-3, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        for step in range(steps):
            chosen = batches[step]
            truth = chosen.labels if chosen.labels is not None else chosen.domains
            assert truth is not None
            with autocast("cpu"):
                features = network.body(chosen.images)
                # Dropped features make each of them carry the class, as Inception's do.
                logits = network.head(F.dropout(features, 0.3))
                if dataset.attribute_names is None:
                    loss = F.cross_entropy(logits.float(), truth if truth.dim() == 1 else truth.argmax(1))
                else:
                    loss = F.binary_cross_entropy_with_logits(logits.float(), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if progress:
                progress((step + 1) * batch, steps * batch)
    network.eval()
    judged = dataset.split("test") if len(dataset.split("test")) else train
    accuracy = _accuracy(network, dataset, judged)
    there = Dataset.open(dataset.location)
    if there.manifest.classifier is not None:  # another machine was sooner: an object store has no locks
        return there
    content = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    (dataset.location / FILE).write(content)
    digest = hashlib.sha256(content).hexdigest()
    return dataset.record_classifier(
        ClassifierRecord(file=FILE, sha256=digest, accuracy=accuracy, feature_dim=FEATURES)
    )


def judges_batches(train: Split, batch: int) -> Batches:
    """What a judge of the dataset learns from: whole batches, alike on every day."""
    loading: Literal["resident", "streamed"] = "resident" if train.local else "streamed"  # not by the memory there is
    return open_batches(train, batch, seed=0, rows=(0, batch), loading=loading)


def judged_truth(dataset: Dataset, split: Split) -> NDArray[np.int64]:
    """What the classifier of `dataset` should say of a split's records, as `calls` has it."""
    if split.labels is not None:
        return split.labels
    domains = split.column("domains")
    assert domains is not None
    return domains.astype(np.int64) if dataset.attribute_names is not None else domains.argmax(1)


def calls(logits: Tensor, dataset: Dataset) -> NDArray[np.int64]:
    """What the classifier of `dataset` says by its logits [n, k]: int64 [n], a class; of attributes [n, k], 0 or 1."""
    said = logits.argmax(1) if dataset.attribute_names is None else (logits > 0).long()
    return said.numpy()


@torch.no_grad()
def read_by(judge: Classifier, dataset: Dataset, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What `judge`, the classifier of `dataset`, says of uint8 [n, H, W, C], as `calls` has it."""
    return calls(judge(normalise(torch.from_numpy(images)))[1], dataset)


def load_classifier(dataset: Dataset) -> Classifier:
    """The classifier kept with `dataset`, in eval mode. Raises UserError where there is none or it is damaged."""
    record, names = dataset.manifest.classifier, dataset.judged_names or dataset.attribute_names
    if record is None or names is None:
        raise UserError(f"dataset {dataset.name} has no classifier: its images have no labels")
    place = dataset.location / record.file
    content = place.read() if place.kind() == "file" else b""
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise UserError(
            f"{place} is not the classifier that was written; remove {dataset.location} and prepare it again"
        )
    network = Classifier(ImageShape(*dataset.image_shape), len(names))
    network.load_state_dict(load(content))
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


class ClassifierExtractor(NetworkExtractor):
    """The features and the class probabilities of the dataset's own classifier; of attributes the features alone,
    as what it says of each of them adds up to no distribution."""

    name = "classifier"

    def __init__(self, dataset: Dataset):
        self.network = load_classifier(dataset)
        assert dataset.manifest.classifier is not None
        self.digest = dataset.manifest.classifier.sha256
        self.knows_classes = dataset.judged_names is not None

    def look(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        features, logits = self.network(normalise(images))
        return features, logits if self.knows_classes else None

    def _move(self) -> None:
        self.network.to(self.device)


@torch.no_grad()
def _accuracy(network: Classifier, dataset: Dataset, judged: Split) -> float:
    """Of a split, whose images are in memory a few at a time: a split may be larger than memory."""
    truth, right = judged_truth(dataset, judged), 0
    for first in range(0, len(judged), GRADED):
        rows = np.arange(first, min(first + GRADED, len(judged)))
        _, logits = network(normalise(torch.from_numpy(judged.take(rows))))
        right += int((calls(logits, dataset) == truth[rows]).sum())
    return right / truth.size
