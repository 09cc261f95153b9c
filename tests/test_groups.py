"""The account of groups: each rule by an example worked by hand. Any order: test_groups_order."""

import json
import pickle
from collections.abc import Sequence
from typing import Any

import pytest

from cluster.errors import RunError
from cluster.training.batches import Finished, Group, deal_out
from cluster.training.groups import Groups
from cluster.training.setup import GroupSetup
from cluster.types import EpisodeSpec


def zero_variance(rewards: Sequence[float]) -> str:
    return "zero variance" if len(set(rewards)) == 1 else ""


def setup(**values: Any) -> GroupSetup:
    return GroupSetup(
        **{
            "seeds": (7, 8, 9),
            "group_size": 2,
            "groups_per_step": 2,
            "num_steps": 4,
            "max_staleness": 1,
            "max_held_bytes": 1000,
            "max_consecutive_drops": 3,
            **values,
        }
    )


def started(**values: Any) -> Groups[float]:
    return Groups(setup(**values), zero_variance)


def play(groups: Groups[float], group: Group[float], version: int, num_bytes: int = 10) -> None:
    """All of a group comes in, with different rewards."""
    for reward, spec in enumerate(group.specs):
        assert groups.finished(spec, version, num_bytes, float(reward)) == ()


def batch_of(groups: Groups[float], step: int) -> list[int] | None:
    """Indices."""
    batch = groups.batch(step)
    return None if batch is None else [group.index for group in batch]


def numbers(groups: Groups[float]) -> tuple[int, ...]:
    """Episodes playing, finished, batched, trained, dropped."""
    counts = groups.counts()
    return tuple(
        counts[state] for state in ("playing", "finished", "batched", "trained", "dropped")
    )


def spec(seed: int, sample: int) -> EpisodeSpec:
    return EpisodeSpec(seed=seed, sample=sample)


# Admission


def test_a_group_plays_one_world_and_the_next_round_plays_new_samples() -> None:
    groups = started(max_staleness=3)
    worlds = [group.specs for group in groups.admit(0)]
    assert worlds[0] == (spec(7, 0), spec(7, 1))
    assert worlds[2] == (spec(9, 0), spec(9, 1))
    assert worlds[3] == (spec(7, 2), spec(7, 3))
    assert [setup().index(one) for group in worlds for one in group] == [
        index for index in range(8) for _ in range(2)
    ]


@pytest.mark.parametrize(("max_staleness", "num"), [(0, 2), (1, 4), (2, 6), (3, 8), (9, 8)])
def test_admission_is_bounded_by_staleness_and_by_the_run(max_staleness: int, num: int) -> None:
    groups = started(max_staleness=max_staleness)
    assert [group.index for group in groups.admit(0)] == list(range(num))
    assert groups.admit(0) == []


def test_synchronous_groups_are_admitted_when_the_new_version_is_served() -> None:
    groups = started(max_staleness=0)
    for group in groups.admit(0):
        play(groups, group, 0)
    assert batch_of(groups, 0) == [0, 1]
    groups.committed(0)
    assert groups.admit(0) == []
    assert [(group.index, group.version) for group in groups.admit(1)] == [(2, 1), (3, 1)]


def test_a_version_that_does_not_exist_yet_cannot_be_played() -> None:
    with pytest.raises(ValueError, match="no version 1 after 0 steps"):
        started().admit(1)


def test_each_world_is_given_once() -> None:
    with pytest.raises(ValueError, match="once"):
        setup(seeds=(1, 1))


def test_bytes_that_are_held_stop_admission_but_never_the_next_batch() -> None:
    groups = started(max_held_bytes=20, max_consecutive_drops=9)
    group = groups.admit(0)[0]
    groups.failed(group.specs[0], "its worker died")
    play(groups, groups.admit(0)[0], 0, num_bytes=10)
    assert groups.held_bytes == 20
    for one in (spec(8, 0), spec(9, 0)):
        groups.failed(one, "its worker died")
    # Open are 3 (not played) and 4 (played): enough for a batch.
    assert groups.admit(0) == []
    groups.failed(spec(7, 2), "its worker died")
    assert [group.index for group in groups.admit(0)] == [5]
    assert groups.admit(0) == []


