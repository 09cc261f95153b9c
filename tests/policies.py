"""Policies as a learner publishes them: an adapter's files, and what the learner says of them."""

from pathlib import Path
from typing import Any

import torch

from actors.adapter import read_adapter
from cluster.canary import Canary
from learners.rl.canary import canary_logprobs, canary_of
from learners.rl.policy import build_policy
from tests.rl_samples import rl_settings
from tests.sft_rows import MODEL

Published = tuple[dict[str, bytes], Canary]

_STD = 0.05
"""Of the matrices: enough for two adapters to be told apart at every token."""


def random_policies(folder: Path, count: int, **lora: Any) -> list[Published]:
    """Policies of random matrices; `lora` are settings of the learner's section of that name."""
    every_layer = {"r": 16, "targets": "all-linear", "tower": True}
    config = rl_settings(folder, lora={**every_layer, **lora})
    learner = build_policy(config, MODEL, "cpu")
    policies = []
    for number in range(count):
        numbers = torch.Generator().manual_seed(number)
        for name, matrix in learner.model.named_parameters():
            if "lora_" in name:
                matrix.data.normal_(std=_STD, generator=numbers)
        learner.model.save_pretrained(folder / str(number))
        files = read_adapter(folder / str(number))
        policies.append((files, canary_of(learner, config, canary_logprobs(learner, config))))
    return policies
