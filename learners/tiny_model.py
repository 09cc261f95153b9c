"""The tiny Qwen3-VL: the real architecture at 2.2 M parameters, for laptops and tests.

A 72x72 frame is 81 image tokens, one per tile. Everything follows from a seed, file for file.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from learners.tiny_tokenizer import build_tokenizer

if TYPE_CHECKING:
    from torch import nn

_PATCH: Final = 8
_MERGE: Final = 1
_TEMPORAL_PATCH: Final = 1
_EMBEDDING_STD: Final = 0.06
_PIXELS: Final = {"shortest_edge": 36 * 36, "longest_edge": 288 * 288}
"""Pictures between these areas are not resized, save to whole patches."""


def build_tiny_model(seed: int, folder: Path) -> int:
    """Write the model, tokenizer, chat template and processor; returns the parameter count.

    Args:
        seed: of the weights; equal seeds give equal files.
        folder: where to; made if absent, files of an earlier build are replaced.
    """
    transformers: Any = import_module("transformers")  # only half typed
    tokenizer = build_tokenizer()
    model = transformers.Qwen3VLForConditionalGeneration(_config(tokenizer))
    _initialise(model, seed)
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
    )
    model.save_pretrained(folder)
    _processor(tokenizer).save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def _config(tokenizer: Any) -> Any:
    transformers: Any = import_module("transformers")
    token = tokenizer.convert_tokens_to_ids
    return transformers.Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 576,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "head_dim": 32,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 96,
            "intermediate_size": 384,
            "num_heads": 3,
            "patch_size": _PATCH,
            "spatial_merge_size": _MERGE,
            "temporal_patch_size": _TEMPORAL_PATCH,
            "out_hidden_size": 192,
            "num_position_embeddings": 81,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
        dtype="float32",
    )


def _initialise(model: "nn.Module", seed: int) -> None:
    """Scale to the width: with Qwen's std of 0.02 so narrow a model learns nothing of pictures.

    Linear layers 1/sqrt(inputs), embeddings 0.06, norms 1, biases 0. Drawn by NumPy, whose
    generators give the same numbers on every machine.
    """
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)

    def draw(weight: torch.Tensor, std: float) -> None:
        values = rng.standard_normal(tuple(weight.shape), dtype=np.float32) * np.float32(std)
        weight.copy_(torch.from_numpy(values))

    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding):
                draw(module.weight, _EMBEDDING_STD)
            elif isinstance(module, (nn.Linear, nn.Conv3d)) and not name.endswith("lm_head"):
                draw(module.weight, module.weight[0].numel() ** -0.5)
                if module.bias is not None:
                    module.bias.zero_()


def _processor(tokenizer: Any) -> Any:
    transformers: Any = import_module("transformers")
    geometry = {
        "patch_size": _PATCH,
        "merge_size": _MERGE,
        "temporal_patch_size": _TEMPORAL_PATCH,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "size": dict(_PIXELS),
    }
    return transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(**geometry),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen3VLVideoProcessor(**geometry),
        chat_template=tokenizer.chat_template,
    )
