"""Teach the tiny model to read its picture, from random weights.

    python -m jobs.pretrain configs/cpu/pretrain.toml

Writes `model/` (weights, tokenizer, template, processor) and `reading.json` (how well it reads
pictures of unseen worlds) into the output folder. Killed at any moment and started again with the
same command, it goes on from its last checkpoint and ends with the same weights.
"""

from typing import TYPE_CHECKING, Any

from jobs.entry import enter

if TYPE_CHECKING:
    from configs.learning import PretrainConfig
    from learners.language import Language
    from learners.reading import Sight
    from learners.scenes import Scene


def main() -> int:
    from configs.learning import PretrainConfig
    from configs.load import load_or_help

    pretrain(load_or_help(PretrainConfig, __doc__ or ""))
    return 0


def pretrain(config: "PretrainConfig") -> None:
    """Read the traces, train what is left to train, write the model, measure it."""
    import json
    from importlib import import_module

    import torch

    from cluster.run_folder import RunFolder
    from learners.language import Language
    from learners.reading_score import ask, score
    from learners.tiny_model import build_tiny_model

    torch.set_num_threads(config.num_threads)
    transformers: Any = import_module("transformers")  # only half typed
    with RunFolder(config) as folder:
        scenes, unseen = _scenes_apart(config)
        print(f"{len(scenes):,} pictures to learn from, {len(unseen):,} unseen", flush=True)
        home = folder.path / "model"
        build_tiny_model(config.seed, home)
        model = transformers.Qwen3VLForConditionalGeneration.from_pretrained(home)
        language = Language(str(home))
        _learn(model, language, scenes, config)
        model.eval().save_pretrained(home)
        sights = _spread(unseen, config.num_unseen)
        result = json.dumps(score(ask(model, language, sights, config.seed)), indent=2) + "\n"
        print(result, end="")
        print(f"model: {home}, reading: {folder.write_text('reading.json', result)}")


def _scenes_apart(config: "PretrainConfig") -> "tuple[list[Scene], list[Scene]]":
    """What to learn from and what to measure on.

    Raises:
        UserError: no traces, no pictures, or a world on both sides.
    """
    from cluster.errors import UserError

    scenes, worlds = _read(config.inputs, config.seed)
    unseen, unseen_worlds = _read(config.unseen, config.seed)
    both = sorted(worlds & unseen_worlds)
    if both:
        raise UserError(f"{len(both)} worlds are in both inputs and unseen, the first {both[0]}")
    return scenes, unseen


def _read(runs: "tuple[str, ...]", seed: int) -> "tuple[list[Scene], set[int]]":
    from pathlib import Path

    from cluster.errors import UserError
    from cluster.traces import read_summaries, read_trajectories
    from learners.scenes import scenes_of

    worlds: set[int] = set()
    scenes: list[Scene] = []
    for run in runs:
        traces = Path(run, "traces")
        if not traces.is_dir():
            raise UserError(f"{run} holds no traces: give the output folder of jobs.collect")
        worlds |= {summary.spec.seed for summary in read_summaries(traces).summaries}
        scenes.extend(scenes_of(read_trajectories(traces), seed))
    if not scenes:
        raise UserError(f"{', '.join(runs)} hold no pictures: collect with play.record_frames")
    return scenes, worlds


def _learn(
    model: Any, language: "Language", scenes: "list[Scene]", config: "PretrainConfig"
) -> None:
    import time

    from learners.pretrain import pretrain as learn

    began = time.monotonic()
    for line in learn(model, language, scenes, config):
        print(
            f"step {line['step']} of {config.num_steps}: loss {line['loss']:.4f}, "
            f"right {line['accuracy']:.1%}, {time.monotonic() - began:.0f} s",
            flush=True,
        )


def _spread(scenes: "list[Scene]", count: int) -> "list[Sight]":
    """`count` pictures, evenly over all of them."""
    step = max(len(scenes) / count, 1)
    return [scenes[int(index * step)].sight for index in range(min(count, len(scenes)))]


if __name__ == "__main__":
    enter(main)
