"""What collect and evaluate share: check, plan, start, play, watch, stop."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from actors.adapter import read_adapter
from actors.model_files import locate, portable
from actors.players import AnyPlayer
from actors.replica_pool import ReplicaPool
from actors.rollout import Rollout, roll_out
from actors.seat import check, seat
from cluster.errors import RunError, TraceError
from cluster.placement import Role, plan
from cluster.session import check_output, connect, nodes
from cluster.trace_writer import take
from cluster.traces import read_summaries
from cluster.types import Ending, EpisodeSpec, Summary
from configs.jobs import ClusterConfig, PlayedRun
from configs.load import changed
from configs.player import EngineConfig, VllmPlayer
from jobs.progress import Tally, progress_of
from learners.fingerprint import check_inputs, policy_inputs

Serving = tuple[str, EngineConfig] | None
"""Which replicas a player needs: a model and how it is served; None needs none."""


def play_all(
    run: PlayedRun, folders: Mapping[AnyPlayer, Path], plays: Sequence[tuple[int, int]]
) -> dict[AnyPlayer, list[Summary]]:
    """Play what is missing of `plays` for every player.

    Args:
        run: settings that all players share.
        folders: each player's traces.
        plays: (seed, sample) of the episodes.

    Returns:
        Each player's summaries, in the order of `plays`.

    Raises:
        PickaxeError: bad input, or a part that the run needs has died.
    """
    check_output(run.output)
    print(f"settings: {changed(run)}; all of them are in {run.output}/config.toml", flush=True)
    specs = tuple(EpisodeSpec(seed=seed, sample=sample) for seed, sample in plays)
    missing = {player: _missing(folder, specs) for player, folder in folders.items()}
    waiting = [player for player in folders if missing[player]]
    for player in waiting:
        check(player, run)
    for player, folder in folders.items():
        _check_unchanged(player, folder, len(missing[player]) < len(specs))
    if waiting:
        with connect(run.cluster):
            _show_plan(waiting, run.cluster)
            for serving, players in _by_serving(waiting):
                with _serve(serving, run) as pool:
                    for version, player in enumerate(players, start=1):
                        rollout = _rollout(run, player, version, pool, folders[player])
                        _play(replace(rollout, specs=missing[player]), len(specs))
                        if pool is not None and rollout.setup.version:
                            pool.unload(rollout.setup.version)
    return {player: _settled(folder, specs) for player, folder in folders.items()}


def _check_unchanged(player: AnyPlayer, traces: Path, has_played: bool) -> None:
    """Refuse to count the play of one model or adapter as another's, whatever its path.

    Raises:
        UserError: it is not what the player began with, or there is none.
    """
    if isinstance(player, VllmPlayer):
        inputs = policy_inputs(locate(player.model), player.adapter)
        check_inputs(traces.parent, inputs, has_played)


def _missing(folder: Path, specs: Sequence[EpisodeSpec]) -> tuple[EpisodeSpec, ...]:
    take(folder).close()
    scan = read_summaries(folder)
    for reason in scan.refused:
        print(f"warning: left aside: {reason}", file=sys.stderr)
    have = {summary.spec for summary in scan.summaries}
    return tuple(spec for spec in specs if spec not in have)


def _serving(player: AnyPlayer) -> Serving:
    return (player.model, player.engine) if isinstance(player, VllmPlayer) else None


def _by_serving(players: Sequence[AnyPlayer]) -> list[tuple[Serving, list[AnyPlayer]]]:
    """Players that share replicas play one after the other, so that a pool starts only once."""
    groups: dict[Serving, list[AnyPlayer]] = {}
    for player in players:
        groups.setdefault(_serving(player), []).append(player)
    return list(groups.items())


def _show_plan(players: Sequence[AnyPlayer], cluster: ClusterConfig) -> None:
    """Print where the actors go; with several pools, each has the cluster for itself in turn."""
    free = nodes()
    for serving, served in _by_serving(players):
        roles = [Role(name="worker", count=cluster.num_workers, cpus=cluster.worker_cpus)]
        if serving is not None:
            roles.append(replica_role(serving[1]))
        print(f"plan for {', '.join(player.name for player in served)}:")
        print(plan(roles, free).table(), flush=True)


def replica_role(engine: EngineConfig) -> Role:
    """What the replicas of a model take."""
    gpus = engine.tensor_parallel if engine.device == "gpu" else 0
    return Role(name="replica", count=engine.num_replicas, cpus=engine.cores, gpus=gpus)


@contextmanager
def _serve(serving: Serving, run: PlayedRun) -> Iterator[ReplicaPool | None]:
    if serving is None:
        yield None
        return
    with replicas_of(run, *serving) as pool:
        yield pool


@contextmanager
def replicas_of(run: PlayedRun, model: str, engine: EngineConfig) -> Iterator[ReplicaPool]:
    """A run's replicas of one model, ready to answer."""
    name, cluster = Path(run.output).name, run.cluster
    with ReplicaPool(
        name, portable(model), engine, cluster.max_restarts, patience_s=cluster.start_timeout_s
    ) as pool:
        print(f"starting {engine.num_replicas} replica(s) of {model} ...", flush=True)
        pool.wait_until_ready(cluster.start_timeout_s)
        yield pool


