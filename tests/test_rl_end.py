"""How a run of RL ends: what it says of every episode is true, or it fails."""

from pathlib import Path

import pytest

from cluster.errors import RunError
from cluster.run_folder import RunFolder
from cluster.training.setup import Books
from jobs import rl
from tests.rl_samples import rl_settings


@pytest.mark.vision
@pytest.mark.parametrize(("lost", "doubled"), [(1, 0), (0, 2)])
def test_episodes_that_were_lost_or_trained_twice_fail_the_run(
    tmp_path: Path, lost: int, doubled: int
) -> None:
    config = rl_settings(tmp_path)
    books = Books(num_steps=1, step=1, asked=8, trained=7, dropped=0, lost=lost, doubled=doubled)
    with RunFolder(config) as folder, pytest.raises(RunError) as caught:
        rl._finish(config, folder, books)
    assert str(caught.value) == f"{lost} episodes were lost and {doubled} trained twice"
    assert not (folder.path / "summary.json").exists()
