"""Settings of RL: what is usual, and which combinations are refused before anything starts."""

from pathlib import Path

import pytest

from configs.errors import UserError
from configs.learning import LearnerClusterConfig, LearnerWorkersConfig
from configs.load import describe, dump, load
from configs.rl import RlConfig

BASE = ["--output", "runs/x", "--seeds", "0-3", "--num_steps", "20", "--policy.engine.lora", "{}"]


def config(*overrides: str) -> RlConfig:
    return load(RlConfig, [*BASE, *overrides])


def test_the_player_need_not_say_its_kind() -> None:
    assert config().policy.kind == "vllm"


def test_a_section_keeps_the_defaults_of_rl() -> None:
    optim = config("--optim.learning_rate", "1e-5").optim
    assert (optim.learning_rate, optim.warmup_steps, optim.decay) == (1e-5, 0, "constant")


def test_learner_and_engine_share_their_arithmetic() -> None:
    assert config("--policy.engine.dtype", "bfloat16").dtype == "bfloat16"


def test_start_end_and_every_so_many_steps_are_evaluated() -> None:
    told = config("--evaluation.every_steps", "8")
    assert [step for step in range(21) if told.is_evaluated(step)] == [0, 8, 16, 20]


def test_nothing_is_evaluated_where_none_is_asked_for() -> None:
    told = config("--evaluation.every_steps", "none", "--checkpoint.final", "last")
    assert not any(told.is_evaluated(step) for step in range(21))


def test_without_evaluation_its_worlds_do_not_matter() -> None:
    never = ["--evaluation.every_steps", "none", "--checkpoint.final", "last"]
    assert config(*never, "--evaluation.seeds", "2").evaluation.seeds == (2,)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--group_size", "1"], "group_size 1 leaves nothing to compare"),
        (
            ["--algorithm.advantage", "critic", "--groups_per_step", "1"],
            "groups_per_step 1 leaves the critic nothing to learn from",
        ),
        (
            ["--algorithm.old_logprobs", "recomputed", "--max_staleness", "1"],
            'algorithm.old_logprobs "recomputed" with max_staleness 1 takes older policies',
        ),
        (["--policy.top_p", "0.9"], "policy.top_p 0.9 cuts the distribution"),
        (["--policy.temperature", "0"], "policy.temperature 0 always plays the same"),
        (["--policy.foreign_frames", "true"], "policy.foreign_frames shows the pictures of"),
        (["--policy.engine.lora", "none"], "policy.engine.lora is missing"),
        (["--lora.r", "32"], "lora.r 32 is above policy.engine.lora.max_rank 16"),
        (["--lora.dropout", "0.1"], "lora.dropout 0.1 is unknown to the replicas"),
        (
            ["--lora.tower", "true", "--policy.engine.lora.tower", "false"],
            "lora.tower trains the vision tower, which the replicas would ignore",
        ),
        (["--max_staleness", "6"], "max_versions 8 is too few: with max_staleness 6, 7 may be"),
        (["--evaluation.seeds", "3-5"], "seed 3 is among both seeds and evaluation.seeds"),
        (["--evaluation.every_steps", "none"], 'checkpoint.final "best" needs'),
        (
            [
                *("--evaluation.every_steps", "none", "--checkpoint.final", "last"),
                *("--evaluation.patience", "2"),
            ],
            "evaluation.patience needs evaluation.every_steps",
        ),
        (
            ["--group_size", "2", "--groups_per_step", "1", "--learner.num_workers", "3"],
            "groups_per_step x group_size 2 leaves some of 3 workers without work",
        ),
        (
            ["--minibatch_size", "2", "--learner.num_workers", "3"],
            "minibatch_size 2 leaves some of 3 workers without work",
        ),
        (["--policy", "random"], "policy"),
        (["--learner.address", "local"], "unknown setting 'learner.address'"),
        (["--max_stale", "1"], "unknown setting 'max_stale'; the nearest is 'max_staleness'"),
    ],
)
def test_settings_that_do_not_work(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        config(*overrides)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message


def test_synchronous_rl_needs_three_versions() -> None:
    three = ["--policy.engine.lora.max_versions", "3"]
    assert config("--max_staleness", "0", *three).max_staleness == 0
    with pytest.raises(UserError, match="give 4"):
        config("--max_staleness", "1", *three)


def test_what_is_dumped_loads_again(tmp_path: Path) -> None:
    told = config("--algorithm.advantage", "grpo", "--evaluation.seeds", "90-93")
    path = tmp_path / "config.toml"
    path.write_text(dump(told))
    assert load(RlConfig, [str(path)]) == told


def test_every_setting_is_explained() -> None:
    lines = list(describe(RlConfig))
    assert len(lines) > 80
    assert [line for line in lines if "\n" not in line] == []


def test_a_learner_with_ray_of_its_own_is_sized_as_one_without() -> None:
    both = LearnerClusterConfig.model_fields.keys() - LearnerWorkersConfig.model_fields.keys()
    assert both == {"address"}
