"""A learner by itself, given the batches that a run has learned from: what the same updates cost
without the run."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import Linear

from cluster.canary import Canary
from cluster.cpu_time import TreeTime
from configs.rl import RlConfig
from learners.batch import Batch
from learners.example import NO_LABEL
from learners.optimizer import learning_rate, set_learning_rate
from learners.rl.canary import canary_logprobs, canary_of
from learners.rl.critic import Groups
from learners.rl.lessons import lessons_in, remembered
from learners.rl.losses import token_logprobs
from learners.rl.plan import updates_of
from learners.rl.policy import build_policy
from learners.rl.samples import Sample, share_samples
from learners.rl.source import Share
from learners.rl.update import Updater


class Trained(NamedTuple):
    cpu_s: float
    """CPU seconds of this process."""
    num_tokens: list[int]
    """Learned from, by step."""
    losses: list[float]
    """By step, the mean over its updates."""
    canary: Canary
    """Of the last step."""


def train(config: RlConfig, model: str, shares: Sequence[Share], is_stock: bool) -> Trained:
    """Take a run's steps in a process that is to do nothing else, each with its canary.

    Loading the model and laying out the samples is not counted.

    Args:
        config: the run's.
        model: folder of the model.
        shares: of all steps, in order; a share is a whole batch.
        is_stock: run the model as transformers and PEFT do, not as Pickaxe does.
    """
    torch.set_num_threads(config.learner.worker_cpus)
    learner = build_policy(config, model, "cpu")
    if is_stock:
        _take_back_speed_up(learner.model)
    updater = (StockUpdater if is_stock else Updater)(learner, config)
    earlier = [(), *(remembered(share, config) for share in shares)]
    steps = [
        (share.step, list(_updates(share, before, config)))
        for share, before in zip(shares, earlier, strict=False)
    ]
    tree = TreeTime(os.getpid())
    before_s = tree.look()
    num_tokens, losses, told = [], [], dict[int, float]()
    for step, updates in steps:
        rate = learning_rate(config.optim, step, config.num_steps)
        set_learning_rate(learner.optimizer, rate)
        results = [updater.update(rows) for rows in updates]
        told = canary_logprobs(learner, config)
        num_tokens.append(sum(result.num_tokens for result in results))
        losses.append(sum(result.report.loss for result in results) / len(results))
    cpu_s = tree.look() - before_s
    return Trained(cpu_s, num_tokens, losses, canary_of(learner, config, told))


class StockUpdater(Updater):
    """The same updates by the model's own forward pass: whole rows, logits at every token."""

    def _logprobs(self, batch: Batch, rows: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
        learner = self._learner
        lengths_B = torch.tensor([[len(row.example.ids_L)] for row in rows])
        patches_PD, grids_N3 = _of_each_row(batch)
        logits_BLV = learner.model(
            input_ids=batch.ids_BL,
            attention_mask=(torch.arange(batch.ids_BL.shape[1]) < lengths_B).long(),
            mm_token_type_ids=batch.is_image_BL.int(),
            pixel_values=patches_PD,
            image_grid_thw=grids_N3,
        ).logits
        is_label_BL = batch.labels_BL != NO_LABEL
        temperature_T = self._each(rows, [row.temperature for row in rows])
        has_entropy_graph = self._algorithm.entropy_coef > 0
        return token_logprobs(
            logits_BLV[is_label_BL], batch.labels_BL[is_label_BL], temperature_T, has_entropy_graph
        )


def _of_each_row(batch: Batch) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Patches and grids of every picture in the rows, also where two are the same."""
    if batch.patches_PD is None or batch.grids_N3 is None:
        return None, None
    patches = torch.split(batch.patches_PD, batch.grids_N3.prod(1).tolist())
    return torch.cat([patches[one] for one in batch.pictures]), batch.grids_N3[[*batch.pictures]]


def _take_back_speed_up(model: Any) -> None:
    """Have the layers compute as PEFT has them."""
    for module in model.modules():
        if isinstance(module, Linear):
            del module.forward


def _updates(share: Share, earlier: Groups, config: RlConfig) -> Iterator[list[Sample]]:
    """The rows of each update of a step."""
    lessons = lessons_in(share, earlier, config).advantages
    samples = share_samples(share, lessons, config.max_staleness)
    for places in updates_of([*lessons], config.minibatch_size, config.seed, share.step):
        rows = (samples[place] for place in places)
        yield [row for row in rows if row is not None]
