"""Collect one policy's play as traces.

    python -m jobs.collect configs/cpu/collect.toml
    python -m jobs.collect --policy random --seeds 0-9 --output runs/random

Killed at any moment and started again with the same command, it ends with exactly the episodes
asked for, each once.
"""

from typing import TYPE_CHECKING

from jobs.entry import enter

if TYPE_CHECKING:
    from configs.jobs import CollectConfig


def main() -> int:
    from configs.jobs import CollectConfig
    from configs.load import load_or_help

    return int(collect(load_or_help(CollectConfig, __doc__ or "")) > 0)


def collect(config: "CollectConfig") -> int:
    """Play what is missing, and say where the traces are; returns how many ended in error."""
    from cluster.run_folder import RunFolder
    from jobs.playing import play_all, warn_of_errors

    with RunFolder(config) as folder:
        traces = folder.path / "traces"
        summaries = play_all(config, {config.policy: traces}, config.plays)[config.policy]
    mean = sum(len(summary.achievements) for summary in summaries) / len(summaries)
    print(f"{len(summaries)} episodes, {mean:.2f} achievements on average, in {traces}")
    return warn_of_errors({config.policy.name: summaries})


if __name__ == "__main__":
    enter(main)
