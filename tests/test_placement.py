"""Placement: what fits, and what is said of what does not."""

import pytest

from cluster.errors import UserError
from cluster.placement import Node, Role, plan

WORKER = Role(name="worker", count=2, cpus=0.25)


def test_replicas_and_workers_fit_on_a_laptop() -> None:
    replica = Role(name="replica", count=1, cpus=1)
    placed = plan([WORKER, replica], [Node(name="here", cpus=2)]).placed
    assert placed == {"worker": {"here": 2}, "replica": {"here": 1}}


def test_a_replica_is_never_split_over_nodes() -> None:
    replica = Role(name="replica", count=1, cpus=1, gpus=2)
    nodes = [Node(name="a", cpus=8, gpus=1), Node(name="b", cpus=8, gpus=1)]
    with pytest.raises(UserError, match=r"no room for 1 of 1 replica \(1 CPU \+ 2 GPU each\)"):
        plan([replica], nodes)


def test_gpu_replicas_are_placed_before_workers_take_their_cpus() -> None:
    replica = Role(name="replica", count=1, cpus=4, gpus=1)
    workers = Role(name="worker", count=4, cpus=1)
    nodes = [Node(name="gpu", cpus=4, gpus=1), Node(name="cpu", cpus=4)]
    placed = plan([workers, replica], nodes).placed
    assert placed == {"worker": {"cpu": 4}, "replica": {"gpu": 1}}


def test_what_is_missing_is_said_with_what_there_is() -> None:
    replica = Role(name="replica", count=3, cpus=1)
    with pytest.raises(UserError) as caught:
        plan([WORKER, replica], [Node(name="here", cpus=2)])
    message = str(caught.value)
    assert "1 of 3 replica" in message
    assert "needed in all: 3.5 CPU" in message
    assert "free: 2 CPU on here" in message


def test_tenths_add_up() -> None:
    tenths = Role(name="worker", count=3, cpus=0.1)
    assert plan([tenths], [Node(name="here", cpus=0.3)]).placed["worker"] == {"here": 3}


def test_the_table_shows_every_role() -> None:
    table = plan([WORKER], [Node(name="here", cpus=2)]).table()
    assert "worker" in table
    assert "here x2" in table
