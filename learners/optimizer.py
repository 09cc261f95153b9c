"""AdamW over what is trained, and the learning rate of each step."""

import math

import torch

from configs.learning import OptimConfig


def learning_rate(optim: OptimConfig, step: int, num_steps: int) -> float:
    """Of step `step`, counted from 0: a straight rise, then constant, linear or cosine to 0."""
    if step < optim.warmup_steps:
        return optim.learning_rate * (step + 1) / optim.warmup_steps
    if optim.decay == "constant":
        return optim.learning_rate
    left = 1 - (step - optim.warmup_steps) / max(num_steps - optim.warmup_steps, 1)
    share = left if optim.decay == "linear" else (1 - math.cos(math.pi * left)) / 2
    return optim.learning_rate * max(share, 0.0)


def build_optimizer(model: torch.nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101); weight decay on matrices only."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in trained if weight.ndim > 1]
    others = [weight for weight in trained if weight.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": optim.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=optim.learning_rate,
        betas=(0.9, optim.beta2),
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
