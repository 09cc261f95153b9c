"""The tiny Qwen3-VL's files, and what holds for the published Qwen3-VL alike."""

import base64
import hashlib
import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from actors.model_files import frame_size
from actors.parse import Parsed, parse
from actors.prompt import chat_messages, render
from actors.tool import render_call, tool_schema
from cluster.names import ACTIONS, ITEMS, TILES
from cluster.types import ParseOutcome
from configs.play import PromptConfig
from learners.tiny_corpus import observation, texts
from learners.tiny_model import build_tiny_model

pytestmark = [pytest.mark.vision, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

MODEL = Path("configs/models/tiny")


@pytest.fixture(scope="module")
def processor() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        return transformers.AutoProcessor.from_pretrained(MODEL)


def chat(processor: Any, settings: PromptConfig, seed: int = 0) -> str:
    prompt = render(observation(np.random.default_rng(seed)), b"any picture", (), settings)
    text = processor.apply_chat_template(
        chat_messages(prompt.system, prompt.text, len(prompt.images)),
        tools=[tool_schema(settings.max_actions)],
        add_generation_prompt=True,
        tokenize=False,
    )
    return str(text)


def picture(size: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def file_digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.slow
def test_an_untaught_model_follows_from_its_seed(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        assert build_tiny_model(seed, tmp_path / name) == 2_217_088
    one, again, other = (file_digests(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert one["model.safetensors"] != other["model.safetensors"]


def test_the_stored_model_was_taught_in_the_language_that_is_built(tmp_path: Path) -> None:
    build_tiny_model(0, tmp_path)
    built, stored = file_digests(tmp_path), file_digests(MODEL)
    assert set(built) == set(stored)
    changed = {name for name in built if built[name] != stored[name]}
    # Saved after training, the configuration names the weights' type once more.
    assert changed == {"model.safetensors", "config.json"}


def test_the_stored_files_are_small() -> None:
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 9.5e6


def test_a_frame_is_81_image_tokens_not_resized(processor: Any) -> None:
    inputs = processor(
        text=[chat(processor, PromptConfig(image_only=True))],
        images=[picture(72)],
        return_tensors="pt",
    )
    assert int((inputs["input_ids"] == processor.image_token_id).sum()) == 81
    pixels = np.asarray(picture(72), dtype=np.float32) / 255
    first_patch = ((pixels[:8, :8] - 0.5) / 0.5).transpose(2, 0, 1).ravel()
    np.testing.assert_allclose(inputs["pixel_values"][0].numpy(), first_patch, atol=1e-6)


def test_a_picture_prompt_has_126_tokens(processor: Any) -> None:
    inputs = processor(text=[chat(processor, PromptConfig(image_only=True))], images=[picture(72)])
    assert len(inputs["input_ids"][0]) == 126


@pytest.mark.parametrize("map_style", ["words", "grid"])
def test_a_prompt_with_the_most_crowded_state_text_has_at_most_340_tokens(
    processor: Any, map_style: Any
) -> None:
    lengths = []
    for seed in range(50):
        text = chat(processor, PromptConfig(map_style=map_style), seed)
        lengths.append(len(processor(text=[text], images=[picture(72)])["input_ids"][0]))
    assert max(lengths) <= 340


def test_the_chat_has_qwens_shape(processor: Any) -> None:
    schema = json.dumps(tool_schema(5))
    text = processor.apply_chat_template(
        chat_messages("Rules.", "Go.", 1),
        tools=[tool_schema(5)],
        add_generation_prompt=True,
        tokenize=False,
    )
    assert text == (
        "<|im_start|>system\nRules.\n\n# Tools\n\n"
        "You may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n"
        f"<tools>\n{schema}\n</tools>\n\n"
        "For each function call, return a json object with function name and arguments "
        "within <tool_call></tool_call> XML tags:\n"
        '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
        "<|im_end|>\n"
        "<|im_start|>user\nGo.<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_template_writes_tool_calls_as_the_players_do(processor: Any) -> None:
    call = {"function": {"name": "interact_many", "arguments": {"actions": ["do", "sleep"]}}}
    messages = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": "Tired.", "tool_calls": [call]},
    ]
    text = processor.apply_chat_template(messages, tokenize=False)
    assert text == (
        "<|im_start|>user\nGo.<|im_end|>\n<|im_start|>assistant\n"
        + render_call(["do", "sleep"], "Tired.")
        + "<|im_end|>\n"
    )


def test_a_call_survives_the_tokenizer_and_parses(processor: Any) -> None:
    call = render_call(["move_left", "do"], "A tree is left of me.")
    ids = processor.tokenizer(call + "<|im_end|>").input_ids
    assert ids[-1] == processor.tokenizer.eos_token_id
    text = processor.tokenizer.decode(ids[:-1])
    assert text == call
    assert parse(text, 5) == Parsed(ParseOutcome.OK, ("move_left", "do"))
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == call


def test_a_call_of_n_actions_is_3_plus_2_n_tokens(processor: Any) -> None:
    """<tool_call>, head, actions with separators between, tail, </tool_call>."""
    for number in (1, 5):
        assert len(processor.tokenizer(render_call(ACTIONS[:number])).input_ids) == 3 + 2 * number


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_is_one_token_wherever_it_stands_in_a_call(processor: Any, action: str) -> None:
    (token,) = processor.tokenizer(action).input_ids
    assert token in processor.tokenizer(render_call([action])).input_ids
    assert token in processor.tokenizer(render_call(["noop", action, "noop"])).input_ids


@pytest.mark.parametrize("word", sorted({*TILES, *ITEMS, *"0123456789"}))
def test_tiles_items_and_digits_are_one_token_each(processor: Any, word: str) -> None:
    tokens = processor.tokenizer.tokenize(f"See: {word}, {word}")
    assert [processor.tokenizer.convert_tokens_to_string([t]) for t in tokens[-3:]] == [
        f" {word}",
        ",",
        f" {word}",
    ]


def test_any_text_survives_the_tokenizer(processor: Any) -> None:
    for text in (*texts(50), "Crème brûlée — 42 ♥\n\n\t_x_ milestones"):
        assert processor.tokenizer.decode(processor.tokenizer(text).input_ids) == text


def test_every_id_of_the_model_is_a_token(processor: Any) -> None:
    config = transformers.AutoConfig.from_pretrained(MODEL)
    assert config.text_config.vocab_size == len(processor.tokenizer)
    assert config.image_token_id == processor.image_token_id


# ---- The published Qwen3-VL, as far as its files are known offline -------------------------


def test_qwen3_vls_image_settings_give_81_tokens_for_288_pixels() -> None:
    images = transformers.Qwen2VLImageProcessor(
        patch_size=16,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": 65536, "longest_edge": 16777216},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    inputs = images([picture(288)], return_tensors="pt")
    assert inputs["image_grid_thw"].tolist() == [[1, 18, 18]]
    assert math.prod(inputs["image_grid_thw"][0].tolist()) // 2**2 == 81


def test_a_model_of_qwen3_vl_4bs_shape_takes_288_pixels(tmp_path: Path) -> None:
    config = transformers.Qwen3VLConfig(
        text_config={
            "hidden_size": 2560,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 9728,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 24,
            "hidden_size": 1024,
            "num_heads": 16,
            "intermediate_size": 4096,
            "out_hidden_size": 2560,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = transformers.Qwen3VLForConditionalGeneration(config)
    assert 4.3e9 < sum(parameter.numel() for parameter in model.parameters()) < 4.5e9
    config.save_pretrained(tmp_path)
    assert frame_size(str(tmp_path)) == 288


def test_qwens_own_tokens_carry_our_prompts_and_calls(processor: Any) -> None:
    """Qwen's published byte-pair ranks, from a package that ships them."""
    tiktoken = importlib.import_module("tiktoken")
    dashscope = importlib.import_module("dashscope")
    lines = (Path(dashscope.__file__).parent / "resources/qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>")
    encoding = tiktoken.Encoding(
        "qwen",
        pat_str=r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+"
        r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        mergeable_ranks=ranks,
        special_tokens={name: len(ranks) + index for index, name in enumerate(special)},
    )
    call = render_call(["move_left", "place_table"], "I have wood.")
    for text in (
        chat(processor, PromptConfig()),
        chat(processor, PromptConfig(image_only=True)),
        call,
    ):
        assert encoding.decode(encoding.encode(text, allowed_special="all")) == text
    ids = encoding.encode(chat(processor, PromptConfig(image_only=True)), allowed_special="all")
    assert len(ids) + 80 < 700
    assert parse(encoding.decode(encoding.encode(call)), 5).actions == ("move_left", "place_table")
