"""What a run needs of the cluster, where it would fit, and what is missing. Pure.

First fit, largest first: a bundle lies on one node whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """`count` actors of one kind, each with the same needs."""

    name: str
    count: int
    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What one node of the cluster has free."""

    name: str
    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """For each role, how many of its actors each node takes."""

    roles: tuple[Role, ...]
    placed: Mapping[str, Mapping[str, int]]
    """Role's name -> node's name -> actors."""

    def table(self) -> str:
        """The plan as people read it."""
        lines = [f"{'role':<12}{'actors':>7}{'CPUs each':>11}{'GPUs each':>11}  nodes"]
        for role in self.roles:
            nodes = ", ".join(f"{node} x{n}" for node, n in self.placed[role.name].items())
            lines.append(
                f"{role.name:<12}{role.count:>7}{role.cpus:>11g}{role.gpus:>11g}  {nodes or '-'}"
            )
        return "\n".join(lines)


def plan(roles: Sequence[Role], nodes: Sequence[Node]) -> Plan:
    """Fit every actor of every role on a node.

    Raises:
        UserError: the cluster can't hold it; says what is missing and what to lower.
    """
    free = {node.name: [node.cpus, node.gpus] for node in nodes}
    placed: dict[str, dict[str, int]] = {role.name: {} for role in roles}
    missing: list[str] = []
    for role in sorted(roles, key=lambda role: (-role.gpus, -role.cpus)):
        for number in range(role.count):
            node = _first_fit(role, free)
            if node is None:
                missing.append(_lack(role, role.count - number))
                break
            free[node][0] -= role.cpus
            free[node][1] -= role.gpus
            placed[role.name][node] = placed[role.name].get(node, 0) + 1
    if missing:
        raise UserError(
            f"the cluster has no room for {' and '.join(missing)}; needed in all: "
            f"{_total(roles)}; free: {_free(nodes)}. "
            "Lower cluster.num_workers, cluster.worker_cpus, engine.num_replicas or engine.cores, "
            "or add nodes."
        )
    return Plan(tuple(roles), placed)


def _first_fit(role: Role, free: Mapping[str, Sequence[float]]) -> str | None:
    # Ray counts in ten-thousandths; without the slack 0.1 + 0.2 would not fit into 0.3.
    slack = 1e-6
    return next(
        (
            name
            for name, (cpus, gpus) in free.items()
            if cpus + slack >= role.cpus and gpus + slack >= role.gpus
        ),
        None,
    )


def _lack(role: Role, count: int) -> str:
    return f"{count} of {role.count} {role.name} ({_amount(role.cpus, role.gpus)} each)"


def _total(roles: Sequence[Role]) -> str:
    return _amount(
        sum(role.count * role.cpus for role in roles), sum(role.count * role.gpus for role in roles)
    )


def _free(nodes: Sequence[Node]) -> str:
    parts = (f"{_amount(node.cpus, node.gpus)} on {node.name}" for node in nodes)
    return ", ".join(parts) or "no node at all"


def _amount(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU" + (f" + {gpus:g} GPU" if gpus else "")
