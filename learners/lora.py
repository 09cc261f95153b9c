"""The adapter that is trained: which layers it changes, how it is put on, stored and taken up."""

import json
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from cluster.errors import UserError
from configs.learning import LoraConfig

CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"

_MODEL_TYPE: Final = "qwen3_vl"
_TOWER: Final = "visual"
"""Where Qwen's models keep the vision tower and its connector."""
_NEVER: Final = ("lm_head", "embed_tokens")
"""vLLM serves no LoRA on these."""


def empty_model(model: str) -> Any:
    """A model without weights, for what its config alone can tell.

    Raises:
        UserError: no such model, or not one that the learner knows how to run.
    """
    transformers: Any = import_module("transformers")  # only half typed
    import torch

    try:
        config = transformers.AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"model {model} can't be had: {reason}") from None
    if config.model_type != _MODEL_TYPE:
        raise UserError(
            f"model {model} is a {config.model_type}: only a {_MODEL_TYPE}, which reads pictures, "
            "can be trained"
        )
    with torch.device("meta"):
        return transformers.AutoModelForImageTextToText.from_config(config)


def target_modules(model: Any, lora: LoraConfig) -> tuple[str, ...]:
    """Full names of the layers that get an adapter.

    Raises:
        UserError: a target names no layer, or one whose adapter could not be served.
    """
    linear = {name for name, module in model.named_modules() if _is_linear(module)}
    served = {name for name in linear if name.rpartition(".")[2] not in _NEVER}
    allowed = {name for name in served if lora.tower or _TOWER not in name.split(".")}
    if lora.targets == "all-linear":
        return tuple(sorted(allowed))
    everything = [name for name, _ in model.named_modules()]
    found: set[str] = set()
    for target in lora.targets:
        mine = set(_ending(target, allowed))
        if not mine:
            in_tower, layers = set(_ending(target, served)), set(_ending(target, everything))
            raise UserError(f"lora.targets: {_why_not(target, in_tower, layers, allowed)}")
        found |= mine
    return tuple(sorted(found))


def _is_linear(module: Any) -> bool:
    import torch

    return isinstance(module, torch.nn.Linear)


def _ending(target: str, names: Iterable[str]) -> Iterable[str]:
    return (name for name in names if name == target or name.endswith(f".{target}"))


def _why_not(target: str, in_tower: set[str], layers: set[str], allowed: set[str]) -> str:
    if target.rpartition(".")[2] in _NEVER:
        return f"{target!r} can't be trained: the replicas serve no adapter there"
    if in_tower:
        return f"{target!r} is only in the vision tower: set lora.tower true, or leave it out"
    if layers:
        return f"{target!r} is no linear layer: the replicas serve adapters on those alone"
    known = ", ".join(sorted({name.rpartition(".")[2] for name in allowed}))
    return f"{target!r} names no layer of the model; there are {known}"


def num_lora_weights(model: Any, lora: LoraConfig, names: Iterable[str]) -> int:
    """Numbers in the matrices of an adapter on the layers `names`."""
    layers = [model.get_submodule(name) for name in names]
    return sum(lora.r * (layer.in_features + layer.out_features) for layer in layers)


def add_lora(model: Any, lora: LoraConfig, seed: int, name: str) -> Any:
    """Freeze a model and put a new adapter on it, which changes nothing yet.

    Args:
        model: bare; it is changed in place.
        lora: which layers, of which rank.
        seed: of the matrices that are drawn; PyTorch's generator stays seeded with it.
        name: what the adapter will say it is for; not a path of this machine.

    Raises:
        UserError: as `target_modules`.
    """
    import torch

    peft: Any = import_module("peft")
    torch.manual_seed(seed)
    settings = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(target_modules(model, lora)),
        bias="none",
    )
    adapted = peft.get_peft_model(model, settings)
    stored = adapted.peft_config["default"]
    stored.base_model_name_or_path = name
    # PEFT keeps a set, whose order differs from process to process.
    stored.target_modules = sorted(stored.target_modules)
    return adapted


def save_adapter(model: Any, folder: Path) -> None:
    """Write the two files that PEFT, transformers and vLLM load; the folder is made.

    Of the adapter in training alone, also where the model has another beside it.
    """
    model.save_pretrained(folder, save_embedding_layers=False, selected_adapters=["default"])
    (folder / "README.md").unlink(missing_ok=True)


def load_adapter(model: Any, folder: Path) -> None:
    """Put stored matrices in the place of the model's own.

    Raises:
        UserError: they are damaged, or not of the layers that the model has adapters on.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    peft: Any = import_module("peft")
    try:
        stored = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise UserError(f"adapter {folder} can't be read: {error}") from None
    own = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    shapes = [{name: tuple(w.shape) for name, w in side.items()} for side in (stored, own)]
    if shapes[0] != shapes[1]:
        names = [name for name, _ in sorted(shapes[0].items() ^ shapes[1].items())]
        raise UserError(f"adapter {folder} is not of the layers asked for; {names[0]} differs")
    peft.set_peft_model_state_dict(model, stored)


def check_same_lora(folder: Path, lora: LoraConfig) -> None:
    """Refuse to go on from an adapter whose matrices mean something else than is asked for.

    Raises:
        UserError: its settings differ, or can't be read.
    """
    try:
        stored = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"adapter {folder} is no PEFT adapter's folder: {error}") from None
    asked = {
        "r": (lora.r, "lora.r"),
        "lora_alpha": (lora.alpha, "lora.alpha"),
        "use_rslora": (False, "rank-stabilised scaling"),
        "rank_pattern": ({}, "ranks by layer"),
        "alpha_pattern": ({}, "scales by layer"),
    }
    for key, (value, what) in asked.items():
        found = stored.get(key) or type(value)()
        if found != value:
            raise UserError(
                f"adapter {folder} has {key} {found}, not {value} ({what}): give its own settings"
            )
