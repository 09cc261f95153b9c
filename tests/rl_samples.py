"""Settings, decisions and whole plays for the tests of RL: small, the same in every process."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from cluster.types import Completion, Ending, Trajectory, Turn
from configs.rl import RlConfig
from learners.language import Language
from learners.rl.samples import Sample, samples_of
from tests.builders import START, trajectory, turn
from tests.sft_rows import ACTIONS, MODEL, png, sft_row

NUM_TURNS: Final = 3


def rl_settings(folder: Path, **changes: Any) -> RlConfig:
    """A short run in `folder`/run; a section's changes are given as a dict."""
    data: dict[str, Any] = {
        "output": str(folder / "run"),
        "seeds": "0-9",
        "num_steps": 3,
        "groups_per_step": 2,
        "group_size": 2,
        "minibatch_size": 5,
        "policy": {"model": MODEL, "engine": {"lora": {"max_rank": 16}}},
        "lora": {"r": 8, "alpha": 16, "targets": ["q_proj", "v_proj"]},
        "optim": {"learning_rate": 1e-3},
        "evaluation": {"every_steps": 2},
        "learner": {"micro_batch_size": 3},
    }
    for name, value in changes.items():
        data[name] = {**data.get(name, {}), **value} if isinstance(value, dict) else value
    return RlConfig.model_validate(data)


def sampled_turn(index: int, language: Language, seed: int, version: int = 1) -> Turn:
    """A decision as a served model takes it; its words and log-probabilities follow from `seed`."""
    rng = np.random.default_rng([seed, index])
    row = sft_row(int(rng.integers(8)), actions=(ACTIONS[int(rng.integers(4))],))
    picture = png(int(rng.integers(4)))
    ids = language.completion_ids(row.completion)
    completion = Completion(
        text=row.completion,
        prompt_ids=tuple(language.prompt_ids(row.system, row.text, [picture], 5)),
        token_ids=tuple(ids),
        logprobs=tuple((-0.1 - 2 * rng.random(len(ids))).tolist()),
        temperature=0.8,
        version=version,
    )
    return turn(
        index,
        frame=picture,
        num_images=1,
        completion=completion,
        observation=replace(START, step=index),
        rewards=(float(rng.integers(3)) / 10,),
    )


def sampled_play(seed: int, sample: int, language: Language, version: int = 1) -> Trajectory:
    """An episode of a few decisions by a served model."""
    number = 1000 * version + 10 * seed + sample
    turns = [sampled_turn(t, language, number, version) for t in range(NUM_TURNS)]
    return trajectory(seed, sample, turns=tuple(turns), ending=Ending.DEATH)


def some_samples(language: Language, count: int) -> list[Sample]:
    """Decisions, good and bad in turn."""
    samples: list[Sample] = []
    for number in range(count):
        played = trajectory(turns=(sampled_turn(0, language, number),))
        advantage = (-1.0) ** number * (1 + number % 3)
        samples += [replace(one, advantage=advantage) for one in samples_of(played) if one]
    return samples
