"""Play that is there already counts for the weights that played it."""

from pathlib import Path

import pytest

from cluster.errors import UserError
from cluster.run_folder import RunFolder
from cluster.traces import write_part
from configs.jobs import CollectConfig
from configs.load import load
from jobs.collect import collect
from tests.builders import trajectory
from tests.sft_rows import MODEL


def played(folder: Path) -> CollectConfig:
    """A run of one episode, which is there, with an adapter of some bytes."""
    (folder / "adapter").mkdir()
    (folder / "adapter/adapter_model.safetensors").write_bytes(b"first")
    policy = ["--policy", "vllm", "--policy.model", MODEL]
    policy += ["--policy.adapter", str(folder / "adapter"), "--policy.engine.lora", "{}"]
    arguments = ["--seeds", "0", "--output", str(folder / "run"), "--env.size", "72"]
    config = load(CollectConfig, [*policy, *arguments])
    with RunFolder(config):
        write_part(folder / "run/traces", [trajectory(seed=0)])
    return config


def test_the_same_adapter_has_nothing_left_to_play(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = played(tmp_path)
    for _ in range(2):
        collect(config)
    assert capsys.readouterr().out.count("1 episodes, ") == 2


def test_another_adapter_at_the_same_path_is_refused(tmp_path: Path) -> None:
    config = played(tmp_path)
    collect(config)
    (tmp_path / "adapter/adapter_model.safetensors").write_bytes(b"second")
    with pytest.raises(UserError, match="was begun with another content of adapter"):
        collect(config)
