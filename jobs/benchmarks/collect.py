"""Teacher play, collected with traces on, beside one idle replica of the tiny model.

The clock runs from the first episode's start to the last one's end. Memory is the proportional
set size of the whole process tree, Ray included, sampled once a second.
"""

import os
import tempfile
import threading
from pathlib import Path
from typing import Any, Final

ROWS: Final = {
    "decisions_per_s": "of the teacher, all workers together",
    "bytes_per_decision": "of the traces, a 72-pixel frame each",
    "peak_memory_gib": "proportional set size of the process tree at its peak",
}

_CONFIG: Final = {
    "output": "benchmark",
    "seeds": "0-63",
    "policy": "scripted",
    "env": {"size": 72, "length": 300},
    "cluster": {"num_workers": 2, "episodes_per_worker": 8, "address": "local"},
}
_SERVED: Final = {"kind": "vllm", "model": "configs/models/tiny"}


def run() -> dict[str, float]:
    """The figures of `ROWS`."""
    from actors.replica_pool import ReplicaPool
    from actors.rollout import Rollout, roll_out
    from actors.seat import seat
    from cluster.session import connect
    from cluster.traces import read_trajectories
    from cluster.types import EpisodeSpec
    from configs.jobs import CollectConfig
    from configs.player import VllmPlayer

    config = CollectConfig.model_validate(_CONFIG)
    served = VllmPlayer.model_validate(_SERVED)
    with (
        tempfile.TemporaryDirectory() as folder,
        _Memory() as memory,
        connect(config.cluster),
        ReplicaPool("bench", served.model, served.engine, 0) as pool,
    ):
        pool.wait_until_ready(config.cluster.start_timeout_s)
        rollout = Rollout(
            name="bench",
            specs=tuple(EpisodeSpec(seed=seed) for seed in config.seeds),
            setup=seat(config.policy, config, version=0),
            traces=Path(folder),
            cluster=config.cluster,
        )
        for _ in roll_out(rollout):
            pass
        played = list(read_trajectories(Path(folder)))
        num_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
    began = min(trajectory.started_at for trajectory in played)
    ended = max(trajectory.started_at + trajectory.duration_s for trajectory in played)
    num_decisions = sum(len(trajectory.turns) for trajectory in played)
    return {
        "decisions_per_s": num_decisions / (ended - began),
        "bytes_per_decision": num_bytes / num_decisions,
        "peak_memory_gib": memory.peak_bytes / 2**30,
    }


class _Memory:
    """Watches this process and everything below it."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            self.peak_bytes = max(self.peak_bytes, _tree_bytes())


def _tree_bytes() -> int:
    import psutil

    total = 0
    root = psutil.Process(os.getpid())
    for process in (root, *root.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total
