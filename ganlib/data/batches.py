"""What training eats: batches of normalised images in an order that is a function of the seed and the epoch alone."""

from __future__ import annotations

from typing import Literal

import torch

from ganlib.data.augment import Augment
from ganlib.data.batch import Batch, Batches, normalise, quantise, row_bytes
from ganlib.data.memory import available_memory
from ganlib.data.resident import ResidentBatches
from ganlib.data.split import Split
from ganlib.data.streamed import StreamedBatches

__all__ = ["Batch", "Batches", "choose_loading", "normalise", "open_batches", "quantise"]


def open_batches(
    split: Split,
    batch: int,
    seed: int,
    rows: tuple[int, int],
    device: torch.device | str = "cpu",
    loading: Literal["auto", "resident", "streamed"] = "auto",
    augment: Augment | None = None,
) -> Batches:
    """Batches of `split`: slices `rows` of global batches of `batch` images, on `device`.

    resident: the whole split on the device (on a CPU: its memory map). streamed: read a window of shards at a time, in
    bounded memory. auto: what `choose_loading` says. The two ways have different orders, so the workers of a run, and
    a run that is resumed, must be told one way: `Batches.loading` says which it was.

    Raises UserError for a batch larger than the split, and for augmentation that does not fit its images.
    """
    if loading == "auto":
        loading = choose_loading(split, device)
    kind = ResidentBatches if loading == "resident" else StreamedBatches
    return kind(split, batch, seed, rows, device, augment)


def choose_loading(split: Split, device: torch.device | str) -> Literal["resident", "streamed"]:
    """Resident where there is room for it now, by the bytes of the split's images and partners; else streamed.

    Room on a GPU is a quarter of its free memory: networks, optimizers and activations are still to come. On a CPU it
    is half of the memory that is available to this process, and the split must be local.
    """
    size = len(split) * row_bytes(split)
    if torch.device(device).type == "cuda":
        return "resident" if size <= torch.cuda.mem_get_info(device)[0] // 4 else "streamed"
    return "resident" if split.local and size <= available_memory() // 2 else "streamed"
