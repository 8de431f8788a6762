"""How far confidences can be trusted, for the report of every task and for metrics of tasks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 10


def bins(confidences: Sequence[float]) -> "NDArray[np.int64]":
    """The bin of each confidence, from 0: ten of equal width, the last with 1 in it."""
    import numpy as np

    return np.minimum((np.asarray(confidences) * BINS).astype(np.int64), BINS - 1)


def calibration_error(confidences: Sequence[float], right: Sequence[float]) -> float:
    """Expected calibration error (Naeini et al., 2015) over the bins, from 0 to 1."""
    import numpy as np

    gaps = np.bincount(bins(confidences), np.asarray(right) - np.asarray(confidences))
    return float(np.abs(gaps).sum() / len(confidences))
