"""LoRA layers in fewer operations: PEFT's own results."""

import copy
from typing import Any

import peft
import pytest
import torch

from learners.low_rank import speed_up

pytestmark = [pytest.mark.vision, pytest.mark.usefixtures("one_thread")]


class Two(torch.nn.Module):
    """Two layers, one with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(6, 5)
        self.second = torch.nn.Linear(5, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(torch.tanh(self.first(x)))
        return out


def adapted(dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=2,
        lora_alpha=6,
        lora_dropout=dropout,
        target_modules=["first", "second"],
        init_lora_weights=False,
    )
    return peft.get_peft_model(Two(), config)


def both(**settings: float) -> tuple[Any, Any]:
    stock = adapted(**settings)
    quick = copy.deepcopy(stock)
    speed_up(quick)
    return stock, quick


def learned(model: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What comes out, and every gradient."""
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    y = model(x)
    (y**2).sum().backward()
    gradients = {n: w.grad for n, w in model.named_parameters() if w.requires_grad}
    assert len(gradients) == 4
    return {"y": y.detach(), "x": x.grad, **gradients}


X = torch.linspace(-1, 1, 2 * 3 * 6).view(2, 3, 6)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_output_and_gradients_are_those_of_peft(dropout: float) -> None:
    stock, quick = both(dropout=dropout)
    torch.testing.assert_close(learned(quick, X), learned(stock, X), rtol=1e-5, atol=1e-6)


def test_fewer_operations_take_part() -> None:
    stock, quick = both()
    names = [type(model(X).grad_fn).__name__ for model in (stock, quick)]
    assert names == ["AddBackward0", "_LowRankBackward"]


def test_a_disabled_adapter_adds_nothing() -> None:
    stock, quick = both()
    with stock.disable_adapter(), quick.disable_adapter():
        torch.testing.assert_close(quick(X), stock.get_base_model()(X))


def test_the_adapter_that_is_active_adds_its_own() -> None:
    stock, quick = both()
    for model in (stock, quick):
        torch.manual_seed(2)
        model.add_adapter("reference", model.peft_config["default"])
        model.set_adapter("reference")
    torch.testing.assert_close(quick(X), stock(X))
    before = quick(X)
    quick.set_adapter("default")
    assert not torch.allclose(quick(X), before)


def test_autocast_keeps_its_choice_of_types() -> None:
    stock, quick = both()
    with torch.autocast("cpu", torch.bfloat16):
        assert quick(X).dtype == torch.bfloat16
        torch.testing.assert_close(quick(X), stock(X))
