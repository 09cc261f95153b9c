"""A rank's run of RL, without Ray: in which order it commits, and that it survives being killed."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file

import learners.checkpoints
import learners.metrics_log
from cluster.errors import FinalError, RunError
from cluster.types import EpisodeSpec
from configs.rl import RlConfig
from learners.checkpoints import Checkpoints
from learners.language import Language
from learners.rl.keeper import checkpoints_of
from learners.rl.loop import Training
from learners.rl.policy import build_policy
from learners.rl.progress import RlProgress
from learners.rl.update import Updater
from learners.step import DivergedError
from tests.rl_samples import rl_settings
from tests.rl_source import FakeSource, Killed
from tests.sft_rows import MODEL

pytestmark = [
    pytest.mark.vision,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]

TIMES = ("learner_idle_s", "train_s")


@pytest.fixture(scope="module")
def language() -> Language:
    return Language(MODEL)


def train(source: FakeSource) -> RlProgress:
    return Training(source.config, build_policy(source.config, MODEL, "cpu"), source).run()


def lines(config: RlConfig) -> list[dict[str, float]]:
    """The run's figures, without how long they took."""
    text = (Path(config.output) / "metrics.jsonl").read_text()
    told = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in told]


def step_lines(config: RlConfig) -> list[dict[str, float]]:
    return [line for line in lines(config) if "loss" in line]


def weights(config: RlConfig, step: int) -> dict[str, torch.Tensor]:
    folder = checkpoints_of(config).path(step) / "adapter"
    return dict(load_file(folder / "adapter_model.safetensors"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, language: Language) -> FakeSource:
    """A run that nothing interrupted."""
    source = FakeSource(rl_settings(tmp_path_factory.mktemp("whole")), language)
    train(source)
    return source


def test_it_commits_in_the_order_that_survives(whole: FakeSource) -> None:
    assert whole.calls == [
        *(("snapshot", 0), ("publish", 1), ("evaluate", 0)),
        *(("batch", 0), ("snapshot", 1), ("committed", 0), ("publish", 2)),
        *(("batch", 1), ("snapshot", 2), ("committed", 1), ("publish", 3), ("evaluate", 2)),
        *(("batch", 2), ("snapshot", 3), ("committed", 2), ("publish", 4), ("evaluate", 3)),
    ]


def test_the_policy_learns_at_every_step(whole: FakeSource) -> None:
    digests = [tuple(policy.files.items()) for policy in whole.policies.values()]
    assert len(set(digests)) == 4


def test_a_steps_figures(whole: FakeSource) -> None:
    first, second, third = step_lines(whole.config)
    assert (first["step"], first["decisions"], first["updates"]) == (1, 12, 3)
    assert (first["staleness_mean"], first["staleness_max"]) == (0, 0)
    assert (second["staleness_mean"], second["staleness_max"]) == (0.5, 1)
    assert (third["mean_achievements"], third["dropped_flat"]) == (1.5, 2)
    assert all(line["mismatch_measured"] == 1 for line in (first, second, third))
    assert {"loss", "ratio", "grad_norm", "learning_rate", "mismatch_kl"} < set(first)
    assert {"mismatch_max_ratio", "mean_return", "tokens", "empty_answers"} < set(first)


def test_evaluations_are_told_at_their_own_steps(whole: FakeSource) -> None:
    told = [line for line in lines(whole.config) if "eval_return" in line]
    assert told == [
        {"step": step, "eval_return": float(step), "eval_score": 2.0} for step in (0, 2, 3)
    ]


def test_a_difference_between_engine_and_learner_is_told(whole: FakeSource) -> None:
    # Its log-probabilities are made up.
    assert len(whole.warnings) == 3
    assert "between engine and learner" in whole.warnings[0]


def test_the_last_checkpoint_tells_how_it_ended(whole: FakeSource) -> None:
    progress = checkpoints_of(whole.config).last()
    assert (progress.step, progress.num_updates, progress.num_decisions) == (3, 9, 36)
    assert progress.num_tokens == sum(line["tokens"] for line in step_lines(whole.config))
    assert progress.has_ended
    assert progress.best is not None
    assert progress.best.step == 3


def killed_in_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    _kill(Updater, "update", 5, monkeypatch)


def killed_before_the_checkpoint_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _kill(learners.checkpoints.os, "replace", 3, monkeypatch)


def killed_while_pruning(monkeypatch: pytest.MonkeyPatch) -> None:
    _kill(Checkpoints, "prune", 3, monkeypatch)


def killed_while_removing_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, **options: Any) -> None:
        if (folder / "state.pt").exists():
            (folder / "adapter/adapter_config.json").unlink()
            raise Killed

    monkeypatch.setattr(learners.checkpoints.shutil, "rmtree", fail)


def killed_while_noting_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    _kill(Checkpoints, "amend", 1, monkeypatch)


def _kill(owner: Any, name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(1, number + 1))
    original = getattr(owner, name)

    def fail(*arguments: Any) -> Any:
        if next(calls) == number:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(owner, name, fail)


