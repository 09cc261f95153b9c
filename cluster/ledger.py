"""The account of a run's episodes: who plays what, what came back, what is safe on disk.

Pure: no Ray, no clock of its own. `cluster.ledger_actor` feeds it what happens.

    pending ──start──► playing ──result──► played ──trace durable──► finished
       ▲                  │ lost, overdue     │ result lost
       └──────────────────┴───────────────────┘        after max_attempts: dropped (why)

At any time the states add up to the episodes asked for and not forgotten. A run that keeps an
account of its own of what came in forgets it here at once.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from cluster.types import EpisodeSpec


class EpisodeState(StrEnum):
    """Where an episode stands."""

    PENDING = "pending"
    PLAYING = "playing"
    PLAYED = "played"
    """Its result is held; its trace is not durable yet."""
    FINISHED = "finished"
    """Its trace is durable."""
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of one episode."""

    spec: EpisodeSpec
    number: int
    worker: int


@dataclass(slots=True)
class Entry:
    """What the ledger knows of one episode."""

    spec: EpisodeSpec
    state: EpisodeState = EpisodeState.PENDING
    num_attempts: int = 0
    num_attempts_before: int = 0
    """Those of them from before it was last asked for, which don't count against it."""
    under_way: dict[int, Attempt] = field(default_factory=dict)
    until: dict[int, float] = field(default_factory=dict)
    """When each attempt under way is overdue."""
    overdue: set[int] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)
    is_forgotten: bool = False
    """Out of the account; stays here until nothing of it is under way."""


