"""What a player is sent, decided before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from actors.model_files import locate, portable
from actors.seat import check, picture_size, seat, sees_pictures
from cluster.errors import UserError
from configs.jobs import CollectConfig
from configs.play import EnvConfig, PromptConfig
from configs.player import OpenAIPlayer, RandomPlayer, VllmPlayer

TINY = VllmPlayer(kind="vllm", model="configs/models/tiny")
RANDOM = RandomPlayer(kind="random")


def remote(model: str) -> OpenAIPlayer:
    return OpenAIPlayer(kind="openai", model=model)


def run(**sections: Any) -> CollectConfig:
    return CollectConfig.model_validate({"output": "x", "seeds": 0, "policy": "random", **sections})


def test_auto_reads_the_served_models_own_config() -> None:
    assert sees_pictures(TINY, PromptConfig())


def test_pictures_can_be_withheld() -> None:
    assert not sees_pictures(TINY, PromptConfig(use_vision=False))
    assert not sees_pictures(remote("gpt-4o"), PromptConfig(use_vision=False))


def test_auto_knows_remote_models_by_name() -> None:
    assert sees_pictures(remote("gpt-4o"), PromptConfig())
    assert not sees_pictures(remote("gpt-3.5-turbo"), PromptConfig())


def test_an_unknown_remote_model_is_never_run_blind() -> None:
    with pytest.raises(UserError, match="use_vision"):
        sees_pictures(remote("mystery-1"), PromptConfig())


def test_image_only_for_a_blind_model_is_refused() -> None:
    with pytest.raises(UserError, match="reads no pictures"):
        sees_pictures(remote("gpt-3.5-turbo"), PromptConfig(image_only=True))


def test_a_model_folder_without_vision_is_refused_pictures(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    blind = VllmPlayer(kind="vllm", model=str(tmp_path))
    assert not sees_pictures(blind, PromptConfig())
    with pytest.raises(UserError, match="reads no pictures"):
        sees_pictures(blind, PromptConfig(use_vision=True))


def test_auto_size_is_one_token_a_tile() -> None:
    assert picture_size(TINY, EnvConfig()) == 72
    assert picture_size(RANDOM, EnvConfig()) == 64
    assert picture_size(TINY, EnvConfig(size=144)) == 144


def test_a_players_setup_holds_what_was_decided() -> None:
    setup = seat(TINY, run(), version=3)
    assert (setup.version, setup.table.frame_size, setup.table.sees_pictures) == (3, 72, True)
    assert (setup.table.model, setup.table.provider) == ("configs/models/tiny", "vllm")


def test_a_trace_tells_the_rewards_that_its_play_was_given() -> None:
    play = {"bad_call_penalty": -0.25, "reward": {"strategy": "consistent", "scale": 2}}
    env = seat(RANDOM, run(play=play), version=0).table.env
    assert env["reward"] == {"strategy": "consistent", "scale": 2.0}
    assert env["bad_call_penalty"] == -0.25
    assert env["length"] == 300


def test_a_missing_model_is_named() -> None:
    nowhere = VllmPlayer(kind="vllm", model="configs/models/nowhere")
    with pytest.raises(UserError, match="configs/models/nowhere"):
        check(nowhere, run())


def test_a_missing_adapter_is_named() -> None:
    player = VllmPlayer.model_validate(
        {"kind": "vllm", "adapter": "nowhere", "engine": {"lora": {}}}
    )
    with pytest.raises(UserError, match="adapter nowhere"):
        check(player, run())


def test_more_history_than_the_engine_takes_is_refused() -> None:
    with pytest.raises(UserError, match=r"history_frames 2 is more than engine.max_images 1"):
        check(TINY, run(prompt={"history_frames": 2}))


def test_a_key_is_not_part_of_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    setup = seat(remote("gpt-4o"), run(), version=0)
    assert setup.secret == ("OPENAI_API_KEY", "sk-secret-1")
    assert "sk-secret-1" not in repr(setup)


def test_fewer_slots_than_workers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    player = remote("gpt-4o").model_copy(update={"max_concurrency": 1})
    with pytest.raises(UserError, match="max_concurrency 1 can't be divided among 2 workers"):
        check(player, run())


def test_a_model_is_found_from_any_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert portable("configs/models/tiny") == "configs/models/tiny"
    assert Path(locate("configs/models/tiny")).is_dir()
    assert portable("mine") == str(tmp_path / "mine")
    assert locate(portable("Qwen/Qwen3-VL-4B-Instruct")) == "Qwen/Qwen3-VL-4B-Instruct"
