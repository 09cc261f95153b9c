"""`python -m jobs.export`: what it writes where, what it says, and its exit status."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.traces import write_part
from cluster.types import Trajectory
from tests.builders import played, trajectory


@pytest.fixture(scope="module")
def game() -> Trajectory:
    return played(seed=3, num_turns=6, num_actions=3, frame_size=72)


def export(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "jobs.export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_collected_run_is_exported_into_its_folder(tmp_path: Path, game: Trajectory) -> None:
    write_part(tmp_path / "traces", [game, replace(game, spec=replace(game.spec, sample=1))])
    done = export("--format", "frames", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"frames: 12 of 2 episode(s), in {tmp_path}/exports/frames\n"
    assert len(list(tmp_path.glob("exports/frames/seed_0003_sample_01/*.png"))) == 6


def test_an_evaluation_is_exported_player_by_player(tmp_path: Path, game: Trajectory) -> None:
    for player in ("teacher", "student"):
        write_part(tmp_path / "run" / "players" / player / "traces", [game])
    done = export("--format", "sqlite", tmp_path / "run", "--output", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("*.db"))
    assert names == ["student/rollouts.db", "teacher/rollouts.db"]


def test_only_the_first_episodes_become_videos(tmp_path: Path, game: Trajectory) -> None:
    later = replace(game, spec=replace(game.spec, sample=1))
    write_part(tmp_path / "traces", [later, game])
    done = export("--format", "video", "--episodes", "1", "--size", "36", tmp_path)
    assert done.stdout == f"videos: 1, 19 moment(s), in {tmp_path}/exports/video\n"
    assert [path.name for path in tmp_path.rglob("*.gif")] == ["seed_0003.gif"]


def test_refused_files_are_named_and_the_rest_is_exported_with_status_1(
    tmp_path: Path, game: Trajectory
) -> None:
    write_part(tmp_path / "traces", [game])
    bad = tmp_path / "traces" / "episodes" / "part-bad.parquet"
    bad.write_bytes(b"PAR1")
    done = export("--format", "sqlite", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"left out: {bad}: not a whole Parquet file: ")
    assert len(done.stderr.splitlines()) == 1
    assert "rollouts.db: 1 episode(s)" in done.stdout


def test_an_episode_that_does_not_replay_is_named_and_the_rest_is_exported(
    tmp_path: Path, game: Trajectory
) -> None:
    other = replace(game, spec=replace(game.spec, seed=2))
    write_part(tmp_path / "traces", [other, game])
    done = export("--format", "video", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("left out: seed_0002-sample_00 does not play out as recorded")
    assert "videos: 1, 19 moment(s)" in done.stdout


def test_what_the_user_got_wrong_is_one_line_and_status_2(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "new" / "traces").mkdir(parents=True)
    write_part(tmp_path / "run" / "traces", [trajectory(0)])
    (tmp_path / "file").touch()
    cases = {
        "no folder": [tmp_path / "missing"],
        "holds neither traces nor": [tmp_path / "empty"],
        "holds no finished episode yet": [tmp_path / "new"],
        "can't write to output": [tmp_path / "run", "--output", tmp_path / "file" / "x"],
    }
    for message, arguments in cases.items():
        done = export("--format", "sqlite", *arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert done.stderr.startswith("error: ")
        assert message in done.stderr


@pytest.mark.parametrize("arguments", [["--episodes", "0"], ["--size", "8"], ["--format", "tape"]])
def test_numbers_and_formats_out_of_bounds_are_refused(tmp_path: Path, arguments: Any) -> None:
    done = export("--format", "frames", tmp_path, *arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr


def test_the_help_needs_neither_ray_nor_torch_nor_crafter() -> None:
    script = (
        "import json, runpy, sys; sys.argv = ['jobs.export', '--help']\n"
        "try: runpy.run_module('jobs.export', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & {"ray", "torch", "crafter", "pyarrow", "numpy", "PIL"}
    assert "--size PX" in done.stdout


def test_rollouts_db_does_not_play_the_game_again(tmp_path: Path) -> None:
    unplayable = trajectory(0, env={})
    write_part(tmp_path / "traces", [unplayable])
    assert export("--format", "sqlite", tmp_path).returncode == 0
