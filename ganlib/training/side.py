"""One side of the game: its weights, its optimizer, its schedule. Written once for generators and discriminators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ganlib.training.optimizers import Adam, AnyOptimizer
from ganlib.training.world import World, sum_gradients


class Side:
    """`module` is stepped by the optimizer that `config` states."""

    def __init__(self, module: nn.Module, config: AnyOptimizer, world: World):
        self.module, self.config, self.world = module, config, world
        self.names = [name for name, _ in module.named_parameters()]
        self.parameters = list(module.parameters())
        self.optimizer = config.build(self.parameters)

    @property
    def recordable(self) -> bool:
        """Whether a recorded step can go by a rate that changes: torch's Adam alone takes it from the device."""
        return isinstance(self.config, Adam) or self.config.decay.kind == "constant"

    def rate(self, done: float) -> float:
        """The learning rate when the share `done` of the run is over."""
        return self.config.lr * self.config.decay.factor(done)

    def step(self, loss: Tensor, share: float, rate: float | Tensor) -> Tensor:
        """One update on `loss`, this worker's mean over its `share` of the batch. Returns the gradient's norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        (loss if share == 1 else loss * share).backward()
        norm = sum_gradients(self.parameters, self.world)
        self.optimizer.step()
        return norm

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Gradients flow through this side, none are computed for its weights: a third of its backward saved."""
        self.module.requires_grad_(False)
        try:
            yield
        finally:
            self.module.requires_grad_(True)

    def optimizer_state(self) -> dict[str, Tensor]:
        """Every tensor that the optimizer keeps, under `<parameter>/<name>`."""
        return {
            f"{name}/{key}": value
            for name, parameter in zip(self.names, self.parameters, strict=True)
            for key, value in self.optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def load_optimizer_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `optimizer_state`. State of a weight's shape takes the weight's memory format."""
        by_name = dict(zip(self.names, self.parameters, strict=True))
        for path, value in tensors.items():
            name, key = path.rsplit("/", 1)
            parameter = by_name[name]
            like = parameter if value.shape == parameter.shape else value
            place = torch.empty_like(like, dtype=value.dtype, device=parameter.device, requires_grad=False)
            self.optimizer.state[parameter][key] = place.copy_(value)
