"""The runners that a killed update made in GitLab but did not record, on the sandbox and on servers that fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from lab.tests.live_sandbox import Live, Runner, running
from tests.unit.web import always, self_signed, serving
from toolchain import orphans
from toolchain.orphans import TYPE, find_orphans

STACK = "dev"
PROVIDER = "urn:pulumi:dev::p::pulumi:providers:gitlab::gitlab"
TOKEN = "glpat-right"
NOTE = "Managed by Pulumi: p/dev, runner docker"
SIGNATURE = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
MAY_HAVE = "GitLab may have made runner 'dev docker', but "
BY_HAND = ": if it lists two, delete the one that has never contacted it"


@dataclass
class Recovery:
    """A stack's state that a fake `pulumi` exports, and what is said of the pending creation in it."""

    root: Path
    said: list[str] = field(default_factory=list)

    def provider(self, url: str, token: object = TOKEN, **inputs: Any) -> None:
        """Let the state have this GitLab."""
        secret = {**SIGNATURE, "plaintext": json.dumps(token)}
        inputs = {"baseUrl": f"{url}/api/v4/", "token": secret, **inputs}
        self.export([{"urn": PROVIDER, "id": "1", "type": "pulumi:providers:gitlab", "inputs": inputs}])

    def export(self, resources: object) -> None:
        (self.root / "state.json").write_text(json.dumps({"version": 3, "deployment": {"resources": resources}}))

    def pulumi(self, script: str) -> None:
        (self.root / "pulumi").write_text(f"#!/bin/sh\ncd {self.root}; echo $* >> calls\n{script}\n")
        (self.root / "pulumi").chmod(0o755)

    @property
    def calls(self) -> list[str]:
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def run(self, *pending: Mapping[str, Any], known: list[dict[str, Any]] | None = None) -> list[int]:
        """The IDs of what is found and deleted."""
        found = find_orphans(STACK, pending, known or [], self.said.append)
        for orphan in found:
            orphan.delete(self.said.append)
        return [orphan.identity for orphan in found]


def creation(**inputs: Any) -> dict[str, Any]:
    """A pending creation, of a group's runner unless the inputs say otherwise."""
    given = {"runnerType": "group_type", "groupId": 3, "description": "dev docker", "maintenanceNote": NOTE} | inputs
    return {"urn": f"urn:pulumi:dev::p::{TYPE}::r", "type": TYPE, "provider": f"{PROVIDER}::1", "inputs": given}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("sandbox")) as found:
        yield found


@pytest.fixture
def recovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recovery:
    monkeypatch.setattr(orphans, "LATE_SECONDS", 0)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("DINDRUNNER_SANDBOX", raising=False)
    made = Recovery(tmp_path)
    made.pulumi("cat state.json")
    return made


@dataclass
class Scopes:
    """A group, one in it, a project in that, and the inputs and the API's settings of a runner of each type."""

    above: int
    group: int
    project: int

    def inputs(self, type_: str) -> dict[str, Any]:
        scope: dict[str, dict[str, Any]] = {
            "group_type": {"groupId": float(self.group)},
            "project_type": {"projectId": self.project},
        }
        return {"groupId": None, "runnerType": type_, **scope.get(type_, {})}

    def settings(self, type_: str) -> dict[str, Any]:
        scope = {"group_type": {"group_id": self.group}, "project_type": {"project_id": self.project}}
        return {"runner_type": type_, "description": "dev docker", "maintenance_note": NOTE, **scope.get(type_, {})}


@pytest.fixture
def scopes(live: Live) -> Scopes:
    live.count += 1
    above = live.client.groups.create({"name": f"a{live.count}", "path": f"a{live.count}"})
    group = live.client.groups.create({"name": "b", "path": "b", "parent_id": above.id})
    project = live.client.projects.create({"name": "app", "namespace_id": group.id})
    return Scopes(above.id, group.id, project.id)


def make(live: Live, settings: Mapping[str, Any]) -> Runner:
    answer = live.call("POST", "user/runners", json=settings)
    assert answer.status_code == 201, answer.text
    return Runner(live, answer.json()["id"], answer.json()["token"])


def exists(runner: Runner) -> bool:
    return runner.live.call("GET", f"runners/{runner.id}").status_code == 200


