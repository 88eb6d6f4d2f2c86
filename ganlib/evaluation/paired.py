"""Judging a generator whose every input has one right output: how far it is from that, and how real it looks.

Everything is a sum over images or patches. Distances are of grey levels in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ganlib.data.dataset import Dataset
from ganlib.draws import stream_generator
from ganlib.evaluation.confidence import SPLITS, Estimate, jackknife_error, total
from ganlib.evaluation.distances import frechet_distance
from ganlib.evaluation.extractors import Extractor, RandomExtractor
from ganlib.evaluation.lpips import LEAST_SIDE, find_lpips
from ganlib.evaluation.pixels import PixelSplits
from ganlib.evaluation.statistics import FeatureStatistics
from ganlib.inputs import held_out, told_of, truth_of
from ganlib.methods.base import MethodConfig
from ganlib.networks.base import ImageShape
from ganlib.sampling import Sampler

BLOCK = 50
"""Images that are made and judged at once."""
SIDE, PATCHES = 32, 32
"""Of a patch; and how many an image gives."""
MOST_KNOWN = 250
"""Training pairs that are made again, to see what is known by heart."""
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
_ONE_LEVEL = 1 / 255


def l1(made: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [n, H, W, C] in [0, 1] twice -> [n]: the mean of |made - truth| over an image."""
    return np.abs(made - truth).mean((1, 2, 3))


