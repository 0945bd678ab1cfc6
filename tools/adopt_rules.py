"""Makes a draft of a stack's settings from the tables of a config.toml. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from components import defaults
from components.kinds import Executor, Kind, needs_daemon
from stacks.settings.common import TOKEN_PLACEHOLDER
from stacks.settings.places import Path
from stacks.targets import TARGETS, model
from tools import adopt_docker, adopt_kubernetes
from tools import adopt_keys as keys
from tools.adopt_docker import DAEMON_VARIABLES, table, texts
from tools.adopt_draft import Draft, command
from tools.adopt_file import AdoptError, MisusedError

EXECUTORS: Mapping[str, frozenset[str]] = {
    target: frozenset(get_args(model(target).model_fields["runners"].annotation)[0].EXECUTORS) for target in TARGETS
}
"""The executors of each target; the first target that has one is the default."""

PROJECT = "my-group/my-project"
CONTEXT = "my-context"
RUNNER_IMAGE = f"registry.example.com/gitlab-runner-with-docker:{defaults.RUNNER_IMAGE.rpartition(':')[2]}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the file does not say. target: None: the one that fits. only: names of runners; empty for all."""

    target: str | None = None
    project: str | None = None
    group: str | None = None
    url: str | None = None
    only: Sequence[str] = ()


def draft_of(tables: Mapping[str, Any], wanted: Wanted) -> Draft:
    """The settings that come closest. Raises AdoptError where one stack cannot hold the runners of the file."""
    draft = Draft()
    entries = _chosen(draft, tables["runners"], wanted.only)
    target = _target(entries, wanted.target)
    _refuse_mixed(entries)
    draft.put(("target",), target)
    _gitlab(draft, entries, wanted)
    if target == "gke":
        draft.put(("cluster", "context"), CONTEXT, None, "As `kubectl config get-contexts` shows it.")
        draft.to_do.append("Name the cluster's context in cluster.context.")
    _global(draft, tables, entries)
    if target != "gke":
        adopt_docker.daemon_settings(draft, entries)
    names: list[str] = []
    for position, (index, entry) in enumerate(entries.items()):
        _runner(draft, entry, target, index, position, names)
    return draft


def _chosen(draft: Draft, runners: Sequence[Mapping[str, Any]], only: Sequence[str]) -> dict[int, Mapping[str, Any]]:
    """The runners that the stack can have, by their places in the file."""
    known = [runner.get("name") for runner in runners]
    for name in only:
        if name not in known:
            raise MisusedError(f"--only {name}: there is no such runner: use one of {', '.join(map(str, known))}")
    chosen: dict[int, Mapping[str, Any]] = {}
    others = []
    supported = frozenset().union(*EXECUTORS.values())
    for index, runner in enumerate(runners):
        executor = runner.get("executor")
        if only and runner.get("name") not in only:
            draft.refuse(("runners", index), "left out by --only: adopt it into a stack of its own")
        elif isinstance(executor, str) and executor in supported:
            chosen[index] = runner
        else:
            named = f"executor {executor}" if isinstance(executor, str) and executor else "a runner without an executor"
            others.append(named)
            draft.refuse(("runners", index), f"{named} is not supported: use docker, shell or kubernetes")
    if not chosen:
        raise AdoptError(
            f"none of the runners can be adopted: {', '.join(dict.fromkeys(others))} is not supported, only docker, "
            "shell and kubernetes are: register such a runner anew, or keep it as it is"
        )
    return chosen


def _target(entries: Mapping[int, Mapping[str, Any]], wanted: str | None) -> str:
    found = dict.fromkeys(str(entry["executor"]) for entry in entries.values())
    fitting = [target for target, executors in EXECUTORS.items() if executors.issuperset(found)]
    if not fitting:
        first = next(iter(entries.values())).get("name")
        raise AdoptError(
            f"the runners have executors {' and '.join(found)}, which need two targets, and a stack has one: adopt "
            f'them into one stack each, for example --only "{first}"'
        )
    if wanted is not None and wanted not in fitting:
        raise MisusedError(f"--target {wanted}: has no executor {' or '.join(found)}: use {' or '.join(fitting)}")
    return wanted or fitting[0]


