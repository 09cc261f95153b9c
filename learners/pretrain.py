"""Pre-training of the tiny model: from random weights to one that reads its picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from cluster.files import replacing
from configs.learning import PretrainConfig
from learners.batch import collate
from learners.language import Language
from learners.metrics_log import METRICS, append, forget_after
from learners.optimizer import build_optimizer, learning_rate, set_learning_rate
from learners.scenes import Lessons, Scene
from learners.step import StepResult, mean_of, take_step

_STATE = "state.pt"


def pretrain(
    model: Any, language: Language, scenes: Sequence[Scene], config: PretrainConfig
) -> Iterator[dict[str, float]]:
    """Train `model` in place from where the run stands; yields a line of metrics now and then.

    Every step's examples follow from (seed, step), so a run that was killed goes on as if it had
    not been. The last checkpoint is written before the last line is yielded.
    """
    folder = Path(config.output)
    optimizer = build_optimizer(model, config.optim)
    first = _restore(folder, model, optimizer)
    forget_after(folder / METRICS, first)
    lessons = Lessons(scenes, language, config.play_share)
    merge = int(model.config.vision_config.spatial_merge_size)
    model.train()
    results: list[StepResult] = []
    for step in range(first, config.num_steps):
        set_learning_rate(optimizer, learning_rate(config.optim, step, config.num_steps))
        examples = lessons.batch(config.seed, step, config.batch_size)
        batch = collate(examples, language, merge)
        results.append(take_step(model, optimizer, [batch], config.optim.max_grad_norm))
        done = step + 1
        is_last = done == config.num_steps
        line = None
        if done % config.report_every_steps == 0 or is_last:
            line = {"step": done, **mean_of(results)}
            append(folder / METRICS, line)
            results = []
        if done % config.checkpoint_every_steps == 0 or is_last:
            _save(folder, model, optimizer, done)
        if line is not None:
            yield line


def _save(folder: Path, model: Any, optimizer: torch.optim.Optimizer, step: int) -> None:
    with replacing(folder / _STATE) as beside:
        state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, beside)


def _restore(folder: Path, model: Any, optimizer: torch.optim.Optimizer) -> int:
    """Load the last checkpoint, if there is one; returns how many steps it holds."""
    path = folder / _STATE
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
