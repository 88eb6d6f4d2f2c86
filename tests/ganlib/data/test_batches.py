"""What training eats: every image once an epoch, in an order that seed and epoch decide, whoever takes which rows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from ganlib.data import Dataset, Preparation, Split, prepare_dataset
from ganlib.data.augment import Augment
from ganlib.data.batches import choose_loading, normalise, open_batches, quantise
from ganlib.data.columns import Columns
from ganlib.data.memory import available_memory
from ganlib.data.sources.base import Record
from ganlib.errors import UserError
from ganlib.training.world import World
from tests.ganlib.data.list_source import ListSource, noise
from tests.ganlib.data.splits import MemorySplit
from tests.s3 import s3_folder  # noqa: F401

EVERYTHING = Columns(
    class_names=["a", "b", "c"],
    domain_names=["blond", "smiling"],
    captions=True,
    boxes=True,
    keypoint_names=["nose", "chin"],
    partner=True,
)


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


def test_a_pixel_is_normalised_alike_wherever_it_lies() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    (expected,) = normalise(values.view(1, 1, 256, 1)).flatten().view(1, -1)
    for before in range(20):  # whole vectors of the CPU, and what is left over at their end
        for after in range(20):
            pixels = torch.cat([values[:before], values, values[:after]]).view(1, 1, -1, 1)
            assert torch.equal(normalise(pixels).flatten()[before : before + 256], expected), (before, after)


def test_normalise_moves_channels_without_mixing_pixels() -> None:
    pixels = torch.arange(2 * 3 * 4 * 3, dtype=torch.uint8).view(2, 3, 4, 3)
    images = normalise(pixels)
    assert images.shape == (2, 3, 3, 4)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images[1, 2, 0, 3].item() == pytest.approx(pixels[1, 0, 3, 2].item() / 127.5 - 1)
    assert torch.equal(quantise(images), pixels)


def test_every_image_comes_once_an_epoch_but_for_the_last_partial_batch(train: Split) -> None:
    batches = open_batches(train, 100, seed=0, rows=(0, 100))
    assert batches.loading == "resident"
    count = len(train)
    assert batches.per_epoch == count // 100
    for epoch in (0, 1):
        order = batches.order(epoch).numpy()
        assert sorted(order) == list(range(count))
        first = epoch * batches.per_epoch
        given = torch.cat([batches[first + i].images for i in range(batches.per_epoch)])
        assert len(given) == count // 100 * 100 < count
        expected = train.take(order[: len(given)])
        assert np.array_equal(quantise(given).numpy(), expected)


def test_a_batch_is_images_with_their_labels(train: Split) -> None:
    batches = open_batches(train, 32, seed=7, rows=(0, 32))
    batch, chosen = batches[3], batches.order(0)[96:128].numpy()
    assert batch.images.shape == (32, 1, 8, 8)
    assert batch.images.dtype == torch.float32
    assert batch.images.abs().max() <= 1
    assert batch.labels is not None
    assert train.labels is not None
    assert batch.labels.dtype == torch.int64
    np.testing.assert_array_equal(batch.labels.numpy(), train.labels[chosen])
    np.testing.assert_array_equal(quantise(batch.images).numpy(), train.take(chosen))


@pytest.mark.parametrize("way", ["mapped", "held", "streamed"])
def test_every_column_comes_with_its_image(way: str) -> None:
    split = MemorySplit([30, 50, 20], EVERYTHING)
    split.local = way == "mapped"
    loading = "streamed" if way == "streamed" else "resident"
    batches = open_batches(split.as_split(), 16, 1, (4, 12), loading=loading)
    assert batches.loading == loading
    chosen = batches.order(2)[16 * 3 + 4 : 16 * 3 + 12].numpy()
    batch, table = batches[2 * 6 + 3], split.table
    assert batch.partners is not None
    np.testing.assert_array_equal(quantise(batch.images).numpy(), table["images"][chosen])
    np.testing.assert_array_equal(quantise(batch.partners).numpy(), table["partner"][chosen])
    expected = {name: table[name][chosen] for name in ("labels", "domains", "box", "keypoints")}
    found = (batch.labels, batch.domains, batch.boxes, batch.keypoints)
    for tensor, (name, values), dtype in zip(found, expected.items(), ("int64", *["float32"] * 3), strict=True):
        assert tensor is not None
        assert str(tensor.dtype) == f"torch.{dtype}"
        np.testing.assert_array_equal(tensor.numpy(), values, err_msg=name)
    assert batch.captions == [table["captions"][row] for row in chosen]
    if way == "held":
        assert split.loads == [0, 1, 2]


@pytest.mark.parametrize("place", ["disk", "s3"])
@pytest.mark.parametrize("loading", ["resident", "streamed"])
def test_prepared_records_come_with_all_that_they_had(
    loading: str, place: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = tmp_path if place == "disk" else request.getfixturevalue("s3_folder")
    monkeypatch.setattr("ganlib.data.plan.SHARD_BYTES", 4096)  # 10 images of 8x8x3 with their partners
    records = {
        f"{n:03d}": Record(
            noise(n),
            noise(1000 + n),
            label=n % 3,
            domains=(n % 2, 1),
            captions=(f"picture {n}",),
            box=(1, 2, 3, 4),
            keypoints=np.array([[n % 8, 2, 1], [0, 0, 0]], np.float32),
        )
        for n in range(45)
    }
    source = ListSource(records, EVERYTHING, {"train": range(45)})
    split = prepare_dataset(source, Preparation(size=8), into, "all").split("train")
    assert (split.local, len(split.shards)) == (place == "disk", 5)
    batches = open_batches(split, 20, 0, (0, 20), loading=loading)  # type: ignore[arg-type]
    for index in (0, 1, 2):
        batch = batches[index]
        chosen = batches.order(index // 2)[index % 2 * 20 : index % 2 * 20 + 20].tolist()
        assert batch.captions == [[f"picture {n}"] for n in chosen]
        assert batch.labels is not None
        assert batch.labels.tolist() == [n % 3 for n in chosen]
        assert batch.domains is not None
        assert batch.domains.tolist() == [[n % 2, 1] for n in chosen]
        assert batch.boxes is not None
        assert batch.boxes.tolist() == [[1 / 8, 2 / 8, 3 / 8, 4 / 8]] * 20
        assert batch.keypoints is not None
        assert batch.keypoints[:, 1].tolist() == [[0, 0, 0]] * 20
        assert batch.keypoints[:, 0, 0].tolist() == [n % 8 / 8 for n in chosen]
        assert batch.partners is not None
        for images, offset in ((batch.images, 0), (batch.partners, 1000)):
            expected = np.stack([np.asarray(noise(offset + n)) for n in chosen])
            np.testing.assert_array_equal(quantise(images).numpy(), expected)


@pytest.mark.parametrize("loading", ["resident", "streamed"])
def test_points_of_a_density_stay_as_they_are(loading: str) -> None:
    split = MemorySplit([30, 40], Columns(dtype="float32"), shape=(1, 2, 1))
    batches = open_batches(split.as_split(), 10, 0, (0, 10), loading=loading)  # type: ignore[arg-type]
    images = batches[1].images
    assert images.shape == (10, 1, 1, 2)
    np.testing.assert_array_equal(images[:, 0, 0], split.table["images"][batches.order(0)[10:20].numpy()][:, 0, :, 0])
    assert batches[1].labels is None


def test_the_order_is_a_function_of_seed_and_epoch(train: Split) -> None:
    batches, again = (open_batches(train, 64, seed=1, rows=(0, 64)) for _ in range(2))
    later = batches.order(5)
    assert not torch.equal(batches.order(4), later)  # asked for out of order
    assert torch.equal(again.order(5), later)
    assert not torch.equal(open_batches(train, 64, seed=2, rows=(0, 64)).order(5), later)
    assert torch.equal(open_batches(train, 8, seed=1, rows=(0, 8)).order(5), later)  # whatever the batch
    # A random permutation leaves one image in its place, on average.
    assert (later == torch.arange(len(train))).sum() < 10


def test_the_resident_order_is_the_one_that_earlier_runs_had(train: Split) -> None:
    batches = open_batches(train, 64, seed=7, rows=(0, 64), loading="resident")
    seed = int.from_bytes(hashlib.blake2b(b"7/order/3", digest_size=8).digest(), "little") >> 1
    expected = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(batches.order(3), expected)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("augment", [None, Augment(mirror=True, crop_padding=2, rotation=20, brightness=0.3)])
def test_the_workers_slices_make_up_the_global_batch(workers: int, augment: Augment | None, train: Split) -> None:
    whole = open_batches(train, 25, seed=3, rows=(0, 25), augment=augment)
    parts = [open_batches(train, 25, 3, World(rank, workers).rows(25), augment=augment) for rank in range(workers)]
    for index in (0, 1, whole.per_epoch - 1, whole.per_epoch, 3 * whole.per_epoch + 5):
        batch, slices = whole[index], [part[index] for part in parts]
        assert torch.equal(torch.cat([piece.images for piece in slices]), batch.images)
        labels = [piece.labels for piece in slices if piece.labels is not None]
        assert batch.labels is not None
        assert torch.equal(torch.cat(labels), batch.labels)


def test_augmentation_changes_images_anew_each_time_and_is_a_function_of_the_index(train: Split) -> None:
    augment = Augment(mirror=True)
    plain = open_batches(train, len(train), seed=0, rows=(0, len(train)))
    batches, again = (open_batches(train, len(train), 0, (0, len(train)), augment=augment) for _ in range(2))
    batches[0]
    images = batches[1].images
    assert torch.equal(again[1].images, images)  # without the one before
    as_it_was = (images == plain[1].images).all((1, 2, 3))
    mirrored = (images == plain[1].images.flip(3)).all((1, 2, 3))
    assert (as_it_was | mirrored).all()
    assert as_it_was.float().mean() == pytest.approx(0.5, abs=0.05)
    rows, order = torch.zeros(2, len(train)), [batches.order(epoch) for epoch in (0, 1)]
    for epoch in (0, 1):
        was = (batches[epoch].images == plain[epoch].images).all((1, 2, 3))
        rows[epoch, order[epoch]] = was.float()
    assert (rows[0] == rows[1]).float().mean() == pytest.approx(0.5, abs=0.05)  # not the same images each epoch
    off = open_batches(train, 50, 0, (0, 50), augment=Augment())
    assert torch.equal(off[0].images, open_batches(train, 50, 0, (0, 50))[0].images)


def test_a_batch_may_be_the_whole_split_and_no_more(train: Split) -> None:
    for loading in ("resident", "streamed"):
        batches = open_batches(train, len(train), 0, (0, len(train)), loading=loading)  # type: ignore[arg-type]
        assert batches.per_epoch == 1
        assert not torch.equal(batches[0].images, batches[1].images)
        with pytest.raises(UserError, match=rf"^a batch of {len(train) + 1} images cannot be drawn from {len(train)}"):
            open_batches(train, len(train) + 1, 0, (0, 1), loading=loading)  # type: ignore[arg-type]


def test_what_is_local_and_has_room_is_resident_all_else_is_streamed() -> None:
    split = MemorySplit([10], EVERYTHING)
    assert choose_loading(split.as_split(), "cpu") == "resident"
    split.local = False
    assert choose_loading(split.as_split(), "cpu") == "streamed"
    split.local = True
    # 2x3x1 with its partner takes 12 bytes.
    split.count = available_memory() // 24 // 2
    assert choose_loading(split.as_split(), "cpu") == "resident"
    split.count = available_memory() // 24 * 2
    assert choose_loading(split.as_split(), "cpu") == "streamed"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("loading", ["resident", "streamed"])
def test_a_gpu_gets_the_same_batches(loading: str) -> None:
    split = MemorySplit([30, 50, 20], EVERYTHING)
    here, there = (
        open_batches(split.as_split(), 16, 1, (0, 16), device, loading)  # type: ignore[arg-type]
        for device in ("cpu", "cuda")
    )
    for index in (0, 7, 3):
        assert there[index].images.device.type == "cuda"
        assert torch.equal(there[index].images.cpu(), here[index].images)
        labels, expected = there[index].labels, here[index].labels
        assert labels is not None
        assert expected is not None
        assert torch.equal(labels.cpu(), expected)
