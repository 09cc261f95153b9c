"""The tiny model's tokenizer: a byte-level BPE fitted to our prompts and tool calls.

Lines that are the same in every prompt are one token each, so that a prompt is short; what a player
reads or says (actions, tiles, items, digits) is a token each, so that it can be learned.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

from actors.prompt import chat_messages, render
from actors.tool import TOOL_NAME, render_call, tool_schema
from cluster.names import ACHIEVEMENTS, ACTIONS, ITEMS, TILES
from configs.play import PromptConfig
from learners.reading import REQUEST
from learners.tiny_corpus import observation, texts

NAMES: Final = tuple(sorted({*ACTIONS, *ITEMS, *TILES, *ACHIEVEMENTS, TOOL_NAME}))
"""Words that are one token each: actions as in a call's JSON, all of them after a space."""

_TEMPLATE: Final = (Path(__file__).parent / "tiny_chat_template.jinja").read_text()
_SPECIAL: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_TAGS: Final = ("<tool_call>", "</tool_call>")
"""Tokens that decoding keeps, as in Qwen3-VL."""
_HEADINGS: Final = (
    "Recent actions, oldest first:\n",
    "You see the nearest:\n",
    "View, top row first, you are `player`:\n",
    REQUEST,
)
_NUM_PROMPTS: Final = 1500
_MAX_BPE_TOKENS: Final = 1024


def build_tokenizer() -> Any:
    """Fit the tokenizer, a `PreTrainedTokenizerFast`; equal calls give equal tokenizers.

    Raises:
        RuntimeError: a name of the game came out as several tokens.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_pieces()), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_MAX_BPE_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    pieces = (piece for text in texts(_NUM_PROMPTS) for piece in _between_special(text))
    tokenizer.train_from_iterator(pieces, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in _SPECIAL])
    kept = (*_TAGS, *sorted(set(_constant_pieces())))
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in kept])
    words = (*ACTIONS, *(f" {name}" for name in NAMES))
    split = [word for word in words if len(tokenizer.encode(word).ids) != 1]
    if split:
        raise RuntimeError(f"names of several tokens: {split}; fit on a larger corpus")
    return _wrap(tokenizer)


def _wrap(tokenizer: Tokenizer) -> Any:
    transformers: Any = import_module("transformers")  # only half typed
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )


def _pieces() -> str:
    """What BPE may merge: a name, a digit or a word with the space before it, or punctuation."""
    longest_first = sorted(NAMES, key=lambda name: (-len(name), name))
    name = rf"(?:{'|'.join(longest_first)})(?!\w)"
    return rf" ?{name}| ?\d| ?(?!{name})[^\W\d_]+|[^\w]+?(?= ?\w)|[^\w]+|_"


def _constant_pieces() -> Iterator[str]:
    """Stretches of text, between special tokens, that every prompt or every call has."""
    calls = [render_call([action]) for action in ACTIONS]
    stretches = [*_HEADINGS, _common_start(calls)]
    stretches += _chat(max_actions=1).splitlines(keepends=True)
    two = _chat(max_actions=2).splitlines(keepends=True)
    three = _chat(max_actions=3).splitlines(keepends=True)
    for lines in zip(two, three, strict=True):
        ends = _common_start([line[::-1] for line in lines])[::-1]
        stretches += [_common_start(lines), ends]
    for stretch in stretches:
        yield from (piece for piece in _between_special(stretch) if len(piece) > 4)


def _common_start(texts: Sequence[str]) -> str:
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in same)


def _between_special(text: str) -> list[str]:
    return re.split("|".join(map(re.escape, (*_SPECIAL, *_TAGS))), text)


def _chat(max_actions: int) -> str:
    """A whole prompt without a state text."""
    settings = PromptConfig(image_only=True, max_actions=max_actions)
    facts = observation(np.random.default_rng(0))
    prompt = render(facts, b"any picture", (), settings)
    text = _wrap(Tokenizer(BPE())).apply_chat_template(
        chat_messages(prompt.system, prompt.text, len(prompt.images)),
        tools=[tool_schema(max_actions)],
        tokenize=False,
        add_generation_prompt=True,
    )
    return str(text)
