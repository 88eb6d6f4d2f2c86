"""How the variance of an unknown function, seen at some points with noise, divides among its arguments.

The function is a Gaussian process (Oakley & O'Hagan 2004, doi 10.1111/j.1467-9868.2004.05304.x), and functions that are
drawn from it have Sobol indices of their own: their spread says how sure an index is. A forest, as fANOVA has it, needs
more points than a study has trials: of y = 2a + b, whose shares are 0.8 and 0.2, extremely randomised trees make 0.91
and 0.11 out of 50 points, a Gaussian process 0.80 and 0.20 out of 12.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PARTS, KEPT = 16, 0.8
"""The process is fitted to so many draws of this share of the points: what its length scales are is uncertain too."""
FUNCTIONS = 12
"""Functions drawn from each fitted process."""
POINTS = 256
"""Pairs of points over which a function's variance is taken."""


@dataclass(frozen=True)
class VarianceShares:
    """float64 [functions, d], of each function that was drawn. total: the share of its variance that is gone where this
    argument alone is held still; alone: the share that it makes by itself, whatever the others are (the total and the
    first-order Sobol index). explained: R^2 of the outcomes, each foretold from the others; 0 is as good as the mean.
    """

    total: Floats
    alone: Floats
    explained: float


def variance_shares(
    rows: Floats, outcomes: Floats, effective: Callable[[Floats], Floats] = lambda drawn: drawn, seed: int = 0
) -> VarianceShares:
    """The Sobol indices of what gave `outcomes` [n], not all alike, at `rows` [n, d] of the unit cube.

    Arguments are drawn evenly and independently from the cube; effective: which of its points the function then sees,
    [m, d] -> [m, d], where some arguments have steps, or others decide whether they count.
    """
    from scipy.stats import qmc

    count, dimensions = rows.shape
    chance = np.random.default_rng(seed)
    standard = (outcomes - outcomes.mean()) / outcomes.std()
    whole = fitted(rows, standard)
    total, alone = [], []
    for _ in range(PARTS):
        part = chance.choice(count, max(round(KEPT * count), 2), replace=False)
        process = fitted(rows[part], standard[part], whole)
        pair = qmc.Sobol(2 * dimensions, rng=chance).random(POINTS)
        first, second = pair[:, :dimensions], pair[:, dimensions:]
        mixed = [np.where(np.arange(dimensions) == place, second, first) for place in range(dimensions)]
        drawn = draws(process, effective(np.concatenate([first, second, *mixed])), FUNCTIONS, chance)
        a, b, *changed = drawn.reshape(dimensions + 2, POINTS, FUNCTIONS)
        variance = np.maximum(np.concatenate([a, b]).var(0), 1e-12)
        # Jansen 1999 for what is total, Saltelli et al. 2010 (doi 10.1016/j.cpc.2009.09.018, table 2) for what is
        # alone: of an argument that does nothing both are 0, and not merely near it.
        total.append([np.square(a - other).mean(0) / 2 / variance for other in changed])
        alone.append([((b - b.mean(0)) * (other - a)).mean(0) / variance for other in changed])
    gathered = [np.array(one).transpose(0, 2, 1).reshape(-1, dimensions) for one in (total, alone)]
    return VarianceShares(gathered[0], gathered[1], left_out_r2(whole))


def fitted(rows: Floats, outcomes: Floats, like: Any = None) -> Any:
    """A Gaussian process (scikit-learn's) with a Matern 5/2 kernel, a length scale for each argument, and noise.

    Its values are the most probable a posteriori: of few points the likelihood alone takes noise for short length
    scales. Their prior is that of Hvarfner et al. 2024 (arXiv 2402.02229, section 4.2): wide, and longer the more
    arguments there are. outcomes [n]: of mean 0 and deviation 1, or near it. like: one whose values to start from.
    """
    from scipy.optimize import minimize
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    dimensions = rows.shape[1]
    # Of logarithms, in the kernel's order: the function's variance, length scales, the noise's variance.
    means = np.array([0.0, *[np.sqrt(2) + np.log(dimensions) / 2] * dimensions, np.log(0.1)])
    deviations = np.array([2.0, *[np.sqrt(3)] * dimensions, 1.5])
    short = np.array([0.0, *[np.log(0.5)] * dimensions, np.log(0.1)])

    def most_probable(loss: Any, start: Floats, bounds: Floats) -> tuple[Floats, float]:
        def penalised(theta: Floats) -> tuple[float, Floats]:
            value, gradient = loss(theta)
            away = (theta - means) / deviations
            return value + np.square(away).sum() / 2, gradient + away / deviations

        starts = [means, short] if like is None else [start]
        ends = [minimize(penalised, one, jac=True, method="L-BFGS-B", bounds=bounds) for one in starts]
        best = min(ends, key=lambda end: end.fun)
        return best.x, best.fun

    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(np.ones(dimensions), (0.02, 1e3), nu=2.5)
    kernel = kernel + WhiteKernel(0.1, (1e-5, 1e1)) if like is None else like.kernel_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a value at its bound: noise where there is none
        return GaussianProcessRegressor(kernel, optimizer=most_probable).fit(rows, outcomes)


def draws(process: Any, points: Floats, count: int, chance: np.random.Generator) -> Floats:
    """float64 [m, count]: functions drawn from the process, without its noise, at points [m, d]."""
    from scipy.linalg import cholesky, solve_triangular

    signal = process.kernel_.k1
    places, of_points = np.unique(points, axis=0, return_inverse=True)  # arguments with steps make points alike
    across = signal(places, process.X_train_)
    explained = solve_triangular(process.L_, across.T, lower=True)
    spread = signal(places) - explained.T @ explained
    spread[np.diag_indices_from(spread)] += 1e-8 * signal.k1.constant_value  # what rounding may take
    made: Floats = (across @ process.alpha_)[:, None] + cholesky(spread, lower=True) @ chance.standard_normal(
        (len(places), count)
    )
    return made[of_points.reshape(-1)]


def left_out_r2(process: Any) -> float:
    """R^2 of each outcome, foretold from all the others (Rasmussen & Williams 2006, eq. 5.12)."""
    from scipy.linalg import cho_solve

    outcomes = process.y_train_
    inverse = cho_solve((process.L_, True), np.eye(len(outcomes)))
    missed = process.alpha_ / np.diag(inverse)
    return float(1 - np.square(missed).sum() / np.square(outcomes - outcomes.mean()).sum())
