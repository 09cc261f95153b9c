"""Settings of RL's algorithm: what is usual, and what is refused."""

from pathlib import Path
from typing import get_args

import pytest

from configs.errors import UserError
from configs.load import describe, dump, load
from configs.rl_algorithm import AlgorithmConfig
from learners.rl.advantages import ADVANTAGES


def test_what_one_would_use() -> None:
    config = AlgorithmConfig()
    assert (config.advantage, config.gamma, config.old_logprobs) == ("turn", 0.98, "sampled")
    assert (config.clip_low, config.clip_high) == (0.2, 0.28)
    assert (config.kl_coef, config.entropy_coef, config.importance_cap) == (0.0, 0.003, None)


def test_every_advantage_can_be_asked_for() -> None:
    names = get_args(AlgorithmConfig.model_fields["advantage"].annotation)
    assert set(names) == {*ADVANTAGES, "critic"}


def test_recomputed_log_probabilities_may_be_corrected() -> None:
    arguments = ["--old_logprobs", "recomputed", "--importance_cap", "2"]
    assert load(AlgorithmConfig, arguments).importance_cap == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--importance_cap", "2"], 'set it to none or old_logprobs to "recomputed"'),
        (["--old_logprobs", "recomputed", "--importance_cap", "0.5"], "importance_cap: .* 1"),
        (["--gamma", "1.1"], "gamma: .* 1"),
        (
            ["--advantage", "grpo", "--gamma", "0.9"],
            "gamma is not read by advantage grpo: leave it at 0.98, or set advantage to turn or",
        ),
        (["--trace_decay", "0.5"], "trace_decay is not read by advantage turn"),
        (["--clip_low", "1"], "clip_low: .* less than 1"),
        (["--clip_high", "0"], "clip_high: .* greater than 0"),
        (["--kl_coef", "-1"], "kl_coef: .* 0"),
        (
            ["--advantage", "gae"],
            "advantage: Input should be 'turn', 'critic', 'grpo' or 'dr_grpo'",
        ),
        (["--clip_hi", "0.3"], "unknown setting 'clip_hi'; the nearest is 'clip_high'"),
    ],
)
def test_settings_that_do_not_work(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(AlgorithmConfig, arguments)


def test_what_is_dumped_loads_again(tmp_path: Path) -> None:
    config = AlgorithmConfig(old_logprobs="recomputed", importance_cap=2.0, advantage="grpo")
    path = tmp_path / "config.toml"
    path.write_text(dump(config))
    assert load(AlgorithmConfig, [str(path)]) == config


def test_every_setting_is_explained() -> None:
    assert all(info.description for info in AlgorithmConfig.model_fields.values())
    assert len(list(describe(AlgorithmConfig))) == len(AlgorithmConfig.model_fields)
