"""Which decisions each update learns from: all of them, once, and the same for every rank."""

from cluster.credit import Credit
from learners.rl.plan import Place, updates_of


def groups(*lengths: tuple[int, ...]) -> list[list[Credit]]:
    """Of each play's number of decisions."""
    return [
        [
            Credit(rewards_T=(0.0,) * num, steps_T=tuple(range(num)), is_terminal=True)
            for num in group
        ]
        for group in lengths
    ]


def updates(minibatch_size: int = 4, seed: int = 0, step: int = 0) -> list[list[Place]]:
    return updates_of(groups((3, 1), (2, 3)), minibatch_size, seed, step)


def test_every_decision_comes_once() -> None:
    expected = [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0), (1, 0, 0), (1, 0, 1)]
    expected += [(1, 1, 0), (1, 1, 1), (1, 1, 2)]
    assert sorted(place for update in updates() for place in update) == expected


def test_there_are_as_few_updates_as_there_must_be_of_nearly_one_size() -> None:
    assert [len(update) for update in updates(minibatch_size=4)] == [3, 3, 3]
    assert [len(update) for update in updates(minibatch_size=8)] == [5, 4]
    assert [len(update) for update in updates(minibatch_size=9)] == [9]


def test_the_order_follows_from_seed_and_step() -> None:
    assert updates(seed=1, step=2) == updates(seed=1, step=2)
    assert updates(seed=1, step=2) != updates(seed=1, step=3)
    assert updates(seed=1, step=2) != updates(seed=2, step=2)