def test_episodes_under_way_count_by_what_came_in_so_far() -> None:
    groups = started(max_held_bytes=70, max_staleness=2, max_consecutive_drops=9)
    first = groups.admit(0)
    assert len(first) == 6
    play(groups, first[0], 0, num_bytes=10)
    for group in first[1:]:
        groups.failed(group.specs[0], "its worker died")
    # Held are 20. Each group under way is going to add 20 more: with 2 of them there is room for
    # a third, with 3 there is none.
    assert len(groups.admit(0)) == 3


# Episodes


def test_a_failed_episode_drops_its_group_and_lets_another_in() -> None:
    groups = started(max_staleness=0)
    first, second = groups.admit(0)
    groups.finished(first.specs[0], 0, 10, 1.0)
    assert groups.failed(first.specs[1], "its worker died") == first.specs
    assert groups.held_bytes == 0
    assert groups.drops() == {"its worker died": 1}
    assert [group.index for group in groups.admit(0)] == [2]
    assert numbers(groups) == (4, 0, 0, 0, 2)
    play(groups, second, 0)


def test_what_comes_in_for_a_dropped_group_is_discarded() -> None:
    groups = started(group_size=3)
    group = groups.admit(0)[0]
    groups.failed(group.specs[0], "its worker died")
    assert groups.finished(group.specs[1], 0, 10, 1.0) == (group.specs[1],)
    assert groups.failed(group.specs[2], "its worker died") == (group.specs[2],)
    assert groups.num_discarded == 2
    assert groups.drops() == {"its worker died": 1}


def test_the_judge_is_asked_when_a_group_is_whole() -> None:
    groups = started()
    group = groups.admit(0)[0]
    assert groups.finished(group.specs[1], 0, 10, 1.0) == ()
    assert groups.finished(group.specs[0], 0, 10, 1.0) == group.specs
    assert groups.drops() == {"zero variance": 1}


def test_the_judge_sees_the_samples_in_order() -> None:
    groups = Groups[float](setup(), str)
    group = groups.admit(0)[0]
    groups.finished(group.specs[1], 0, 10, 1.0)
    groups.finished(group.specs[0], 0, 10, 0.0)
    assert groups.drops() == {"[0.0, 1.0]": 1}


def test_too_many_drops_in_a_row_end_the_run_with_words() -> None:
    groups = started(max_staleness=3)
    admitted = groups.admit(0)
    groups.failed(admitted[0].specs[0], "lost")
    groups.failed(admitted[1].specs[0], "lost")
    play(groups, admitted[2], 0)
    groups.failed(admitted[3].specs[0], "lost")
    groups.finished(admitted[4].specs[0], 0, 10, 1.0)
    groups.finished(admitted[4].specs[1], 0, 10, 1.0)
    groups.finished(admitted[5].specs[0], 0, 10, 1.0)
    with pytest.raises(RunError, match=r"3 groups .*zero variance: 2, lost: 1.*raise max_cons"):
        groups.finished(admitted[5].specs[1], 0, 10, 1.0)


def test_broken_invariants_are_errors() -> None:
    groups = started()
    group = groups.admit(0)[0]
    groups.finished(group.specs[0], 0, 10, 1.0)
    with pytest.raises(ValueError, match="twice"):
        groups.finished(group.specs[0], 0, 10, 1.0)
    with pytest.raises(ValueError, match="twice"):
        groups.failed(group.specs[0], "its worker died")
    with pytest.raises(ValueError, match="no version 1"):
        groups.finished(group.specs[1], 1, 10, 1.0)
    for unknown in (spec(6, 0), spec(8, 2)):
        with pytest.raises(ValueError, match="never admitted"):
            groups.finished(unknown, 0, 10, 1.0)


