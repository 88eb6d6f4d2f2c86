"""The pool of past fakes against a plain loop."""

from __future__ import annotations

import numpy as np
import torch

from ganlib.draws import Draws
from ganlib.methods.pool import ImagePool


def test_the_pool_is_a_plain_loop() -> None:
    torch.manual_seed(0)
    pool, draws = ImagePool(4, 1, 2, 2), Draws(3, 3, (0, 3), "cpu")
    kept: list[np.ndarray] = []
    swapped = 0
    for step in range(12):
        draws.at(step)
        fakes = torch.rand(3, 1, 2, 2)
        given = pool.exchange(fakes, draws)
        draws.at(step)
        chances = draws.uniform("pool", (2,)).numpy()
        for fake, (swap, place), out in zip(fakes.numpy(), chances, given.numpy(), strict=True):
            if len(kept) < 4:
                kept.append(fake)
                np.testing.assert_array_equal(out, fake)
            elif swap < 0.5:
                np.testing.assert_array_equal(out, kept[int(place * 4)])
                kept[int(place * 4)] = fake
                swapped += 1
            else:
                np.testing.assert_array_equal(out, fake)
        np.testing.assert_array_equal(pool.images[: len(kept)].numpy(), kept)
        assert pool.filled.item() == len(kept)
    assert 8 < swapped < 24


def test_no_pool_gives_what_it_is_given() -> None:
    fakes = torch.rand(3, 1, 2, 2)
    assert ImagePool(0, 1, 2, 2).exchange(fakes, Draws(0, 3, (0, 3), "cpu")) is fakes
