"""AdamW over what is trained, and the learning rate of each step."""

import math
from typing import Final

import torch

from configs.learning import OptimConfig

_LORA_B: Final = ".lora_B."
_RATIO: Final = "ratio"
"""Of a group's rate to the optimizer's."""


def learning_rate(optim: OptimConfig, step: int, num_steps: int) -> float:
    """Of step `step`, counted from 0: a straight rise, then constant, linear or cosine to 0."""
    if step < optim.warmup_steps:
        return optim.learning_rate * (step + 1) / optim.warmup_steps
    if optim.decay == "constant":
        return optim.learning_rate
    left = 1 - (step - optim.warmup_steps) / max(num_steps - optim.warmup_steps, 1)
    share = left if optim.decay == "linear" else (1 - math.cos(math.pi * left)) / 2
    return optim.learning_rate * max(share, 0.0)


def build_optimizer(
    model: torch.nn.Module, optim: OptimConfig, plus_ratio: float = 1.0
) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101); weight decay on matrices only.

    Args:
        model: what of it requires a gradient is trained.
        optim: rates and decay.
        plus_ratio: a LoRA layer's B has so many times the rate of all else (LoRA+).
    """
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    matrices = [(name, weight) for name, weight in trained if weight.ndim > 1]
    groups = [
        {
            "params": [weight for name, weight in matrices if (_LORA_B in name) == is_b],
            "weight_decay": optim.weight_decay,
            _RATIO: plus_ratio if is_b else 1.0,
        }
        for is_b in (False, True)
    ]
    others = [weight for _, weight in trained if weight.ndim <= 1]
    groups.append({"params": others, "weight_decay": 0.0, _RATIO: 1.0})
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=optim.learning_rate,
        betas=(0.9, optim.beta2),
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Of an optimizer that `build_optimizer` made."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[_RATIO]
