"""The house's order: imports point right only, and light things stay light."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ("jobs", "learners", "actors", "cluster", "configs")
LANGUAGE_OF_PLAY = {"actors.tool", "actors.parse", "actors.prompt", "actors.state_text"}
MODULES = sorted(path for package in ORDER for path in (ROOT / package).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import of {node.module}"
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_right_only(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    left = ORDER[: ORDER.index(package)]
    assert [name for name in imports_of(path) if name.split(".")[0] in (*left, "tests")] == []


def test_learners_know_of_actors_only_the_language_of_play() -> None:
    for path in (ROOT / "learners").rglob("*.py"):
        known = {name for name in imports_of(path) if name.split(".")[0] == "actors"}
        assert known <= LANGUAGE_OF_PLAY, path


def test_the_plugins_import_none_of_the_packages() -> None:
    names = {name.split(".")[0] for name in imports_of(ROOT / "pickaxe_torch_plugins.py")}
    assert names.isdisjoint(ORDER)


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in a fresh process after a statement."""
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "configs.jobs",
        "configs.load",
        "cluster.types",
        "cluster.ledger",
        "cluster.versions",
        "cluster.training.account",
        "cluster.training.dealing",
        "cluster.training.evaluations",
        "cluster.scores",
        "actors.prompt",
        "actors.parse",
    ],
)
def test_pure_modules_load_neither_ray_nor_torch(module: str) -> None:
    assert loaded_after(f"import {module}").isdisjoint({"ray", "torch", "vllm", "crafter"})


JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py") if "__main__" in path.read_text())


@pytest.mark.parametrize("name", JOBS)
def test_help_comes_without_ray_or_torch(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"jobs.{name}", "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert len(done.stdout) > 100
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert loaded.isdisjoint({"ray", "torch", "vllm", "transformers"})


def test_every_job_is_found() -> None:
    assert {"bench", "collect", "demo", "evaluate", "export", "tiny_model"} <= set(JOBS)
