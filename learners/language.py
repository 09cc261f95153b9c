"""A model's own tokenizer, chat template and picture processor: from a request to ids and pixels.

What comes out is what vLLM feeds the same model for the same request, id for id and pixel for
pixel.
"""

import io
import struct
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from actors.prompt import chat_messages
from actors.tool import tool_schema

_MARK: Final = "PICKAXE-TEXT"
"""Stands for the request's text while the chat template is laid out once for all of them."""
_NUM_REMEMBERED: Final = 65_536
_SIZE: Final = struct.Struct(">II")
_SIZE_AT: Final = 16
"""Where every PNG has its width and height: decoding it would take as long as all the rest."""


class Language:
    """Requests and answers as ids, for one model."""

    def __init__(self, model: str) -> None:
        """Read what the model says of its language.

        Args:
            model: folder, or hub's name.

        Raises:
            OSError: there is no such model.
        """
        transformers: Any = import_module("transformers")  # only half typed
        processor = transformers.AutoProcessor.from_pretrained(model)
        self._tokenizer: Any = getattr(processor, "tokenizer", processor)
        self._pictures: Any = getattr(processor, "image_processor", None)
        # The processor's, which the engine asks: a folder may give its tokenizer another template.
        self._chat_template: Any = processor.apply_chat_template
        self._special = sorted(
            (str(t) for t in self._tokenizer.added_tokens_decoder.values() if t.special),
            key=len,
            reverse=True,
        )
        image_token = getattr(processor, "image_token", None)
        self.image_id: Final[int] = -1 if image_token is None else self.id_of(image_token)
        self.eos_id: Final[int] = self._tokenizer.eos_token_id
        self.pad_id: Final[int] = self._tokenizer.pad_token_id
        self._layout = lru_cache(maxsize=None)(self._lay_out)
        self._middle = lru_cache(_NUM_REMEMBERED)(self._ids_of)
        self._num_image_tokens = lru_cache(maxsize=None)(self._count_image_tokens)

    def id_of(self, token: str) -> int:
        """The one id of `token`.

        Raises:
            ValueError: it is not a token of this model.
        """
        ids = self._ids_of(token)
        if len(ids) != 1:
            raise ValueError(f"{token!r} is {len(ids)} tokens of this model, not one")
        return ids[0]

    def prompt_ids(
        self, system: str, text: str, images: Sequence[bytes], max_actions: int | None
    ) -> list[int]:
        """A request's ids, up to where the answer begins, each picture's tokens included.

        Args:
            system: the system message.
            text: the user's words; "" for none.
            images: PNG; only their sizes matter here.
            max_actions: the tool's bound; None offers no tool.
        """
        head, before, after, tail = self._layout(system, bool(text), len(images), max_actions)
        ids = [*head, *self._middle(before + text + after), *tail]
        return self._with_pictures(ids, images) if images else ids

    def completion_ids(self, text: str) -> list[int]:
        """An answer's ids, the end of the turn included."""
        return [*self._middle(text), self.eos_id]

    def text_of(self, ids: Sequence[int]) -> str:
        """Ids in words, without the end of the turn."""
        return str(self._tokenizer.decode([token for token in ids if token != self.eos_id]))

    def pixels(self, images: Sequence[bytes]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures as the vision tower takes them: patches [P, D] float32, grids [N, 3] int64."""
        arrays = [np.array(Image.open(io.BytesIO(png)).convert("RGB")) for png in images]
        tensors = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
        out = self._pictures(tensors, return_tensors="pt")
        return out["pixel_values"], out["image_grid_thw"]

    def _lay_out(
        self, system: str, has_text: bool, num_images: int, max_actions: int | None
    ) -> tuple[list[int], str, str, list[int]]:
        """The template around a text, cut at the special tokens next to it.

        A tokenizer never merges across a special token, so the parts' ids are the whole's.
        """
        whole = self._chat_template(
            chat_messages(system, _MARK if has_text else "", num_images),
            tools=None if max_actions is None else [tool_schema(max_actions)],
            tokenize=False,
            add_generation_prompt=True,
        )
        if not has_text:
            return self._ids_of(whole), "", "", []
        left, right = whole.split(_MARK)
        start = max(left.rfind(token) + len(token) for token in self._special if token in left)
        end = min(right.find(token) for token in self._special if token in right)
        return self._ids_of(left[:start]), left[start:], right[:end], self._ids_of(right[end:])

    def _ids_of(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _with_pictures(self, ids: list[int], images: Sequence[bytes]) -> list[int]:
        sizes = iter([_SIZE.unpack_from(png, _SIZE_AT) for png in images])
        full: list[int] = []
        for token in ids:
            count = self._num_image_tokens(*next(sizes)) if token == self.image_id else 1
            full.extend([token] * count)
        return full

    def _count_image_tokens(self, width: int, height: int) -> int:
        patches: int = self._pictures.get_number_of_image_patches(height, width, {})
        return patches // int(self._pictures.merge_size) ** 2