def _refuse_mixed(entries: Mapping[int, Mapping[str, Any]]) -> None:
    """A shell runner without a daemon beside one with a daemon: its jobs would have the certificates."""
    in_shell, with_daemon = [], []
    for entry in entries.values():
        if needs_daemon(_kind(entry), Executor(entry["executor"])):
            with_daemon.append(str(entry.get("name")))
        elif entry["executor"] == Executor.SHELL:
            in_shell.append(str(entry.get("name")))
    if in_shell and with_daemon:
        raise AdoptError(
            f"runner {in_shell[0]} (executor shell) cannot share a stack with {with_daemon[0]}, because its jobs would "
            f'have that one\'s daemon: adopt them into one stack each, for example --only "{in_shell[0]}"'
        )


def _kind(entry: Mapping[str, Any]) -> Kind:
    match entry["executor"]:
        case Executor.DOCKER:
            return adopt_docker.kind_of(entry)
        case Executor.KUBERNETES:
            return adopt_kubernetes.kind_of(entry)
    return Kind.DIND if "DOCKER_HOST" in adopt_docker.variables(entry) else Kind.PLAIN


def _gitlab(draft: Draft, entries: Mapping[int, Mapping[str, Any]], wanted: Wanted) -> None:
    urls = {index: _base(entry.get("url")) for index, entry in entries.items()}
    usable = {index: url for index, url in urls.items() if url.startswith(("http://", "https://"))}
    if wanted.url is None and len(set(usable.values())) > 1:
        names = " and ".join(str(entry.get("name")) for entry in list(entries.values())[:2])
        raise AdoptError(
            f"the runners {names} serve more than one GitLab, and a stack serves one: adopt them into one stack each "
            "with --only NAME, or say with --url which it is"
        )
    chosen = wanted.url or next(iter(usable.values()), None)
    if chosen is None:
        raise AdoptError("no runner has the URL of its GitLab: say it with --url, for example --url https://gitlab.com")
    source = next((("runners", index, "url") for index in usable), None) if wanted.url is None else None
    draft.put(("gitlab", "url"), chosen, source)
    for index, url in urls.items():
        if url == chosen:
            draft.agreed[("runners", index, "url")] = "gitlab.url"
        else:
            draft.refuse(("runners", index, "url"), "a stack serves one GitLab: see gitlab.url")
    _scope(draft, wanted)
    files = [index for index, entry in entries.items() if entry.get("tls-ca-file")]
    if files:
        draft.put(("gitlab", "ca_file"), entries[files[0]]["tls-ca-file"], ("runners", files[0], "tls-ca-file"))
        draft.comment(("gitlab", "ca_file"), "Of the machine that runs Pulumi: copy the file there.")
        draft.to_do.append("Copy the CA of the GitLab to the machine that runs Pulumi, and name it in gitlab.ca_file.")
        for index in files:
            if entries[index]["tls-ca-file"] == entries[files[0]]["tls-ca-file"]:
                draft.agreed[("runners", index, "tls-ca-file")] = "gitlab.ca_file"


def _scope(draft: Draft, wanted: Wanted) -> None:
    if wanted.group:
        draft.put(("gitlab", "scope"), "group")
        draft.put(("gitlab", "group"), wanted.group)
        return
    asked = () if wanted.project else ("config.toml does not say whom the runners serve: say it here.",)
    draft.put(("gitlab", "scope"), "project", None, *asked)
    draft.put(("gitlab", "project"), wanted.project or PROJECT)
    if not wanted.project:
        draft.to_do.append("Say in gitlab.scope and gitlab.project whom the runners serve.")


def _base(url: object) -> str:
    """A GitLab's base URL; `/ci` at its end is of GitLab Runner's first versions, and means nothing."""
    return re.sub(r"(/ci)?/*$", "", url.strip()) if isinstance(url, str) else ""