def test_a_turn_cannot_be_older_than_its_group() -> None:
    groups = started(max_staleness=0)
    for group in groups.admit(0):
        play(groups, group, 0)
    groups.batch(0)
    groups.committed(0)
    late = groups.admit(1)[0]
    with pytest.raises(ValueError, match="has version 0, admitted at 1"):
        groups.finished(late.specs[0], 0, 10, 1.0)


def test_a_trained_episode_cannot_come_in_again() -> None:
    groups = started()
    admitted = groups.admit(0)
    for group in admitted[:2]:
        play(groups, group, 0)
    groups.batch(0)
    groups.committed(0)
    with pytest.raises(ValueError, match="trained"):
        groups.finished(admitted[0].specs[0], 0, 10, 1.0)


# Batches


def test_a_batch_is_formed_of_what_is_ready_and_stays_the_same() -> None:
    groups = started(max_staleness=1)
    admitted = groups.admit(0)
    play(groups, admitted[3], 0)
    assert groups.batch(0) is None
    play(groups, admitted[1], 0)
    assert batch_of(groups, 0) == [1, 3]
    play(groups, admitted[0], 0)
    assert batch_of(groups, 0) == [1, 3]
    assert numbers(groups) == (2, 2, 4, 0, 0)
    assert groups.committed(0)
    assert numbers(groups) == (2, 2, 0, 4, 0)
    assert groups.held_bytes == 20


def test_what_would_become_too_old_is_waited_for() -> None:
    groups = started(max_staleness=1)
    old = groups.admit(0)
    play(groups, old[0], 0)
    play(groups, old[1], 0)
    groups.batch(0)
    groups.committed(0)
    new = groups.admit(1)
    play(groups, new[0], 1)
    play(groups, new[1], 1)
    play(groups, old[3], 0)
    # Group 2 has version 0: this is the last step it may be trained in.
    assert groups.batch(1) is None
    play(groups, old[2], 0)
    assert batch_of(groups, 1) == [2, 3]


def test_the_young_do_not_take_the_places_that_the_old_will_need() -> None:
    """With nobody too old yet, but two who will be, and one place for them."""
    groups = started(max_staleness=2, groups_per_step=1)
    old = groups.admit(0)
    play(groups, old[1], 0)
    assert batch_of(groups, 0) == [1]
    groups.committed(0)
    play(groups, groups.admit(1)[0], 1)
    # Groups 0 and 2, of version 0, both had to be trained in step 2.
    assert groups.batch(1) is None
    play(groups, old[2], 0)
    assert batch_of(groups, 1) == [2]


def test_the_oldest_are_taken_first() -> None:
    groups = started(max_staleness=1, groups_per_step=1)
    for group in groups.admit(0):
        play(groups, group, 0)
    assert batch_of(groups, 0) == [0]
    groups.committed(0)
    play(groups, groups.admit(1)[0], 1)
    assert batch_of(groups, 1) == [1]


def test_only_the_step_that_is_due_has_a_batch() -> None:
    groups = started(num_steps=1, max_staleness=0)
    for group in groups.admit(0):
        play(groups, group, 0)
    with pytest.raises(ValueError, match="not due"):
        groups.batch(1)
    groups.batch(0)
    groups.committed(0)
    for step in (0, 1):
        with pytest.raises(ValueError, match="1 of 1 are done"):
            groups.batch(step)


def test_a_step_is_committed_once_and_after_its_batch() -> None:
    groups = started()
    for group in groups.admit(0)[:2]:
        play(groups, group, 0)
    with pytest.raises(ValueError, match="no batch"):
        groups.committed(0)
    groups.batch(0)
    with pytest.raises(ValueError, match="no batch"):
        groups.committed(1)
    assert groups.committed(0)
    assert not groups.committed(0)
    assert groups.step == 1
    with pytest.raises(ValueError, match="no batch"):
        groups.committed(1)


def test_a_batch_travels_between_processes() -> None:
    groups = started()
    for group in groups.admit(0)[:2]:
        play(groups, group, 0)
    batch = groups.batch(0)
    assert batch is not None
    assert pickle.loads(pickle.dumps(batch)) == batch


