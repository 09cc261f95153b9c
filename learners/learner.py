"""A model with an adapter in training, and what it needs to read examples."""

import resource
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from configs.learning import LoraConfig, OptimConfig
from configs.sft import SftConfig
from learners.batch import Batch, collate
from learners.example import Example
from learners.language import Language
from learners.lora import add_lora, load_adapter
from learners.low_rank import speed_up
from learners.optimizer import build_optimizer
from learners.step import Measured, StepResult, measure, take_step


@dataclass(frozen=True, slots=True)
class Learner:
    """One rank's copy; all ranks' copies stay equal."""

    model: Any
    """Under PEFT, in train mode."""
    optimizer: torch.optim.Optimizer
    language: Language
    device: str
    is_bfloat16: bool
    """Compute in bfloat16; what is trained is float32 always."""

    def batch(self, examples: Sequence[Example]) -> Batch:
        merge = int(self.model.config.vision_config.spatial_merge_size)
        return collate(examples, self.language, merge).to(self.device)

    def learn(self, batches: Iterable[Batch], max_grad_norm: float) -> StepResult:
        """As `take_step`."""
        return take_step(self.model, self.optimizer, batches, max_grad_norm, self.is_bfloat16)

    def measure(self, batches: Iterable[Batch]) -> Measured:
        """As `learners.step.measure`, without dropout."""
        self.model.eval()
        try:
            return measure(self.model, batches, self.is_bfloat16)
        finally:
            self.model.train()

    def peak_memory_gib(self) -> float:
        """Most memory so far, of the GPU or else of this process."""
        if self.device == "cpu":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return torch.cuda.max_memory_allocated() / 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What of a run's settings makes its learner."""

    name: str
    """The model's, as the settings give it."""
    adapter: str | None
    """Folder of the adapter to start from; None starts anew."""
    lora: LoraConfig
    optim: OptimConfig
    dtype: str
    """The base model's weights and the arithmetic."""
    gradient_checkpointing: bool
    seed: int
    """Of new matrices."""


def build_learner(config: SftConfig, model: str, device: str) -> Learner:
    """The learner of a fine-tuning run. Arguments and failures as those of `build`."""
    return build(sft_recipe(config), model, device)


def sft_recipe(config: SftConfig) -> Recipe:
    """What of fine-tuning's settings makes its learner."""
    return Recipe(
        name=config.model,
        adapter=config.adapter,
        lora=config.lora,
        optim=config.optim,
        dtype=config.dtype,
        gradient_checkpointing=config.cluster.gradient_checkpointing,
        seed=config.seed,
    )


def build(recipe: Recipe, model: str, device: str) -> Learner:
    """Load a model and put an adapter on it, new or the one to start from.

    Args:
        recipe: everything but where the model is.
        model: folder on this machine, or a hub's name.
        device: "cpu" or "cuda".

    Raises:
        UserError: the adapter does not fit.
    """
    transformers: Any = import_module("transformers")  # only half typed
    bare = transformers.AutoModelForImageTextToText.from_pretrained(
        model, dtype=getattr(torch, recipe.dtype)
    )
    if recipe.gradient_checkpointing:
        bare.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    adapted = add_lora(bare, recipe.lora, recipe.seed, neutral_name(recipe.name))
    if recipe.adapter is not None:
        load_adapter(adapted, Path(recipe.adapter))
    adapted.to(device).train()
    speed_up(adapted)
    return Learner(
        model=adapted,
        optimizer=build_optimizer(adapted, recipe.optim, recipe.lora.plus_ratio),
        language=Language(model),
        device=device,
        is_bfloat16=recipe.dtype == "bfloat16",
    )


def neutral_name(model: str) -> str:
    """A model's name as an adapter may tell it: without the path of a machine."""
    return Path(model).name if Path(model).is_absolute() else model
