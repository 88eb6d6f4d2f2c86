"""What a round of training takes from outside the device: what is drawn for it, and numbers that Python works out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Varying:
    """Hands out what `make` makes, as it is; to what is recorded (`ganlib.training.replay`), in places that stay.

    A recorded round asks for the same things in the same order as the round that was listed before it. `make` is called
    again for each round to come, so it looks up what it depends on (the number of the step) when it is called.
    """

    Places = list[tuple[Callable[[], Tensor], Tensor]]

    def __init__(self, device: torch.device | str):
        self.device = torch.device(device)
        self._listed: Varying.Places | None = None
        self._recalled: Iterator[Tensor] | None = None

    def tensor(self, make: Callable[[], Tensor]) -> Tensor:
        """A tensor that nothing else keeps, of a shape that stays."""
        if self._recalled is not None:
            return next(self._recalled)
        made = make()
        if self._listed is not None:
            self._listed.append((make, made))
        return made

    def number(self, make: Callable[[], float]) -> float | Tensor:
        """A number; for what is recorded a scalar, float32."""
        if self._recalled is None and self._listed is None:
            return make()
        return self.tensor(lambda: torch.full((), make(), dtype=torch.float32, device=self.device))

    @contextmanager
    def listing(self) -> Iterator[Places]:
        """Lists what is asked for meanwhile."""
        self._listed = []
        try:
            yield self._listed
        finally:
            self._listed = None

    @contextmanager
    def recalling(self, places: Places) -> Iterator[None]:
        """Gives, in its order, what was listed, whatever is in it."""
        self._recalled = iter([place for _, place in places])
        try:
            yield
        finally:
            self._recalled = None

    def fill(self, places: Places) -> None:
        """Makes anew, in its place, all that was listed."""
        for make, place in places:
            place.copy_(make())
