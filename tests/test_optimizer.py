"""The rates of what is trained."""

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model

from configs.learning import OptimConfig
from learners.optimizer import build_optimizer, learning_rate, set_learning_rate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Bare(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)


def first_step_of(plus_ratio: float, rate: float) -> dict[str, float]:
    """How far AdamW's first step moves A and B: by the rate itself, as gradient over its size."""
    model = get_peft_model(Bare(), LoraConfig(r=2, target_modules=["layer"]))
    optimizer = build_optimizer(model, OptimConfig(weight_decay=0.0), plus_ratio)
    set_learning_rate(optimizer, rate)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    before = {name: weight.detach().clone() for name, weight in trained.items()}
    for weight in trained.values():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    return {
        matrix: float((before[name] - weight.detach()).abs().max())
        for name, weight in trained.items()
        for matrix in ("lora_A", "lora_B")
        if matrix in name
    }


def test_b_learns_plus_ratio_times_as_fast_as_a() -> None:
    assert first_step_of(4.0, 0.01) == pytest.approx({"lora_A": 0.01, "lora_B": 0.04}, rel=1e-4)


def test_with_ratio_1_all_learn_alike() -> None:
    assert first_step_of(1.0, 0.01) == pytest.approx({"lora_A": 0.01, "lora_B": 0.01}, rel=1e-4)


def test_the_rate_rises_over_the_warm_up_and_then_falls() -> None:
    optim = OptimConfig(learning_rate=1.0, warmup_steps=2, decay="linear")
    rates = [learning_rate(optim, step, 6) for step in range(6)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.75, 0.5, 0.25])


def test_a_cosine_is_half_way_down_in_the_middle() -> None:
    optim = OptimConfig(learning_rate=1.0, warmup_steps=0, decay="cosine")
    assert learning_rate(optim, 2, 4) == pytest.approx(0.5)
    assert learning_rate(optim, 1, 4) == pytest.approx((1 - math.cos(math.pi * 0.75)) / 2)
