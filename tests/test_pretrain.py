"""Pre-training: it can be cut off, and what it made can see."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.traces import write_part
from configs.learning import OptimConfig, PretrainConfig
from learners.language import Language
from learners.pretrain import pretrain
from learners.reading_score import ask, score
from learners.scenes import Scene, scenes_of
from tests.builders import played
from tests.running import run_job

pytestmark = [pytest.mark.vision, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

MODEL = "configs/models/tiny"


@pytest.fixture(scope="module")
def language() -> Language:
    return Language(MODEL)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(scenes_of([played(3, num_turns=12, frame_size=72)], seed=0))


def fresh_model() -> Any:
    transformers: Any = import_module("transformers")
    return transformers.Qwen3VLForConditionalGeneration.from_pretrained(MODEL)


def settings(folder: Path, num_steps: int = 6) -> PretrainConfig:
    return PretrainConfig(
        output=str(folder),
        inputs=("seen",),
        unseen=("unseen",),
        num_steps=num_steps,
        batch_size=2,
        report_every_steps=1,
        checkpoint_every_steps=2,
        optim=OptimConfig(learning_rate=1e-4, warmup_steps=2),
    )


def lines_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_cut_off_between_checkpoints_ends_as_if_it_had_not_been(
    tmp_path: Path, language: Language, scenes: list[Scene]
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    undisturbed = fresh_model()
    list(pretrain(undisturbed, language, scenes, settings(whole)))
    stopped: Iterator[Any] = pretrain(fresh_model(), language, scenes, settings(cut))
    # Three lines are told, but only two steps are in a checkpoint.
    for _ in range(3):
        next(stopped)
    continued = fresh_model()
    list(pretrain(continued, language, scenes, settings(cut)))
    assert lines_of(cut) == lines_of(whole)
    for left, right in zip(undisturbed.parameters(), continued.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_finished_run_has_nothing_left_to_do(
    tmp_path: Path, language: Language, scenes: list[Scene]
) -> None:
    list(pretrain(fresh_model(), language, scenes, settings(tmp_path, num_steps=2)))
    model = fresh_model()
    assert list(pretrain(model, language, scenes, settings(tmp_path, num_steps=2))) == []


def test_the_embedded_model_reads_pictures_of_worlds_it_has_not_seen(language: Language) -> None:
    scenes = scenes_of([played(seed, 20, frame_size=72) for seed in (31_000, 31_001)], seed=0)
    result = score(ask(fresh_model().eval(), language, [scene.sight for scene in scenes], seed=0))
    assert result["tiles_by_day"] > 0.95
    assert result["digits_by_day"]["all"] > 0.95


def test_it_is_the_picture_that_it_reads(language: Language) -> None:
    from dataclasses import replace

    scenes = list(scenes_of([played(31_000, 20, frame_size=72)], seed=0))
    others = list(scenes_of([played(31_001, 20, frame_size=72)], seed=0))
    swapped = [
        replace(scene.sight, frame=other.sight.frame)
        for scene, other in zip(scenes, others, strict=True)
    ]
    # Much of both worlds is grass.
    assert score(ask(fresh_model().eval(), language, swapped, seed=0))["tiles_by_day"] < 0.9


@pytest.mark.slow
def test_a_world_on_both_sides_is_refused(tmp_path: Path) -> None:
    for side in ("seen", "unseen"):
        write_part(tmp_path / side / "traces", [played(5, 2, frame_size=72)])
    done = run_job(
        "pretrain",
        *("--inputs", json.dumps([str(tmp_path / "seen")])),
        *("--unseen", json.dumps([str(tmp_path / "unseen")])),
        *("--output", str(tmp_path / "run")),
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "error: 1 worlds are in both inputs and unseen, the first 5"


@pytest.mark.slow
def test_inputs_without_pictures_are_refused(tmp_path: Path) -> None:
    write_part(tmp_path / "seen" / "traces", [played(5, 2)])
    write_part(tmp_path / "unseen" / "traces", [played(6, 2, frame_size=72)])
    done = run_job(
        "pretrain",
        *("--inputs", json.dumps([str(tmp_path / "seen")])),
        *("--unseen", json.dumps([str(tmp_path / "unseen")])),
        *("--output", str(tmp_path / "run")),
    )
    assert done.returncode == 2
    assert "hold no pictures: collect with play.record_frames" in done.stderr
