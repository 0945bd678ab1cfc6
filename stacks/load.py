"""Makes checked settings from the stack's configuration. Only this module reads configuration and environment."""

from __future__ import annotations

import os
from pathlib import Path

import pulumi

from stacks.ask_gitlab import check_gitlab
from stacks.settings import sandbox
from stacks.settings.common import PLACEHOLDER, Common
from stacks.settings.mistakes import SettingsError
from stacks.settings.places import leaves, written
from stacks.settings.shared import merged, missing, no_table
from stacks.stack import Stack
from stacks.targets import fit, on_engine, parse


def load() -> Stack[Common, object]:
    """The current stack. Raises pulumi.RunError, before anything is touched, where a setting is wrong."""
    try:
        return _load()
    except SettingsError as error:
        raise pulumi.RunError(f"the settings of stack {pulumi.get_stack()} are wrong:\n{error}") from None


def _load() -> Stack[Common, object]:
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
    name, project = pulumi.get_stack(), pulumi.get_project()
    prefix = settings.name or f"{project}-{name}"
    settings, facts = fit(settings, prefix, name)
    return Stack(
        name=name,
        project=project,
        prefix=prefix,
        settings=settings,
        facts=facts,
        gitlab_token=pulumi.Output.secret(token) if registers else None,
        gitlab_version=gitlab_version,
    )


def _raw() -> object:
    """The stack's settings on top of the shared ones, with what the environment says where both are silent."""
    own = _table("settings")
    if own is None:
        raise missing(pulumi.get_stack())
    return on_engine(merged(_table("shared"), own), os.environ.get("DOCKER_HOST"))


def _table(key: str) -> object:
    try:
        return pulumi.Config().get_object(key)
    except pulumi.ConfigTypeError:
        raise no_table(key) from None


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