def _global(draft: Draft, tables: Mapping[str, Any], entries: Mapping[int, object]) -> None:
    if type(tables.get("concurrent")) is int:
        if tables["concurrent"] >= len(entries):
            draft.put(("concurrent",), tables["concurrent"], ("concurrent",))
        else:
            draft.put(("concurrent",), len(entries))
            draft.change(("concurrent",), f"{len(entries)}, the number of runners, or some of them would starve")
    interval = tables.get("check_interval")
    if type(interval) is int and interval > 0:
        draft.put(("check_interval",), interval, ("check_interval",))
    level = tables.get("log_level")
    if level:
        draft.put(("log_level",), "warn" if level == "warning" else level, ("log_level",))
    if tables.get("listen_address"):
        draft.put(("metrics_address",), tables["listen_address"], ("listen_address",))
    for key, value in tables.items():
        if key in keys.GLOBAL_EXTRA and keys.says_something(key, value):
            draft.put(("extra", key), value, (key,))
        elif key in keys.GLOBAL_GONE:
            draft.refuse((key,), keys.GLOBAL_GONE[key])
    session = table(tables.get("session_server"))
    if not session.get("listen_address"):
        draft.agreed[("session_server", "session_timeout")] = "means nothing without listen_address"


def _runner(draft: Draft, entry: Mapping[str, Any], target: str, index: int, position: int, names: list[str]) -> None:
    source, runner = ("runners", index), ("runners", position)
    kind, executor = _kind(entry), Executor(entry["executor"])
    name = _name(entry.get("name"), index, names)
    names.append(name)
    draft.put((*runner, "name"), name, (*source, "name"))
    draft.agreed[(*source, "name")] = f"runners[{position}].name, {name}"
    _registration(draft, entry, source, runner, name)
    draft.put((*runner, "kind"), kind.value, None, *_about_kind(kind, executor))
    if target != "gke":
        draft.put((*runner, "executor"), executor.value, (*source, "executor"))
    for key in ("limit", "request_concurrency"):
        if entry.get(key):
            draft.put((*runner, key), entry[key], (*source, key))
    tables = "kubernetes" if executor is Executor.KUBERNETES else "docker"
    pull_policy = table(entry.get(tables)).get("pull_policy")
    if executor is not Executor.SHELL:
        adopt_docker.pull_policy(draft, pull_policy, (*source, tables, "pull_policy"), runner, target)
    match executor:
        case Executor.DOCKER:
            adopt_docker.docker_settings(draft, entry, kind, source, runner)
        case Executor.KUBERNETES:
            adopt_kubernetes.kubernetes_settings(draft, entry, source, runner)
        case Executor.SHELL if kind is Kind.DIND:
            draft.put(("runner_image",), RUNNER_IMAGE, None, "An image of GitLab Runner with a Docker client.")
            draft.to_do.append("Name an image of GitLab Runner that has a Docker client in runner_image.")
    for other in {"docker", "kubernetes"} - {executor.value}:
        draft.refuse((*source, other), f"executor {executor} does not read [runners.{other}]")
    _environment(draft, entry, kind, source, runner)
    _rest(draft, entry, source, runner)


def _name(wanted: object, index: int, taken: Sequence[str]) -> str:
    text = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-") if isinstance(wanted, str) else ""
    name = base = text[:40].strip("-") or f"runner-{index + 1}"
    number = 2
    while name in taken:
        name = f"{base[:36]}-{number}"
        number += 1
    return name


