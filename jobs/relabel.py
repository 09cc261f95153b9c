"""What the scripted teacher, watching, would have done: worked out ahead, on all cores.

The teacher's thinking is four fifths of an export that asks for it.
"""

import itertools
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from cluster.errors import RunError
from cluster.types import EpisodeSpec, Observation, Trajectory
from learners.curation.rows import Answer

Episode = tuple[str, Trajectory]


class Relabeller:
    """Hand it the episodes, then ask it about each in turn. A context manager."""

    def __init__(self, max_actions: int) -> None:
        self._max_actions = max_actions
        num_processes = len(os.sched_getaffinity(0))
        self._num_ahead = 2 * num_processes
        # Not forked: the parent has threads.
        self._pool = ProcessPoolExecutor(num_processes, get_context("spawn"), _ignore_interrupt)
        self._current: Future[list[Answer]] = Future()

    def __enter__(self) -> "Relabeller":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def ahead(self, episodes: Iterable[Episode]) -> Iterator[Episode]:
        """The same episodes, while the teacher thinks about those to come."""
        coming = iter(episodes)
        waiting: deque[tuple[Episode, Future[list[Answer]]]] = deque()
        while True:
            for episode in itertools.islice(coming, self._num_ahead - len(waiting)):
                waiting.append((episode, self._submit(episode[1])))
            if not waiting:
                return
            episode, self._current = waiting.popleft()
            yield episode

    def answers(self, _trajectory: Trajectory) -> Sequence[Answer]:
        """Of the episode that came last.

        Raises:
            RunError: a process that thought about it was killed.
        """
        try:
            return self._current.result()
        except BrokenProcessPool:
            raise RunError("a process of the export was killed: is there memory enough?") from None

    def _submit(self, trajectory: Trajectory) -> Future[list[Answer]]:
        observations = [turn.observation for turn in trajectory.turns]
        return self._pool.submit(watch, trajectory.spec, observations, self._max_actions)


def watch(spec: EpisodeSpec, observations: Sequence[Observation], max_actions: int) -> list[Answer]:
    """The teacher's answer at each decision of an episode that somebody else plays."""
    from actors.policies.vllm import sampling_seed
    from actors.teacher.teacher import Teacher

    teacher = Teacher(max_actions, seed=sampling_seed(spec, 0))
    decisions = [teacher.decide(observation) for observation in observations]
    return [Answer(d.actions[:max_actions], d.rationale) for d in decisions]


def _ignore_interrupt() -> None:
    """Ctrl-C is the parent's to tell of."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
