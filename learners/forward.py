"""A model's logits, where there is something to learn and nowhere else.

Axes: B examples, L tokens, I tokens of pictures, T labels, V words of the vocabulary, H hidden.
"""

from typing import Any

import torch

from learners.batch import Batch
from learners.decoder import Tokens, label_states
from learners.example import NO_LABEL


def label_logits(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Run Qwen3-VL, bare or under PEFT.

    The vision tower runs once for each different picture, without a graph where none of its
    parameters is trained; the decoder runs once on the start that all rows share.

    Returns:
        logits_TV in float32 and labels_T, over the rows in order.

    Raises:
        ValueError: the rows have more or fewer image tokens than their pictures, or the model is
            not of the kind that is known here.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    text = inner.model.language_model
    is_label_BL = batch.labels_BL != NO_LABEL
    states_BLH = text.embed_tokens(batch.ids_BL)
    features = _seen(inner, batch) if batch.pictures else ()
    is_image_BL = batch.is_image_BL
    num_image_tokens, num_features = int(is_image_BL.sum()), len(features[0]) if features else 0
    if num_image_tokens != num_features:
        raise ValueError(f"{num_image_tokens} image tokens for pictures of {num_features}")
    if features:
        features_IH = features[0].to(states_BLH.dtype)
        states_BLH = states_BLH.masked_scatter(is_image_BL[..., None], features_IH)
    tokens = Tokens(
        states_BLH=states_BLH,
        positions_3BL=batch.positions_3BL,
        is_image_BL=is_image_BL,
        is_label_BL=is_label_BL,
        deepstack=features[1:],
        num_shared=_num_shared(batch),
    )
    logits_TV = inner.lm_head(label_states(text, tokens)).float()
    return logits_TV, batch.labels_BL[is_label_BL]


def _seen(inner: Any, batch: Batch) -> tuple[torch.Tensor, ...]:
    """Features [I, H] of the pictures in the rows: of the tower's end, and of its deepstack."""
    is_trained = any(weight.requires_grad for weight in inner.model.visual.parameters())
    with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained):
        seen = inner.model.get_image_features(batch.patches_PD, batch.grids_N3, return_dict=True)
    layers = (seen.pooler_output, *seen.deepstack_features)
    return tuple(torch.cat([layer[index] for index in batch.pictures]) for layer in layers)


def _num_shared(batch: Batch) -> int:
    """How many tokens start every row alike, before any picture or label; not all of them."""
    is_label_BL = batch.labels_BL != NO_LABEL
    is_own_BL = (batch.ids_BL != batch.ids_BL[0]) | batch.is_image_BL | is_label_BL
    return int((is_own_BL[:, :-1].any(0).cumsum(0) == 0).sum())
