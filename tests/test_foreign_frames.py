"""The control: one world's game, another world's pictures."""

import numpy as np

from actors.foreign_frames import ForeignFrames
from actors.game import Game
from cluster.names import ACTIONS
from configs.play import EnvConfig


def test_the_game_is_the_own_world_s_and_the_picture_another_one_s() -> None:
    own, control = Game(EnvConfig(), 7), ForeignFrames(EnvConfig(), 7)
    for action in ACTIONS * 2:
        assert control.step(action) == own.step(action)
        assert control.observe() == own.observe()
    assert (control.draw(72) != own.draw(72)).any()


def test_the_picture_moves_with_the_actions() -> None:
    control = ForeignFrames(EnvConfig(), 7)
    before = control.draw(72)
    for action in ("move_left", "move_left", "move_up", "move_up"):
        control.step(action)
    assert (control.draw(72) != before).any()


def test_the_game_goes_on_when_the_world_that_is_shown_is_over() -> None:
    control = ForeignFrames(EnvConfig(), 7)
    control._is_shown_over = True
    picture = control.draw(72)
    control.step("move_left")
    assert control.observe().step == 1
    assert np.array_equal(control.draw(72), picture)
