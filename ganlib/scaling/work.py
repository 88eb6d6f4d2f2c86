"""What a worker's round of training asks of a machine: operations, bytes moved, all-reduces, memory.

Counted by running the round on tensors without numbers, at the size that it has, operation by operation as torch
dispatches them: forward, backward, the second backward of a penalty, the optimizers, the moving average.
"""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ganlib.recipe import Recipe
from ganlib.scaling.rehearsal import Rehearsal, kinds_of_round, others


class Operation(NamedTuple):
    """One kernel. flops: of convolutions and matrix products, a multiply-add being two; 0 of anything else.

    bytes: of the tensors that go in and come out, each once. number: the type that it computes in. convolution: a GPU
    may do these of float32 in TF32.
    """

    flops: int
    bytes: int
    number: torch.dtype
    convolution: bool


@dataclass
class Work:
    """What one worker does in one round, the mean over the rounds of a lazy penalty's period.

    operations: how often each is done. messages: how often an all-reduce of so many bytes is. The memory is in bytes:
    `weights` of both sides, moving average and method; `gradients`; `optimizer`, its state; `peak`, of all that is
    alive at once, the batch included. replayed: whether a GPU plays it from a recording. images: of the global batches
    that the discriminator sees. slice: of these, this worker's in one batch.
    """

    workers: int
    images: int
    slice: int
    operations: dict[Operation, float] = field(default_factory=dict)
    messages: dict[int, float] = field(default_factory=dict)
    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    peak: int = 0
    replayed: bool = False

    @property
    def flops(self) -> float:
        return sum(operation.flops * times for operation, times in self.operations.items())

    @property
    def moved(self) -> float:
        """Bytes read and written."""
        return sum(operation.bytes * times for operation, times in self.operations.items())

    @property
    def kernels(self) -> float:
        return sum(self.operations.values())

    @property
    def sent(self) -> float:
        """Bytes that are all-reduced."""
        return sum(size * times for size, times in self.messages.items())


def count_work(recipe: Recipe, workers: int = 1) -> Work:
    """The work of the worker with the largest slice. Nothing is computed; takes some seconds.

    Raises UserError for more workers than a batch has rows.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    kinds = kinds_of_round(recipe)
    with others(workers) as sizes, torch.random.fork_rng(devices=[]):
        rehearsal = Rehearsal(recipe, workers)
        work = Work(workers, recipe.train.batch * recipe.train.steps.discriminator, rehearsal.images_here)
        mode, counting = FakeTensorMode(allow_non_fake_inputs=True), Counting()
        rehearsal.as_fake(mode)
        with mode, counting:
            rehearsal.round(kinds[-1][0])  # makes the gradients and the optimizers' state, which stay
            for first, share in kinds:
                sizes.clear()
                counting.operations.clear()
                rehearsal.round(first)
                for operation, times in counting.operations.items():
                    work.operations[operation] = work.operations.get(operation, 0) + times * share
                for size in sizes:
                    work.messages[size] = work.messages.get(size, 0) + share
        sides = (rehearsal.generator, rehearsal.discriminator)
        modules = [module for module in (rehearsal.method, rehearsal.average) if module is not None]
        work.weights = sum(_bytes(x) for module in modules for x in (*module.parameters(), *module.buffers()))
        work.gradients = sum(_bytes(p.grad) for side in sides for p in side.parameters if p.grad is not None)
        work.optimizer = sum(_bytes(state) for side in sides for state in side.optimizer_state().values())
        work.peak = counting.peak
        work.replayed = rehearsal.recordable
    return work


class Counting(TorchDispatchMode):
    """Counts the operations that are dispatched below it, and the most bytes that are alive at once.

    A storage is known from the first operation that it is in until nothing refers to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[Operation] = Counter()
        self.alive, self.peak = 0, 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace != "aten":
            return result
        ins, outs = _tensors((args, kwargs)), _tensors(result)
        if func.overloadpacket is torch.ops.aten._foreach_copy_:
            outs = _tensors(args[0])
        for tensor in (*ins, *outs):
            self._meet(tensor.untyped_storage())
        held = {id(tensor.untyped_storage()) for tensor in ins}
        view = not func._schema.is_mutable and all(id(tensor.untyped_storage()) in held for tensor in outs)
        if view or func.overloadpacket in _NO_KERNEL:
            return result
        count = flop_registry.get(func.overloadpacket)
        flops = int(count(*args, **(kwargs or {}), out_val=result)) if count is not None else 0
        floats = [tensor.dtype for tensor in (*ins, *outs) if tensor.is_floating_point()]
        moved = sum(_bytes(tensor) for tensor in (*ins, *outs))
        convolution = "convolution" in func.overloadpacket.__name__
        self.operations[Operation(flops, moved, floats[0] if floats else torch.int64, convolution)] += 1
        return result

    def _meet(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known or not size:
            return

        def gone(_: object) -> None:
            del self._known[key]
            self.alive -= size

        self._known[key] = weakref.ref(storage, gone)
        self.alive += size
        self.peak = max(self.peak, self.alive)


_NO_KERNEL = {
    torch.ops.aten.empty,
    torch.ops.aten.empty_like,
    torch.ops.aten.empty_strided,
    torch.ops.aten.new_empty,
    torch.ops.aten.new_empty_strided,
    torch.ops.aten._local_scalar_dense,
}


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _bytes(tensor: Tensor) -> int:
    """Of what is expanded the bytes that are there."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
