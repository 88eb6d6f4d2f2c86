"""What training eats: every image once an epoch, in an order that seed and epoch decide, whoever takes which rows."""

import numpy as np
import pytest
import torch

from ganlib.data import Dataset, Split
from ganlib.data.batches import Batches, normalise, quantise
from ganlib.errors import UserError
from ganlib.training.world import World


@pytest.fixture
def train(digits: Dataset) -> Split:
    return digits.split("train")


def test_normalised_and_quantised_again_every_value_is_itself() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
    images = normalise(pixels)
    assert images.dtype == torch.float32
    assert images.shape == (1, 1, 16, 16)
    # -1 at 0, 1 at 255, evenly spaced between.
    np.testing.assert_allclose(images.flatten().numpy(), np.linspace(-1, 1, 256), atol=1e-7)
    assert images.abs().max() <= 1
    assert torch.equal(quantise(images), pixels)


def test_normalise_moves_channels_without_mixing_pixels() -> None:
    pixels = torch.arange(2 * 3 * 4 * 3, dtype=torch.uint8).view(2, 3, 4, 3)
    images = normalise(pixels)
    assert images.shape == (2, 3, 3, 4)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images[1, 2, 0, 3].item() == pytest.approx(pixels[1, 0, 3, 2].item() / 127.5 - 1)
    assert torch.equal(quantise(images), pixels)


def test_every_image_comes_once_an_epoch_but_for_the_last_partial_batch(train: Split) -> None:
    batches = Batches(train, 100, seed=0, rows=(0, 100))
    count = len(train)
    assert batches.per_epoch == count // 100
    for epoch in (0, 1):
        order = batches.order(epoch).numpy()
        assert sorted(order) == list(range(count))
        first = epoch * batches.per_epoch
        given = torch.cat([batches[first + i].images for i in range(batches.per_epoch)])
        assert len(given) == count // 100 * 100 < count
        expected = train.images[order[: len(given)]]
        assert np.array_equal(quantise(given).numpy(), expected)


def test_a_batch_is_images_with_their_labels(train: Split) -> None:
    batches = Batches(train, 32, seed=7, rows=(0, 32))
    batch, chosen = batches[3], batches.order(0)[96:128].numpy()
    assert batch.images.shape == (32, 1, 8, 8)
    assert batch.images.dtype == torch.float32
    assert batch.images.abs().max() <= 1
    assert batch.labels is not None
    assert train.labels is not None
    assert batch.labels.dtype == torch.int64
    np.testing.assert_array_equal(batch.labels.numpy(), train.labels[chosen])
    np.testing.assert_array_equal(quantise(batch.images).numpy(), train.images[chosen])


def test_the_order_is_a_function_of_seed_and_epoch(train: Split) -> None:
    batches, again = (Batches(train, 64, seed=1, rows=(0, 64)) for _ in range(2))
    later = batches.order(5)
    assert not torch.equal(batches.order(4), later)  # asked for out of order
    assert torch.equal(again.order(5), later)
    assert not torch.equal(Batches(train, 64, seed=2, rows=(0, 64)).order(5), later)
    assert torch.equal(Batches(train, 8, seed=1, rows=(0, 8)).order(5), later)  # whatever the batch
    # A random permutation leaves one image in its place, on average.
    assert (later == torch.arange(len(train))).sum() < 10


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_workers_slices_make_up_the_global_batch(workers: int, train: Split) -> None:
    whole = Batches(train, 25, seed=3, rows=(0, 25))
    parts = [Batches(train, 25, seed=3, rows=World(rank, workers).rows(25)) for rank in range(workers)]
    for index in (0, 1, whole.per_epoch - 1, whole.per_epoch, 3 * whole.per_epoch + 5):
        batch, slices = whole[index], [part[index] for part in parts]
        assert torch.equal(torch.cat([piece.images for piece in slices]), batch.images)
        labels = [piece.labels for piece in slices if piece.labels is not None]
        assert batch.labels is not None
        assert torch.equal(torch.cat(labels), batch.labels)


def test_a_batch_may_be_the_whole_split_and_no_more(train: Split) -> None:
    batches = Batches(train, len(train), seed=0, rows=(0, len(train)))
    assert batches.per_epoch == 1
    assert not torch.equal(batches[0].images, batches[1].images)
    with pytest.raises(UserError, match=rf"^a batch of {len(train) + 1} images cannot be drawn from {len(train)}; "):
        Batches(train, len(train) + 1, seed=0, rows=(0, 1))
