"""Configuration: what is refused, in which words, and what survives a round trip."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from configs.curation import ExportConfig
from configs.errors import UserError
from configs.jobs import CollectConfig, EvaluateConfig
from configs.learning import PretrainConfig
from configs.load import changed, describe, dump, load
from configs.play import EnvConfig
from configs.player import ScriptedPlayer, VllmPlayer
from configs.rl import RlConfig
from configs.sft import SftConfig

BASE = ["--output", "runs/x", "--seeds", "0-3", "--policy", "vllm"]


def collect(*overrides: str) -> CollectConfig:
    return load(CollectConfig, [*BASE, *overrides])


def refusal(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        collect(*overrides)
    return str(caught.value)


def test_seed_text_counts_both_ends() -> None:
    assert collect("--seeds", "0-2,7").seeds == (0, 1, 2, 7)


def test_one_seed_is_a_list_of_one() -> None:
    assert collect("--seeds", "5").seeds == (5,)


def test_a_kind_alone_takes_that_kinds_defaults() -> None:
    assert collect("--policy", "scripted").policy == ScriptedPlayer(kind="scripted")


def test_dotted_override_reaches_into_a_kind_given_alone() -> None:
    policy = collect("--policy.temperature", "0.5").policy
    assert isinstance(policy, VllmPlayer)
    assert policy.temperature == 0.5


def test_list_positions_can_be_overridden() -> None:
    two = ["--output", "x", "--seeds", "0", "--policies", '["vllm", "random"]']
    config = load(EvaluateConfig, [*two, "--policies.0.temperature", "0"])
    assert [policy.kind for policy in config.policies] == ["vllm", "random"]
    assert config.policies[0] == VllmPlayer(kind="vllm", temperature=0)


def test_override_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('output = "a"\nseeds = [1]\npolicy = "random"\n[env]\nlength = 50\n')
    config = load(CollectConfig, [str(path), "--env.length", "60"])
    assert (config.output, config.env.length) == ("a", 60)


def test_episodes_beyond_the_seeds_play_worlds_again() -> None:
    config = collect("--seeds", "3,4", "--episodes", "5")
    assert config.plays == ((3, 0), (4, 0), (3, 1), (4, 1), (3, 2))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--policy.temprature", "1"], "unknown setting 'policy.temprature'; the nearest is"),
        (["--env.lenght", "1"], "the nearest is 'env.length'"),
        (["--cluster.num_workers", "two"], "cluster.num_workers"),
        (["--env.size", "big"], "env.size"),
        (["--seeds", "[]"], "the seed list is empty"),
        (["--seeds", ""], "the seed list is empty"),
        (["--seeds", "3,3"], "seed 3 is listed twice"),
        (["--seeds", "1-x"], "'1-x' is neither a number nor a-b"),
        (["--policy.engine.lora.max_rank", "9"], "policy.engine.lora.max_rank"),
        (["--policy.engine.tensor_parallel", "2"], "tensor_parallel needs device gpu"),
        (["--policy.adapter", "x"], "adapter needs engine.lora"),
        (["--prompt.use_vision", "false", "--prompt.image_only", "true"], "image_only needs"),
        (["--env.view", "[8, 9]"], "has no middle tile"),
        (["--seeds", "0-3,9-5"], "'9-5' runs backwards"),
        (["--seeds", "true"], "seeds"),
        (["--policy.name", "../elsewhere"], "policy.name"),
        (["--env.view", "[41, 43]", "--env.size", "72"], "gives a tile under 2 pixels"),
        (["--episodes"], "--episodes needs a value"),
        (["episodes"], "unexpected 'episodes'"),
    ],
)
def test_bad_input_is_refused_in_one_line(overrides: list[str], words: str) -> None:
    message = refusal(*overrides)
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("setting", "value"),
    [("api_key_env", "sk-secret"), ("base_url", "https://user:sk-secret@host/v1")],
)
def test_a_key_in_the_wrong_place_is_not_repeated(setting: str, value: str) -> None:
    message = refusal(
        "--policy.kind", "openai", "--policy.model", "m", f"--policy.{setting}", value
    )
    assert setting in message
    assert "sk-secret" not in message


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(UserError, match="setting 'seeds' is missing"):
        load(CollectConfig, ["--output", "x", "--policy", "random"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"can't read config .*nowhere\.toml: No such file"):
        load(CollectConfig, [str(tmp_path / "nowhere.toml")])


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("seeds = [")
    with pytest.raises(UserError, match=r"bad\.toml is not TOML"):
        load(CollectConfig, [str(path)])


def test_two_policies_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="two policies are named 'random'"):
        load(
            EvaluateConfig,
            ["--output", "x", "--seeds", "0", "--policies", '["random", "random"]'],
        )


def test_a_baseline_that_does_not_play_is_refused() -> None:
    named = ["--policies", '["random"]', "--baseline", "sft"]
    with pytest.raises(UserError, match=r"no policy is named 'sft', as baseline is: \['random'\]"):
        load(EvaluateConfig, ["--output", "x", "--seeds", "0", *named])


def test_dump_and_load_give_the_same_configuration(tmp_path: Path) -> None:
    config = collect("--policy.engine.lora.max_rank", "8", "--play.interrupts", "[]")
    path = tmp_path / "config.toml"
    path.write_text(dump(config))
    assert load(CollectConfig, [str(path)]) == config


def test_a_setting_that_was_taken_away_stays_away(tmp_path: Path) -> None:
    told = ["--output", "x", "--seeds", "0", "--num_steps", "1"]
    lora = ["--policy.model", "m", "--policy.engine.lora.max_rank", "16"]
    never = ["--evaluation.every_steps", "none", "--checkpoint.final", "last"]
    config = load(RlConfig, [*told, *lora, *never])
    assert config.evaluation.every_steps is None
    path = tmp_path / "config.toml"
    path.write_text(dump(config))
    assert 'every_steps = "none"' in path.read_text()
    assert load(RlConfig, [str(path)]) == config


def test_changed_settings_are_told_in_a_line() -> None:
    told = changed(collect("--seeds", "0-9", "--env.length", "60"))
    assert told == (
        "output = 'runs/x', seeds = [0, ... 9] (10), env.length = 60, policy.kind = 'vllm'"
    )


KEY_OF_ITS_OWN = {
    "group_size": RlConfig,  # first: it has a policy too
    "policies": EvaluateConfig,
    "policy": CollectConfig,
    "unseen": PretrainConfig,
    "student": ExportConfig,
    "data": SftConfig,
}
PRESETS = sorted(path for path in Path("configs").glob("*/*.toml") if "models" not in path.parts)


@pytest.mark.parametrize("path", PRESETS, ids=str)
def test_every_preset_loads(path: Path) -> None:
    told = tomllib.loads(path.read_text())
    schema = next(schema for key, schema in KEY_OF_ITS_OWN.items() if key in told)
    load(schema, [str(path)])


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_path_from_traces_to_a_better_player_hangs_together(kind: str) -> None:
    presets = {
        name: tomllib.loads(Path("configs", kind, f"{name}.toml").read_text())
        for name in ("collect", "export", "sft", "evaluate")
    }
    collect, export, sft, evaluate = presets.values()
    assert export["inputs"] == [collect["output"]]
    assert sft["data"] == export["output"]
    assert sft["model"] == export["student"]["model"]
    players = {player["name"]: player for player in evaluate["policies"] if "name" in player}
    assert players["sft"]["adapter"] == f"{sft['output']}/adapter"
    assert players["base"]["model"] == players["sft"]["model"] == sft["model"]
    for key in ("image_only", "max_actions"):
        assert evaluate["prompt"][key] == export["student"]["prompt"][key]
    if kind == "cpu":
        _goes_on_with_rl(sft)
    worlds = [load(CollectConfig, [f"configs/{kind}/collect.toml"]).seeds]
    worlds.append(load(EvaluateConfig, [f"configs/{kind}/evaluate.toml"]).seeds)
    assert set(worlds[0]).isdisjoint(worlds[1])


def _goes_on_with_rl(sft: dict[str, Any]) -> None:
    rl = load(RlConfig, ["configs/cpu/rl.toml"])
    assert rl.policy.adapter == f"{sft['output']}/adapter"
    after = load(EvaluateConfig, ["configs/cpu/evaluate_rl.toml"])
    players = {one.name: one for one in after.policies if isinstance(one, VllmPlayer)}
    assert players["sft"].adapter == rl.policy.adapter
    assert players["sft-rl"].adapter == f"{rl.output}/adapter"
    assert after.prompt == rl.prompt
    for seeds in (rl.seeds, load(CollectConfig, ["configs/cpu/collect.toml"]).seeds):
        assert set(seeds).isdisjoint(after.seeds)


def test_help_explains_every_setting() -> None:
    lines = list(describe(EvaluateConfig))
    assert len(lines) > 50
    assert [line for line in lines if "\n" not in line] == []


def test_view_rows_leave_room_for_the_inventory() -> None:
    assert EnvConfig().view_rows == 7
    assert EnvConfig(view=(11, 9)).view_rows == 7
    assert EnvConfig(view=(7, 8)).view_rows == 5
