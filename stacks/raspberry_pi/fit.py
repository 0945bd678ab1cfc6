"""Fits the settings to the board that they name."""

from __future__ import annotations

from stacks.on_docker.questions import check_volume
from stacks.raspberry_pi.board import Board, check_board, check_images, check_names, fitted
from stacks.raspberry_pi.questions import ask_board, check_paths, offered_platforms
from stacks.raspberry_pi.settings import RaspberryPiSettings
from stacks.settings.combinations import check_engine


def fit(settings: RaspberryPiSettings, prefix: str, _stack: str) -> tuple[RaspberryPiSettings, Board]:
    """The settings with what the board decides, and the board. Raises SettingsError where they do not fit."""
    check_names(settings, prefix)
    board = ask_board(settings)
    check_board(settings, board)
    if board.engine is not None:
        check_engine(settings, board.engine)
    check_paths(settings)
    check_volume(settings, prefix)
    settings = fitted(settings, board)
    check_images(settings, offered_platforms(settings))
    return settings, board
