"""What a run of RL costs: the whole of jobs.rl against vLLM and learner bare.

A run is `python -m jobs.rl` in miniature, all of it: Ray, game, workers, ledger, traces, store of
versions, checkpoints. Counted is the CPU time of its whole process tree from the first checkpoint,
when everything has started, to the last one. Then, each in a process of its own, one bare engine
answers the very requests that were recorded, as many at once, with the run's adapters; and one bare
loop takes the very updates: the same rows, minibatches, loss and reference. Canaries are in both.

As many plays are under way as staleness 1 lets in, the batch being learned from and the next: the
tiny model's engine needs about as long for a step of few requests as of many.

cpu_ratio: the run over bare vLLM and the bare loop that one would write with transformers and PEFT.
cpu_ratio_own: over bare vLLM and a loop around Pickaxe's own update: what the rest of a run costs.
Each is per token trained on. Run and bare sides alternate; a figure is the median of the repeats,
`<row>_iqr` the distance between their quartiles.
"""

import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from jobs.benchmarks import median_of

if TYPE_CHECKING:
    from cluster.types import Trajectory
    from configs.rl import RlConfig
    from learners.rl.bare import Trained

ROWS: Final = {
    "cpu_ratio": "CPU seconds a trained token, jobs.rl over bare vLLM and transformers with PEFT",
    "cpu_ratio_own": "the same over bare vLLM and Pickaxe's own update",
    "run_ms": "CPU milliseconds a trained token of jobs.rl",
    "engine_ms": "of bare vLLM",
    "stock_ms": "of the bare loop of transformers and PEFT",
    "own_ms": "of the bare loop of Pickaxe's own update",
}

Answer = TypeVar("Answer")
_PRESET: Final = "configs/ci/rl.toml"
_SETTINGS: Final = {
    "num_steps": "4",
    "groups_per_step": "4",
    "env.length": "48",
    "cluster.episodes_per_worker": "32",
    "minibatch_size": "128",
    "algorithm.kl_coef": "0.01",
    "evaluation.every_steps": "none",
    "checkpoint.final": "last",
    "checkpoint.keep": "1000",
    "cluster.address": "local",
}
_REPEATS: Final = 3
_POLL_S: Final = 0.02
_LOOK_S: Final = 1.0
"""Between two looks at the process tree."""
_SAME_LOSS: Final = 1e-6
_SAME_TOKENS: Final = 0.01


class Costs(NamedTuple):
    """CPU seconds of one repeat, for the same number of trained tokens."""

    run_s: float
    engine_s: float
    stock_s: float
    own_s: float
    num_tokens: int

    def figures(self) -> dict[str, float]:
        """Of each of `ROWS`."""
        per_token_ms = 1e3 / self.num_tokens
        return {
            "cpu_ratio": self.run_s / (self.engine_s + self.stock_s),
            "cpu_ratio_own": self.run_s / (self.engine_s + self.own_s),
            "run_ms": self.run_s * per_token_ms,
            "engine_ms": self.engine_s * per_token_ms,
            "stock_ms": self.stock_s * per_token_ms,
            "own_ms": self.own_s * per_token_ms,
        }


def run(repeats: int = _REPEATS, **settings: str) -> dict[str, float]:
    """The figures of `ROWS`, each with its `_iqr`.

    `settings`: of jobs.rl, beside the bench's own, by dotted name.

    Raises:
        ValueError: the bare sides did other work than the run.
        RunError: the run failed.
    """
    measured = [_repeat({**_SETTINGS, **settings}).figures() for _ in range(repeats)]
    figures: dict[str, float] = {}
    for row in ROWS:
        figures |= median_of(row, [one[row] for one in measured])
    return figures


def _repeat(settings: Mapping[str, str]) -> Costs:
    from actors.bare import replay
    from cluster.traces import read_trajectories
    from configs.load import load
    from configs.rl import RlConfig
    from jobs.benchmarks.recorded import batches, policies, requests
    from learners.metrics_log import METRICS, read_lines
    from learners.rl.bare import train

    with tempfile.TemporaryDirectory() as folder:
        given = {**settings, "output": str(Path(folder, "run"))}
        arguments = [_PRESET, *(word for name in given for word in (f"--{name}", given[name]))]
        config = load(RlConfig, arguments)
        model, engine = config.policy.model, config.policy.engine
        run_s = _run(arguments, config)
        played = list(read_trajectories(Path(config.output, "traces")))
        shares = batches(config, played)
        own = _apart(train, config, model, shares, False)
        versions = policies(config, own.canary)
        asked = requests(config, played)
        num_lanes = config.cluster.num_workers * config.cluster.episodes_per_worker
        replayed = _apart(replay, model, engine, asked, versions, num_lanes)
        stock = _apart(train, config, model, shares, True)
        lines = [line for line in read_lines(Path(config.output, METRICS), 0) if "loss" in line]
    _check_played(played, replayed.num_tokens)
    for trained in (own, stock):
        _check_learned(lines, trained)
    return Costs(run_s, replayed.cpu_s, stock.cpu_s, own.cpu_s, sum(own.num_tokens))


def _run(arguments: Sequence[str], config: "RlConfig") -> float:
    """CPU seconds of `jobs.rl` with these arguments, from its first checkpoint to its last.

    Raises:
        RunError: it failed; its last words.
    """
    from cluster.cpu_time import TreeTime
    from cluster.errors import RunError
    from learners.rl.keeper import checkpoints_of

    command = [sys.executable, "-m", "jobs.rl", *arguments]
    first, last = (checkpoints_of(config).path(step) for step in (0, config.num_steps))
    used_s: dict[Path, float] = {}
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT) as process:
            tree, looked_at = TreeTime(process.pid), 0.0
            while process.poll() is None:
                new = [one for one in (first, last) if one not in used_s and one.exists()]
                if new or time.monotonic() > looked_at + _LOOK_S:
                    used_s |= dict.fromkeys(new, tree.look())
                    looked_at = time.monotonic()
                time.sleep(_POLL_S)
        said.seek(0)
        if process.returncode or last not in used_s:
            raise RunError(f"jobs.rl ended with {process.returncode}: {said.read()[-2000:]}")
    return used_s[last] - used_s[first]


def _apart(work: "Callable[..., Answer]", *arguments: Any) -> "Answer":
    """What `work` returns in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as process:
        return process.submit(work, *arguments).result()


def _check_played(played: "Sequence[Trajectory]", num_replayed: int) -> None:
    num_tokens = sum(one.summary().num_completion_tokens for one in played)
    if abs(num_replayed - num_tokens) > _SAME_TOKENS * num_tokens:
        raise ValueError(
            f"the replay made {num_replayed} tokens of {num_tokens}: not the same work"
        )


def _check_learned(lines: Sequence[Mapping[str, float]], trained: "Trained") -> None:
    for line, num_tokens, loss in zip(lines, trained.num_tokens, trained.losses, strict=True):
        if num_tokens != line["tokens"] or not abs(loss - line["loss"]) <= _SAME_LOSS:
            raise ValueError(
                f"step {line['step']} learned from {line['tokens']} tokens with loss "
                f"{line['loss']}, bare from {num_tokens} with {loss}: not the same work"
            )
