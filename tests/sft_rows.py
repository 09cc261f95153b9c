"""Small datasets for the tests of fine-tuning: four pictures, an action for each."""

import io
from pathlib import Path
from typing import Any, Final

from PIL import Image

from actors.tool import render_call
from configs.play import PromptConfig
from configs.sft import SftConfig
from learners.sft_parquet import ParquetWriter
from learners.sft_row import SftRow, SftSettings

MODEL: Final = "configs/models/tiny"
ACTIONS: Final = ("do", "move_left", "sleep", "place_stone")
_COLOURS: Final = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 220))


def png(number: int, size: int = 72) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (size, size), _COLOURS[number % 4]).save(data, "PNG")
    return data.getvalue()


def sft_row(number: int, **facts: Any) -> SftRow:
    """Rows differ in length, and in what is to be done."""
    action = ACTIONS[number % 4]
    values: dict[str, Any] = {
        "episode": f"runs/teacher/seed_{number // 4:04d}",
        "turn": number % 4,
        "step": number % 4,
        "seed": number // 4,
        "sample": 0,
        "player": "teacher",
        "model": "scripted",
        "provider": "scripted",
        "achievements": 4,
        "episode_return": 3.25,
        "system": "You play Crafter.",
        "text": "Recent actions, oldest first:\n" + "move_left\n" * (number % 7),
        "images": (png(number),),
        "max_actions": 5,
        "actions": (action,),
        "completion": render_call([action]),
        "token_ids": (),
    }
    return SftRow(**{**values, **facts})


def write_rows(path: Path, rows: list[SftRow], model: str = MODEL, frame_size: int = 72) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    prompt = PromptConfig(image_only=True, max_actions=5)
    settings = SftSettings(model=model, prompt=prompt, frame_size=frame_size)
    with ParquetWriter(path, settings) as writer:
        writer.write(rows)


def write_data(folder: Path, num_train: int = 24, num_val: int = 8) -> Path:
    write_rows(folder / "train.parquet", [sft_row(number) for number in range(num_train)])
    if num_val:
        write_rows(folder / "val.parquet", [sft_row(3 + number) for number in range(num_val)])
    return folder


def settings(folder: Path, **changes: Any) -> SftConfig:
    """A short run in `folder`/run on `folder`/data; a section's changes are given as a dict."""
    data: dict[str, Any] = {
        "output": str(folder / "run"),
        "data": str(folder / "data"),
        "num_steps": 12,
        "batch_size": 8,
        "report_every_steps": 1,
        "optim": {"learning_rate": 5e-3, "warmup_steps": 2},
        "evaluation": {"every_steps": 4},
        "checkpoint": {"every_steps": 2},
        "cluster": {"micro_batch_size": 3},
    }
    for name, value in changes.items():
        data[name] = {**data.get(name, {}), **value} if isinstance(value, dict) else value
    return SftConfig.model_validate(data)
