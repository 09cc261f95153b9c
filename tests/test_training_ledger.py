"""The ledger of a training run on a real Ray: steps, ranks, deaths, evaluations."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayTaskError

from cluster.errors import FatalPolicyError, RunError
from cluster.traces import read_trajectories
from cluster.types import Trajectory
from tests.running import wait_for
from tests.training_play import setup
from tests.training_run import Run, SlowWriter, kill_ledger, kill_worker, num_stored, stand

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.fixture
def started() -> Iterator[Any]:
    """Makes runs, whose actors are gone at the end."""
    runs: list[Run] = []

    def start(folder: Path, **values: Any) -> Run:
        names = {"seeds", "num_steps", "max_staleness", "max_consecutive_drops"}
        groups = setup(**{name: values.pop(name) for name in names & values.keys()})
        runs.append(Run(folder, groups, **values))
        return runs[-1]

    yield start
    for run in runs:
        for actor in (run.ledger, *run.workers, run.trace_writer):
            ray.kill(actor)


def trained_once(run: Run) -> None:
    """Every step is committed with a batch of its own, and its traces tell what was trained."""
    specs = [spec for batch in run.batches for spec in batch]
    assert len(specs) == len(set(specs)) == 4 * run.groups.num_steps
    progress = run.call("progress")
    assert progress.step == run.groups.num_steps
    assert progress.counts["trained"] == len(specs)
    assert progress.counts["batched"] == 0
    assert progress.books.trained == len(specs)
    assert (progress.books.lost, progress.books.doubled) == (0, 0)
    run.call("close")
    stored = {one.spec: one.env["play"] for one in read_trajectories(run.traces)}
    for one in run.trained:
        assert stored[one.spec] == one.env["play"]


@pytest.mark.parametrize("max_staleness", [0, 1])
def test_episodes_are_let_in_by_the_version_that_is_served(
    tmp_path: Path, started: Any, max_staleness: int
) -> None:
    run = started(tmp_path, max_staleness=max_staleness)
    run.learn()
    trained_once(run)
    versions = [play["version"] for play in run.plays()]
    assert versions == sorted(versions)
    # Nothing is played that no step has a place for.
    for version in (1, 2, 3):
        begun = sum(played <= version for played in versions)
        assert begun <= 4 * min(version + max_staleness, 3)
    if max_staleness == 0:
        assert versions == [1] * 4 + [2] * 4 + [3] * 4
    assert not any(play["is_pinned"] for play in run.plays())


def test_shares_of_two_ranks_are_the_batch_and_stay_the_same(tmp_path: Path, started: Any) -> None:
    run = started(tmp_path, num_ranks=2, num_steps=1)
    run.call("serve", 1)
    first, second = run.share(0, 0), run.share(0, 1)
    places = [(piece.group, piece.number) for share in (first, second) for piece in share.mine]
    assert sorted(places) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert first.groups == second.groups
    assert run.share(0, 0) == first
    for piece in first.mine:
        whole: Trajectory = ray.get(piece.trajectory)
        assert whole.spec == piece.spec
        credit = first.groups[piece.group][piece.number]
        assert credit.rewards_T == tuple(turn.reward for turn in whole.turns)


def test_the_step_after_is_waited_for_while_one_is_committed(tmp_path: Path, started: Any) -> None:
    run = started(tmp_path)
    run.call("serve", 1)
    run.share(0, 0)
    waiting = run.ledger.batch.remote(1, 0, 1)
    run.learn(1)
    assert ray.get(waiting).step == 1


def test_a_killed_worker_costs_nothing_but_its_plays(tmp_path: Path, started: Any) -> None:
    run = started(tmp_path, make_worker=functools.partial(stand, seconds=2.0))
    run.call("serve", 1)
    wait_for(lambda: (tmp_path / "plays.jsonl").exists())
    kill_worker(run.workers[0])
    run.learn()
    trained_once(run)
    assert run.call("progress").num_replayed > 0


@pytest.mark.parametrize("point", ["trained", "snapshot", "in place", "committed", "served"])
def test_a_killed_ledger_goes_on_from_the_last_checkpoint(
    tmp_path: Path, started: Any, point: str
) -> None:
    """With kill -9 in the second step."""
    killed: list[str] = []

    def kill(where: str, step: int) -> None:
        if (where, step) == (point, 1) and not killed:
            killed.append(where)
            kill_ledger()
            run.call("progress")  # its successor has read the checkpoint that is in place now

    run = started(tmp_path, kill=kill)
    run.learn()
    assert killed
    # What ranks had of a ledger that is no more is not committed: the step is taken anew.
    assert run.num_refused == (point == "trained")
    trained_once(run)


def test_what_was_written_is_not_played_again(tmp_path: Path, started: Any) -> None:
    run = started(tmp_path, max_staleness=0)
    run.learn(1)
    run.share(1, 0)
    wait_for(lambda: (tmp_path / "traces/episodes/part-group-000003.parquet").exists())
    wait_for(lambda: (tmp_path / "traces/episodes/part-group-000002.parquet").exists())
    kill_ledger()
    run.learn()
    trained_once(run)
    assert len(run.plays()) == 4 * 3


def test_a_lost_object_is_read_from_the_traces(tmp_path: Path, started: Any) -> None:
    run = started(tmp_path)
    run.call("serve", 1)
    before = run.share(0, 0)
    piece = before.mine[0]
    part = f"traces/episodes/part-group-{piece.group:06d}.parquet"
    wait_for(lambda: (tmp_path / part).exists())
    run.call("lost", [piece.spec.id, "seed_9999-sample_00"])
    after = run.share(0, 0)
    assert after.groups == before.groups
    assert after.mine[0].trajectory != piece.trajectory
    assert ray.get(after.mine[0].trajectory) == ray.get(piece.trajectory)
    run.learn()
    trained_once(run)


def test_a_lost_object_that_is_being_written_is_waited_for(tmp_path: Path, started: Any) -> None:
    run = started(tmp_path, writer=SlowWriter)
    run.call("serve", 1)
    piece = run.share(0, 0).mine[0]
    run.call("lost", [piece.spec.id])
    run.learn()
    trained_once(run)
    assert [play["spec"] for play in run.plays()].count(piece.spec.id) == 1


def test_what_is_trained_or_dropped_leaves_the_object_store(tmp_path: Path, started: Any) -> None:
    before = num_stored()
    make_worker = functools.partial(stand, frame_bytes=200_000, flat_seeds=[9])
    run = started(tmp_path, make_worker=make_worker, evaluation_seeds=(50, 51))
    run.call("evaluate", 0, 1)
    run.call("serve", 1)
    run.share(0, 0)
    assert num_stored() - before >= 4
    run.learn()
    wait_for(lambda: run.call("evaluations"))
    assert run.call("progress").counts["dropped"] > 0
    trained_once(run)
    wait_for(lambda: num_stored() == before)


def test_an_evaluation_is_played_with_its_version_and_not_trained(
    tmp_path: Path, started: Any
) -> None:
    run = started(tmp_path, evaluation_seeds=(50, 51))
    run.call("evaluate", 0, 1)
    run.learn()
    (done,) = wait_for(lambda: run.call("evaluations"))
    assert (done.step, done.version) == (0, 1)
    assert [world.seed for world in done.worlds] == [50, 51]
    assert done.mean_return == 2.0
    assert not any(one.spec.seed >= 50 for one in run.trained)
    trained_once(run)
    evaluated = [play for play in run.plays() if play["is_pinned"]]
    assert [play["version"] for play in evaluated] == [1, 1]


def test_an_evaluation_survives_the_ledger(tmp_path: Path, started: Any) -> None:
    run = started(tmp_path, evaluation_seeds=(50, 51))
    run.learn(1)
    run.call("evaluate", 1, 2)
    run.call("evaluate", 1, 2)
    (done,) = wait_for(lambda: run.call("evaluations"))
    wait_for(lambda: (tmp_path / "traces/episodes/part-evaluation-000002.parquet").exists())
    kill_ledger()
    assert run.call("evaluations") == ()
    run.call("evaluate", 1, 2)
    assert wait_for(lambda: run.call("evaluations")) == (done,)
    assert sum(play["is_pinned"] for play in run.plays()) == 2


def test_a_version_is_in_use_while_an_episode_is_played_with_it(
    tmp_path: Path, started: Any
) -> None:
    run = started(tmp_path, make_worker=functools.partial(stand, seconds=2.0), max_staleness=1)
    run.call("serve", 1)
    wait_for(lambda: (tmp_path / "plays.jsonl").exists())
    assert run.call("serve", 1) == (1,)
    with pytest.raises(ValueError, match="version 2 after 0 committed steps"):
        run.call("serve", 2)
    run.learn(1)
    assert run.call("serve", 2)[-1] == 2


def test_a_fatal_refusal_ends_the_run_and_tells_the_ranks(tmp_path: Path, started: Any) -> None:
    run = started(tmp_path, make_worker=functools.partial(stand, refuses="key refused"))
    run.call("serve", 1)
    with pytest.raises(RayTaskError) as failure:
        ray.get(run.running)
    assert isinstance(failure.value.cause, FatalPolicyError)
    with pytest.raises(FatalPolicyError, match=r"^key refused$"):
        run.call("batch", 0, 0, 1)


def test_groups_in_vain_end_the_run_with_the_reason(tmp_path: Path, started: Any) -> None:
    run = started(tmp_path, make_worker=functools.partial(stand, reward=1.0))
    run.call("serve", 1)
    with pytest.raises(RayTaskError) as failure:
        ray.get(run.running)
    assert isinstance(failure.value.cause, RunError)
    assert "zero variance: 4" in str(failure.value.cause)


def test_when_it_is_closed_the_run_ends(tmp_path: Path, started: Any) -> None:
    run = started(tmp_path, num_steps=1)
    run.learn()
    run.call("close")
    assert ray.get(run.running) is None
    trained_once(run)
