"""The loop of fine-tuning, without Ray: it learns, it can be cut off anywhere, it ends in time."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import learners.checkpoints
from actors.adapter import check_adapter, read_adapter
from cluster.errors import RunError, UserError
from configs.player import ServingLora
from configs.sft import SftConfig
from learners.checkpoints import CHECKPOINTS, Checkpoints, put_adapter
from learners.language import Language
from learners.learner import Learner, build_learner
from learners.sft import FineTuning, Part, Rank
from learners.sft_examples import measure_rows, open_data
from learners.sft_progress import Evaluation, Progress
from learners.step import DivergedError
from tests.sft_rows import ACTIONS, MODEL, settings, sft_row, write_data, write_rows

pytestmark = [
    pytest.mark.vision,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture(scope="module")
def language() -> Language:
    return Language(MODEL)


def tuning(config: SftConfig, learner: Learner, rank: Rank = Rank()) -> FineTuning:  # noqa: B008
    folder = Path(config.data)
    parts = [open_data(folder, name) for name in ("train", "val")]
    train, val = (Part(rows, measure_rows(rows, learner.language).lengths_N) for rows in parts)
    return FineTuning(config, learner, train, val, rank)


def train(config: SftConfig) -> Progress:
    return tuning(config, build_learner(config, MODEL, "cpu")).run()


def lines(config: SftConfig) -> list[dict[str, float]]:
    """The run's figures, without how long they took."""
    text = (Path(config.output) / "metrics.jsonl").read_text()
    told = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if k != "samples_per_s"} for line in told]


def checkpoints(config: SftConfig) -> Checkpoints:
    return Checkpoints(Path(config.output) / CHECKPOINTS, Progress)


def weights(config: SftConfig, step: int) -> dict[str, torch.Tensor]:
    path = checkpoints(config).path(step) / "adapter" / "adapter_model.safetensors"
    return dict(load_file(path))


