"""One update of RL: the right loss, whoever takes part in it, and against which policies."""

from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from configs.rl import RlConfig
from learners.learner import Learner
from learners.lora import save_adapter
from learners.rl.mismatch import mismatch
from learners.rl.past import Past
from learners.rl.policy import as_it_began, build_policy
from learners.rl.samples import Sample
from learners.rl.update import Updater, UpdateResult
from tests.parity import learned
from tests.rl_samples import rl_settings, some_samples
from tests.sft_rows import MODEL

pytestmark = [
    pytest.mark.vision,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]

NUM_ROWS = 8
NOWHERE = Path("never written")
Told = tuple[list[float], torch.Tensor]


class Bench:
    """A new policy, some decisions, and what takes the updates."""

    def __init__(self, config: RlConfig, count: int = NUM_ROWS) -> None:
        self.learner: Learner = build_policy(config, MODEL, "cpu")
        self.updater = Updater(self.learner, config)
        self.samples = some_samples(self.learner.language, count)

    def update(self, samples: Sequence[Sample] | None = None) -> UpdateResult:
        return self.updater.update(self.samples if samples is None else samples)

    def logprobs(self, index: int) -> np.ndarray:
        (told,) = self.updater.recompute([self.samples[index]])
        return told.old_logprobs_T

    def weights(self) -> torch.Tensor:
        return torch.cat([w.detach().flatten() for w in self.trained()])

    def gradient(self) -> torch.Tensor:
        return torch.cat([w.grad.flatten() for w in self.trained() if w.grad is not None])

    def trained(self) -> list[torch.nn.Parameter]:
        return [w for w in self.learner.model.parameters() if w.requires_grad]


def bench(count: int = NUM_ROWS, **changes: Any) -> Bench:
    return Bench(rl_settings(NOWHERE, **changes), count)


@pytest.fixture(scope="module")
def alone(one_thread: None) -> Told:
    """Two updates of one rank, in micro-batches of 3."""
    return two_updates(told_settings(), 0, 1)


def told_settings(**changes: Any) -> RlConfig:
    algorithm = {"kl_coef": 0.1, "entropy_coef": 0.01, "aggregation": "sequence"}
    return rl_settings(NOWHERE, algorithm=algorithm, **changes)


def two_updates(config: RlConfig, rank: int, count: int) -> Told:
    """Figures of two updates on the same rows, and the second one's gradient."""
    mine = Bench(config)
    told: list[float] = []
    for _ in range(2):
        result = mine.update(mine.samples[rank::count])
        told += [*astuple(result.report), result.grad_norm, result.num_tokens]
    return told, mine.gradient()


