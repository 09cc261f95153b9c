"""One module for each benchmark: `run()` measures, `ROWS` says what each figure is."""

from collections.abc import Sequence

import numpy as np


def median_of(row: str, values: Sequence[float]) -> dict[str, float]:
    """The row's figure, the median, and as `<row>_iqr` the distance between the quartiles."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return {row: float(median), f"{row}_iqr": float(high - low)}
