"""What a model's own config says about pictures, read before anything is started."""

import json
from pathlib import Path
from typing import Any

from cluster.errors import UserError
from cluster.names import CLASSIC_SIZE

_TILES = 9


_ROOT = Path(__file__).parent.parent


def portable(model: str) -> str:
    """A model's name or folder as another process, perhaps on another node, can `locate` it.

    A folder that comes with Pickaxe keeps its short name: each process has a copy of its own.
    """
    if (_ROOT / model).is_dir() or not Path(model).is_dir():
        return model
    return str(Path(model).absolute())


def locate(model: str) -> str:
    """Where this process finds a model: a folder, or a hub's name as it is."""
    folder = _ROOT / model
    return str(folder) if folder.is_dir() else model


def frame_size(model: str) -> int:
    """Width and height in pixels of a frame whose every tile is one image token.

    9 x patch x merge: 72 for the tiny model, 288 for Qwen3-VL; 64 where the model reads none.

    Raises:
        UserError: no such model, or its config does not say how it cuts pictures.
    """
    vision = _config(model).get("vision_config")
    if vision is None:
        return CLASSIC_SIZE
    patch, merge = vision.get("patch_size"), vision.get("spatial_merge_size")
    if not isinstance(patch, int) or not isinstance(merge, int):
        raise UserError(
            f"model {model}: its config does not say how many pixels an image token covers; "
            "set env.size"
        )
    return _TILES * patch * merge


def reads_pictures(model: str) -> bool:
    """Whether the model has a vision tower.

    Raises:
        UserError: no such model.
    """
    return _config(model).get("vision_config") is not None


def _config(model: str) -> dict[str, Any]:
    folder = Path(locate(model))
    if not folder.is_dir():
        return _hub_config(model)
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"model {model} is no model's folder: config.json: {error}") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError(f"model {model} is no model's folder: config.json names no model_type")
    return config


def _hub_config(model: str) -> dict[str, Any]:
    from transformers import AutoConfig

    try:
        config: dict[str, Any] = AutoConfig.from_pretrained(model).to_dict()
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"model {model} is neither a folder here nor to be had from the hub: {reason}"
        ) from None
    return config