def test_it_learns_four_rows_by_heart(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write_rows(tmp_path / f"data/{name}.parquet", [sft_row(number) for number in range(4)])
    config = settings(tmp_path, num_steps=80, batch_size=4, evaluation={"every_steps": 40})
    progress = train(config)
    assert progress.first_loss > 1
    assert progress.evaluations[-1].loss < 0.05
    assert progress.evaluations[-1].call_accuracy == 1.0
    # Each answer is its call and the end of the turn.
    words = [len(Language(MODEL).completion_ids(sft_row(number).completion)) for number in range(4)]
    assert progress.num_labels == 80 * sum(words)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SftConfig:
    """A run that nothing interrupted; its dropout too must come out the same."""
    folder = tmp_path_factory.mktemp("whole")
    write_data(folder / "data")
    config = settings(folder, lora={"dropout": 0.1}, checkpoint={"keep": 9})
    train(config)
    return config


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def killed_in_step(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _kill(Learner, "learn", number, monkeypatch)


def killed_while_saving(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _kill(learners.checkpoints, "write_progress", number, monkeypatch)


def killed_before_the_name_is_given(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _kill(learners.checkpoints.os, "replace", number, monkeypatch)


def killed_while_pruning(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _kill(Checkpoints, "prune", number, monkeypatch)


def _kill(owner: Any, name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(1, number + 1))
    original = getattr(owner, name)

    def fail(*arguments: Any) -> Any:
        if next(calls) == number:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(owner, name, fail)


@pytest.mark.parametrize(
    ("kill", "number"),
    [
        (killed_in_step, 1),
        (killed_in_step, 4),
        (killed_in_step, 12),
        (killed_while_saving, 2),
        (killed_before_the_name_is_given, 3),
        (killed_while_pruning, 2),
    ],
)
def test_cut_off_and_started_again_it_tells_the_same_to_the_last_digit(
    whole: SftConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill: Callable[[int, pytest.MonkeyPatch], None],
    number: int,
) -> None:
    config = whole.model_copy(update={"output": str(tmp_path)})
    with monkeypatch.context() as patch:
        kill(number, patch)
        with pytest.raises(Killed):
            train(config)
    train(config)
    assert lines(config) == lines(whole)
    ours, theirs = weights(config, 12), weights(whole, 12)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [path.name for path in (tmp_path / CHECKPOINTS).glob(".*")] == [".lock"]


def test_a_run_that_has_ended_takes_no_step(whole: SftConfig) -> None:
    before = (Path(whole.output) / "metrics.jsonl").read_bytes()
    assert train(whole).step == 12
    assert (Path(whole.output) / "metrics.jsonl").read_bytes() == before


def test_a_torn_last_line_is_told_again(whole: SftConfig, tmp_path: Path) -> None:
    config = whole.model_copy(update={"output": str(tmp_path)})
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "lo')
    train(config)
    assert lines(config) == lines(whole)


def test_the_same_steps_make_the_same_files(whole: SftConfig, tmp_path: Path) -> None:
    config = whole.model_copy(update={"output": str(tmp_path)})
    train(config)
    both = [read_adapter(checkpoints(run).path(12) / "adapter") for run in (whole, config)]
    assert both[0] == both[1]


def test_the_last_and_the_best_checkpoint_stay(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    config = settings(tmp_path, checkpoint={"keep": 1})
    progress = train(config)
    assert progress.best is not None
    assert checkpoints(config).steps() == sorted({progress.best.step, 12})
    assert checkpoints(config).last() == replace(
        progress, peak_memory_gib=checkpoints(config).last().peak_memory_gib
    )


def test_it_ends_early_where_the_measured_loss_rises(tmp_path: Path) -> None:
    """What is measured contradicts what is learned: the same pictures, other actions."""
    write_rows(tmp_path / "data/train.parquet", [sft_row(number) for number in range(8)])
    wrong = [sft_row(number, actions=(ACTIONS[(number + 1) % 4],)) for number in range(8)]
    wrong = [replace(row, completion=sft_row(i + 1).completion) for i, row in enumerate(wrong)]
    write_rows(tmp_path / "data/val.parquet", wrong)
    patience = {"every_steps": 10, "patience": 2}
    config = settings(
        tmp_path, num_steps=400, batch_size=4, evaluation=patience, checkpoint={"every_steps": 400}
    )
    progress = train(config)
    assert progress.step < 400
    assert progress.best is not None
    assert progress.step == progress.best.step + 20
    assert progress.has_stopped_early(config)
    assert lines(config)[-1]["step"] == progress.step


def test_the_lowest_loss_is_best_and_the_first_of_equals() -> None:
    told = [(2, 0.5), (4, 0.3), (6, 0.3), (8, 0.9)]
    progress = Progress(evaluations=tuple(Evaluation(s, loss, 0, 0) for s, loss in told))
    assert progress.best == progress.evaluations[1]


def test_an_adapter_loads_in_peft_and_transformers(whole: SftConfig, language: Language) -> None:
    from peft import PeftModel
    from transformers import Qwen3VLForConditionalGeneration

    folder = checkpoints(whole).path(12) / "adapter"
    config = whole.model_copy(update={"adapter": str(folder), "output": "nowhere"})
    learner = build_learner(config, MODEL, "cpu")
    batch = tuning(config, learner)._batch(np.arange(3), tuning(config, learner)._train)
    expected = learner.measure([batch])
    base = [Qwen3VLForConditionalGeneration.from_pretrained(MODEL) for _ in range(2)]
    with_peft = PeftModel.from_pretrained(base[0], folder).eval()
    base[1].load_adapter(str(folder))
    assert replace(learner, model=with_peft).measure([batch]) == expected
    assert replace(learner, model=base[1].eval()).measure([batch]) == expected


def test_an_adapter_says_nothing_of_this_machine(whole: SftConfig) -> None:
    folder = checkpoints(whole).path(12) / "adapter"
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    told = json.loads((folder / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == MODEL
    assert (told["r"], told["lora_alpha"], told["bias"]) == (16, 32, "none")
    modules = check_adapter(read_adapter(folder), ServingLora(max_rank=16, tower=False))
    assert len(modules) == 4 * 7
    assert not any("visual" in name or "lm_head" in name for name in modules)


def test_training_goes_on_from_a_given_adapter(whole: SftConfig, tmp_path: Path) -> None:
    put_adapter(checkpoints(whole).path(12) / "adapter", tmp_path / "adapter")
    config = whole.model_copy(
        update={"output": str(tmp_path / "run"), "adapter": str(tmp_path / "adapter")}
    )
    first, fresh = train(config).first_loss, checkpoints(whole).last().first_loss
    assert first < 0.5 * fresh


def test_balance_shows_rare_actions_more_often(tmp_path: Path) -> None:
    rows = [sft_row(4 * number) for number in range(31)] + [sft_row(1)]
    write_rows(tmp_path / "data/train.parquet", rows)
    write_rows(tmp_path / "data/val.parquet", rows)
    config = settings(tmp_path, balance=1.0)
    fine_tuning = tuning(config, build_learner(config, MODEL, "cpu"))
    drawn = np.concatenate([fine_tuning._plan.batch(step) for step in range(100)])
    assert 0.4 < float((drawn == 31).mean()) < 0.6


def test_a_run_that_diverges_says_which_setting_to_lower(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    config = settings(tmp_path, optim={"learning_rate": 1e30, "warmup_steps": 0})
    with pytest.raises(DivergedError, match=r"step \d+: .*lower optim.learning_rate"):
        train(config)


def test_a_damaged_checkpoint_is_named(whole: SftConfig, tmp_path: Path) -> None:
    config = whole.model_copy(update={"output": str(tmp_path)})
    train(config.model_copy(update={"num_steps": 4}))
    (checkpoints(config).path(4) / "state.pt").write_bytes(b"torn")
    with pytest.raises(RunError, match=r"step_000004 is damaged .*: remove it to go on"):
        train(config)


def test_a_checkpoint_of_other_layers_is_refused(whole: SftConfig, tmp_path: Path) -> None:
    config = whole.model_copy(update={"output": str(tmp_path)})
    train(config.model_copy(update={"num_steps": 4}))
    fewer = config.lora.model_copy(update={"targets": ("q_proj",)})
    with pytest.raises(UserError, match="is not of the layers asked for"):
        train(config.model_copy(update={"lora": fewer}))
