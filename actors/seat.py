"""Decide, before anything starts, how a player will be seated: what it sees, and if it can play."""

import asyncio
import os
from pathlib import Path
from typing import Any

from actors.adapter import check_adapter, read_adapter
from actors.episode import Table
from actors.foreign_frames import ForeignFrames
from actors.game import Game
from actors.model_files import frame_size, reads_pictures
from actors.players import AnyPlayer
from actors.worker import WorkerSetup
from cluster.errors import UserError
from cluster.names import CLASSIC_SIZE
from configs.jobs import PlayedRun
from configs.play import EnvConfig, PromptConfig
from configs.player import OpenAIPlayer, RandomPlayer, VllmPlayer


def check(player: AnyPlayer, run: PlayedRun) -> None:
    """Find out, before anything starts, whether `player` can play in `run`.

    Raises:
        UserError: it can't; says what to set.
    """
    seat(player, run, version=0)
    if isinstance(player, OpenAIPlayer):
        _check_endpoint(player, run.cluster.num_workers)
    if isinstance(player, RandomPlayer) and player.num_actions > run.prompt.max_actions:
        raise UserError(
            f"policy {player.name!r}: num_actions {player.num_actions} is more than "
            f"prompt.max_actions {run.prompt.max_actions}"
        )
    if not isinstance(player, VllmPlayer):
        return
    if run.prompt.history_frames > player.engine.max_images:
        raise UserError(
            f"prompt.history_frames {run.prompt.history_frames} is more than "
            f"engine.max_images {player.engine.max_images}: raise the second"
        )
    if player.adapter is not None and player.engine.lora is not None:
        check_adapter(read_adapter(Path(player.adapter)), player.engine.lora)


def _check_endpoint(player: OpenAIPlayer, num_workers: int) -> None:
    from actors.policies.openai import check_endpoint

    if num_workers > player.max_concurrency:
        raise UserError(
            f"policy {player.name!r}: max_concurrency {player.max_concurrency} can't be "
            f"divided among {num_workers} workers: raise it or lower cluster.num_workers"
        )
    asyncio.run(check_endpoint(player))


def seat(player: AnyPlayer, run: PlayedRun, version: int) -> WorkerSetup:
    """Everything the workers need to know of `player` in `run`.

    Raises:
        UserError: the player can't play, or can't see what it is to be shown.
    """
    sees = sees_pictures(player, run.prompt)
    return WorkerSetup(
        player=player,
        version=version,
        env=run.env,
        table=Table(
            player=player.name,
            model=player.model if isinstance(player, VllmPlayer | OpenAIPlayer) else player.kind,
            provider=player.kind,
            prompt=run.prompt,
            play=run.play,
            sees_pictures=sees,
            frame_size=picture_size(player, run.env),
            env=_settings(run),
        ),
        num_workers=run.cluster.num_workers,
        patience_s=run.cluster.start_timeout_s,
        secret=_secret(player),
        make_world=ForeignFrames if _is_control(player) else Game,
    )


def _settings(run: PlayedRun) -> dict[str, Any]:
    """What a trace tells of the game, and of how it was rewarded."""
    return {
        **run.env.model_dump(mode="json"),
        "reward": run.play.reward.used(),
        "bad_call_penalty": run.play.bad_call_penalty,
    }


def _is_control(player: AnyPlayer) -> bool:
    return isinstance(player, VllmPlayer) and player.foreign_frames


def sees_pictures(player: AnyPlayer, prompt: PromptConfig) -> bool:
    """Whether `player` is sent pictures: as set, or as its model can.

    Raises:
        UserError: the settings want pictures for a model that reads none, or nobody can tell.
    """
    if isinstance(player, VllmPlayer):
        able = reads_pictures(player.model)
        if not able and (prompt.use_vision is True or prompt.image_only):
            raise UserError(
                f"model {player.model} reads no pictures: set prompt.use_vision and "
                "prompt.image_only to false, or give a vision-language model"
            )
        return able if prompt.use_vision == "auto" else prompt.use_vision
    if isinstance(player, OpenAIPlayer):
        from actors.policies.vision_names import reads_pictures_by_name

        if prompt.use_vision != "auto":
            return prompt.use_vision
        able = reads_pictures_by_name(player.model)
        if prompt.image_only and not able:
            raise UserError(f"model {player.model} reads no pictures: set prompt.image_only false")
        return able
    # Players that read facts are sent no pictures, save where the prompt is nothing else.
    return prompt.image_only


def picture_size(player: AnyPlayer, env: EnvConfig) -> int:
    """`env.size` in pixels, decided."""
    if env.size != "auto":
        return env.size
    return frame_size(player.model) if isinstance(player, VllmPlayer) else CLASSIC_SIZE


def _secret(player: AnyPlayer) -> tuple[str, str] | None:
    if not isinstance(player, OpenAIPlayer):
        return None
    return player.api_key_env, os.environ.get(player.api_key_env, "")
