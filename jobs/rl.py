"""Have a model learn from its own play: policy gradient on a LoRA adapter, as the play goes on.

    python -m jobs.rl configs/cpu/rl.toml
    python -m jobs.rl configs/cpu/rl.toml --num_steps 5 --max_staleness 0 --output runs/rl-sync

It begins with policy.adapter, such as jobs.sft leaves. Killed at any moment and started again with
the same command, it goes on from its last committed step.
"""

from typing import TYPE_CHECKING, Any

from jobs.entry import enter

if TYPE_CHECKING:
    from cluster.run_folder import RunFolder
    from cluster.training.setup import Books
    from configs.rl import RlConfig
    from jobs.rl_check import Prepared
    from learners.rl.progress import RlProgress
    from learners.rl.worker import RlTask


def main() -> int:
    from configs.load import load_or_help
    from configs.rl import RlConfig

    reinforce(load_or_help(RlConfig, __doc__ or ""))
    return 0


def reinforce(config: "RlConfig") -> None:
    """Train what is missing of a run, and leave its adapter and summary in its folder.

    Raises:
        PickaxeError: bad input, or a part that the run needs has died.
    """
    from functools import partial

    from jobs.training import run_once

    run_once(config, partial(_train, config))


def _train(config: "RlConfig", folder: "RunFolder") -> None:
    from jobs.rl_check import prepare
    from jobs.rl_play import last_books
    from learners.rl.keeper import checkpoints_of

    prepared = prepare(config, folder.path)
    print(f"learner: {prepared.memory.line()}", flush=True)
    progress = checkpoints_of(prepared.config).last()
    books = last_books(prepared.config) if progress.has_ended else _run(prepared, progress.step)
    _finish(prepared.config, folder, books)


def _run(prepared: "Prepared", step: int) -> "Books":
    """Everything that a run needs, started and cleared away; returns the ledger's account."""
    from actors.model_files import locate, portable
    from actors.rollout import training
    from cluster.session import connect
    from jobs.playing import replicas_of
    from jobs.rl_play import plan_of, rollout_of, training_of
    from learners.rl.worker import RlTask

    config = prepared.config
    model = config.policy.model
    with connect(config.cluster):
        print(plan_of(config).table())
        if step:
            print(f"going on after step {step}")
        with (
            replicas_of(config, model, config.policy.engine) as pool,
            training(rollout_of(config), training_of(config)) as ledger,
        ):
            return _learn(
                RlTask(
                    config=config,
                    model=portable(model),
                    locate=locate,
                    ledger=ledger,
                    store=pool.store,
                )
            )


def _learn(task: "RlTask") -> "Books":
    """Play and learn to the end, with everything started, and tell of it meanwhile."""
    import contextlib

    import ray
    from ray.exceptions import RayError

    from jobs.rl_watch import RlWatch
    from learners.rl.worker import fit

    watch = RlWatch(task.config, task.ledger)
    with watch.watching():
        try:
            fit(task)
        finally:
            with contextlib.suppress(RayError):  # it is gone, and so told already
                ray.get(task.ledger.close.remote())
    return watch.books()


def _finish(config: "RlConfig", folder: "RunFolder", books: "Books") -> None:
    """The adapter that was asked for to the top of the folder, and what there is to tell.

    Raises:
        RunError: episodes were lost or trained twice.
    """
    import json
    from dataclasses import asdict

    from cluster.errors import RunError
    from jobs.training import SUMMARY, leave_adapter
    from learners.checkpoints import ADAPTER
    from learners.curves import RL, draw_curves
    from learners.rl.keeper import checkpoints_of

    print(
        f"episodes: {books.asked} asked for, {books.trained} trained, {books.dropped} dropped, "
        f"{books.lost} lost, {books.doubled} doubled"
    )
    if books.lost or books.doubled:
        raise RunError(f"{books.lost} episodes were lost and {books.doubled} trained twice")
    checkpoints = checkpoints_of(config)
    progress = checkpoints.last()
    best = progress.best
    step = progress.step if config.checkpoint.final == "last" or best is None else best.step
    left = leave_adapter(folder, checkpoints, step, config.lora)
    draw_curves(folder.path, RL)
    told = {**_summary(config, progress), **left, "episodes": asdict(books)}
    folder.write_text(SUMMARY, json.dumps(told, indent=2) + "\n")
    if config.checkpoint.final == "best" and best is None:
        print("no evaluation was whole, so the adapter is that of the last step, not of the best")
    measured = f", evaluated {best.mean_return:.2f} at step {best.step}" if best else ""
    print(
        f"{progress.step} steps, return {progress.mean_return:.2f}{measured}; "
        f"adapter of step {step} in {folder.path / ADAPTER}"
    )


def _summary(config: "RlConfig", progress: "RlProgress") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "model": config.policy.model,
        "adapter": config.policy.adapter,
        "steps": progress.step,
        "stopped_early": progress.step < config.num_steps,
        "updates": progress.num_updates,
        "decisions": progress.num_decisions,
        "tokens": progress.num_tokens,
        "learner_idle_s": round(progress.idle_s, 1),
        "train_s": round(progress.train_s, 1),
        "peak_memory_gib": round(progress.peak_memory_gib, 2),
        "evaluations": [asdict(evaluation) for evaluation in progress.evaluations],
    }


if __name__ == "__main__":
    enter(main)