@pytest.mark.parametrize("type_", ["instance_type", "group_type", "project_type"])
def test_the_runner_of_the_pending_creation_is_deleted_and_no_other(
    live: Live, recovery: Recovery, scopes: Scopes, type_: str
) -> None:
    settings = scopes.settings(type_)
    others = [
        make(live, {**settings, "description": "dev docker2"}),
        make(live, {**settings, "maintenance_note": f"{NOTE}2"}),
        make(live, {**settings, "maintenance_note": ""}),
        make(live, scopes.settings("group_type" if type_ == "instance_type" else "instance_type")),
        contacted := make(live, settings),
        recorded := make(live, settings),
    ]
    contacted.ask()
    orphan = make(live, settings)
    recovery.provider(live.url, live.token)
    known = [{"type": TYPE, "id": str(recorded.id)}, {"type": "another", "id": str(orphan.id)}]
    assert recovery.run(creation(**scopes.inputs(type_)), known=known) == [orphan.id]
    assert [exists(other) for other in others] == [True] * len(others)
    assert not exists(orphan)
    assert recovery.said == [
        f"deleted runner {orphan.id} ('dev docker') in GitLab, which an interrupted update made",
    ]
    assert recovery.calls == ["--non-interactive stack export --show-secrets --stack dev"]
    for other in others:
        live.call("DELETE", f"runners/{other.id}")


def test_the_runner_of_a_group_above_is_left(live: Live, recovery: Recovery, scopes: Scopes) -> None:
    above = make(live, {**scopes.settings("group_type"), "group_id": scopes.above})
    recovery.provider(live.url, live.token)
    assert recovery.run(creation(**scopes.inputs("group_type"))) == []
    assert exists(above)
    assert recovery.said == []


def test_all_pages_are_read(live: Live, recovery: Recovery, scopes: Scopes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "PAGE", 2)
    settings = scopes.settings("project_type")
    made = [make(live, settings) for _ in range(5)]
    recovery.provider(live.url, live.token)
    assert sorted(recovery.run(creation(**scopes.inputs("project_type")))) == [runner.id for runner in made]
    assert not any(exists(runner) for runner in made)
    assert len(recovery.said) == len(made)


def test_a_list_without_an_end_is_given_up(
    live: Live, recovery: Recovery, scopes: Scopes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "PAGE", 1)
    monkeypatch.setattr(orphans, "MOST_PAGES", 2)
    made = [make(live, scopes.settings("project_type")) for _ in range(3)]
    recovery.provider(live.url, live.token)
    assert recovery.run(creation(**scopes.inputs("project_type"))) == []
    assert recovery.said == [
        f"{MAY_HAVE}{live.url} has more than 2 pages of runners that have never contacted it{BY_HAND}"
    ]
    assert all(exists(runner) for runner in made)