class Ledger:
    """The state machine."""

    def __init__(
        self, specs: Iterable[EpisodeSpec], max_attempts: int, timeout_s: float = 900.0
    ) -> None:
        self._entries = {spec.id: Entry(spec) for spec in specs}
        self._pending = deque(self._entries)
        self._counts = Counter({EpisodeState.PENDING: len(self._entries)})
        self._max_attempts = max_attempts
        self._timeout_s = timeout_s
        self.num_duplicates = 0
        """Results that came after another attempt's; discarded."""
        self.num_replayed = 0
        """Starts beyond an episode's first."""

    def ask(self, specs: Sequence[EpisodeSpec], first: bool = False) -> None:
        """More episodes to play; `first`: before all that wait.

        Raises:
            ValueError: one of them was asked for before, and not forgotten since.
        """
        for spec in specs:
            entry = self._entries.setdefault(spec.id, Entry(spec, is_forgotten=True))
            if not entry.is_forgotten:
                raise ValueError(f"{spec.id} was asked for before")
            entry.is_forgotten, entry.state = False, EpisodeState.PENDING
            entry.num_attempts_before = entry.num_attempts
            entry.reasons.clear()
            self._counts[EpisodeState.PENDING] += 1
        if first:
            self._pending.extendleft(spec.id for spec in reversed(specs))
        else:
            self._pending.extend(spec.id for spec in specs)

    def forget(self, specs: Iterable[EpisodeSpec]) -> None:
        """Take these out of the account: no more attempts at them.

        Of one that was not in yet, the first result is still accepted.
        """
        for spec in specs:
            entry = self._entries.get(spec.id)
            if entry is None or entry.is_forgotten:
                continue
            self._counts[entry.state] -= 1
            entry.is_forgotten = True
            if entry.state is EpisodeState.PENDING:
                self._pending.remove(spec.id)
                entry.state = EpisodeState.PLAYING
            self._clear_away(entry)

    def start(self, worker: int, now: float) -> Attempt | None:
        """Give `worker` the next pending episode that it is not already playing."""
        for _ in range(len(self._pending)):
            entry = self._entries[self._pending.popleft()]
            if all(attempt.worker != worker for attempt in entry.under_way.values()):
                return self._begin(entry, worker, now)
            self._pending.append(entry.spec.id)
        return None

    def _begin(self, entry: Entry, worker: int, now: float) -> Attempt:
        self.num_replayed += entry.num_attempts > 0
        attempt = Attempt(entry.spec, entry.num_attempts, worker)
        entry.until[attempt.number] = now + self._timeout_s
        entry.num_attempts += 1
        entry.under_way[attempt.number] = attempt
        self._move(entry, EpisodeState.PLAYING)
        return attempt

    def result(self, attempt: Attempt) -> bool:
        """An attempt came back. False: another was first, and this result is to be discarded."""
        entry = self._close(attempt)
        is_first = entry.state not in (EpisodeState.PLAYED, EpisodeState.FINISHED)
        if is_first:
            if entry.state is EpisodeState.PENDING:
                self._pending.remove(entry.spec.id)
            self._move(entry, EpisodeState.PLAYED)
        self.num_duplicates += not is_first
        self._clear_away(entry)
        return is_first

    def progressed(self, attempt: Attempt, now: float) -> None:
        """An attempt has taken another decision: its time begins anew."""
        entry = self._entries[attempt.spec.id]
        if attempt.number in entry.under_way:
            entry.until[attempt.number] = now + self._timeout_s

    def lost(self, attempt: Attempt, reason: str) -> None:
        """An attempt will not come back."""
        entry = self._close(attempt)
        entry.reasons.append(reason)
        if entry.state is EpisodeState.PLAYING and not self._is_in_hand(entry):
            self._again(entry)
        self._clear_away(entry)

    def expire(self, now: float) -> list[Attempt]:
        """Attempts that are newly overdue; each episode may now be started elsewhere too."""
        late = [
            attempt
            for entry in self._entries.values()
            if entry.state is EpisodeState.PLAYING
            for attempt in entry.under_way.values()
            if entry.until[attempt.number] <= now and attempt.number not in entry.overdue
        ]
        for attempt in late:
            entry = self._entries[attempt.spec.id]
            entry.overdue.add(attempt.number)
            entry.reasons.append(f"no decision for {self._timeout_s:g} s")
            if not self._is_in_hand(entry):
                self._again(entry)
        return late

    def result_lost(self, specs: Iterable[EpisodeSpec], reason: str) -> None:
        """Results that were held are gone before their traces were durable."""
        for spec in specs:
            entry = self._entry(spec, EpisodeState.PLAYED)
            entry.reasons.append(reason)
            self._again(entry)

    def durable(self, specs: Iterable[EpisodeSpec]) -> None:
        """The traces of these are safe."""
        for spec in specs:
            self._move(self._entry(spec, EpisodeState.PLAYED), EpisodeState.FINISHED)

    def counts(self) -> dict[str, int]:
        """How many episodes are in each state."""
        return {state.value: self._counts[state] for state in EpisodeState}

    def dropped(self) -> dict[str, Sequence[str]]:
        """Ids of dropped episodes and what each attempt died of."""
        return {entry.spec.id: tuple(entry.reasons) for entry in self._dropped()}

    def take_dropped(self) -> list[tuple[EpisodeSpec, str]]:
        """Dropped episodes and why, once: they are forgotten."""
        if not self._counts[EpisodeState.DROPPED]:
            return []
        dropped = [(entry.spec, "; ".join(entry.reasons)) for entry in self._dropped()]
        self.forget(spec for spec, _ in dropped)
        return dropped

    def _dropped(self) -> list[Entry]:
        return [e for e in self._entries.values() if e.state is EpisodeState.DROPPED]

    @property
    def is_settled(self) -> bool:
        """Nothing is left to play or to write."""
        counts = self.counts()
        return counts["finished"] + counts["dropped"] == sum(counts.values())

    def _close(self, attempt: Attempt) -> Entry:
        entry = self._entries[attempt.spec.id]
        if entry.under_way.pop(attempt.number, None) is None:
            raise ValueError(f"attempt {attempt.number} of {attempt.spec.id} is not under way")
        entry.overdue.discard(attempt.number)
        del entry.until[attempt.number]
        return entry

    def _is_in_hand(self, entry: Entry) -> bool:
        return len(entry.under_way) > len(entry.overdue)

    def _clear_away(self, entry: Entry) -> None:
        if entry.is_forgotten and not entry.under_way:
            self._entries.pop(entry.spec.id, None)

    def _again(self, entry: Entry) -> None:
        if entry.is_forgotten:
            return
        if entry.num_attempts - entry.num_attempts_before < self._max_attempts:
            self._move(entry, EpisodeState.PENDING)
            self._pending.append(entry.spec.id)
        else:
            self._move(entry, EpisodeState.PLAYING if entry.under_way else EpisodeState.DROPPED)

    def _move(self, entry: Entry, state: EpisodeState) -> None:
        if not entry.is_forgotten:
            self._counts[entry.state] -= 1
            self._counts[state] += 1
        entry.state = state

    def _entry(self, spec: EpisodeSpec, state: EpisodeState) -> Entry:
        entry = self._entries[spec.id]
        if entry.state is not state:
            raise ValueError(f"{spec.id} is {entry.state}, not {state}")
        return entry