def the_same(ours: RlConfig, theirs: RlConfig) -> None:
    assert step_lines(ours) == step_lines(theirs)
    mine, other = weights(ours, 3), weights(theirs, 3)
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    both = [checkpoints_of(config).last() for config in (ours, theirs)]
    assert [progress.num_tokens for progress in both] == [both[1].num_tokens] * 2
    assert {e.step for e in both[0].evaluations} == {e.step for e in both[1].evaluations}
    folder = Path(ours.output) / "checkpoints"
    assert [path.name for path in folder.glob(".*")] == [".lock"]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("batch", 1),
        ("snapshot", 1),
        ("snapshot", 3),
        ("committed", 2),
        ("publish", 1),
        ("publish", 3),
        ("evaluate", 2),
        ("batch", 3),
    ],
)
def test_killed_at_any_call_and_started_again_it_ends_the_same(
    whole: FakeSource, tmp_path: Path, name: str, number: int
) -> None:
    config = whole.config.model_copy(update={"output": str(tmp_path)})
    source = FakeSource(config, whole.language, kill={name: number})
    with pytest.raises(Killed):
        train(source)
    source.kill = {}
    train(source)
    the_same(config, whole.config)


@pytest.mark.parametrize(
    "kill",
    [
        killed_in_an_update,
        killed_before_the_checkpoint_has_its_name,
        killed_while_pruning,
        killed_while_removing_a_checkpoint,
        killed_while_noting_an_evaluation,
    ],
)
def test_killed_between_the_calls_and_started_again_it_ends_the_same(
    whole: FakeSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill: Callable[[pytest.MonkeyPatch], None],
) -> None:
    source = FakeSource(whole.config.model_copy(update={"output": str(tmp_path)}), whole.language)
    with monkeypatch.context() as patch:
        kill(patch)
        with pytest.raises(Killed):
            train(source)
    train(source)
    the_same(source.config, whole.config)


def test_a_critic_remembers_the_step_before_over_a_restart(
    tmp_path: Path, language: Language
) -> None:
    undisturbed, source = (
        FakeSource(rl_settings(tmp_path / name, algorithm={"advantage": "critic"}), language)
        for name in ("undisturbed", "killed")
    )
    train(undisturbed)
    source.kill = {"batch": 3}
    with pytest.raises(Killed):
        train(source)
    source.kill = {}
    train(source)
    the_same(source.config, undisturbed.config)


def test_what_was_lost_is_asked_for_again(whole: FakeSource, tmp_path: Path) -> None:
    config = whole.config.model_copy(update={"output": str(tmp_path)})
    gone = EpisodeSpec(seed=1, sample=0)
    source = FakeSource(config, whole.language, gone={gone})
    train(source)
    at = source.calls.index(("lost", gone))
    assert source.calls[at - 1 : at + 2] == [("batch", 0), ("lost", gone), ("batch", 0)]
    the_same(config, whole.config)


def test_a_run_that_has_ended_takes_no_step(whole: FakeSource) -> None:
    before = step_lines(whole.config)
    source = replace(whole, calls=[])
    train(source)
    assert [call[0] for call in source.calls] == ["committed", "publish"]
    assert step_lines(whole.config) == before


def test_the_last_the_best_and_the_awaited_checkpoints_stay(
    tmp_path: Path, language: Language
) -> None:
    config = rl_settings(
        tmp_path, num_steps=5, checkpoint={"keep": 1}, evaluation={"every_steps": 1}
    )
    kept: list[list[int]] = []
    source = FakeSource(
        config,
        language,
        # The second is best; the third is ready only at the end.
        mean_return=lambda step: -abs(step - 1),
        has_ended=lambda step: step != 2,
    )
    original = Checkpoints.prune

    def noted(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        kept.append(self.steps())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "prune", noted)
        train(source)
    assert kept[-1] == [1, 2, 5]


def test_it_ends_early_where_returns_fall(tmp_path: Path, language: Language) -> None:
    config = rl_settings(tmp_path, num_steps=50, evaluation={"every_steps": 1, "patience": 2})
    source = FakeSource(config, language, mean_return=lambda step: float(-step))
    progress = train(source)
    assert progress.step == 2
    assert progress.has_ended
    assert train(source).step == 2


def test_recomputed_old_log_probabilities_start_from_ratio_one(
    tmp_path: Path, language: Language
) -> None:
    algorithm = {"old_logprobs": "recomputed", "importance_cap": 2.0}
    # One update a step.
    config = rl_settings(tmp_path, num_steps=2, minibatch_size=99, algorithm=algorithm)
    train(FakeSource(config, language))
    assert [line["ratio"] for line in step_lines(config)] == pytest.approx([1, 1], abs=1e-4)


