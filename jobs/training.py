"""What the jobs that train an adapter share: how a run begins, and what it leaves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from actors.adapter import check_adapter, read_adapter
from actors.model_files import locate
from cluster.adapter_files import digest
from cluster.placement import Role
from cluster.run_folder import AnyRun, RunFolder
from cluster.session import check_output
from configs.learning import LearnerWorkersConfig, LoraConfig
from configs.load import changed
from configs.player import ServingLora
from jobs.warm_start import check_warm_start
from learners.checkpoints import ADAPTER, Checkpoints, put_adapter
from learners.fingerprint import check_inputs, policy_inputs
from learners.lora import target_modules

SUMMARY: Final = "summary.json"


def run_once(config: AnyRun, train: Callable[[RunFolder], None]) -> None:
    """Train what is missing of a run in its folder; nothing if it has ended.

    Raises:
        PickaxeError: bad input, or a part that the run needs has died.
    """
    check_output(config.output)
    with RunFolder(config) as folder:
        print(f"settings: {changed(config)}; all of them are in {config.output}/config.toml")
        if (folder.path / SUMMARY).exists():
            print(f"nothing to do: it has ended, see {folder.path / SUMMARY}")
            return
        train(folder)


@dataclass(frozen=True, slots=True)
class Start:
    """What training begins with."""

    model: str
    adapter: str | None
    """Folder; None begins with new matrices."""
    lora: LoraConfig

    def check(self, empty: Any) -> None:
        """Hold the adapter to the settings; `empty` is the model, without weights.

        Raises:
            UserError: they do not fit.
        """
        names = target_modules(empty, self.lora)
        if self.adapter is not None:
            check_warm_start(Path(self.adapter), self.lora, names)

    def check_unchanged(
        self, checkpoints: Checkpoints[Any], folder: Path, others: Mapping[str, str]
    ) -> None:
        """Refuse to go on with another content of what the run in `folder` was begun with.

        `others` are fingerprints of its other inputs, by the names of their settings.

        Raises:
            UserError: it has changed.
        """
        inputs = {**others, **policy_inputs(locate(self.model), self.adapter)}
        check_inputs(folder, inputs, bool(checkpoints.steps()))


def learner_role(workers: LearnerWorkersConfig) -> Role:
    """What learners need of the cluster."""
    return Role(
        name="learner",
        count=workers.num_workers,
        cpus=workers.worker_cpus,
        gpus=1 if workers.device == "gpu" else 0,
    )


def leave_adapter(
    folder: RunFolder, checkpoints: Checkpoints[Any], step: int, lora: LoraConfig
) -> dict[str, Any]:
    """Put a checkpoint's adapter at the top of the folder; returns what to tell of it."""
    target = folder.path / ADAPTER
    put_adapter(checkpoints.path(step) / ADAPTER, target)
    files = read_adapter(target)
    check_adapter(files, ServingLora(max_rank=lora.r, tower=lora.tower))
    return {"adapter_step": step, "adapter_sha256": digest(files)}
