"""Fine-tune a model on a dataset of decisions: a LoRA adapter, on Ray Train.

    python -m jobs.sft configs/cpu/sft.toml
    python -m jobs.sft configs/cpu/sft.toml --num_steps 300 --cluster.num_workers 1

The dataset is one of jobs.export --format sft. Killed at any moment and started again with the same
command, it goes on from its last checkpoint and ends as if nothing had happened.
"""

from typing import TYPE_CHECKING, Any

from jobs.entry import enter

if TYPE_CHECKING:
    from cluster.run_folder import RunFolder
    from configs.learning import LearnerClusterConfig
    from configs.sft import SftConfig
    from jobs.sft_check import Prepared
    from learners.checkpoints import Checkpoints
    from learners.sft_progress import Progress


def main() -> int:
    from configs.load import load_or_help
    from configs.sft import SftConfig

    fine_tune(load_or_help(SftConfig, __doc__ or ""))
    return 0


def fine_tune(config: "SftConfig") -> None:
    """Train what is missing of a run, and leave its adapter and summary in its folder.

    Raises:
        PickaxeError: bad input, or a part that the run needs has died.
    """
    from functools import partial

    from jobs.training import run_once

    run_once(config, partial(_train, config))


def _train(config: "SftConfig", folder: "RunFolder") -> None:
    from jobs.sft_check import prepare
    from learners.checkpoints import CHECKPOINTS, Checkpoints
    from learners.sft_progress import Progress

    print(f"reading {config.data} ...", flush=True)
    prepared = prepare(config, folder.path)
    _show(prepared)
    checkpoints = Checkpoints(folder.path / CHECKPOINTS, Progress)
    progress = checkpoints.last()
    if not progress.is_over(config, prepared.num_steps):
        _run(prepared, config.cluster, progress.step)
    _finish(config, folder, checkpoints)


def _show(prepared: "Prepared") -> None:
    task = prepared.task
    lengths_N = task.train_lengths_N
    num_val = 0 if task.val_lengths_N is None else len(task.val_lengths_N)
    print(
        f"{len(lengths_N)} examples of {lengths_N.mean():.0f} tokens on average, "
        f"{lengths_N.max()} at most; {num_val} for validation; {prepared.num_steps} steps"
    )
    print(prepared.memory.line(), flush=True)


def _run(prepared: "Prepared", cluster: "LearnerClusterConfig", step: int) -> None:
    from cluster.placement import plan
    from cluster.session import connect, nodes
    from jobs.sft_watch import watching
    from jobs.training import learner_role
    from learners.sft_worker import fit

    with connect(cluster):
        print(plan([learner_role(cluster)], nodes()).table())
        if step:
            print(f"going on after step {step}")
        print(f"starting {cluster.num_workers} worker(s) ...", flush=True)
        with watching(prepared.task.config, prepared.num_steps):
            fit(prepared.task)


def _finish(config: "SftConfig", folder: "RunFolder", checkpoints: "Checkpoints[Progress]") -> None:
    """The adapter that was asked for to the top of the folder, and what there is to tell."""
    import json

    from cluster.errors import RunError
    from jobs.training import SUMMARY, leave_adapter
    from learners.checkpoints import ADAPTER
    from learners.curves import SFT, draw_curves

    progress = checkpoints.last()
    best = progress.best
    step = progress.step if config.checkpoint.final == "last" or best is None else best.step
    if not step:
        raise RunError("training ended without a checkpoint")
    left = leave_adapter(folder, checkpoints, step, config.lora)
    draw_curves(folder.path, SFT)
    folder.write_text(SUMMARY, json.dumps(_summary(config, progress) | left, indent=2) + "\n")
    measured = f", validation loss {best.loss:.4f} at step {best.step}" if best else ""
    print(
        f"{progress.step} steps, loss {progress.loss:.4f}{measured}; "
        f"adapter in {folder.path / ADAPTER}"
    )


def _summary(config: "SftConfig", progress: "Progress") -> dict[str, Any]:
    import os
    from dataclasses import asdict

    num_samples = progress.step * config.batch_size
    best, last = progress.best, next(reversed(progress.evaluations), None)
    return {
        "model": config.model,
        "steps": progress.step,
        "stopped_early": progress.has_stopped_early(config),
        "samples": num_samples,
        "label_tokens": progress.num_labels,
        "seconds": round(progress.seconds, 1),
        "samples_per_s": round(num_samples / max(progress.seconds, 1e-9), 2),
        "first_loss": progress.first_loss,
        "last_loss": progress.loss,
        "best_evaluation": None if best is None else asdict(best),
        "last_evaluation": None if last is None else asdict(last),
        "workers": config.cluster.num_workers,
        "worker_cpus": config.cluster.worker_cpus,
        "device": config.cluster.device,
        "dtype": config.dtype,
        "machine_cores": os.cpu_count(),
        "peak_memory_gib_of_a_worker": round(progress.peak_memory_gib, 3),
    }


if __name__ == "__main__":
    enter(main)
