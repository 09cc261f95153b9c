"""A run's checkpoints: each is whole or not there.

checkpoints/step_000200/adapter/        as PEFT, transformers and vLLM load it
                       /state.pt        the optimizer
                       /progress.json   counters, and every measurement so far
                       /...             what else a run needs to go on
"""

import io
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import torch
import torch.distributed as dist
from safetensors import SafetensorError

from cluster.errors import RunError
from cluster.files import flush, replacing, wait_for_lock
from learners.lora import load_adapter, save_adapter

CHECKPOINTS: Final = "checkpoints"
"""In a run's folder."""
ADAPTER: Final = "adapter"
_STATE: Final = "state.pt"
_PROGRESS: Final = "progress.json"
_PREFIX: Final = "step_"
_LOCK_TIMEOUT_S: Final = 120.0


class Counted(Protocol):
    """How far a run is: a dataclass of defaults for a run of which nothing is done."""

    @property
    def step(self) -> int: ...

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """From the JSON that `dataclasses.asdict` makes."""
        ...


Counters = TypeVar("Counters", bound=Counted)


class Checkpoints(Generic[Counters]):
    """A folder of checkpoints. One process writes, any may read."""

    def __init__(self, folder: Path, kind: type[Counters]) -> None:
        """`kind` of progress is what each checkpoint tells of its run."""
        self._folder = folder
        self._kind = kind

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

    def _beside(self, step: int) -> Path:
        """Where a checkpoint is made or removed: `steps` does not see it."""
        return self._folder / f".{self.path(step).name}.tmp"

    def steps(self) -> list[int]:
        """Of the whole checkpoints, oldest first."""
        names = [path.name for path in self._folder.glob(f"{_PREFIX}*") if path.is_dir()]
        numbers = [name.removeprefix(_PREFIX) for name in names]
        return sorted(int(number) for number in numbers if number.isdecimal())

    def last(self) -> Counters:
        """How far the run is; nothing done where there is no checkpoint.

        Raises:
            RunError: the last checkpoint is damaged.
        """
        steps = self.steps()
        if not steps:
            return self._kind()
        folder = self.path(steps[-1])
        try:
            return self._kind.of(json.loads((folder / _PROGRESS).read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _damaged(folder, error) from None

    def save(
        self,
        model: Any,
        optimizer: torch.optim.Optimizer,
        progress: Counters,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        """Add a checkpoint of `progress.step`; once it has its name, it is on the disk.

        `texts` are more files of it, name -> content.

        Raises:
            RunError: it can't be written, as on a full disk; those before are as they were.
        """
        beside = self._beside(progress.step)
        shutil.rmtree(beside, ignore_errors=True)
        state = io.BytesIO()  # a file that torch can't write to its end gives no cause
        torch.save(optimizer.state_dict(), state)
        with self._writing(progress.step):
            beside.mkdir(parents=True)
            save_adapter(model, beside / ADAPTER)
            (beside / _STATE).write_bytes(state.getbuffer())
            write_progress(beside, progress)
            for name, text in (texts or {}).items():
                (beside / name).write_text(text, encoding="utf-8")
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
            raise _damaged(self.path(step), error) from None

    def restore(self, model: Any, optimizer: torch.optim.Optimizer, device: str) -> Counters:
        """`load` the last checkpoint, if there is one: on every rank what rank 0 sees last.

        Raises:
            RunError: as `load`, or this rank sees another.
            UserError: as `load`.
        """
        progress = self.last()
        if dist.is_initialized():
            step = torch.tensor([progress.step], device=device)
            dist.broadcast(step, 0)
            if int(step) != progress.step:
                raise RunError(
                    f"rank {dist.get_rank()} sees checkpoint {progress.step} where rank 0 sees "
                    f"{int(step)}: is {self._folder} on storage that every node shares?"
                )
        if self.steps():
            self.load(progress.step, model, optimizer)
        return progress

    def amend(self, progress: Counters) -> None:
        """Let the checkpoint of `progress.step` tell this, and still be whole at any moment.

        Raises:
            RunError: as `save`.
        """
        path = self.path(progress.step) / _PROGRESS
        with self._writing(progress.step), replacing(path) as beside:
            beside.write_text(_as_json(progress), encoding="utf-8")
            flush(beside)

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"the checkpoint of step {step} can't be written to {self._folder}: {error}; once "
                "it can, the same command goes on"
            ) from None

    def prune(self, keep: int, others: Collection[int]) -> None:
        """Remove all but the last `keep` and `others`, and what a killed process left half done."""
        for step in self.steps()[:-keep]:
            if step not in others:
                # First out of sight: what is killed in between leaves no torn checkpoint.
                os.replace(self.path(step), self._beside(step))
        for path in self._folder.glob(".*.tmp"):
            shutil.rmtree(path, ignore_errors=True)


def write_progress(folder: Path, progress: Any) -> None:
    (folder / _PROGRESS).write_text(_as_json(progress), encoding="utf-8")


def _as_json(progress: Any) -> str:
    return json.dumps(asdict(progress), indent=2) + "\n"


def _damaged(folder: Path, error: Exception) -> RunError:
    return RunError(
        f"checkpoint {folder} is damaged ({error}): remove it to go on from the one before"
    )


def put_adapter(source: Path, target: Path) -> None:
    """Copy an adapter's files to `target`, each whole or not at all."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir()):
        with replacing(target / path.name) as beside:
            shutil.copyfile(path, beside)
