"""What the tests of parity share: pictures, requests, a small model with Qwen3-VL's own eyes."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers
from PIL import Image

from actors.prompt import chat_messages, render
from actors.tool import tool_schema
from cluster.types import Completion, GenerationRequest, ParseOutcome, Turn
from configs.play import PromptConfig
from learners.batch import collate
from learners.example import Example, answered
from learners.forward import label_logits
from learners.language import Language
from learners.tiny_corpus import observation
from learners.tiny_tokenizer import build_tokenizer
from tests.builders import turn

TINY: Final = "configs/models/tiny"

_PICTURE_SETTINGS: Final = {
    "patch_size": 16,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216},
}
"""As in preprocessor_config.json of Qwen/Qwen3-VL-4B-Instruct; the sizes are areas in pixels."""


def write_real_eyed(folder: Path) -> str:
    """A model of random weights that takes pictures as the published Qwen3-VL does.

    Also real: the heads' and rotary sizes, the 48 x 48 grid of positions, three deepstack layers.
    The language is the tiny model's.
    """
    tokenizer = build_tokenizer()
    transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(**_PICTURE_SETTINGS),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen3VLVideoProcessor(**_PICTURE_SETTINGS),
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    model = transformers.Qwen3VLForConditionalGeneration(_config(tokenizer))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.1 if "embed" in name else weight[0].numel() ** -0.5)
    model.save_pretrained(folder)
    return str(folder)


def _config(tokenizer: Any) -> Any:
    id_of = tokenizer.convert_tokens_to_ids
    return transformers.Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 128,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 4,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 48 * 48,
            "deepstack_visual_indexes": [0, 1, 2],
        },
        image_token_id=id_of("<|image_pad|>"),
        video_token_id=id_of("<|video_pad|>"),
        vision_start_token_id=id_of("<|vision_start|>"),
        vision_end_token_id=id_of("<|vision_end|>"),
        tie_word_embeddings=True,
        dtype="float32",
    )


def picture(seed: int, width: int = 72, height: int = 72) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def opened(images: Sequence[bytes]) -> list[Image.Image]:
    return [Image.open(io.BytesIO(png)).convert("RGB") for png in images]


def every_past() -> tuple[Turn, ...]:
    """One earlier turn with each outcome, unlocks, interrupts and a picture of its own."""
    bad = [turn(outcome=outcome, executed=("noop",)) for outcome in ParseOutcome]
    good = turn(executed=("do", "noop"), unlocked=((0, "collect_wood"),), interrupt="damage")
    pasts = [*bad, good, turn(executed=("sleep",), interrupt="blocked")]
    return tuple(
        turn(
            index,
            frame=picture(900 + index),
            outcome=past.outcome,
            executed=past.executed,
            unlocked=past.unlocked,
            interrupt=past.interrupt,
        )
        for index, past in enumerate(pasts)
    )


def request(
    seed: int, images: Sequence[bytes], version: int = 0, temperature: float = 1.0
) -> GenerationRequest:
    """A decision with state text and these pictures; everything follows from the seed."""
    prompt = render(observation(np.random.default_rng(seed)), None, every_past(), PromptConfig())
    return GenerationRequest(
        system=prompt.system,
        text=prompt.text,
        images=tuple(images),
        max_actions=5,
        temperature=temperature,
        top_p=1.0,
        max_tokens=12,
        seed=seed,
        version=version,
    )


def processed(
    processor: Any, system: str, text: str, images: Sequence[bytes], max_actions: int | None
) -> Any:
    """A request as transformers' own processor makes it."""
    chat = processor.apply_chat_template(
        chat_messages(system, text, len(images)),
        tools=None if max_actions is None else [tool_schema(max_actions)],
        add_generation_prompt=True,
        tokenize=False,
    )
    return processor(text=[chat], images=opened(images) or None, return_tensors="pt")


def learned_logprobs(
    model: Any, language: Language, answer: Completion, images: Sequence[bytes]
) -> np.ndarray:
    """Log-probabilities of an answer's tokens, by the learner's own path."""
    return learned(model, language, answered(answer.prompt_ids, answer.token_ids, images), answer)


def learned(model: Any, language: Language, example: Example, answer: Completion) -> np.ndarray:
    merge = int(model.config.vision_config.spatial_merge_size)
    with torch.no_grad():
        logits_TV, labels_T = label_logits(model, collate([example], language, merge))
    logprobs_TV = (logits_TV / answer.temperature).log_softmax(-1)
    return np.asarray(logprobs_TV.gather(1, labels_T[:, None])[:, 0])
