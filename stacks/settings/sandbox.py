"""The embedded sandbox GitLab, as the settings see it: what `gitlab.url: sandbox` stands for. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from pydantic import ValidationError

from components.kinds import Builder, builder_of
from stacks.settings.mistakes import Model, SettingsError

URL = "sandbox"
PASSPHRASE = "sandbox"
"""The well-known passphrase of stacks that use the sandbox; their secrets open nothing but the sandbox."""


REMEDY = "start it and set DINDRUNNER_SANDBOX with: make up, then source .toolchain/env"


class Images(Model):
    """Images made on this machine, where no container registry answers; see docs/lab/images.md.

    daemon, runner, host_helper, host_job: names on this machine's engine; the others: names in the sandbox's registry.
    """

    daemon: str
    runner: str
    helper: str
    job: str
    job_daemon: str
    host_helper: str
    host_job: str


class Sandbox(Model):
    """The file that `python -m lab up` writes.

    url: base URL. token_file: path of the file with an API token. registry: host:port of its container registry, plain
    HTTP. images: stand-ins for the default images; None where the official ones can be pulled.
    """

    url: str
    token_file: Path
    registry: str | None
    images: Images | None
    group: str
    project: str


def read(path: str | None) -> Sandbox:
    """The running sandbox. Raises SettingsError where there is none."""
    if not path:
        raise SettingsError(f"settings.gitlab.url: 'sandbox' is not running (DINDRUNNER_SANDBOX is not set): {REMEDY}")
    try:
        return Sandbox.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise SettingsError(
            f"settings.gitlab.url: 'sandbox' is not running ({path}: {error.strerror}): {REMEDY}"
        ) from None
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "not JSON"
        raise SettingsError(f"DINDRUNNER_SANDBOX: {path} is no description of a sandbox ({where}): {REMEDY}") from None


def read_token(sandbox: Sandbox) -> str:
    """The sandbox's API token. Raises SettingsError where its file cannot be read."""
    try:
        return sandbox.token_file.read_text().strip()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"settings.gitlab.url: the token of 'sandbox' cannot be read from {sandbox.token_file} "
            f"({getattr(error, 'strerror', 'no text')}): {REMEDY}"
        ) from None


def uses_sandbox(raw: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a stack's plain settings name the sandbox as their GitLab."""
    gitlab = raw.get("gitlab") if isinstance(raw, Mapping) else None
    return isinstance(gitlab, Mapping) and gitlab.get("url") == URL


def resolve(raw: Mapping[str, Any], sandbox: Sandbox) -> dict[str, Any]:
    """The plain settings with `sandbox` replaced by the real URL, and what the stack left open filled in from it.

    Whatever the stack says itself stays as it is.
    """
    settings = copy.deepcopy(dict(raw))
    settings["gitlab"]["url"] = sandbox.url
    daemon = settings.setdefault("daemon", {})
    if sandbox.registry and isinstance(daemon, dict):
        # With the scheme, because BuildKit in daemons before 23 overlooks a bare IP address.
        registry = f"http://{sandbox.registry}"
        registries = daemon.setdefault("insecure_registries", [])
        if isinstance(registries, list) and registry not in registries:
            registries.append(registry)
    if sandbox.images:
        _fill_images(settings, sandbox.images)
    return settings


def _fill_images(settings: dict[str, Any], images: Images) -> None:
    settings.setdefault("runner_image", images.runner)
    if isinstance(settings["daemon"], dict):
        settings["daemon"].setdefault("image", images.daemon)
    runners = settings.get("runners")
    for runner in runners if isinstance(runners, list) else []:
        if isinstance(runner, dict):
            _fill_runner_images(runner, images)


def _fill_runner_images(runner: dict[str, Any], images: Images) -> None:
    builder = builder_of(runner.get("kind"))
    if builder is Builder.OWN:
        runner.setdefault("job_daemon_image", images.job_daemon)
    if builder is Builder.HOST:
        # The host's engine has them under names that nobody serves.
        runner.setdefault("image", images.host_job)
        runner.setdefault("helper_image", images.host_helper)
        runner.setdefault("pull_policy", "if-not-present")
    else:
        runner.setdefault("image", images.job)
        runner.setdefault("helper_image", images.helper)
