"""The wheel holds what a run needs, and its jobs start from it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.mark.parametrize(
    "name",
    [
        "configs/cpu/collect.toml",
        "configs/gpu/evaluate.toml",
        "configs/models/tiny/model.safetensors",
        "configs/models/tiny/chat_template.jinja",
        "learners/tiny_chat_template.jinja",
        "pickaxe_torch_plugins.py",
    ],
)
def test_it_holds_more_than_code(unpacked: Path, name: str) -> None:
    assert (unpacked / name).is_file()


def test_it_holds_no_tests(unpacked: Path) -> None:
    assert not (unpacked / "tests").exists()


def test_its_entry_points_are_those_of_torch_and_vllm(unpacked: Path) -> None:
    (text,) = (path.read_text() for path in unpacked.glob("*.dist-info/entry_points.txt"))
    assert "[torch.backends]" in text
    assert "[vllm.general_plugins]" in text


def test_a_job_starts_from_it(unpacked: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.collect", "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--policy.temperature" in done.stdout
