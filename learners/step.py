"""One optimizer step over one global batch, on one rank or on many.

The loss is the mean over the labels of the whole batch, so a step does not depend on how the batch
is cut: into micro-batches on a rank, or among ranks.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from cluster.errors import FinalError
from learners.batch import Batch
from learners.example import NO_LABEL
from learners.forward import label_logits


class DivergedError(FinalError):
    """The loss is no number any more, on every rank."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step did, over the whole global batch."""

    loss: float
    """Cross-entropy in nats, mean over the labels."""
    accuracy: float
    """Share of labels that were the likeliest token."""
    grad_norm: float
    """Before clipping."""
    num_labels: int
    """Tokens learned from."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How well a model does, over all ranks."""

    loss: float
    """Cross-entropy in nats, mean over the labels."""
    accuracy: float
    """Share of labels that were the likeliest token."""
    row_accuracy: float
    """Share of examples of which every label was."""


def take_step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    max_grad_norm: float,
    is_bfloat16: bool = False,
) -> StepResult:
    """Learn from this rank's part of a global batch; every rank takes the same step.

    Args:
        model: in train mode; what requires no gradient stays as it is.
        optimizer: over the model's trained parameters.
        batches: this rank's part; may be empty on some ranks, not on all.
        max_grad_norm: the gradient is scaled down to this length.
        is_bfloat16: compute in bfloat16 where that is safe; parameters stay as they are.

    Raises:
        FloatingPointError: the gradient is not finite; nothing was changed.
        ValueError: no rank has a label.
    """
    optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(3, dtype=torch.float64)
    for batch in batches:
        sums += _add_gradients(model, batch, is_bfloat16)
    trained = trained_weights(model)
    sum_over_ranks(trained, sums)
    loss_sum, num_correct, num_labels = sums.tolist()
    if not num_labels:
        raise ValueError("a batch without a single label: there is nothing to learn from")
    for weight in trained:
        if weight.grad is not None:
            weight.grad /= num_labels
    loss = loss_sum / num_labels
    norm = clip_and_step(optimizer, trained, max_grad_norm, loss)
    return StepResult(loss, num_correct / num_labels, norm, int(num_labels))


def trained_weights(model: Any) -> list[torch.nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def sum_over_ranks(trained: Sequence[torch.nn.Parameter], sums: torch.Tensor) -> None:
    """Add up gradients and `sums`, which is on the CPU, over all ranks, where there are several.

    One message for all gradients; a rank without examples adds zeros.
    """
    if not dist.is_initialized():
        return
    gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in trained]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    sum_counts(sums, flat.device)
    parts = torch.split(flat, [weight.numel() for weight in trained])
    for weight, part in zip(trained, parts, strict=True):
        weight.grad = part.view_as(weight)


def sum_counts(sums: torch.Tensor, device: torch.device) -> None:
    """Add up `sums`, which is on the CPU, over all ranks, where there are several."""
    if not dist.is_initialized():
        return
    counted = sums.to(device)  # NCCL adds up on the device alone
    dist.all_reduce(counted)
    sums.copy_(counted)


def clip_and_step(
    optimizer: torch.optim.Optimizer,
    trained: Sequence[torch.nn.Parameter],
    max_grad_norm: float,
    loss: float,
) -> float:
    """Move along the gradient that is there; returns its length before clipping.

    Raises:
        FloatingPointError: the gradient is not finite; nothing was changed.
    """
    norm = float(torch.nn.utils.clip_grad_norm_(trained, max_grad_norm))
    if not math.isfinite(norm):
        raise FloatingPointError(f"gradient norm {norm}, loss {loss}: lower optim.learning_rate")
    optimizer.step()
    return norm


def mean_of(results: Sequence[StepResult]) -> dict[str, float]:
    """Of one or more steps' figures, under the names that metrics give them."""
    count = len(results)
    return {
        "loss": sum(result.loss for result in results) / count,
        "accuracy": sum(result.accuracy for result in results) / count,
        "grad_norm": sum(result.grad_norm for result in results) / count,
    }


@torch.no_grad()
def measure(model: Any, batches: Iterable[Batch], is_bfloat16: bool = False) -> Measured:
    """Loss and accuracy without learning; over all ranks' batches."""
    sums = torch.zeros(5, dtype=torch.float64)
    for batch in batches:
        with arithmetic(batch, is_bfloat16):
            logits_TV, labels_T = label_logits(model, batch)
        sums[:3] += _sums(logits_TV, labels_T)[1]
        counts = (batch.labels_BL != NO_LABEL).sum(1).tolist()
        rows = torch.split(logits_TV.argmax(-1) == labels_T, counts)
        sums[3:] += torch.tensor([sum(bool(row.all()) for row in rows), len(rows)])
    sum_counts(sums, next(model.parameters()).device)
    loss_sum, num_correct, num_labels, num_rows_correct, num_rows = sums.tolist()
    if not num_labels:
        raise ValueError("not a single label to measure on")
    return Measured(loss_sum / num_labels, num_correct / num_labels, num_rows_correct / num_rows)


def _add_gradients(model: Any, batch: Batch, is_bfloat16: bool) -> torch.Tensor:
    with arithmetic(batch, is_bfloat16):
        logits_TV, labels_T = label_logits(model, batch)
    loss, sums = _sums(logits_TV, labels_T)
    loss.backward()  # type: ignore[no-untyped-call]
    return sums


def arithmetic(batch: Batch, is_bfloat16: bool) -> AbstractContextManager[Any]:
    """To run a model on a batch in, as `take_step` does."""
    if not is_bfloat16:
        return nullcontext()
    return torch.autocast(batch.ids_BL.device.type, torch.bfloat16)


def _sums(logits_TV: torch.Tensor, labels_T: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed loss, with its graph; and [loss, right answers, labels], without."""
    loss = torch.nn.functional.cross_entropy(logits_TV, labels_T, reduction="sum")
    num_right = (logits_TV.argmax(-1) == labels_T).sum()
    counted = [float(loss.detach()), float(num_right), float(len(labels_T))]
    return loss, torch.tensor(counted, dtype=torch.float64)
