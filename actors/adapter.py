"""A PEFT adapter's folder, as bytes, judged before an engine is asked to serve it. Pure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cluster.errors import UserError
from configs.player import ServingLora

CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"

_MATRICES: Final = (".lora_A.weight", ".lora_B.weight")
_NOT_SERVABLE: Final = {
    "use_dora": "DoRA",
    "modules_to_save": "modules_to_save",
    "target_parameters": "target_parameters",
    "lora_bias": "lora_bias",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "layer_replication",
}


def read_adapter(folder: Path) -> dict[str, bytes]:
    """An adapter's two files.

    Raises:
        UserError: the folder holds no PEFT adapter in safetensors.
    """
    try:
        return {name: (folder / name).read_bytes() for name in (CONFIG_FILE, WEIGHTS_FILE)}
    except OSError as error:
        raise UserError(f"adapter {folder} is no PEFT adapter's folder: {error}") from None


def check_adapter(files: Mapping[str, bytes], lora: ServingLora) -> frozenset[str]:
    """The modules that the adapter changes, by PEFT's names.

    Raises:
        UserError: an engine can't serve it as it was trained; says why.
    """
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if name not in files]
    if missing:
        raise UserError(f"the adapter lacks {' and '.join(missing)}")
    config = _json(files[CONFIG_FILE])
    faults = [word for key, word in _NOT_SERVABLE.items() if config.get(key)]
    if config.get("bias", "none") != "none":
        faults.append(f"bias={config['bias']}")
    if faults:
        raise UserError(f"vLLM can't serve an adapter with {', '.join(faults)}; train it without")
    rank = max([int(config["r"]), *config.get("rank_pattern", {}).values()])
    if rank > lora.max_rank:
        raise UserError(f"the adapter's rank {rank} is above engine.lora.max_rank {lora.max_rank}")
    return _modules(files[WEIGHTS_FILE])


def _modules(weights: bytes) -> frozenset[str]:
    """Names from the header of a safetensors file: 8 bytes of length, then JSON."""
    length = int.from_bytes(weights[:8], "little")
    names = [name for name in _json(weights[8 : 8 + length]) if name != "__metadata__"]
    strange = sorted(name for name in names if not name.endswith(_MATRICES))
    if strange:
        raise UserError(f"the adapter holds tensors that are no LoRA matrices: {strange}")
    return frozenset(name.removesuffix(end) for name in names for end in _MATRICES if end in name)


def _json(text: bytes) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"the adapter's files are damaged: {error}") from None
    return content
