"""Have a model learn from its own play: GRPO on a LoRA adapter, playing and learning at once.

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

_SUMMARY = "summary.json"


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
    from cluster.run_folder import RunFolder
    from cluster.session import check_output
    from configs.load import changed

    check_output(config.output)
    with RunFolder(config) as folder:
        print(f"settings: {changed(config)}; all of them are in {config.output}/config.toml")
        if (folder.path / _SUMMARY).exists():
            print(f"nothing to do: it has ended, see {folder.path / _SUMMARY}")
            return
        _train(config, folder)


def _train(config: "RlConfig", folder: "RunFolder") -> None:
    from jobs.rl_check import prepare
    from learners.rl.keeper import checkpoints_of

    prepared = prepare(config, folder.path)
    print(f"learner: {prepared.memory.line()}", flush=True)
    checkpoints = checkpoints_of(prepared.config)
    progress = checkpoints.last()
    books = None
    if not progress.has_ended:
        books = _run(prepared, progress.step)
        progress = checkpoints.last()
    _finish(prepared.config, folder, progress, books)


def _run(prepared: "Prepared", step: int) -> "Books":
    """Everything that a run needs, started and cleared away; returns the ledger's account."""
    import ray

    from actors.model_files import locate, portable
    from actors.replica_pool import ReplicaPool
    from actors.rollout import training
    from cluster.session import connect
    from jobs.rl_play import plan_of, rollout_of, training_of
    from jobs.rl_watch import RlWatch
    from learners.rl.worker import RlTask, fit

    config = prepared.config
    engine, model = config.policy.engine, portable(config.policy.model)
    with connect(config.cluster):
        print(plan_of(config).table())
        if step:
            print(f"going on after step {step}")
        print(f"starting {engine.num_replicas} replica(s) of {model} ...", flush=True)
        rollout = rollout_of(config)
        with ReplicaPool(rollout.name, model, engine, config.cluster.max_restarts) as pool:
            pool.wait_until_ready(config.cluster.start_timeout_s)
            with training(rollout, training_of(config)) as ledger:
                watch = RlWatch(config, ledger)
                with watch.watching():
                    try:
                        fit(
                            RlTask(
                                config=config,
                                model=model,
                                locate=locate,
                                ledger=ledger,
                                store=pool.store,
                            )
                        )
                    finally:
                        ray.get(ledger.close.remote())
                return watch.books()


def _finish(
    config: "RlConfig",
    folder: "RunFolder",
    progress: "RlProgress",
    books: "Books | None",
) -> None:
    """The adapter that was asked for to the top of the folder, and what there is to tell.

    Raises:
        RunError: episodes were lost or trained twice.
    """
    import json
    from dataclasses import asdict

    from actors.adapter import check_adapter, read_adapter
    from cluster.adapter_files import digest
    from cluster.errors import RunError
    from configs.player import ServingLora
    from learners.checkpoints import ADAPTER, put_adapter
    from learners.curves import RL, draw_curves
    from learners.rl.keeper import checkpoints_of

    best = progress.best
    step = progress.step if config.checkpoint.final == "last" or best is None else best.step
    target = folder.path / ADAPTER
    put_adapter(checkpoints_of(config).path(step) / ADAPTER, target)
    files = read_adapter(target)
    check_adapter(files, ServingLora(max_rank=config.lora.r, tower=config.lora.tower))
    draw_curves(folder.path, RL)
    told = _summary(config, progress) | {"adapter_step": step, "adapter_sha256": digest(files)}
    if books is not None:
        told["episodes"] = asdict(books)
        print(
            f"episodes: {books.asked} asked for, {books.trained} trained, {books.dropped} dropped, "
            f"{books.lost} lost, {books.doubled} doubled"
        )
    folder.write_text(_SUMMARY, json.dumps(told, indent=2) + "\n")
    if books is not None and (books.lost or books.doubled):
        raise RunError(f"{books.lost} episodes were lost and {books.doubled} trained twice")
    measured = f", evaluated {best.mean_return:.2f} at step {best.step}" if best else ""
    print(
        f"{progress.step} steps, return {progress.mean_return:.2f}{measured}; adapter in {target}"
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
