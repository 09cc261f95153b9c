"""One optimizer update over one global minibatch, on one rank or on many.

What the loss is divided by is counted over all ranks before the first backward pass, so an update
does not depend on how the minibatch is cut: into micro-batches on a rank, or among ranks.

Axes: T sampled tokens over the rows of a micro-batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch

from configs.rl import RlConfig
from learners.batch import Batch
from learners.batch_plan import cut
from learners.forward import label_logits
from learners.learner import Learner
from learners.rl.losses import LOSSES, LossReport, TokenBatch, Whole, report, token_logprobs
from learners.rl.mismatch import MismatchPart, compare
from learners.rl.past import Past
from learners.rl.policy import as_it_began
from learners.rl.ranks import total
from learners.rl.samples import Sample
from learners.step import arithmetic, clip_and_step, sum_over_ranks, trained_weights


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What one update did, over the whole global minibatch."""

    report: LossReport
    grad_norm: float
    """Before clipping."""
    num_tokens: int
    """Learned from."""


class Updater:
    """Takes the updates of a run; every rank makes the same calls."""

    def __init__(self, learner: Learner, config: RlConfig) -> None:
        self._learner = learner
        self._algorithm = config.algorithm
        self._max_grad_norm = config.optim.max_grad_norm
        self._micro_batch_size = config.learner.micro_batch_size

    @torch.no_grad()
    def recompute(self, samples: Sequence[Sample]) -> list[Sample]:
        """The same with the learner's log-probabilities, as it is now, for old ones."""
        told = self._told(samples)
        return [
            replace(sample, old_logprobs_T=old_T.numpy())
            for sample, old_T in zip(samples, told, strict=True)
        ]

    @torch.no_grad()
    def compare(self, samples: Sequence[Sample], past: Past) -> MismatchPart:
        """Engine and learner, on decisions of versions that are still known."""
        found = compare(torch.zeros(0), torch.zeros(0))
        model = self._learner.model
        for version in sorted({sample.version for sample in samples}):
            rows = [sample for sample in samples if sample.version == version]
            if version not in past:
                continue
            with past.as_it_was(model, version):
                for row, told_T in zip(rows, self._told(rows), strict=True):
                    found += compare(told_T, torch.from_numpy(row.sampled_logprobs_T))
        return found

    def update(self, samples: Sequence[Sample]) -> UpdateResult:
        """Learn from this rank's part of a global minibatch, which may be empty; every rank takes
        the same update.

        Raises:
            FloatingPointError: the gradient is not finite; nothing was changed.
        """
        optimizer = self._learner.optimizer
        optimizer.zero_grad(set_to_none=True)
        whole = self._whole(samples)
        sums_F = torch.zeros(len(fields(LossReport)), dtype=torch.float64)
        for piece in self._pieces(samples):
            tokens = self._tokens([samples[index] for index in piece])
            part = LOSSES["clip"](tokens, self._algorithm, whole)
            part.loss.backward()  # type: ignore[no-untyped-call]
            sums_F += part.sums_F
        trained = trained_weights(self._learner.model)
        sum_over_ranks(trained, sums_F)
        told = report(sums_F)
        norm = clip_and_step(optimizer, trained, self._max_grad_norm, told.loss)
        return UpdateResult(told, norm, whole.num_tokens)

    def _told(self, samples: Sequence[Sample]) -> list[torch.Tensor]:
        """[T] By the learner, of each sample's tokens; on the CPU."""
        told: dict[int, torch.Tensor] = {}
        for piece in self._pieces(samples):
            rows = [samples[index] for index in piece]
            logprobs_T, _ = self._logprobs(self._batch(rows), rows)
            each = torch.split(logprobs_T.cpu(), [row.num_tokens for row in rows])
            told.update(zip(piece.tolist(), each, strict=True))
        return [told[index] for index in range(len(samples))]

    def _whole(self, samples: Sequence[Sample]) -> Whole:
        mine = [sum(sample.num_tokens for sample in samples), len(samples)]
        num_tokens, num_rows = total(mine, self._learner.device)
        # Every answer may have been empty: then there is no gradient.
        return Whole(num_tokens=max(int(num_tokens), 1), num_rows=max(int(num_rows), 1))

    def _pieces(self, samples: Sequence[Sample]) -> Iterator[npt.NDArray[np.int64]]:
        """Micro-batches, as places in `samples`; neighbours in length stay together."""
        lengths = np.array([len(sample.example.ids_L) for sample in samples], np.int64)
        yield from cut(np.argsort(-lengths, kind="stable"), self._micro_batch_size)

    def _tokens(self, rows: Sequence[Sample]) -> TokenBatch:
        batch = self._batch(rows)
        ref_T = None
        if self._algorithm.kl_coef:
            # First: checkpointed activations are computed again with the adapter that is then set.
            with torch.no_grad(), as_it_began(self._learner.model):
                ref_T, _ = self._logprobs(batch, rows)
        logprobs_T, entropy_T = self._logprobs(batch, rows)
        return TokenBatch(
            logprobs_T=logprobs_T,
            old_logprobs_T=self._here(np.concatenate([row.old_logprobs_T for row in rows])),
            sampled_logprobs_T=self._here(np.concatenate([row.sampled_logprobs_T for row in rows])),
            ref_logprobs_T=ref_T,
            advantages_T=self._each(rows, [row.advantage for row in rows]),
            rows_T=self._each(rows, range(len(rows))).long(),
            entropy_T=entropy_T,
        )

    def _batch(self, rows: Sequence[Sample]) -> Batch:
        return self._learner.batch([row.example for row in rows])

    def _logprobs(self, batch: Batch, rows: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the sampled tokens, by the model as it is; and the entropy at each."""
        with arithmetic(batch, self._learner.is_bfloat16):
            logits_TV, labels_T = label_logits(self._learner.model, batch)
        temperature_T = self._each(rows, [row.temperature for row in rows])
        has_entropy_graph = self._algorithm.entropy_coef > 0
        return token_logprobs(logits_TV, labels_T, temperature_T, has_entropy_graph)

    def _each(self, rows: Sequence[Sample], values: Sequence[float]) -> torch.Tensor:
        """[T] A row's value at each of its tokens."""
        lengths = [row.num_tokens for row in rows]
        return self._here(np.repeat(np.array(values, np.float32), lengths))

    def _here(self, values_T: npt.NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(values_T).to(self._learner.device)