def test_a_runner_that_gitlab_makes_late_is_found_too(
    live: Live, recovery: Recovery, scopes: Scopes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(orphans, "LATE_SECONDS", 60)
    monkeypatch.setattr("time.sleep", lambda _: made.append(make(live, scopes.settings("group_type"))))
    recovery.provider(live.url, live.token)
    assert recovery.run(creation(**scopes.inputs("group_type"))) == [runner.id for runner in made]
    assert len(made) == 1


def test_a_runner_that_is_gone_by_then_is_not_spoken_of(live: Live, recovery: Recovery, scopes: Scopes) -> None:
    orphan = make(live, scopes.settings("group_type"))
    recovery.provider(live.url, live.token)
    (found,) = find_orphans(STACK, [creation(**scopes.inputs("group_type"))], [], recovery.said.append)
    live.call("DELETE", f"runners/{orphan.id}")
    found.delete(recovery.said.append)
    assert recovery.said == []
    assert live.token not in repr(found)


def test_a_deletion_that_gitlab_refuses_is_said(live: Live, recovery: Recovery, scopes: Scopes) -> None:
    orphan = make(live, scopes.settings("group_type"))
    live.call("POST", "/-/sandbox/faults", json={"match": f"^DELETE /api/v4/runners/{orphan.id}", "status": 403})
    recovery.provider(live.url, live.token)
    recovery.run(creation(**scopes.inputs("group_type")))
    assert recovery.said == [f"{MAY_HAVE}{live.url} answers DELETE runners/{orphan.id} with status 403{BY_HAND}"]


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_a_list_that_gitlab_refuses_is_said(live: Live, recovery: Recovery, status: int) -> None:
    live.call("POST", "/-/sandbox/faults", json={"match": "^GET /api/v4/groups/3/runners$", "status": status})
    recovery.provider(live.url, live.token)
    assert recovery.run(creation()) == []
    assert recovery.said == [f"{MAY_HAVE}{live.url} answers GET groups/3/runners with status {status}{BY_HAND}"]


def test_each_pending_creation_is_looked_for_even_if_one_before_it_fails(
    live: Live, recovery: Recovery, scopes: Scopes
) -> None:
    orphan = make(live, scopes.settings("group_type"))
    recovery.provider(live.url, live.token)
    unclear = creation(description="dev other", maintenanceNote=None)
    assert recovery.run(unclear, creation(**scopes.inputs("group_type"))) == [orphan.id]
    assert recovery.said[0] == (
        "GitLab may have made runner 'dev other', but the state does not say which runner it is" + BY_HAND
    )


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"description": None}, "the state does not say which runner it is"),
        ({"maintenanceNote": ""}, "the state does not say which runner it is"),
        ({"runnerType": "other"}, "the state does not say which runner it is"),
        ({"groupId": None}, "there is no number where the state or GitLab has to have one"),
        ({"groupId": "../runners"}, "there is no number where the state or GitLab has to have one"),
    ],
)
def test_a_creation_that_fits_more_than_one_runner_is_not_looked_for(
    live: Live, recovery: Recovery, inputs: dict[str, Any], reason: str
) -> None:
    recovery.provider(live.url, live.token)
    assert recovery.run(creation(**inputs)) == []
    (line,) = recovery.said
    assert line.endswith(f", but {reason}{BY_HAND}")


def test_secrets_are_not_asked_for_without_a_pending_runner(recovery: Recovery) -> None:
    network = {"type": "docker:index/network:Network", "inputs": {}}
    assert recovery.run() == recovery.run(network) == []
    assert recovery.calls == recovery.said == []


@pytest.mark.parametrize(
    "script",
    [
        f"cat state.json; echo 'error: passphrase {TOKEN}' >&2; exit 255",
        f'echo \'{{"deployment": "{TOKEN}"}}\'',
        f"echo {TOKEN}",
        "echo '{\"deployment\": null}'",
        "sleep 60",
    ],
)
def test_secrets_that_cannot_be_read_are_said_without_a_word_of_them(
    recovery: Recovery, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(orphans, "PULUMI_SECONDS", 1)
    recovery.provider("http://127.0.0.1:1")
    recovery.pulumi(script.replace("sleep", "exec sleep"))
    assert recovery.run(creation()) == []
    assert recovery.said == [
        f"{MAY_HAVE}its token cannot be read (`pulumi stack export --show-secrets` failed: is "
        f"PULUMI_CONFIG_PASSPHRASE right?){BY_HAND}"
    ]


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({"baseUrl": None}, "the URL of GitLab"),
        ({"baseUrl": "file:///etc/passwd"}, "the URL of GitLab"),
        ({"baseUrl": f"http://root:{TOKEN}@127.0.0.1"}, "the URL of GitLab"),
        ({"baseUrl": {**SIGNATURE, "ciphertext": "v1:x"}}, "the URL of GitLab"),
        ({"token": None}, "a token for GitLab"),
        ({"token": {**SIGNATURE, "plaintext": "no JSON"}}, "a token for GitLab"),
        ({"token": f"{TOKEN}\r\nHost: x"}, "a token for GitLab"),
    ],
)
def test_a_provider_that_says_too_little_is_not_asked(recovery: Recovery, inputs: dict[str, Any], what: str) -> None:
    recovery.provider("http://127.0.0.1:1", **inputs)
    assert recovery.run(creation()) == []
    assert recovery.said == [f"{MAY_HAVE}the state does not have {what}{BY_HAND}"]


def test_a_provider_that_the_state_does_not_have_is_said(recovery: Recovery) -> None:
    recovery.export([])
    assert recovery.run(creation()) == []
    assert recovery.said == [f"{MAY_HAVE}the state does not have its provider{BY_HAND}"]