def test_decisions_of_the_version_before_are_compared_on_its_weights(
    tmp_path: Path, language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = rl_settings(tmp_path, num_steps=2)
    source = FakeSource(config, language)
    original = source._play

    def stale(step: int, group: int, number: int) -> Any:
        return replace(original(step, 1, number), group=group)

    monkeypatch.setattr(source, "_play", stale)
    train(source)
    assert [line["mismatch_measured"] for line in step_lines(config)] == [1, 1]
    assert [line["staleness_mean"] for line in step_lines(config)] == [0, 1]


def test_a_decision_that_is_too_old_is_refused(tmp_path: Path, language: Language) -> None:
    config = rl_settings(tmp_path)
    source = FakeSource(config, language)
    source.config = config.model_copy(update={"max_staleness": 1})
    strict = config.model_copy(update={"max_staleness": 0})
    training = Training(strict, build_policy(config, MODEL, "cpu"), source)
    with pytest.raises(ValueError, match="is 1 versions behind step 1: max_staleness is 0"):
        training.run()


def test_a_run_that_diverges_says_which_setting_to_lower(
    tmp_path: Path, language: Language
) -> None:
    config = rl_settings(tmp_path, optim={"learning_rate": 1e30})
    with pytest.raises(DivergedError, match=r"step 1: .*lower optim\.learning_rate"):
        train(FakeSource(config, language))


def test_a_damaged_checkpoint_is_named(tmp_path: Path, language: Language) -> None:
    config = rl_settings(tmp_path, num_steps=1)
    source = FakeSource(config, language)
    train(source)
    (checkpoints_of(config).path(1) / "progress.json").write_text("{")
    with pytest.raises(RunError, match=r"step_000001 is damaged .*: remove it to go on"):
        train(source)


def in_a_group(rank: int, count: int, folder: Path, config: RlConfig) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=count)
    train(FakeSource(config, Language(MODEL), rank, count))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_tell_what_one_does(whole: FakeSource, tmp_path: Path) -> None:
    config = whole.config.model_copy(update={"output": str(tmp_path / "run")})
    mp.spawn(in_a_group, (2, tmp_path, config), nprocs=2)
    alone, together = step_lines(whole.config), step_lines(config)
    for name in alone[0]:
        values = [line[name] for line in alone]
        assert [line[name] for line in together] == pytest.approx(values, rel=0.05, abs=1e-3), name
    for name in ("decisions", "tokens", "updates", "mean_return", "staleness_mean"):
        assert [line[name] for line in together] == pytest.approx([line[name] for line in alone])


def refuse(*_: Any) -> Any:
    raise FinalError("the canary contradicts")


def in_a_group_that_is_refused(
    rank: int, count: int, folder: Path, config: RlConfig, call: str, refused: int
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=count)
    source = FakeSource(config, Language(MODEL), rank, count)
    if rank == refused:
        setattr(source, call, refuse)
    with pytest.raises(FinalError) as caught:
        train(source)
    (folder / f"{rank}.txt").write_text(str(caught.value))
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("call", "refused"), [("publish", 0), ("committed", 0), ("batch", 1)])
def test_what_ends_one_rank_ends_all(tmp_path: Path, call: str, refused: int) -> None:
    """Else the others would wait for it until their process group times out."""
    config = rl_settings(tmp_path)
    mp.spawn(in_a_group_that_is_refused, (2, tmp_path, config, call, refused), nprocs=2)
    causes = [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)]
    assert causes == ["the canary contradicts"] * 2


def in_a_group_that_is_dealt_two_batches(
    rank: int, count: int, folder: Path, config: RlConfig
) -> None:
    """Rank 1 is first told of a batch that a ledger dealt before it was killed."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=count)
    source = FakeSource(config, Language(MODEL), rank, count)
    batch, told = source.batch, list[int]()

    def other_first(step: int) -> Any:
        share = batch(step)
        told.append(step)
        is_other = rank == 1 and told.count(1) == 1 and step == 1
        return replace(share, groups=share.groups[::-1]) if is_other else share

    source.batch = other_first  # type: ignore[method-assign]
    train(source)
    (folder / f"{rank}.txt").write_text(json.dumps(told))
    dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_that_were_dealt_different_batches_ask_again(tmp_path: Path) -> None:
    config = rl_settings(tmp_path)
    mp.spawn(in_a_group_that_is_dealt_two_batches, (2, tmp_path, config), nprocs=2)
    told = [json.loads((tmp_path / f"{rank}.txt").read_text()) for rank in (0, 1)]
    assert told == [[0, 1, 1, 2]] * 2


def test_a_disk_that_is_full_ends_all_ranks_with_the_cause(
    tmp_path: Path, language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before is whole, and with room the run goes on from it."""
    config = rl_settings(tmp_path)
    source = FakeSource(config, language)
    original = Path.write_bytes

    def full_at_step_2(path: Path, data: bytes) -> int:
        if path.parent.name == ".step_000002.tmp":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_at_step_2)
        with pytest.raises(FinalError, match=r"step 2 can't be written .*No space left on device"):
            train(source)
    assert checkpoints_of(config).steps() == [0, 1]
    assert train(source).step == 3


def test_figures_that_cannot_be_written_end_the_run_with_the_cause(
    tmp_path: Path, language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = rl_settings(tmp_path)
    source = FakeSource(config, language)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(learners.metrics_log, "append", full)
        with pytest.raises(FinalError, match=r"figures can't be written: .*No space left"):
            train(source)
    assert checkpoints_of(config).steps() == [0]
    assert train(source).step == 3
