"""What is read from a model's config before anything starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from actors.model_files import frame_size, reads_pictures
from cluster.errors import UserError


def folder(path: Path, **config: Any) -> str:
    (path / "config.json").write_text(json.dumps(config))
    return str(path)


def test_the_tiny_models_frames_are_72_pixels() -> None:
    """9 tiles x patch 8 x merge 1."""
    assert frame_size("configs/models/tiny") == 72
    assert reads_pictures("configs/models/tiny")


def test_qwen3_vls_frames_are_288_pixels(tmp_path: Path) -> None:
    """9 tiles x patch 16 x merge 2."""
    model = folder(
        tmp_path, model_type="qwen3_vl", vision_config={"patch_size": 16, "spatial_merge_size": 2}
    )
    assert frame_size(model) == 288
    assert reads_pictures(model)


def test_a_text_model_reads_no_pictures(tmp_path: Path) -> None:
    model = folder(tmp_path, model_type="qwen3")
    assert not reads_pictures(model)
    assert frame_size(model) == 64


def test_a_vision_model_of_unknown_geometry_asks_for_the_size(tmp_path: Path) -> None:
    model = folder(tmp_path, model_type="llava", vision_config={"patch_size": 14})
    assert reads_pictures(model)
    with pytest.raises(UserError, match=r"set env\.size"):
        frame_size(model)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="no model's folder"):
        frame_size(str(tmp_path))


@pytest.mark.vision
def test_a_name_that_the_hub_does_not_give_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"Nobody/nothing is neither a folder here nor .* the hub"):
        reads_pictures("Nobody/nothing")