def psnr(made: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [n, H, W, C] in [0, 1] twice -> [n], in dB: 10 log10(1 / mean squared error).

    An image that is the truth counts as one grey level off in one number: infinity has no mean.
    """
    squared = np.square(made - truth).mean((1, 2, 3))
    return -10 * np.log10(np.maximum(squared, _ONE_LEVEL**2 / truth[0].size))


def ssim(made: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [n, H, W, C] in [0, 1] twice, 11 pixels and more a side -> [n]: structural similarity, 1 where equal.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", eq. 13, with local
    statistics by a Gaussian 11x11 of sigma 1.5, K1 = 0.01, K2 = 0.03; its mean over every place where the window is
    inside the image (eq. 17), then over channels.
    """
    x, y = (torch.from_numpy(np.ascontiguousarray(a)).permute(0, 3, 1, 2) for a in (made, truth))
    mean_x, mean_y = _smoothed(x), _smoothed(y)
    var_x, var_y = _smoothed(x * x) - mean_x**2, _smoothed(y * y) - mean_y**2
    covariance = _smoothed(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean((1, 2, 3)).numpy()


def _smoothed(x: torch.Tensor) -> torch.Tensor:
    """float64 [n, C, H, W] -> [n, C, H - 10, W - 10]."""
    places = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    weights = torch.exp(-places.square() / (2 * SSIM_SIGMA**2))
    weights = weights / weights.sum()
    flat = x.reshape(-1, 1, *x.shape[2:])
    flat = F.conv2d(F.conv2d(flat, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return flat.view(*x.shape[:2], *flat.shape[2:])


FIGURES: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "l1": l1,
    "psnr": psnr,
    "ssim": ssim,
}


def has_truth(config: MethodConfig, dataset: Dataset) -> bool:
    """Whether what such a method makes of a record can be right or wrong."""
    return truth_of(dataset, config, 1) is not None


def paired_metrics(
    sampler: Sampler,
    dataset: Dataset,
    count: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    side: int = SIDE,
    patches: int = PATCHES,
    extractor: Extractor | None = None,
) -> dict[str, float]:
    """Of `count` pairs of the held-out split (of all, where it has no more), means over images.

    `paired/l1` (in [0, 1]), `paired/psnr` (dB), `paired/ssim`: of the outputs to the true images; the same after
    `paired_of_mean/`: of the training split's mean true image, which an answer that looks at its input has to beat.
    Where LPIPS' weights are on this machine (`lpips.find_lpips`), `paired_lpips/W` and `paired_lpips_of_mean/W`, W
    being their label. `paired_se/...`, `paired_lpips_se/W`: standard errors. Real images are no floor there: of a pair
    only one is right. `paired_of_training/l1`: `paired/l1` of up to `MOST_KNOWN` pairs of the training split, which a
    generator may know by heart.

    `sharpness`, `pixel_variety`: of the outputs beside the true images, as `PixelSplits.metrics` has them, with their
    errors; `..._floor`: of as many true images of the training split.

    `fid_patch/E`: Frechet distance, by `extractor` (the fixed random network where it is None), whose label is E, of
    `patches` patches of side x side from each output to as many from each true image, both at places drawn from `seed`;
    `fid_patch_se/E`: its standard error, over the images whose outputs these are; `fid_patch_floor/E`: of patches from
    as many true images of the training split: what real images of other things have. `paired/images`: how many.
    """
    method = sampler.recipe.method
    count = min(count, len(held_out(dataset)))
    extractor = extractor or RandomExtractor(ImageShape(*dataset.image_shape))
    mean = mean_truth(dataset, method)[None]
    lpips = find_lpips() if min(dataset.image_shape[:2]) >= LEAST_SIDE else None
    values: dict[str, list[NDArray[np.float64]]] = {}
    statistics: dict[str, dict[int, FeatureStatistics]] = {"made": {}, "true": {}, "training": {}}

    made_pixels, true_pixels = PixelSplits(count), PixelSplits(count)
    training_pixels = PixelSplits(min(count, len(dataset.split("train"))))

    def add(name: str, images: NDArray[np.uint8], first: int) -> None:
        """Sums of patches, by the split of their image's number."""
        features = extractor.features(_patches(images, (seed, name), first, side, patches))[0]
        owners = (np.arange(first, first + len(images)) * SPLITS // count).repeat(patches)
        for owner in np.unique(owners):
            part = FeatureStatistics.of(features[owners == owner], None)
            held = statistics[name]
            held[owner] = held[owner] + part if owner in held else part

    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        made = sampler.sample(size, seed, first, **told_of(dataset, method, size, seed, first))
        truth = truth_of(dataset, method, size, seed, first)
        assert truth is not None, "has_truth"
        for figure, of in FIGURES.items():
            values.setdefault(f"paired/{figure}", []).append(of(made / 255, truth / 255))
            whole = np.broadcast_to(mean, truth.shape)
            values.setdefault(f"paired_of_mean/{figure}", []).append(of(whole, truth / 255))
        if lpips is not None:
            levels = np.broadcast_to(np.rint(mean * 255).astype(np.uint8), truth.shape)
            for family, images in (("paired_lpips", made), ("paired_lpips_of_mean", levels)):
                values.setdefault(f"{family}/{lpips.label}", []).append(lpips.distances(images, truth))
        add("made", made, first)
        add("true", truth, first)
        made_pixels.add(made)
        true_pixels.add(truth)
        if progress:
            progress(first + size, count)
    first = 0
    for images in _training_truth(dataset, method, seed, count):
        add("training", images, first)
        training_pixels.add(images)
        first += len(images)
    metrics = {"paired/images": float(count), "paired_of_training/l1": _known(sampler, dataset, seed)}
    metrics |= made_pixels.metrics(true_pixels.whole)
    floors = training_pixels.metrics(true_pixels.whole)
    metrics |= {f"{name}_floor": value for name, value in floors.items() if not name.endswith("_se")}
    for name, each in values.items():
        estimate = Estimate.of(np.concatenate(each))
        metrics[name] = estimate.value
        if "of_mean" not in name and count > 1:
            metrics[name.replace("/", "_se/")] = estimate.error
    true = total([*statistics["true"].values()])
    splits = [*statistics["made"].values()]
    metrics[f"fid_patch/{extractor.label}"] = frechet_distance(total(splits), true)
    if len(splits) > 1:
        error = jackknife_error(splits, lambda made: frechet_distance(made, true))
        metrics[f"fid_patch_se/{extractor.label}"] = error
    floor = frechet_distance(total([*statistics["training"].values()]), true)
    return metrics | {f"fid_patch_floor/{extractor.label}": floor}


def mean_truth(dataset: Dataset, method: MethodConfig) -> NDArray[np.float64]:
    """float64 [H, W, C] in [0, 1]: the mean of what is to be made of the training split's records."""
    total: Any = 0.0
    for images in _training_truth(dataset, method):
        total = total + images.sum(0, dtype=np.float64)
    return total / len(dataset.split("train")) / 255


def _training_truth(
    dataset: Dataset, method: MethodConfig, seed: int = 0, limit: int | None = None
) -> Iterator[NDArray[np.uint8]]:
    """The training split's true images in blocks: all as they lie, or `limit` in the seed's order."""
    split = dataset.split("train")
    rows = np.arange(len(split)) if limit is None else _drawn(dataset, seed, limit)
    for first in range(0, len(rows), BLOCK):
        images = method.truth(split, rows[first : first + BLOCK])
        assert images is not None, "has_truth"
        yield images


def _known(sampler: Sampler, dataset: Dataset, seed: int) -> float:
    """`paired_of_training/l1`."""
    split, method, rows = dataset.split("train"), sampler.recipe.method, _drawn(dataset, seed, MOST_KNOWN)
    apart = []
    for first in range(0, len(rows), BLOCK):
        taken = rows[first : first + BLOCK]
        made, truth = sampler.sample(len(taken), seed, first, **method.told(split, taken)), method.truth(split, taken)
        assert truth is not None, "has_truth"
        apart.append(l1(made / 255, truth / 255))
    return float(np.concatenate(apart).mean())


def _drawn(dataset: Dataset, seed: int, limit: int) -> NDArray[np.int64]:
    """int64 [k]: rows of the training split, `limit` at most, in the seed's order."""
    size = len(dataset.split("train"))
    return torch.randperm(size, generator=stream_generator("cpu", seed, "paired")).numpy()[:limit]


def _patches(
    images: NDArray[np.uint8], stream: tuple[int, str], first: int, side: int, patches: int
) -> NDArray[np.uint8]:
    """uint8 [n, H, W, C] -> [n * patches, side, side, C], an image's own at most; `first + i` has places of its own."""
    height, width = images.shape[1:3]
    side = min(side, height, width)
    cut = []
    for index, image in enumerate(images, first):
        chances = torch.rand(patches, 2, generator=stream_generator("cpu", *stream, "patches", index)).numpy()
        tops, lefts = (chances * (height - side + 1, width - side + 1)).astype(int).T
        cut += [image[top : top + side, left : left + side] for top, left in zip(tops, lefts, strict=True)]
    return np.stack(cut)
