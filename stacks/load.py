"""From the stack's configuration to checked settings: the one place that reads configuration and environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pulumi

from stacks import cluster, sandbox
from stacks.board import Board, check_board, check_images, check_names, fitted
from stacks.cluster import Facts
from stacks.combinations import check_engine, warnings_about_versions
from stacks.common import PLACEHOLDER, Common
from stacks.engine import ask_board, ask_engine, check_paths, check_volume, offered_platforms
from stacks.gke_settings import GkeSettings
from stacks.mistakes import SettingsError
from stacks.places import leaves, written
from stacks.preflight import check_gitlab
from stacks.settings import RaspberryPiSettings, Settings, parse
from stacks.shared import IN_PROJECT, merged, missing
from stacks.versions import Engine
from stacks.warnings import warnings_about

S = TypeVar("S", bound=Common)


@dataclass(frozen=True, kw_only=True)
class Stack(Generic[S]):
    """A stack.

    settings: checked, and complete. gitlab_token: for GitLab's API; None where every runner brings a token of its own.
    board, cluster: what the machine, or the cluster, said of itself, for a target that asks.
    engine, gitlab_version: of the Docker host or board, and of GitLab; None where they do not say it.
    """

    name: str
    project: str
    settings: S
    gitlab_token: pulumi.Output[str] | None
    board: Board | None = None
    cluster: Facts | None = None
    engine: Engine | None = None
    gitlab_version: str | None = None

    @property
    def prefix(self) -> str:
        """Prefix of every name that the stack makes: unique on a host, unless the settings choose one."""
        return _prefix(self.settings, self.project, self.name)


def _prefix(settings: Common, project: str, stack: str) -> str:
    return settings.name or f"{project}-{stack}"


def warnings_of(stack: Stack[Any]) -> Iterator[str]:
    """What a preview of a stack of any target should say aloud."""
    yield from warnings_about(stack.settings)
    yield from warnings_about_versions(stack.settings, gitlab_version=stack.gitlab_version, engine=stack.engine)


def load() -> Stack[Any]:
    """The current stack. Raises pulumi.RunError, before anything is touched, where a setting is wrong."""
    try:
        return _load()
    except SettingsError as error:
        raise pulumi.RunError(f"the settings of stack {pulumi.get_stack()} are wrong:\n{error}") from None


def _load() -> Stack[Any]:
    raw = _raw()
    token = (pulumi.Config("gitlab").get("token") or os.environ.get("GITLAB_TOKEN") or "").strip()
    on_this_machine = False
    if sandbox.uses_sandbox(raw):
        on_this_machine = True
        found = sandbox.read(os.environ.get("DINDRUNNER_SANDBOX"))
        raw, token = sandbox.resolve(raw, found), sandbox.read_token(found)
        settings = parse(raw)
    else:
        settings = parse(raw)
        _refuse_known_passphrase()
    _refuse_placeholders(raw)
    registers = any(runner.token is None for runner in settings.runners)
    if registers and not token:
        raise SettingsError(
            "gitlab:token: is missing: export GITLAB_TOKEN, or run: pulumi config set --secret gitlab:token "
            "(a token with scope api), or give every runner a token of its own"
        )
    gitlab_version = check_gitlab(
        settings.gitlab.url,
        token if registers else None,
        direct=on_this_machine,
        ca_file=settings.gitlab.ca_file,
    )
    settings, told = _fit(settings)
    return Stack(
        name=pulumi.get_stack(),
        project=pulumi.get_project(),
        settings=settings,
        gitlab_token=pulumi.Output.secret(token) if registers else None,
        board=told if isinstance(told, Board) else None,
        cluster=told if isinstance(told, Facts) else None,
        engine=told.engine if isinstance(told, Board) else told if isinstance(told, Engine) else None,
        gitlab_version=gitlab_version,
    )


def _fit(settings: Settings) -> tuple[Settings, Board | Facts | Engine | None]:
    """The settings completed from the machine or cluster that they name, and what that said of itself."""
    prefix = _prefix(settings, pulumi.get_project(), pulumi.get_stack())
    if isinstance(settings, RaspberryPiSettings):
        return _fit_board(settings, prefix)
    if isinstance(settings, GkeSettings):
        return _fit_cluster(settings, prefix)
    engine = ask_engine(settings)
    if engine is not None:
        check_engine(settings, engine)
    check_volume(settings, prefix)
    return settings, engine


def _fit_board(settings: RaspberryPiSettings, prefix: str) -> tuple[RaspberryPiSettings, Board]:
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


def _fit_cluster(settings: GkeSettings, prefix: str) -> tuple[GkeSettings, Facts]:
    # Half a second to import, for the one target that needs it.
    from stacks.kube import ask_cluster

    stack = pulumi.get_stack()
    cluster.check_prefix(prefix, stack)
    facts = ask_cluster(settings, prefix)
    cluster.check_cluster(settings, facts, prefix, stack)
    return cluster.fitted(settings, facts), facts


def _raw() -> object:
    """The stack's settings on top of the shared ones, with what the environment says where both are silent."""
    own = _table("settings", "write target, gitlab and runners below it")
    if own is None:
        raise missing(pulumi.get_stack())
    raw = merged(_table("shared", IN_PROJECT), own)
    engine = os.environ.get("DOCKER_HOST")
    if engine and isinstance(raw, dict) and raw.get("target") in ("docker-host", "raspberry-pi"):
        return {"docker_host": engine, **raw}
    return raw


def _table(key: str, remedy: str) -> object:
    try:
        return pulumi.Config().get_object(key)
    except pulumi.ConfigTypeError:
        raise SettingsError(f"{key}: is no table: {remedy}") from None


def _refuse_placeholders(raw: object) -> None:
    for path, value in leaves(raw, ("settings",)):
        if isinstance(value, str) and PLACEHOLDER in value:
            raise SettingsError(
                f"{written(path)}: holds {PLACEHOLDER}, which stands for a secret: run: pulumi config set --secret "
                f"--path '{pulumi.get_project()}:{written(path)}' (it asks for the value)"
            )


def _refuse_known_passphrase() -> None:
    """Only where the stack's secrets are encrypted with a passphrase, of which the salt in its file is the sign."""
    settings_file = Path(f"Pulumi.{pulumi.get_stack()}.yaml")
    has_salt = settings_file.exists() and "encryptionsalt:" in settings_file.read_text()
    if has_salt and os.environ.get("PULUMI_CONFIG_PASSPHRASE") == sandbox.PASSPHRASE:
        raise SettingsError(
            "PULUMI_CONFIG_PASSPHRASE: is the sandbox's, which everybody knows, and this stack's GitLab is not the "
            "sandbox: remove encryptionsalt from the stack's file, export a passphrase of your own "
            "(or PULUMI_CONFIG_PASSPHRASE_FILE) and run: pulumi stack change-secrets-provider passphrase"
        )
