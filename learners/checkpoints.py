"""A run's checkpoints: each is whole or not there.

checkpoints/step_000200/adapter/        as PEFT, transformers and vLLM load it
                       /state.pt        the optimizer
                       /progress.json   counters, and every measurement so far
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from cluster.errors import RunError
from cluster.files import flush, replacing, wait_for_lock
from learners.lora import load_adapter, save_adapter
from learners.sft_progress import Progress, read_progress, write_progress

ADAPTER: Final = "adapter"
_STATE: Final = "state.pt"
_PREFIX: Final = "step_"
_LOCK_TIMEOUT_S: Final = 120.0


class Checkpoints:
    """A folder of checkpoints. One process writes, any may read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the one that writes: a process of an earlier start may not have ended yet.

        Raises:
            RunError: it does not end.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = wait_for_lock(self._folder / ".lock", _LOCK_TIMEOUT_S)
        except TimeoutError:
            raise RunError(f"another process is writing to {self._folder}") from None
        with lock:
            yield

    def path(self, step: int) -> Path:
        return self._folder / f"{_PREFIX}{step:06d}"

    def steps(self) -> list[int]:
        """Of the whole checkpoints, oldest first."""
        names = [path.name for path in self._folder.glob(f"{_PREFIX}*") if path.is_dir()]
        numbers = [name.removeprefix(_PREFIX) for name in names]
        return sorted(int(number) for number in numbers if number.isdecimal())

    def last(self) -> Progress:
        """How far the run is; nothing done where there is no checkpoint.

        Raises:
            RunError: the last checkpoint is damaged.
        """
        steps = self.steps()
        return read_progress(self.path(steps[-1])) if steps else Progress()

    def save(self, model: Any, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Add a checkpoint of `progress.step`; once it has its name, it is on the disk."""
        beside = self._folder / f".{self.path(progress.step).name}.tmp"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        save_adapter(model, beside / ADAPTER)
        torch.save(optimizer.state_dict(), beside / _STATE)
        write_progress(beside, progress)
        for path in [*beside.rglob("*"), beside]:
            flush(path)
        os.replace(beside, self.path(progress.step))
        flush(self._folder)

    def load(self, step: int, model: Any, optimizer: torch.optim.Optimizer) -> None:
        """Put a checkpoint's matrices and optimizer in the place of the given ones.

        Raises:
            RunError: it is damaged.
            UserError: its matrices are of another model.
        """
        load_adapter(model, self.path(step) / ADAPTER)
        try:
            state = torch.load(self.path(step) / _STATE, map_location="cpu", weights_only=True)
            optimizer.load_state_dict(state)
        except Exception as error:  # what torn bytes make of the unpickler is anything
            raise RunError(
                f"checkpoint {self.path(step)} is damaged ({error}): remove it to go on from the "
                "one before"
            ) from None

    def prune(self, keep: int, best: int | None) -> None:
        """Remove all but the last `keep` and the best, and what a killed process left half done."""
        for step in self.steps()[:-keep]:
            if step != best:
                shutil.rmtree(self.path(step))
        for path in self._folder.glob(".*.tmp"):
            shutil.rmtree(path, ignore_errors=True)


def put_adapter(source: Path, target: Path) -> None:
    """Copy an adapter's files to `target`, each whole or not at all."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir()):
        with replacing(target / path.name) as beside:
            shutil.copyfile(path, beside)