def _registration(draft: Draft, entry: Mapping[str, Any], source: Path, runner: Path, name: str) -> None:
    token = entry.get("token")
    setting = (*runner, "token")
    if isinstance(token, str) and re.fullmatch(r"glrt-[!-~]+", token) and token != TOKEN_PLACEHOLDER:
        draft.put(setting, token, (*source, "token"))
        draft.comment(setting, "Keeps the runner that is there, with its tags and rights; GitLab has those.")
        draft.agreed[(*source, "token")] = f"runners[{runner[1]}].token, once it is set as a secret"
        draft.to_do.append(f"Give runner {name} its token, the one in config.toml:\n  {command(setting)}")
        return
    draft.change(
        (*source, "token"),
        "registered anew, as only a runner authentication token (glrt-...) can be kept: remove the old runner in "
        "GitLab once it is idle",
    )
    draft.put(
        (*runner, "tags"),
        [name],
        None,
        "GitLab has the tags, and whose jobs the runner takes (run_untagged, access_level, locked, maximum_timeout):",
        "copy them from the old runner's page. Without them it takes jobs of protected branches with this tag.",
    )
    if isinstance(entry.get("name"), str) and entry["name"] and entry["name"] != name:
        draft.put((*runner, "description"), entry["name"][:256])
    draft.to_do.append(f"Copy tags and rights of runner {name} from its page in GitLab, where it is registered anew.")


def _about_kind(kind: Kind, executor: Executor) -> list[str]:
    if executor is Executor.SHELL:
        return ["Its jobs run in the runner's own container, no longer on the machine itself."]
    match kind:
        case Kind.HOST_DOCKER:
            return ["Every job is root on the host, as before. Kind dind builds without that."]
        case Kind.JOB_DIND:
            return ["A daemon for every job, as before, with an empty cache. Kind dind has one daemon, and keeps it."]
        case Kind.DIND:
            return ["Jobs build with the stack's daemon: remove docker:dind and DOCKER_HOST from .gitlab-ci.yml."]
    return []


def _environment(draft: Draft, entry: Mapping[str, Any], kind: Kind, source: Path, runner: Path) -> None:
    last = {text.partition("=")[0]: index for index, text in texts(entry.get("environment"))}
    for index, text in texts(entry.get("environment")):
        here, (name, equals, value) = (*source, "environment", index), text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            draft.refuse(here, "it is no NAME=value")
        elif last[name] != index:
            draft.refuse(here, "the same name is there once more, and the last one counts")
        elif name in DAEMON_VARIABLES:
            draft.change(here, f"jobs of kind {kind} get what they need to find their daemon by themselves")
        else:
            draft.put((*runner, "environment", name), value, here)


def _rest(draft: Draft, entry: Mapping[str, Any], source: Path, runner: Path) -> None:
    cache = table(entry.get("cache"))
    for key, value in cache.items():
        below = {name: each for name, each in table(value).items() if keys.says_something(name, each)}
        if "CredentialsFile" in below:
            del below["CredentialsFile"]
            draft.refuse((*source, "cache", key, "CredentialsFile"), "the runner's container has no such file")
        if isinstance(value, Mapping):
            for name, each in below.items():
                draft.put((*runner, "cache", key, name), each, (*source, "cache", key, name))
        elif keys.says_something(key, value):
            draft.put((*runner, "cache", key), value, (*source, "cache", key))
    for key, value in entry.items():
        new = keys.RENAMED.get(key, key)
        if key in keys.RUNNER_GONE:
            draft.refuse((*source, key), keys.RUNNER_GONE[key])
        elif key == "feature_flags":
            _feature_flags(draft, table(value), source, runner)
        elif new in keys.RUNNER_EXTRA and keys.says_something(key, value) and (new == key or new not in entry):
            draft.put((*runner, "extra", new), value, (*source, key))
            if new != key:
                draft.agreed[(*source, key)] = f"runners[{runner[1]}].extra.{new}, as it is called now"


def _feature_flags(draft: Draft, flags: Mapping[str, Any], source: Path, runner: Path) -> None:
    for flag, value in flags.items():
        here = (*source, "feature_flags", flag)
        if flag == "FF_DISABLE_AUTOMATIC_TOKEN_ROTATION":
            draft.change(here, "true: the token belongs to the stack, which would be left with a dead one")
        else:
            draft.put((*runner, "extra", "feature_flags", flag), value, here)
