"""What `gitlab.url: sandbox` stands for in a stack's settings."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from components.defaults import DAEMON_IMAGE
from stacks.settings import sandbox
from stacks.settings.mistakes import SettingsError
from stacks.targets import parse
from tests.unit.samples import gke, plain, runner

REMEDY = "start it and set DINDRUNNER_SANDBOX with: make up, then source .toolchain/env"
ROLES = ("daemon", "runner", "helper", "job", "job_daemon", "host_helper", "host_job")
IMAGES = {role: f"dindrunner.local/{role}:1" for role in ROLES}
INFO = {
    "url": "http://172.17.0.1:8929",
    "token_file": "/nowhere/root-token",
    "registry": "172.17.0.1:5005",
    "images": IMAGES,
    "group": "demo",
    "project": "demo/app",
}


def settings(**others: Any) -> dict[str, Any]:
    return plain(gitlab={"url": "sandbox", "scope": "project", "project": "demo/app"}) | others


def info(**others: Any) -> sandbox.Sandbox:
    return sandbox.Sandbox.model_validate(INFO | others)


def test_the_file_of_a_running_sandbox_is_read(tmp_path: Path) -> None:
    (tmp_path / "sandbox.json").write_text(json.dumps(INFO))
    assert sandbox.read(str(tmp_path / "sandbox.json")) == info()


@pytest.mark.parametrize("path", [None, ""])
def test_a_sandbox_that_no_variable_names_is_not_running(path: str | None) -> None:
    with pytest.raises(SettingsError) as caught:
        sandbox.read(path)
    assert str(caught.value) == (
        f"settings.gitlab.url: 'sandbox' is not running (DINDRUNNER_SANDBOX is not set): {REMEDY}"
    )


@pytest.mark.parametrize(("name", "reason"), [("gone.json", "No such file or directory"), ("", "Is a directory")])
def test_a_sandbox_whose_file_cannot_be_read_is_not_running(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    with pytest.raises(SettingsError) as caught:
        sandbox.read(str(path))
    assert str(caught.value) == f"settings.gitlab.url: 'sandbox' is not running ({path}: {reason}): {REMEDY}"


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", "not JSON"),
        (b'{"url": "http', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (json.dumps(INFO | {"url": None}).encode(), "url"),
        (json.dumps(INFO | {"images": IMAGES | {"job": 1}}).encode(), "images.job"),
        (json.dumps(INFO | {"more": 1}).encode(), "more"),
    ],
)
def test_a_file_that_describes_no_sandbox_is_refused_with_the_place(tmp_path: Path, content: bytes, where: str) -> None:
    path = tmp_path / "sandbox.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        sandbox.read(str(path))
    assert str(caught.value) == f"DINDRUNNER_SANDBOX: {path} is no description of a sandbox ({where}): {REMEDY}"


def test_the_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("glpat-x\n")
    assert sandbox.read_token(info(token_file=tmp_path / "token")) == "glpat-x"


def test_a_token_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        sandbox.read_token(info(token_file=tmp_path / "token"))
    assert str(caught.value) == (
        f"settings.gitlab.url: the token of 'sandbox' cannot be read from {tmp_path / 'token'} "
        f"(No such file or directory): {REMEDY}"
    )


@pytest.mark.parametrize(
    ("raw", "uses"),
    [
        (settings(), True),
        (plain(), False),
        ({"gitlab": "sandbox"}, False),
        ({"gitlab": None}, False),
        ([], False),
        (None, False),
    ],
)
def test_only_the_gitlabs_url_names_the_sandbox(raw: object, uses: bool) -> None:
    assert sandbox.uses_sandbox(raw) is uses


def test_what_the_stack_left_open_is_filled_in_and_gives_right_settings() -> None:
    resolved = parse(sandbox.resolve(settings(runners=[runner(), runner(name="two", kind="job-dind")]), info()))
    assert resolved.gitlab.url == "http://172.17.0.1:8929"
    assert resolved.daemon.insecure_registries == ("http://172.17.0.1:5005",)
    assert (resolved.daemon.image, resolved.runner_image) == (IMAGES["daemon"], IMAGES["runner"])
    assert {(r.image, r.helper_image) for r in resolved.runners} == {(IMAGES["job"], IMAGES["helper"])}
    # Only kind job-dind starts that one; target gke has no such setting.
    assert [r.job_daemon_image for r in resolved.runners] == [DAEMON_IMAGE, IMAGES["job_daemon"]]


def test_a_cluster_may_serve_the_sandbox() -> None:
    raw = gke(gitlab={"url": "sandbox", "scope": "project", "project": "demo/app"})
    resolved = parse(sandbox.resolve(raw, info()))
    assert (resolved.target, resolved.gitlab.url) == ("gke", "http://172.17.0.1:8929")
    assert (resolved.daemon.image, resolved.runners[0].image) == (IMAGES["daemon"], IMAGES["job"])


def test_a_runner_on_the_hosts_engine_gets_the_names_that_the_host_has_and_does_not_pull_them() -> None:
    (host,) = parse(sandbox.resolve(settings(runners=[runner(kind="host-docker")]), info())).runners
    assert (host.image, host.helper_image) == (IMAGES["host_job"], IMAGES["host_helper"])
    assert host.pull_policy == ("if-not-present",)


def test_what_the_stack_says_itself_stays_as_it_is() -> None:
    own = {"image": "mine/job:1", "helper_image": "mine/helper:1", "job_daemon_image": "mine/dind:1"}
    raw = settings(
        daemon={"image": "mine/dind:1", "insecure_registries": ["mine:5000"]},
        runner_image="mine/runner:1",
        runners=[runner(**own)],
    )
    resolved = sandbox.resolve(raw, info())
    assert resolved["daemon"] == {
        "image": "mine/dind:1",
        "insecure_registries": ["mine:5000", "http://172.17.0.1:5005"],
    }
    assert resolved["runner_image"] == "mine/runner:1"
    assert resolved["runners"] == [runner(**own)]


def test_nothing_but_the_url_is_filled_in_where_official_images_can_be_pulled() -> None:
    resolved = sandbox.resolve(settings(), info(images=None, registry=None))
    assert resolved == settings(
        gitlab={"url": "http://172.17.0.1:8929", "scope": "project", "project": "demo/app"}, daemon={}
    )


def test_the_settings_given_are_not_changed() -> None:
    raw = settings(daemon={"insecure_registries": []})
    before = copy.deepcopy(raw)
    sandbox.resolve(raw, info())
    assert raw == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"daemon": None}, "settings.daemon: none must be a table"),
        ({"daemon": []}, "settings.daemon: [] must be a table"),
        ({"daemon": {"insecure_registries": None}}, "settings.daemon.insecure_registries: none must be a list"),
        ({"daemon": {"insecure_registries": "a:1"}}, "settings.daemon.insecure_registries: 'a:1' must be a list"),
        ({"runners": None}, "settings.runners: none must be a list"),
        ({"runners": ["docker"]}, "settings.runners[0]: 'docker' must be a table"),
    ],
)
def test_wrong_settings_are_still_explained_after_the_filling_in(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(sandbox.resolve(settings(**wrong), info()))
    assert str(caught.value) == message
