"""Streaming: a stated order of blocks, exactly kept from wherever it is entered, in the memory of two windows."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from ganlib.data import Dataset
from ganlib.data.batches import Batch, open_batches, quantise
from ganlib.data.order import BlockOrder
from ganlib.data.streamed import StreamedBatches
from ganlib.errors import UserError
from ganlib.training.world import World
from tests.ganlib.data.splits import MemorySplit

ROW = 6  # bytes of an image of 2x3x1


def stream(split: MemorySplit, batch: int, window_rows: int, rows: tuple[int, int] | None = None) -> StreamedBatches:
    return StreamedBatches(split.as_split(), batch, 3, rows or (0, batch), window_bytes=window_rows * ROW)


def pixels(batch: Batch) -> np.ndarray:
    return quantise(batch.images).numpy()


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "shards"]


# --- the order ---


def test_a_window_is_as_many_whole_shards_as_fit_and_every_row_comes_once() -> None:
    rows = [40, 10, 20, 30, 25, 5, 70]
    order = BlockOrder(rows, 60, seed=1)
    for epoch in range(4):
        windows = order.windows(epoch)
        assert sorted(shard for window in windows for shard in window.shards) == list(range(7))
        for window in windows:
            assert window.rows == sum(rows[shard] for shard in window.shards)
            assert window.rows <= 60 or window.shards == (6,)  # 70 rows: more than a window, and yet one
        for window, following in pairwise(windows):
            assert window.rows + rows[following.shards[0]] > 60  # no room was left for it
            assert following.start == window.start + window.rows
        given, starts = order.rows(epoch).tolist(), np.cumsum([0, *rows])
        assert sorted(given) == list(range(200))
        for window in windows:
            expected = {row for shard in window.shards for row in range(starts[shard], starts[shard + 1])}
            assert set(given[window.start : window.start + window.rows]) == expected


def test_shards_and_rows_are_mixed_anew_each_epoch_and_for_each_seed() -> None:
    order = BlockOrder([10] * 20, 50, seed=0)
    again = BlockOrder([10] * 20, 50, seed=0)
    later = order.rows(9)
    assert torch.equal(again.rows(9), later)  # whatever was asked for before
    assert not torch.equal(order.rows(8), later)
    assert not torch.equal(BlockOrder([10] * 20, 50, seed=1).rows(9), later)
    firsts = [order.windows(epoch)[0].shards for epoch in range(20)]
    assert len(set(firsts)) > 15
    # Within a window too: a random permutation of 50 leaves one row in its place on average.
    windows = [order.permutation(window) for epoch in range(20) for window in order.windows(epoch)]
    kept = [int((permutation == torch.arange(50)).sum()) for permutation in windows]
    assert np.mean(kept) == pytest.approx(1, abs=4 / len(kept) ** 0.5)


def test_empty_shards_are_passed_over() -> None:
    order = BlockOrder([0, 5, 0, 5, 0], 5, seed=0)
    assert sorted(order.rows(0).tolist()) == list(range(10))
    assert all(window.rows for window in order.windows(0))


# --- what is given out ---


def test_batches_are_the_order_cut_also_across_windows() -> None:
    split = MemorySplit([11, 7, 13, 9, 12])
    batches = stream(split, 8, window_rows=20)
    assert batches.per_epoch == 52 // 8 == 6
    for epoch in range(3):
        order = batches.order(epoch).numpy()
        for position in range(6):
            expected = split.table["images"][order[position * 8 : position * 8 + 8]]
            np.testing.assert_array_equal(pixels(batches[epoch * 6 + position]), expected)


def test_a_batch_may_span_many_windows() -> None:
    split = MemorySplit([3] * 10)
    batches = stream(split, 25, window_rows=3)
    np.testing.assert_array_equal(pixels(batches[1]), split.table["images"][batches.order(1).numpy()[:25]])


@pytest.mark.parametrize("index", [0, 3, 5, 6, 29, 10_000])
def test_any_index_can_be_the_first(index: int) -> None:
    split = MemorySplit([11, 7, 13, 9, 12])
    walked = stream(split, 8, window_rows=20)
    for step in range(min(index, 40)):
        walked[step]
    np.testing.assert_array_equal(pixels(stream(split, 8, window_rows=20)[index]), pixels(walked[index]))


@pytest.mark.parametrize("workers", [1, 2, 3, 12])
def test_the_workers_slices_make_up_the_global_batch(workers: int) -> None:
    split = MemorySplit([11, 7, 13, 9, 12])
    whole = stream(split, 10, window_rows=20)
    parts = [stream(split, 10, 20, World(rank, workers).rows(10)) for rank in range(workers)]
    for index in (0, 1, 4, 5, 17):
        slices = [pixels(part[index]) for part in parts]
        np.testing.assert_array_equal(np.concatenate(slices), pixels(whole[index]))


def test_prepared_digits_come_out_as_they_are(digits: Dataset) -> None:
    split = digits.split("train")
    batches = open_batches(split, 32, 5, (0, 32), loading="streamed")
    assert batches.loading == "streamed"
    for index in (0, 1, batches.per_epoch):
        epoch, position = divmod(index, batches.per_epoch)
        chosen = batches.order(epoch)[position * 32 : position * 32 + 32].numpy()
        batch = batches[index]
        np.testing.assert_array_equal(pixels(batch), split.take(chosen))
        assert batch.labels is not None
        assert split.labels is not None
        np.testing.assert_array_equal(batch.labels.numpy(), split.labels[chosen])
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


# --- memory and reading ---


def test_two_windows_at_most_are_in_memory_and_each_shard_is_read_once_an_epoch() -> None:
    split = MemorySplit([10] * 12)
    batches = stream(split, 10, window_rows=30)  # windows of 3 shards, 4 an epoch
    for index in range(48):
        batches[index]
    assert split.most_alive <= 6
    wait_until(lambda: not reading_threads())
    # 4 epochs, the window read ahead included; a shard that is in the last window of an epoch and in the first of the
    # next is not read again.
    shared = 0
    for epoch in range(4):
        last, first = batches._order.windows(epoch)[-1].shards, batches._order.windows(epoch + 1)[0].shards
        shared += len(set(last) & set(first))
    assert len(split.loads) == 4 * 12 + 3 - shared
    assert sorted(split.loads[:12]) == list(range(12))


def test_a_split_of_one_window_is_read_once() -> None:
    split = MemorySplit([10] * 4)
    batches = stream(split, 7, window_rows=1000)
    for index in range(50):
        batches[index]
    assert sorted(split.loads) == [0, 1, 2, 3]
    assert split.most_alive == 4


def test_a_jump_lets_go_of_what_was_held() -> None:
    split = MemorySplit([10] * 12)
    batches = stream(split, 10, window_rows=30)
    for index in (0, 400, 7, 9000, 2, 5, 11, 3):
        batches[index]
    assert split.most_alive <= 6


def test_the_window_that_holds_only_left_over_images_is_not_read() -> None:
    split = MemorySplit([10] * 4)
    batches = stream(split, 28, window_rows=10)  # 28 of 40 are used
    batches[0]
    wait_until(lambda: len(split.loads) == 4 and not reading_threads())
    epochs = [[window.shards[0] for window in batches._order.windows(epoch)] for epoch in (0, 1)]
    ahead = epochs[1][0]
    assert split.loads == [*epochs[0][:3], ahead]


def test_the_next_window_is_read_while_this_one_is_used() -> None:
    split = MemorySplit([10] * 12)
    readers = []
    split.before_load = lambda number: readers.append(threading.current_thread().name)
    batches = stream(split, 10, window_rows=30)
    batches[0]
    wait_until(lambda: len(split.loads) == 6)
    assert readers == ["shards"] * 6
    assert split.loads == [shard for window in batches._order.windows(0)[:2] for shard in window.shards]


def test_a_reading_that_fails_is_told_when_its_images_are_wanted_and_may_be_tried_again() -> None:
    split = MemorySplit([10] * 12)
    batches = stream(split, 10, window_rows=30)
    bad = batches._order.windows(0)[1].shards[2]

    def fail(number: int) -> None:
        if number == bad:
            raise UserError("cannot read the shard; prepare the dataset again")

    split.before_load = fail
    for index in range(3):  # the first window: all is well
        batches[index]
    for _ in range(2):
        with pytest.raises(UserError, match=r"^cannot read the shard; prepare the dataset again$"):
            batches[3]
    split.before_load = lambda number: None
    np.testing.assert_array_equal(pixels(batches[3]), split.table["images"][batches.order(0)[30:40].numpy()])


def test_the_thread_ends_with_the_batches() -> None:
    wait_until(lambda: not reading_threads())  # of the tests before
    split = MemorySplit([10] * 12)
    batches = stream(split, 10, window_rows=30)
    held_up = threading.Event()
    second = batches._order.windows(0)[1].shards

    def wait(number: int) -> None:
        if number in second:
            assert held_up.wait(20)

    split.before_load = wait
    batches[0]
    (thread,) = reading_threads()
    del batches
    gc.collect()
    held_up.set()
    thread.join(20)
    assert not thread.is_alive()
    assert len(split.loads) == 4  # the shard that it was at, and no other
    wait_until(lambda: not any(split.alive.values()))
