"""Stands for CUDA's graphs where there is no GPU: it records kernels, with the tensors and numbers they had."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganlib.training.replay import Played


class Tape:
    """A Recorder. Like a graph it knows the tensors of its recording, and has every number of Python's for good."""

    def __init__(self) -> None:
        self.replayed: list[int] = []
        """Of each recording, how often it was replayed."""

    def apart(self, work: Callable[[], Played]) -> Played:
        return work()

    def record(self, work: Callable[[], Played]) -> tuple[Callable[[], None], Played]:
        recording = Recording()
        try:
            with recording:
                played = work()
        finally:
            recording.undo()
        number = len(self.replayed)
        self.replayed.append(0)

        def replay() -> None:
            self.replayed[number] += 1
            recording.replay()

        return replay, played


class Recording(TorchDispatchMode):
    """The operations that are dispatched meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor], set[int]]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.made: set[int] = set()
        self.kept: list[Tensor] = []  # so that no storage is given to another tensor

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        kwargs = kwargs or {}
        ins = tensors((args, kwargs))
        for tensor in ins:
            place = storage(tensor)
            if place not in self.made and place not in self.before:
                self.before[place] = tensor, tensor.detach().clone()
        result = func(*args, **kwargs)
        outs, places = tensors(result), {storage(tensor) for tensor in ins}
        self.made |= {storage(tensor) for tensor in outs} - places - self.before.keys()
        self.kept += [*ins, *outs]
        self.operations.append((func, args, kwargs, outs, places))
        return result

    @torch.no_grad()
    def undo(self) -> None:
        """A graph does nothing while it is recorded."""
        for tensor, content in self.before.values():
            tensor.copy_(content)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, outs, places in self.operations:
            for place, made in zip(outs, tensors(func(*args, **kwargs)), strict=True):
                if storage(place) not in places:  # neither a view, nor written to already
                    place.copy_(made)


def tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
