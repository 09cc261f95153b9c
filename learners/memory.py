"""What training will take of a worker's memory, told before it starts. Pure arithmetic, rough."""

from dataclasses import dataclass
from typing import Any, Final

from configs.learning import LearnerWorkersConfig
from learners.learner import Recipe
from learners.lora import num_lora_weights, target_modules

_GIB: Final = 2**30
_PROCESS_GIB: Final = 0.7
"""Python, PyTorch, transformers and Ray, before the first weight."""
_TRAINED_BYTES: Final = 4 * 4
"""A float32 weight, its gradient and AdamW's two moments."""
CROSS_ENTROPY_LOGITS: Final = 3
"""As computed, in float32, and their gradient."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """One worker's need, in GiB: of its GPU, or on device cpu of the machine."""

    process: float
    weights: float
    trained: float
    activations: float
    logits: float
    num_weights: int
    num_trained: int

    @property
    def total(self) -> float:
        return self.process + self.weights + self.trained + self.activations + self.logits

    def line(self) -> str:
        process = f"process {self.process:.2f} + " if self.process else ""
        return (
            f"memory of a worker, roughly: {self.total:.2f} GiB = "
            f"{process}base {self.weights:.2f} ({self.num_weights / 1e6:.1f} M weights) + "
            f"adapter and optimizer {self.trained:.2f} ({self.num_trained / 1e6:.2f} M) + "
            f"activations {self.activations:.2f} + logits {self.logits:.2f}"
        )


def plan_memory(
    model: Any,
    recipe: Recipe,
    workers: LearnerWorkersConfig,
    longest: int,
    most_labels: int,
    logit_copies: int = CROSS_ENTROPY_LOGITS,
) -> MemoryPlan:
    """Estimate for a micro-batch of the longest rows.

    Args:
        model: may be without weights.
        recipe: what is trained, and how.
        workers: how a worker is sized.
        longest: tokens of the longest row.
        most_labels: tokens of the longest answer.
        logit_copies: that the loss keeps, in float32.
    """
    num_weights = sum(weight.numel() for weight in model.parameters())
    names = target_modules(model, recipe.lora)
    num_trained = num_lora_weights(model, recipe.lora, names)
    size = 4 if recipe.dtype == "float32" else 2
    text = model.config.text_config
    rows = workers.micro_batch_size
    layer = _values_per_token(text)
    kept = text.num_hidden_layers * layer
    if recipe.gradient_checkpointing:
        kept = text.num_hidden_layers * text.hidden_size + layer
    return MemoryPlan(
        process=_PROCESS_GIB if workers.device == "cpu" else 0.0,
        weights=num_weights * size / _GIB,
        trained=num_trained * _TRAINED_BYTES / _GIB,
        activations=rows * longest * kept * size / _GIB,
        logits=rows * most_labels * text.vocab_size * logit_copies * 4 / _GIB,
        num_weights=num_weights,
        num_trained=num_trained,
    )


def _values_per_token(text: Any) -> int:
    """What one layer of the language model keeps of a token for the way back.

    Around the two norms, the attention's output and the residuals: 8 times the width; query, key
    and value before and after norm and rotation; gate, its activation, up, and their product.
    """
    heads = text.num_attention_heads + 2 * text.num_key_value_heads
    attention: int = 3 * heads * text.head_dim
    return 8 * int(text.hidden_size) + attention + 4 * int(text.intermediate_size)
