"""Which examples make each batch, and who gets which."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners.batch_plan import BatchPlan, balanced_weights, cut, deal

sizes = st.integers(1, 60)


@given(num_rows=sizes, batch_size=sizes, seed=st.integers(0, 2**32))
def test_every_row_comes_once_in_each_epoch(num_rows: int, batch_size: int, seed: int) -> None:
    plan = BatchPlan(num_rows, batch_size, seed)
    num_steps = -(-3 * num_rows // batch_size)
    stream = np.concatenate([plan.batch(step) for step in range(num_steps)])
    for epoch in range(3):
        part = stream[epoch * num_rows : (epoch + 1) * num_rows]
        assert sorted(part) == list(range(num_rows))


@given(batch_size=sizes, seed=st.integers(0, 2**32), step=st.integers(0, 10**6))
def test_a_batch_follows_from_the_seed_and_the_step_alone(
    batch_size: int, seed: int, step: int
) -> None:
    for weights_N in (None, np.arange(1.0, 31.0)):
        used = BatchPlan(30, batch_size, seed, weights_N)
        for earlier in range(3):
            used.batch(earlier)
        fresh = BatchPlan(30, batch_size, seed, weights_N)
        assert used.batch(step).tolist() == fresh.batch(step).tolist()


def test_epochs_and_seeds_differ() -> None:
    plan = BatchPlan(50, 50, seed=1)
    assert plan.batch(0).tolist() != plan.batch(1).tolist()
    assert plan.batch(0).tolist() != BatchPlan(50, 50, seed=2).batch(0).tolist()


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=60),
    num_workers=st.integers(1, 9),
    micro_batch_size=st.integers(1, 9),
)
def test_parts_are_disjoint_and_complete(
    lengths: list[int], num_workers: int, micro_batch_size: int
) -> None:
    rows, lengths_N = np.arange(len(lengths)), np.array(lengths)
    parts = deal(rows, lengths_N, num_workers)
    assert len(parts) == num_workers
    assert sorted(np.concatenate(parts)) == list(rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for part in parts:
        pieces = cut(part, micro_batch_size)
        assert [row for piece in pieces for row in piece] == list(part)
        assert all(0 < len(piece) <= micro_batch_size for piece in pieces)


def test_a_row_that_comes_twice_is_dealt_twice() -> None:
    parts = deal(np.array([4, 4, 2]), np.full(9, 7), 2)
    assert sorted(np.concatenate(parts)) == [2, 4, 4]


def test_workers_get_nearly_as_many_tokens() -> None:
    rng = np.random.default_rng(0)
    lengths_N = rng.integers(100, 1000, 64)
    tokens = [int(lengths_N[part].sum()) for part in deal(np.arange(64), lengths_N, 4)]
    assert max(tokens) / min(tokens) < 1.02


def test_pieces_are_of_like_length() -> None:
    lengths_N = np.array([9, 1, 8, 2, 7, 3])
    (part,) = deal(np.arange(6), lengths_N, 1)
    assert [lengths_N[piece].tolist() for piece in cut(part, 2)] == [[9, 8], [7, 3], [2, 1]]


def test_balance_draws_rare_first_actions_as_often_as_others() -> None:
    actions = [("do",)] * 90 + [("sleep", "do")] * 10
    shares = {}
    for balance in (0.5, 1.0):
        plan = BatchPlan(100, 20_000, 0, balanced_weights(actions, balance))
        count = Counter(actions[row][0] for row in plan.batch(0))
        shares[balance] = count["sleep"] / 20_000
    assert shares[1.0] == pytest.approx(0.5, abs=0.01)
    # 10 x (1 / 0.1) ^ 0.5 against 90 x (1 / 0.9) ^ 0.5
    assert shares[0.5] == pytest.approx(0.25, abs=0.01)


def test_without_balance_nothing_is_weighted() -> None:
    assert balanced_weights([("do",), ("sleep",)], 0.0) is None


def test_no_examples_make_no_batches() -> None:
    with pytest.raises(ValueError, match="no examples"):
        BatchPlan(0, 4, 0)
