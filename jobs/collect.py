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

    collect(load_or_help(CollectConfig, __doc__ or ""))
    return 0


def collect(config: "CollectConfig") -> None:
    """Play what is missing, and say where the traces are."""
    from cluster.run_folder import RunFolder
    from jobs.playing import play_all

    with RunFolder(config) as folder:
        traces = folder.path / "traces"
        summaries = play_all(config, {config.policy: traces}, config.plays)[config.policy]
    mean = sum(len(summary.achievements) for summary in summaries) / len(summaries)
    print(f"{len(summaries)} episodes, {mean:.2f} achievements on average, in {traces}")


if __name__ == "__main__":
    enter(main)
