"""The quantities of Goodfellow et al. 2014, sections 3 and 4, for densities that are known on a grid.

`p_data`, `p_g`: float64 [n], densities at the centres of n cells of width `dx`, which cover where either has mass:
their sums times dx are 1. `d`: float64 [n] in [0, 1], a discriminator there. Integrals are sums over the cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr, xlogy

Values = NDArray[np.float64]

BOTTOM = -float(np.log(4))
"""V(D, G) at the only optimum, p_g = p_data, where D is 1/2 (theorem 1)."""


def optimal_discriminator(p_data: Values, p_g: Values) -> Values:
    """D*(x) = p_data(x) / (p_data(x) + p_g(x)) for this G (eq. 2, proposition 1); 1/2 where neither has mass."""
    total = p_data + p_g
    return np.divide(p_data, total, out=np.full_like(total, 0.5), where=total > 0)


def value(d: Values, p_data: Values, p_g: Values, dx: float) -> float:
    """V(D, G) = int p_data log D + p_g log(1 - D) dx (eq. 3), with 0 log 0 = 0.

    -inf for a discriminator that is certain, and wrong.
    """
    return float((xlogy(p_data, d) + xlogy(p_g, 1 - d)).sum() * dx)


def js_divergence(p: Values, q: Values, dx: float) -> float:
    """JS(p || q) = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2, in nats: 0 to log 2 (theorem 1's)."""
    middle = (p + q) / 2
    return float((rel_entr(p, middle) + rel_entr(q, middle)).sum() * dx / 2)


def distance_to_optimum(d: Values, p_data: Values, p_g: Values, dx: float) -> float:
    """int |D - D*| (p_data + p_g) / 2 dx: how far D is from the best, on average over what it is shown."""
    return float((np.abs(d - optimal_discriminator(p_data, p_g)) * (p_data + p_g)).sum() * dx / 2)
