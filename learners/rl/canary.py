"""What the learner says of one fixed picture: a replica that serves its adapter says the same."""

import io
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from PIL import Image

from actors.tool import render_call
from cluster.canary import Canary
from cluster.types import GenerationRequest
from configs.rl import RlConfig
from learners.example import NO_LABEL, Example
from learners.forward import label_logits
from learners.learner import Learner
from learners.step import arithmetic

_NUM_TOKENS: Final = 20
"""Of the likeliest; vLLM tells no more."""
_TOLERANCE: Final = {"float32": 1e-4, "bfloat16": 0.25}
"""In bfloat16 a logit between 16 and 32 moves in steps of 0.125; two steps."""
_NUM_TILES: Final = 9
"""Across and down, as a frame has."""
_ACTION: Final = "noop"
_PREFIX: Final = render_call([_ACTION]).partition(_ACTION)[0]
"""What comes next is an action, which depends on the picture as nothing else does."""


@torch.no_grad()
def canary_logprobs(learner: Learner, config: RlConfig) -> dict[int, float]:
    """Token id -> nats, the likeliest, by the learner's adapter as it is now."""
    request = _request(learner, config)
    batch = learner.batch([_question(learner, request)])
    with arithmetic(batch, learner.is_bfloat16):
        logits_TV, _ = label_logits(learner.model, batch)
    told = logits_TV[0].log_softmax(-1).topk(_NUM_TOKENS)
    return dict(zip(told.indices.tolist(), told.values.tolist(), strict=True))


def canary_of(learner: Learner, config: RlConfig, logprobs: dict[int, float]) -> Canary:
    """Of an adapter of which the learner said this; all else is the same for every adapter."""
    return Canary(
        request=_request(learner, config),
        answer_prefix=_PREFIX,
        logprobs=logprobs,
        tolerance=_TOLERANCE[config.dtype],
    )


def _request(learner: Learner, config: RlConfig) -> GenerationRequest:
    vision = learner.model.config.vision_config
    auto = _NUM_TILES * int(vision.patch_size) * int(vision.spatial_merge_size)
    return GenerationRequest(
        system="You play Crafter.",
        text="Act on what you see.",
        images=(_picture(auto if config.env.size == "auto" else config.env.size),),
        max_actions=config.prompt.max_actions,
        temperature=1.0,
        top_p=1.0,
        max_tokens=1,
        seed=0,
        version=0,
    )


@lru_cache
def _picture(side: int) -> bytes:
    """Tiles of many colours, as a PNG."""
    shape = (_NUM_TILES, _NUM_TILES, 3)
    colours = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    tile = np.arange(side) * _NUM_TILES // side
    file = io.BytesIO()
    Image.fromarray(colours[tile][:, tile]).save(file, "PNG")
    return file.getvalue()


def _question(learner: Learner, request: GenerationRequest) -> Example:
    """With a label at its end, where logits are wanted; which one does not matter."""
    language = learner.language
    prompt = language.prompt_ids(request.system, request.text, request.images, request.max_actions)
    ids_L = np.array([*prompt, *language.completion_ids(_PREFIX)[:-1]], np.int64)
    labels_L = np.full(len(ids_L), NO_LABEL, np.int64)
    labels_L[-1] = 0
    return Example(ids_L, labels_L, request.images)
