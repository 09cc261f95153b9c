"""Fine-tuning on Ray Train: the one point where the loop meets Ray."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback, get_context
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from cluster.errors import PickaxeError, RunError, UserError
from cluster.remote import root_cause
from configs.sft import SftConfig
from learners.batch_plan import Indices
from learners.learner import build_learner
from learners.sft import DivergedError, FineTuning, Part, Rank
from learners.sft_examples import open_data

_ENVIRONMENT: Final = {
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    # Paths relative to where the job was started stay good.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}

FAILURES: Final = "failures.jsonl"
"""In the run's folder: each death of workers, {"rank", "cause"}."""

_ECHOES: Final = ("onnection closed", "onnection reset", "Broken pipe", "NCCL")
"""What the survivors say of it."""


@dataclass(frozen=True, slots=True)
class SftTask:
    """All that a worker is told."""

    config: SftConfig
    """Its paths are absolute."""
    model: str
    """As every node can `locate` it."""
    locate: Callable[[str], str]
    """Where this node has a model."""
    train_lengths_N: Indices
    val_lengths_N: Indices | None
    """None where nothing is measured."""


def fit(task: SftTask) -> None:
    """Train with the workers that the settings ask for, until the run is over.

    Workers that die are started again, from the last checkpoint.

    Raises:
        PickaxeError: they died too often, or what they met would happen again.
    """
    cluster = task.config.cluster
    os.environ.update(_ENVIRONMENT)
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(cluster.start_timeout_s)
    storage = Path(task.config.output) / ".ray_train"
    shutil.rmtree(storage, ignore_errors=True)  # of a driver that was killed
    is_gpu = cluster.device == "gpu"
    train: Any = partial(work, task)  # what the loop may return is newer than its type
    deaths: Any = _Deaths(Path(task.config.output) / FAILURES)  # typed for Ray Train's old version
    trainer = _Trainer(
        train,
        torch_config=TorchConfig(backend="nccl" if is_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=cluster.num_workers,
            use_gpu=is_gpu,
            resources_per_worker={"CPU": cluster.worker_cpus, **({"GPU": 1} if is_gpu else {})},
        ),
        run_config=RunConfig(
            name="sft",
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=cluster.max_failures),
            callbacks=[deaths],
        ),
    )
    try:
        result: Any = trainer.fit()
    except TrainingFailedError as error:
        raise RunError(f"training died: {_why(error)}") from None
    except RayError as error:
        raise RunError(f"Ray Train died: {root_cause(error)}") from None
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    if result.return_value is not None:
        raise result.return_value


def work(task: SftTask) -> PickaxeError | None:
    """What one worker does.

    A failure that every rank meets, and would meet again, is an answer; all others are raised, for
    Ray Train to start the workers anew.
    """
    torch.set_num_threads(task.config.cluster.worker_cpus)
    context = get_context()
    rank = Rank(context.get_world_rank(), context.get_world_size())
    folder = Path(task.config.data)
    try:
        device = "cuda" if task.config.cluster.device == "gpu" else "cpu"
        learner = build_learner(task.config, task.locate(task.model), device)
        train = Part(open_data(folder, "train"), task.train_lengths_N)
        val = None
        if task.val_lengths_N is not None:
            val = Part(open_data(folder, "val"), task.val_lengths_N)
        FineTuning(task.config, learner, train, val, rank).run()
    except (UserError, DivergedError) as error:
        return error
    except torch.OutOfMemoryError as error:
        raise RunError(
            "out of GPU memory: lower cluster.micro_batch_size, or set "
            f"cluster.gradient_checkpointing ({str(error).splitlines()[0]})"
        ) from None
    return None


class _Trainer(TorchTrainer):
    def _register_sigint_handler(self, controller: object) -> None:
        """Leave Ctrl-C alone: Ray Train would wait for its workers, and then exit with 0."""


class _Deaths(UserCallback):
    """Tells why workers died, where the driver can read it: it runs in Ray Train's controller."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def after_exception(
        self, run_context: object, worker_exceptions: Mapping[int, Exception]
    ) -> None:
        rank, cause = _first_cause(worker_exceptions)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"rank": rank, "cause": cause}) + "\n")


def _why(error: TrainingFailedError) -> str:
    if isinstance(error, WorkerGroupError) and error.worker_failures:
        rank, cause = _first_cause(error.worker_failures)
        return f"worker {rank}: {cause}"
    return " ".join(str(error).split())


def _first_cause(failures: Mapping[int, Exception]) -> tuple[int, str]:
    """The worker at fault, and its cause in a line: when one dies, the others lose touch."""
    causes = {rank: _cause(error) for rank, error in sorted(failures.items())}
    own = [rank for rank, cause in causes.items() if not any(echo in cause for echo in _ECHOES)]
    rank = min(own or causes)
    return rank, causes[rank]


def _cause(error: Exception) -> str:
    inner = getattr(error, "health_check_failure", error)
    if isinstance(inner, RayError):
        # Ray goes on to guess, at length.
        return root_cause(inner).partition(" Some common causes")[0]
    line = next(iter(str(inner).splitlines()), "")
    return line if isinstance(inner, PickaxeError) else f"{type(inner).__name__}: {line}"
