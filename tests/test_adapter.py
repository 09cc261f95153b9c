"""Which adapters are refused before an engine sees them."""

import json
from pathlib import Path
from typing import Any

import pytest

from actors.adapter import CONFIG_FILE, WEIGHTS_FILE, check_adapter, read_adapter
from cluster.adapter_files import digest
from cluster.errors import UserError
from configs.player import ServingLora

LORA = ServingLora(max_rank=16)
NAMES = ("q_proj.lora_A.weight", "q_proj.lora_B.weight", "up.lora_A.weight", "up.lora_B.weight")


def adapter(names: tuple[str, ...] = NAMES, **settings: Any) -> dict[str, bytes]:
    config = {"r": 16, "lora_alpha": 32, "bias": "none", **settings}
    header = json.dumps({"__metadata__": {"format": "pt"}, **{name: {} for name in names}})
    weights = len(header).to_bytes(8, "little") + header.encode() + b"numbers"
    return {CONFIG_FILE: json.dumps(config).encode(), WEIGHTS_FILE: weights}


def test_the_modules_are_those_of_the_weights_file() -> None:
    assert check_adapter(adapter(), LORA) == {"q_proj", "up"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias=all"),
        ({"target_parameters": ["experts.up"]}, "target_parameters"),
        ({"r": 32}, "rank 32 is above engine.lora.max_rank 16"),
        ({"rank_pattern": {"up": 64}}, "rank 64 is above engine.lora.max_rank 16"),
    ],
)
def test_what_vllm_would_not_serve_as_trained_is_refused(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        check_adapter(adapter(**settings), LORA)


def test_tensors_that_are_no_lora_matrices_are_refused() -> None:
    with pytest.raises(UserError, match=r"\['lm_head\.weight'\]"):
        check_adapter(adapter((*NAMES, "lm_head.weight")), LORA)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_refused(name: str) -> None:
    files = adapter()
    del files[name]
    with pytest.raises(UserError, match=f"lacks {name}"):
        check_adapter(files, LORA)


def test_a_torn_weights_file_is_refused() -> None:
    files = adapter()
    with pytest.raises(UserError, match="damaged"):
        check_adapter({**files, WEIGHTS_FILE: files[WEIGHTS_FILE][:40]}, LORA)


def test_the_digest_is_of_names_and_contents_in_any_order() -> None:
    files = {"a": b"12", "b": b"3"}
    assert digest(files) == digest(dict(reversed(files.items())))
    assert digest(files) != digest({"a": b"1", "b": b"23"})
    assert digest(files) != digest({"a": b"12", "c": b"3"})


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no PEFT adapter"):
        read_adapter(tmp_path)
