"""A run's folder is taken by one process, and holds one run."""

import os
from pathlib import Path

import pytest

from cluster.errors import UserError
from cluster.run_folder import RunFolder, first_difference
from configs.jobs import CollectConfig
from configs.load import load
from configs.sft import SftConfig


def run(output: Path, *overrides: str) -> CollectConfig:
    return load(
        CollectConfig, ["--output", str(output), "--seeds", "0-3", "--policy", "random", *overrides]
    )


def test_the_effective_configuration_is_stored_and_loads_again(tmp_path: Path) -> None:
    config = run(tmp_path / "run")
    with RunFolder(config) as folder:
        assert load(CollectConfig, [str(folder.path / "config.toml")]) == config


def test_the_same_configuration_continues(tmp_path: Path) -> None:
    for _ in range(2):
        with RunFolder(run(tmp_path / "run")):
            pass


def test_where_it_runs_may_change(tmp_path: Path) -> None:
    with RunFolder(run(tmp_path / "run")):
        pass
    with RunFolder(run(tmp_path / "run", "--cluster.num_workers", "7")):
        pass


def test_what_it_is_may_not(tmp_path: Path) -> None:
    with RunFolder(run(tmp_path / "run")):
        (tmp_path / "run" / "part.parquet").write_text("play")
    with pytest.raises(UserError, match=r"another configuration \(env\.length differs\)"):
        RunFolder(run(tmp_path / "run", "--env.length", "9")).__enter__()


def test_a_fine_tuning_run_is_defended_once_it_has_a_checkpoint(tmp_path: Path) -> None:
    def tuned(*overrides: str) -> SftConfig:
        arguments = ["--output", str(tmp_path / "run"), "--data", "data", "--num_steps", "200"]
        return load(SftConfig, [*arguments, *overrides])

    with RunFolder(tuned("--seed", "1")):
        pass
    with RunFolder(tuned()) as folder:
        step = folder.path / "checkpoints/step_000100"
        step.mkdir(parents=True)
        (step / "state.pt").write_text("optimizer")
    with RunFolder(tuned("--cluster.num_workers", "4")):
        pass
    with pytest.raises(UserError, match=r"another configuration \(seed differs\)"):
        RunFolder(tuned("--seed", "1")).__enter__()


def test_a_refused_start_does_not_pin_the_folder(tmp_path: Path) -> None:
    with RunFolder(run(tmp_path / "run", "--policy.name", "mistyped")):
        pass
    with RunFolder(run(tmp_path / "run")) as folder:
        assert 'name = "random"' in (folder.path / "config.toml").read_text()


def test_a_start_killed_while_writing_its_configuration_does_not_pin_it(tmp_path: Path) -> None:
    (tmp_path / ".config.toml.tmp").write_text("torn")
    with RunFolder(run(tmp_path)):
        pass


def test_two_processes_cannot_write_at_once(tmp_path: Path) -> None:
    with (
        RunFolder(run(tmp_path / "run")),
        pytest.raises(UserError, match="another process is writing"),
    ):
        RunFolder(run(tmp_path / "run")).__enter__()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        RunFolder(run(tmp_path)).__enter__()
    assert sorted(os.listdir(tmp_path)) == ["thesis.txt"]


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't write to output"):
        RunFolder(run(tmp_path / "file")).__enter__()


def test_the_first_difference_is_named_by_its_path() -> None:
    assert first_difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == "a.c"
    assert first_difference({"a": 1}, {"a": 1, "b": 2}) == "b"
    assert first_difference({"a": [1]}, {"a": [1]}) == ""
