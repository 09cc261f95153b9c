"""The benchmark of the ledger, small."""

from dataclasses import replace

import pytest

from jobs.benchmarks.ledger import CLUSTER, PAIR, ROWS, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_it_measures_every_row() -> None:
    """And raises where an episode is lost or doubled."""
    cluster = replace(
        CLUSTER,
        num_workers=2,
        places=8,
        num_replicas=2,
        answer_s=0.05,
        num_turns=(2, 3),
        num_ranks=4,
        groups_per_step=2,
        group_size=4,
        num_steps=4,
    )
    pair = replace(PAIR, places=4, num_turns=(4,), groups_per_step=2, group_size=2, num_steps=2)
    figures = run(cluster, pair)
    assert figures.keys() >= ROWS.keys()
    assert all(value > 0 for name, value in figures.items() if not name.endswith("_iqr"))
    # The frames themselves are among what is sent.
    assert 1 < figures["wire_ratio"] < figures["wire_ratio_72"]