def _rollout(
    run: PlayedRun, player: AnyPlayer, version: int, pool: ReplicaPool | None, traces: Path
) -> Rollout:
    """A rollout of no episodes yet, with the player's adapter loaded as policy `version`."""
    adapter = player.adapter if isinstance(player, VllmPlayer) else None
    if pool is not None and adapter is not None:
        _check_unchanged(player, traces, has_played=True)  # hours may have passed
        pool.load(version, read_adapter(Path(adapter)))
    setup = seat(player, run, 0 if adapter is None else version)
    return Rollout(
        name=f"{Path(run.output).name}/{player.name}",
        specs=(),
        setup=replace(setup, replicas=pool.names if pool is not None else ()),
        traces=traces,
        cluster=run.cluster,
    )


def _play(rollout: Rollout, num_asked: int) -> None:
    label = rollout.setup.player.name
    tally = Tally(label, total=num_asked, done=num_asked - len(rollout.specs))
    if tally.done:
        print(f"{label}: {tally.done} of {num_asked} episodes are here already", flush=True)
    with progress_of(tally) as (refresh, show):
        for news in roll_out(rollout):
            for summary in news.summaries:
                tally.add(summary)
                show(line_of(summary))
            refresh()
    if news.dropped:
        key, reasons = next(iter(news.dropped.items()))
        raise RunError(
            f"{len(news.dropped)} episodes were dropped, the first {key}: {'; '.join(reasons)}"
        )


def line_of(summary: Summary) -> str:
    """An episode in a line."""
    spec = summary.spec
    play = f" sample {spec.sample}" if spec.sample else ""
    line = (
        f"Seed {spec.seed:02d}{play}: steps={summary.num_turns}, "
        f"achievements={len(summary.achievements)}, tool_calls={summary.num_tool_calls}, "
        f"reward={summary.total_reward:.3f}"
    )
    return f"{line}, error: {summary.error}" if summary.error else line


def warn_of_errors(played: Mapping[str, Sequence[Summary]]) -> int:
    """Say which players' episodes ended in error, and of what; returns how many."""
    total = 0
    for player, summaries in played.items():
        causes = [summary.error for summary in summaries if summary.ending is Ending.ERROR]
        total += len(causes)
        if causes:
            print(
                f"warning: {len(causes)} of {len(summaries)} episodes of {player} ended in error "
                f"and count as played so far; the first: {causes[0]}",
                file=sys.stderr,
            )
    return total


def _settled(folder: Path, specs: Sequence[EpisodeSpec]) -> list[Summary]:
    found = {summary.spec: summary for summary in read_summaries(folder).summaries}
    lost = [spec.id for spec in specs if spec not in found]
    if lost:
        raise TraceError(f"{len(lost)} episodes are not in {folder}, the first {lost[0]}")
    return [found[spec] for spec in specs]
