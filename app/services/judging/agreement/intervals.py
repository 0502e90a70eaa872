"""Intervals of shares."""

import math

# Of the normal distribution, two-sided: 95 %.
Z = 1.959964


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson 1927: the interval of a share of `count`, which stays within 0 and 1."""
    centre = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    # Rounding must not put the share itself outside.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
