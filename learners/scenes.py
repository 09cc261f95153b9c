"""What pre-training is made of: pictures out of traces, questions about them, requests to play."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from actors.prompt import render
from actors.tool import render_call
from cluster.names import ACTIONS
from cluster.types import Trajectory
from configs.play import PromptConfig
from learners.example import NO_LABEL, Example, answered
from learners.language import Language
from learners.reading import (
    NUM_CELLS,
    NUM_READABLE,
    REQUEST,
    Balance,
    Sight,
    balance_of,
    cell_answer,
    frame_weights,
    reading,
    sight_of,
)


@dataclass(frozen=True, slots=True)
class Scene:
    """One recorded decision: what its picture shows, and some request to play on from there."""

    sight: Sight
    system: str
    text: str
    max_actions: int


def scenes_of(trajectories: Iterable[Trajectory], seed: int) -> Iterator[Scene]:
    """Every decision that has a picture; how its request looks is drawn at random."""
    rng = np.random.default_rng(seed)
    for trajectory in trajectories:
        for index, turn in enumerate(trajectory.turns):
            if turn.frame is None:
                continue
            settings = _prompt_settings(rng)
            past = trajectory.turns[max(index - settings.recent_turns, 0) : index]
            request = render(turn.observation, turn.frame, past, settings)
            sight = sight_of(turn.frame, turn.observation)
            yield Scene(sight, request.system, request.text, settings.max_actions)


def _prompt_settings(rng: np.random.Generator) -> PromptConfig:
    return PromptConfig(
        image_only=bool(rng.random() < 0.5),
        map_style="grid" if rng.random() < 0.5 else "words",
        recent_turns=4 if rng.random() < 0.7 else 0,
        max_actions=int(rng.integers(1, 9)),
    )


class Lessons:
    """Examples of pre-training, each drawn by (seed, step) alone."""

    def __init__(self, scenes: Sequence[Scene], language: Language, play_share: float) -> None:
        sights = [scene.sight for scene in scenes]
        self._scenes = scenes
        self._language = language
        self._play_share = play_share
        self._balance: Balance = balance_of(sights)
        self._cumulative_weights = np.cumsum(frame_weights(sights))
        self._id = lru_cache(maxsize=None)(language.id_of)

    def batch(self, seed: int, step: int, size: int) -> list[Example]:
        """The examples of a step; rare pictures come more often than they were recorded."""
        rng = np.random.default_rng((seed, step))
        places = np.searchsorted(self._cumulative_weights, rng.random(size))
        scenes = [self._scenes[min(place, len(self._scenes) - 1)] for place in places.tolist()]
        return [
            self._play(scene, rng) if rng.random() < self._play_share else self._read(scene, rng)
            for scene in scenes
        ]

    def _read(self, scene: Scene, rng: np.random.Generator) -> Example:
        images = (scene.sight.frame,)
        prompt = self._language.prompt_ids("", REQUEST, images, None)
        questions = reading(scene.sight, self._balance, rng)
        words = [word for question in questions for word in question]
        ids_L = np.array([*prompt, *(self._id(word) for word, _ in words)], np.int64)
        labels_L = np.full(len(ids_L), NO_LABEL, np.int64)
        for place, (_, is_answer) in enumerate(words, start=len(prompt)):
            if is_answer:
                labels_L[place - 1] = ids_L[place]
        return self._with_cells(Example(ids_L, labels_L, images), scene.sight)

    def _play(self, scene: Scene, rng: np.random.Generator) -> Example:
        images = (scene.sight.frame,)
        count = int(rng.integers(1, scene.max_actions + 1))
        actions = [ACTIONS[index] for index in rng.integers(len(ACTIONS), size=count)]
        prompt = self._language.prompt_ids(scene.system, scene.text, images, scene.max_actions)
        answer = self._language.completion_ids(render_call(actions))
        return self._with_cells(answered(prompt, answer, images), scene.sight)

    def _with_cells(self, example: Example, sight: Sight) -> Example:
        """Each token of the picture also says what its own cell holds.

        This teaches the tower at once, before the model can find a cell that it is asked for.
        """
        places = np.flatnonzero(example.ids_L == self._language.image_id)
        if len(places) != NUM_CELLS:
            raise ValueError(f"a picture of {len(places)} tokens, not one for each cell")
        answers = [self._id(cell_answer(sight, cell)) for cell in range(NUM_READABLE)]
        example.labels_L[places[:NUM_READABLE]] = answers
        return example