# Losses


def test_a_batch_waits_for_a_lost_episode_and_is_the_same_afterwards() -> None:
    groups = started()
    admitted = groups.admit(0)
    for group in admitted[:3]:
        play(groups, group, 0)
    assert batch_of(groups, 0) == [0, 1]
    assert groups.lost(admitted[0].specs[1])
    assert groups.batch(0) is None
    assert numbers(groups) == (3, 2, 3, 0, 0)
    with pytest.raises(ValueError, match="had not come in"):
        groups.lost(admitted[0].specs[1])
    groups.finished(admitted[0].specs[1], 0, 10, 5.0)
    batch = groups.batch(0)
    assert batch is not None
    assert [played.facts for played in batch[0].episodes] == [0.0, 5.0]
    assert [group.index for group in batch] == [0, 1]


def test_a_place_in_a_batch_is_given_away_if_what_was_lost_never_comes() -> None:
    groups = started()
    admitted = groups.admit(0)
    for group in admitted[:3]:
        play(groups, group, 0)
    groups.batch(0)
    groups.lost(admitted[0].specs[1])
    groups.failed(admitted[0].specs[1], "its worker died")
    with pytest.raises(ValueError, match="no batch"):
        groups.committed(0)
    assert batch_of(groups, 0) == [1, 2]


def test_a_lost_episode_makes_its_group_unready() -> None:
    groups = started()
    admitted = groups.admit(0)
    play(groups, admitted[0], 0)
    play(groups, admitted[1], 0)
    groups.lost(admitted[0].specs[0])
    assert groups.batch(0) is None
    play(groups, admitted[2], 0)
    assert batch_of(groups, 0) == [1, 2]


def test_a_loss_after_the_checkpoint_changes_nothing() -> None:
    groups = started()
    admitted = groups.admit(0)
    for group in admitted[:2]:
        play(groups, group, 0)
    groups.batch(0)
    again = admitted[0].specs[0]
    assert groups.lost(again)
    assert groups.committed(0)
    assert groups.finished(again, 1, 10, 1.0) == (again,)
    assert groups.num_discarded == 1
    with pytest.raises(ValueError, match="trained"):
        groups.finished(again, 1, 10, 1.0)
    assert not groups.lost(again)
    assert numbers(groups) == (4, 0, 0, 4, 0)


# Shares


def batch_with_costs(*costs: Sequence[float]) -> list[Group[float]]:
    batch = []
    for index, of_group in enumerate(costs):
        specs = tuple(spec(index, sample) for sample in range(len(of_group)))
        played = {
            one: Finished(spec=one, version=0, num_bytes=0, facts=cost)
            for one, cost in zip(specs, of_group, strict=True)
        }
        batch.append(Group(index=index, version=0, specs=specs, played=played))
    return batch


def test_ranks_are_dealt_whole_episodes_the_longest_first() -> None:
    batch = batch_with_costs([3, 5], [8, 4])
    # 8 | 5 -> 8 | 5 4 -> 8 3 | 5 4
    assert deal_out(batch, 2, lambda played: played.facts) == (
        (spec(1, 0), spec(0, 0)),
        (spec(0, 1), spec(1, 1)),
    )


def test_episodes_that_cost_nothing_are_dealt_by_number() -> None:
    shares = deal_out(batch_with_costs([0, 0], [0, 0]), 2, lambda played: played.facts)
    assert shares == ((spec(0, 0), spec(1, 0)), (spec(0, 1), spec(1, 1)))


def test_one_rank_gets_everything_and_many_may_get_nothing() -> None:
    batch = batch_with_costs([1, 2])
    assert deal_out(batch, 1, lambda played: played.facts) == ((spec(0, 1), spec(0, 0)),)
    assert deal_out(batch, 3, lambda played: played.facts)[2] == ()


# Snapshots