def test_a_redirect_does_not_take_the_token_along(recovery: Recovery) -> None:
    with (
        serving(always(200, b"[]")) as other,
        serving(always(302, b"", {"Location": f"{other.url}/{TOKEN}"})) as server,
    ):
        recovery.provider(server.url)
        assert recovery.run(creation()) == []
    assert other.requests == []
    assert server.requests == [
        ("/api/v4/groups/3/runners?type=group_type&status=never_contacted&per_page=100&page=1", TOKEN)
    ]
    assert recovery.said == [f"{MAY_HAVE}{server.url} answers GET groups/3/runners with status 302{BY_HAND}"]


@pytest.mark.parametrize("body", [b"<html>", b'{"message": "x"}', b"[1]", b"", b"[" * 100_000])
def test_what_is_no_list_of_a_gitlab_is_said(recovery: Recovery, body: bytes) -> None:
    with serving(always(200, body)) as server:
        recovery.provider(server.url)
        assert recovery.run(creation()) == []
    assert recovery.said == [f"{MAY_HAVE}{server.url} answers something that is no GitLab API{BY_HAND}"]


def test_a_server_that_repeats_the_token_is_not_repeated(recovery: Recovery) -> None:
    def echo(handler: BaseHTTPRequestHandler, token: str | None) -> None:
        handler.wfile.write(f"{token}\r\n\r\n".encode())

    with serving(echo) as server:
        recovery.provider(server.url)
        assert recovery.run(creation()) == []
    assert recovery.said == [f"{MAY_HAVE}{server.url} does not answer as a GitLab does{BY_HAND}"]


def test_a_server_that_is_gone_is_said(recovery: Recovery) -> None:
    with serving(always(200, b"[]")) as server:
        recovery.provider(server.url)
    assert recovery.run(creation()) == []
    assert recovery.said == [f"{MAY_HAVE}{server.url} does not answer (Connection refused){BY_HAND}"]


def test_a_server_that_answers_in_drops_is_given_up_after_a_while(
    recovery: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def drop(handler: BaseHTTPRequestHandler, _: str | None) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not ended.wait(0.1):
            handler.wfile.write(b" ")

    monkeypatch.setattr(orphans, "ANSWER_SECONDS", 0.5)
    with serving(drop) as server:
        recovery.provider(server.url)
        assert recovery.run(creation()) == []
        ended.set()
    assert recovery.said == [f"{MAY_HAVE}{server.url} does not answer within 0.5 s{BY_HAND}"]


def test_a_certificate_is_checked_against_the_providers_ca(recovery: Recovery, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with serving(always(200, b"[]"), certificate) as server:
        recovery.provider(server.url, cacertFile=str(certificate))
        assert recovery.run(creation()) == []
        assert recovery.said == []
        recovery.provider(server.url)
        assert recovery.run(creation()) == []
        recovery.provider(server.url, cacertFile="/no/such/file")
        assert recovery.run(creation()) == []
    assert len(server.requests) == 1
    assert recovery.said[0].startswith(f"{MAY_HAVE}{server.url} has a certificate that is not trusted (")
    assert recovery.said[1] == (
        f"{MAY_HAVE}the CA file '/no/such/file' cannot be read (No such file or directory){BY_HAND}"
    )


def test_only_the_sandbox_is_asked_past_the_proxy(
    recovery: Recovery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    described = tmp_path / "sandbox.json"
    with serving(always(502, b"")) as proxy, serving(always(200, b"[]")) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        recovery.provider(server.url)
        for url in (server.url, "http://another"):
            described.write_text(json.dumps({"url": url}))
            monkeypatch.setenv("DINDRUNNER_SANDBOX", str(described))
            recovery.run(creation())
    assert (len(server.requests), len(proxy.requests)) == (1, 1)
    assert recovery.said == [f"{MAY_HAVE}{server.url} answers GET groups/3/runners with status 502{BY_HAND}"]


def test_the_module_needs_no_packages_so_that_it_runs_before_they_are_installed() -> None:
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-S", "-c", "import toolchain.orphans"], cwd=root, check=True, timeout=60)
