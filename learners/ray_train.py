"""Ray Train as every training of ours uses it: workers, restarts, and what they died of."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from cluster.errors import FinalError, PickaxeError, RunError, UserError
from cluster.remote import root_cause
from configs.learning import LearnerWorkersConfig

_ENVIRONMENT: Final = {
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    # Paths relative to where the job was started stay good.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}

FAILURES: Final = "failures.jsonl"
"""In the run's folder: each death of workers, {"rank", "cause"}."""

WARNINGS: Final = "warnings.jsonl"
"""In the run's folder: {"sentence"}, for whoever watches."""

_ECHOES: Final = ("onnection closed", "onnection reset", "Broken pipe", "NCCL")
"""What the survivors say of it."""


def fit(
    loop: Callable[[], PickaxeError | None], workers: LearnerWorkersConfig, output: str, name: str
) -> None:
    """Train with the workers that the settings ask for, until the run is over.

    Workers that die are started again; the loop goes on from its last checkpoint.

    Args:
        loop: what each worker does, as `answer` wraps it.
        workers: how many, and how they are sized.
        output: the run's folder.
        name: of the run in Ray's dashboard.

    Raises:
        PickaxeError: they died too often, or what they met would happen again.
    """
    os.environ.update(_ENVIRONMENT)
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(workers.start_timeout_s)
    storage = Path(output) / ".ray_train"
    shutil.rmtree(storage, ignore_errors=True)  # of a driver that was killed
    is_gpu = workers.device == "gpu"
    train: Any = loop  # what it may return is newer than its type
    deaths: Any = _Deaths(Path(output) / FAILURES)  # typed for Ray Train's old version
    trainer = _Trainer(
        train,
        torch_config=TorchConfig(backend="nccl" if is_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers.num_workers,
            use_gpu=is_gpu,
            resources_per_worker={"CPU": workers.worker_cpus, **({"GPU": 1} if is_gpu else {})},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=workers.max_failures),
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


def answer(train: Callable[[], object]) -> PickaxeError | None:
    """Train; a failure that would be met again is an answer.

    All others are raised, for Ray Train to start the workers anew.
    """
    try:
        train()
    except (UserError, FinalError) as error:
        return error
    except torch.OutOfMemoryError as error:
        raise RunError(
            "out of GPU memory: lower micro_batch_size, or set gradient_checkpointing "
            f"({str(error).splitlines()[0]})"
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