def test_a_snapshot_goes_through_json_and_gives_an_equal_account() -> None:
    groups = started()
    admitted = groups.admit(0)
    groups.failed(admitted[2].specs[0], "its worker died")
    groups.failed(admitted[2].specs[1], "its worker died")
    for group in admitted[:2]:
        play(groups, group, 0)
    groups.batch(0)
    groups.committed(0)
    groups.admit(1)
    groups.finished(admitted[3].specs[0], 0, 10, 1.0)
    text = json.dumps(groups.snapshot(1))
    again = Groups[float].restore(setup(), zero_variance, json.loads(text))
    assert json.dumps(again.snapshot(1)) == text
    assert again.drops() == {"its worker died": 1}
    assert again.num_discarded == 1
    # What had come in of an open group is to be played again.
    assert numbers(groups) == (7, 1, 0, 4, 2)
    assert numbers(again) == (8, 0, 0, 4, 2)


def test_the_snapshot_of_a_checkpoint_has_its_batch_trained() -> None:
    groups = started()
    with pytest.raises(ValueError, match="no batch"):
        groups.snapshot(1)
    for group in groups.admit(0)[:2]:
        play(groups, group, 0)
    groups.batch(0)
    before = groups.snapshot(1)
    groups.committed(0)
    assert groups.snapshot(1) == before
    with pytest.raises(ValueError, match="no batch"):
        groups.snapshot(0)


def test_after_a_restart_the_open_groups_are_played_with_the_version_served_now() -> None:
    groups = started()
    admitted = groups.admit(0)
    for group in admitted[:2]:
        play(groups, group, 0)
    groups.batch(0)
    groups.committed(0)
    again = Groups[float].restore(setup(), zero_variance, groups.snapshot(1))
    opened = again.reopen(1)
    assert [(group.index, group.version) for group in opened] == [(2, 1), (3, 1)]
    assert [group.specs for group in opened] == [group.specs for group in admitted[2:]]
    assert [group.index for group in again.admit(1)] == [4, 5]
    assert not again.committed(0)


def test_traces_may_be_read_back_with_the_version_they_were_played_with() -> None:
    groups = started()
    admitted = groups.admit(0)
    for group in admitted[:2]:
        play(groups, group, 0)
    groups.batch(0)
    again = Groups[float].restore(setup(), zero_variance, groups.snapshot(1))
    play(again, admitted[2], 0)
    again.finished(admitted[3].specs[0], 0, 10, 1.0)
    (opened,) = again.reopen(1)
    assert (opened.index, opened.version, opened.missing) == (3, 0, admitted[3].specs[1:])


def test_a_group_that_is_played_anew_is_younger_than_one_that_was_read_back() -> None:
    groups = started()
    admitted = groups.admit(0)
    for group in admitted[:2]:
        play(groups, group, 0)
    groups.batch(0)
    again = Groups[float].restore(setup(), zero_variance, groups.snapshot(1))
    play(again, admitted[3], 0)
    play(again, again.reopen(1)[0], 1)
    assert batch_of(again, 1) == [3, 2]


def test_a_stale_turn_is_never_handed_out_whatever_the_snapshot_says() -> None:
    snapshot = started().snapshot(0) | {"step": 2, "open": [[4, 0], [5, 0]]}
    groups = Groups[float].restore(setup(), zero_variance, snapshot)
    for index in (4, 5):
        for reward, one in enumerate(setup().specs(index)):
            groups.finished(one, 0, 10, reward)
    with pytest.raises(ValueError, match="seed_0008-sample_02 of version 0 in step 2"):
        groups.batch(2)


def test_a_run_that_cannot_learn_ends_in_spite_of_restarts() -> None:
    groups = started(max_staleness=3)
    admitted = groups.admit(0)
    for group in admitted[:2]:
        groups.failed(group.specs[0], "lost")
    again = Groups[float].restore(setup(), zero_variance, groups.snapshot(0))
    with pytest.raises(RunError, match="lost: 3"):
        again.failed(admitted[2].specs[0], "lost")