def in_a_group(rank: int, count: int, folder: Path, config: RlConfig) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=count)
    torch.save(two_updates(config, rank, count), folder / f"rank{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_of_four_take_the_update_of_one_of_eight(alone: Told, tmp_path: Path) -> None:
    mp.spawn(in_a_group, (2, tmp_path, told_settings()), nprocs=2)
    figures, gradient = alone
    for rank in range(2):
        told, theirs = torch.load(tmp_path / f"rank{rank}")
        assert told == pytest.approx(figures, rel=1e-4, abs=1e-6)
        torch.testing.assert_close(theirs, gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("micro_batch_size", [1, NUM_ROWS])
def test_an_update_does_not_depend_on_micro_batches(alone: Told, micro_batch_size: int) -> None:
    config = told_settings(learner={"micro_batch_size": micro_batch_size})
    told, gradient = two_updates(config, 0, 1)
    assert told == pytest.approx(alone[0], rel=1e-4, abs=1e-6)
    torch.testing.assert_close(gradient, alone[1], rtol=1e-3, atol=1e-6)


def test_recomputed_log_probabilities_are_the_learners_at_the_temperature_of_sampling() -> None:
    mine = bench(3)
    for told in mine.updater.recompute(mine.samples):
        answer: Any = told  # what `learned` asks of an answer is its temperature
        expected = learned(mine.learner.model, mine.learner.language, told.example, answer)
        assert told.old_logprobs_T == pytest.approx(expected, abs=1e-4)


def test_before_the_first_update_recomputed_ratios_are_one_so_the_loss_is_plain() -> None:
    mine = bench(algorithm={"old_logprobs": "recomputed", "entropy_coef": 0.0}, max_staleness=0)
    rows = mine.updater.recompute(mine.samples)
    result = mine.update(rows)
    num_tokens = sum(row.num_tokens for row in rows)
    mean = sum(row.advantage * row.num_tokens for row in rows) / num_tokens
    assert result.num_tokens == num_tokens
    assert result.report.ratio == pytest.approx(1, abs=1e-5)
    assert result.report.advantage == pytest.approx(mean)
    assert result.report.loss == pytest.approx(-mean, abs=1e-5)


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_a_good_answer_becomes_likelier_and_a_bad_one_rarer(advantage: float) -> None:
    mine = bench(1)
    before = mine.logprobs(0).sum()
    for _ in range(3):  # the first moves B alone, off zero
        mine.update([replace(mine.samples[0], advantage=advantage)])
    assert (mine.logprobs(0).sum() - before) * advantage > 0


def test_the_bonus_for_entropy_alone_moves_the_policy() -> None:
    for coef, moves in ((0.0, False), (0.1, True)):
        mine = bench(2, algorithm={"entropy_coef": coef})
        flat = [replace(sample, advantage=0.0) for sample in mine.samples]
        assert (mine.update(flat).grad_norm > 0) == moves


def test_the_reference_is_where_the_policy_began() -> None:
    mine = bench(4, algorithm={"kl_coef": 0.1})
    before = mine.logprobs(0)
    assert mine.update().report.kl_ref == 0
    assert mine.update().report.kl_ref > 0
    assert mine.logprobs(0) != pytest.approx(before, abs=1e-5)
    with as_it_began(mine.learner.model):
        assert mine.logprobs(0) == pytest.approx(before, abs=1e-6)


def test_the_reference_is_neither_trained_nor_stored(tmp_path: Path) -> None:
    mine = bench(2, algorithm={"kl_coef": 0.1})
    mine.update()
    names = [n for n, w in mine.learner.model.named_parameters() if w.requires_grad]
    assert names
    assert not any("reference" in name for name in names)
    save_adapter(mine.learner.model, tmp_path / "adapter")
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_without_a_weight_for_it_there_is_no_reference() -> None:
    assert list(bench(1).learner.model.peft_config) == ["default"]


def test_engine_and_learner_are_compared_on_the_weights_that_played() -> None:
    """Each decision with its own version's, whatever the learner is by now."""
    mine, past = bench(3), Past(2)
    played = []
    for version in (6, 7):
        past.keep(mine.learner.model, version)
        (told,) = mine.updater.recompute(mine.samples[:1])
        played.append(replace(told, sampled_logprobs_T=told.old_logprobs_T, version=version))
        mine.update()
    before = mine.weights()
    agreed = mismatch(mine.updater.compare(played, past))
    assert agreed.mean_abs == pytest.approx(0, abs=1e-6)
    assert torch.equal(mine.weights(), before)
    swapped = [replace(one, version=13 - one.version) for one in played]
    assert mismatch(mine.updater.compare(swapped, past)).mean_abs > 1e-3


def test_a_doubled_probability_is_a_mismatch_of_log_2() -> None:
    mine, past = bench(1), Past(1)
    past.keep(mine.learner.model, 1)
    (told,) = mine.updater.recompute(mine.samples)
    doubled = told.old_logprobs_T + np.float32(np.log(2))
    found = mine.updater.compare([replace(told, sampled_logprobs_T=doubled, version=1)], past)
    assert mismatch(found).mean_abs == pytest.approx(np.log(2), abs=1e-5)


def test_of_versions_that_are_forgotten_nothing_is_compared() -> None:
    mine, past = bench(2), Past(2)
    for version in (1, 2, 3):
        past.keep(mine.learner.model, version)
    assert [version in past for version in (1, 2, 3)] == [False, True, True]
    old = [replace(sample, version=1) for sample in mine.samples]
    assert mine.updater.compare(old, past).sums[0] == 0


def test_what_is_not_finite_changes_nothing() -> None:
    mine = bench(2)
    before = mine.weights()
    with pytest.raises(FloatingPointError, match=r"lower optim\.learning_rate"):
        mine.update([replace(mine.samples[0], advantage=float("nan"))])
    assert torch.equal(mine.weights(), before)


def test_a_part_without_decisions_is_no_failure() -> None:
    mine = bench(1)
    before = mine.weights()
    assert mine.update([]).report.loss == 0
    assert torch.equal(mine.weights(), before)
