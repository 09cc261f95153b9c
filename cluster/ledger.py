"""The account of a run's episodes: who plays what, what came back, what is safe on disk.

Pure: no Ray, no clock of its own. `cluster.ledger_actor` feeds it what happens.

    pending ──start──► playing ──result──► played ──trace durable──► finished
       ▲                  │ lost, overdue     │ result lost
       └──────────────────┴───────────────────┘        after max_attempts: dropped (why)

At any time the states add up to the episodes asked for.
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
class _Entry:
    spec: EpisodeSpec
    state: EpisodeState = EpisodeState.PENDING
    num_attempts: int = 0
    under_way: dict[int, Attempt] = field(default_factory=dict)
    until: dict[int, float] = field(default_factory=dict)
    """When each attempt under way is overdue."""
    overdue: set[int] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)


class Ledger:
    """The state machine."""

    def __init__(
        self, specs: Iterable[EpisodeSpec], max_attempts: int, timeout_s: float = 900.0
    ) -> None:
        self._entries = {spec.id: _Entry(spec) for spec in specs}
        self._pending = deque(self._entries)
        self._counts = Counter({EpisodeState.PENDING: len(self._entries)})
        self._max_attempts = max_attempts
        self._timeout_s = timeout_s
        self.num_duplicates = 0
        """Results that came after another attempt's; discarded."""
        self.num_replayed = 0
        """Starts beyond an episode's first."""

    def start(self, worker: int, now: float) -> Attempt | None:
        """Give `worker` the next pending episode that it is not already playing."""
        for _ in range(len(self._pending)):
            entry = self._entries[self._pending.popleft()]
            if all(attempt.worker != worker for attempt in entry.under_way.values()):
                return self._begin(entry, worker, now)
            self._pending.append(entry.spec.id)
        return None

    def _begin(self, entry: _Entry, worker: int, now: float) -> Attempt:
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
        if entry.state in (EpisodeState.PLAYED, EpisodeState.FINISHED):
            self.num_duplicates += 1
            return False
        if entry.state is EpisodeState.PENDING:
            self._pending.remove(entry.spec.id)
        self._move(entry, EpisodeState.PLAYED)
        return True

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
        return {
            key: tuple(entry.reasons)
            for key, entry in self._entries.items()
            if entry.state is EpisodeState.DROPPED
        }

    @property
    def is_settled(self) -> bool:
        """Nothing is left to play or to write."""
        counts = self.counts()
        return counts["finished"] + counts["dropped"] == len(self._entries)

    def _close(self, attempt: Attempt) -> _Entry:
        entry = self._entries[attempt.spec.id]
        if entry.under_way.pop(attempt.number, None) is None:
            raise ValueError(f"attempt {attempt.number} of {attempt.spec.id} is not under way")
        entry.overdue.discard(attempt.number)
        del entry.until[attempt.number]
        return entry

    def _is_in_hand(self, entry: _Entry) -> bool:
        return len(entry.under_way) > len(entry.overdue)

    def _again(self, entry: _Entry) -> None:
        if entry.num_attempts < self._max_attempts:
            self._move(entry, EpisodeState.PENDING)
            self._pending.append(entry.spec.id)
        else:
            self._move(entry, EpisodeState.PLAYING if entry.under_way else EpisodeState.DROPPED)

    def _move(self, entry: _Entry, state: EpisodeState) -> None:
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        entry.state = state

    def _entry(self, spec: EpisodeSpec, state: EpisodeState) -> _Entry:
        entry = self._entries[spec.id]
        if entry.state is not state:
            raise ValueError(f"{spec.id} is {entry.state}, not {state}")
        return entry
