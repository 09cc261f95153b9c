"""Qwen3-VL's decoder layers, each run only where its output is needed.

The start that all rows share is computed once, and in the last layer only the tokens before a
label ask questions. What comes out, gradients included, is that of every layer run on every token.

Axes: B rows, L tokens, S of them without the shared start; Q the most labels of a row, T the
labels of all rows; H hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

Pair = tuple[torch.Tensor, torch.Tensor]
States = tuple[torch.Tensor, ...]
"""[1, L - S, H] of the shared start, if there is one, and [B, S, H] of the rest."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the decoder reads."""

    states_BLH: torch.Tensor
    """Embeddings, of pictures too."""
    positions_3BL: torch.Tensor
    is_image_BL: torch.Tensor
    is_label_BL: torch.Tensor
    """Where the next token is to be learned."""
    deepstack: tuple[torch.Tensor, ...]
    """For each of the first layers, what is added behind it at the pictures' tokens."""
    num_shared: int
    """So many tokens, none a picture's or before a label, start every row alike."""


@dataclass(frozen=True, slots=True)
class _Geometry:
    """What every layer is told."""

    angles: tuple[Pair, ...]
    """Cosines and sines of the positions, for each part of the states."""
    sees_SL: torch.Tensor
    """Which tokens of its row each of the rest looks at."""


def label_states(text: Any, tokens: Tokens) -> torch.Tensor:
    """Normed states [T, H] at the labels, row by row.

    Args:
        text: the language model, bare or under PEFT.
        tokens: at least one behind the shared start.

    Raises:
        ValueError: the model is not of the kind that is known here.
    """
    if text.config._attn_implementation != "sdpa" or len(tokens.deepstack) >= len(text.layers):
        raise ValueError("only attention `sdpa`, with deepstack before the last layer, is known")
    cut, length = tokens.num_shared, tokens.states_BLH.shape[1]
    cos, sin = text.rotary_emb(tokens.states_BLH, tokens.positions_3BL)
    angles = tuple(zip(_parts(cos, cut), _parts(sin, cut), strict=True))
    is_image_BS, is_label_BS = tokens.is_image_BL[:, cut:], tokens.is_label_BL[:, cut:]
    geometry = _Geometry(angles, is_image_BS.new_ones(length - cut, length).tril(cut))
    states = _parts(tokens.states_BLH, cut)
    *layers, last = text.layers
    for depth, layer in enumerate(layers):
        if layer.gradient_checkpointing and layer.training:
            states = checkpoint(_through, layer, states, geometry, use_reentrant=False)
        else:
            states = _through(layer, states, geometry)
        if depth < len(tokens.deepstack):
            *shared, rest = states
            summed = rest[is_image_BS] + tokens.deepstack[depth].to(rest.dtype)
            states = (*shared, rest.masked_scatter(is_image_BS[..., None], summed))
    normed_TH: torch.Tensor = text.norm(_at_labels(last, states, geometry, is_label_BS))
    return normed_TH


def _parts(values_BLX: torch.Tensor, cut: int) -> States:
    rest = values_BLX[:, cut:]
    return (values_BLX[:1, :cut], rest) if cut else (rest,)


def _through(layer: Any, states: States, geometry: _Geometry) -> States:
    memory = _Memory()
    masks = (None, geometry.sees_SL[None, None])[-len(states) :]  # the start is plainly causal
    return tuple(
        layer.forward(part, angles, mask, past_key_values=memory)
        for part, angles, mask in zip(states, geometry.angles, masks, strict=True)
    )


def _at_labels(
    layer: Any, states: States, geometry: _Geometry, is_label_BS: torch.Tensor
) -> torch.Tensor:
    """The last layer [T, H]: every token is looked at, by those before a label alone."""
    memory = _Memory()
    for part, angles in zip(states, geometry.angles, strict=True):
        everything = memory.update(*_keys_values(layer, part, angles), 0)
    num_labels_B1 = is_label_BS.sum(1, keepdim=True)
    # A row with fewer labels than another goes on with tokens that are then left out.
    places_BS = torch.argsort(is_label_BS.int(), dim=1, descending=True, stable=True)
    places_BQ = places_BS[:, : max(1, int(num_labels_B1.max()))]
    is_label_BQ = torch.arange(places_BQ.shape[1], device=places_BQ.device) < num_labels_B1
    asking_BQH, cos, sin = (
        each.gather(1, places_BQ[..., None].expand(-1, -1, each.shape[-1]))
        for each in (states[-1], *geometry.angles[-1])
    )
    sees_B1QL = geometry.sees_SL[places_BQ][:, None]
    states_BQH: torch.Tensor = layer.forward(
        asking_BQH, (cos, sin), sees_B1QL, past_key_values=_Known(everything)
    )
    return states_BQH[is_label_BQ]


def _keys_values(layer: Any, states_BSH: torch.Tensor, angles: Pair) -> Pair:
    """As the layer's own attention makes them."""
    attention, normed_BSH = layer.self_attn, layer.input_layernorm(states_BSH)
    heads = (*normed_BSH.shape[:-1], -1, attention.head_dim)
    keys = attention.k_norm(attention.k_proj(normed_BSH).view(heads)).transpose(1, 2)
    values = attention.v_proj(normed_BSH).view(heads).transpose(1, 2)
    turned, _ = apply_rotary_pos_emb(keys, keys[:, :0], *angles)
    return turned, values


class _Memory:
    """In the place of a layer's cache: what comes later also looks at what came first."""

    def __init__(self) -> None:
        self._first: Sequence[torch.Tensor] = ()

    def update(self, keys: torch.Tensor, values: torch.Tensor, _layer: int) -> Pair:
        if not self._first:
            self._first = keys, values
            return keys, values
        first_keys, first_values = (x.expand(len(keys), -1, -1, -1) for x in self._first)
        return torch.cat([first_keys, keys], 2), torch.cat([first_values, values], 2)


@dataclass(frozen=True, slots=True)
class _Known:
    """In the place of a layer's cache: what is looked at, whatever the layer makes itself."""

    everything: Pair

    def update(self, _keys: torch.Tensor, _values: torch.Tensor, _layer: int) -> Pair:
        return self.everything
