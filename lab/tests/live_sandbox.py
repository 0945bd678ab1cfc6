"""A sandbox GitLab on a free port of 127.0.0.1, and a runner's half of the conversation."""

from __future__ import annotations

import contextlib
import io
import socket
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gitlab
import pytest
import requests
import uvicorn
from gitlab.v4.objects import Project

from lab.gitlab import seed
from lab.gitlab.core import Sandbox
from lab.gitlab.server import web_server
from lab.gitlab.store import Store

LIMIT = 10.0


@dataclass
class Live:
    """A running sandbox. token: the administrator's."""

    sandbox: Sandbox
    token: str
    count: int = 0

    @property
    def url(self) -> str:
        return self.sandbox.url

    @property
    def client(self) -> gitlab.Gitlab:
        return gitlab.Gitlab(self.url, private_token=self.token)

    def call(self, method: str, path: str, *, token: str | None = None, **options: Any) -> requests.Response:
        """One request to the API; `path` that does not start with / lies below /api/v4."""
        address = f"{self.url}{path}" if path.startswith("/") else f"{self.url}/api/v4/{path}"
        headers = {"PRIVATE-TOKEN": self.token if token is None else token, **options.pop("headers", {})}
        return requests.request(method, address, headers=headers, timeout=LIMIT, **options)

    def token_with(self, *scopes: str, user: int = 1) -> str:
        made = self.call("POST", f"users/{user}/personal_access_tokens", json={"name": "t", "scopes": scopes}).json()
        return str(made["token"])

    def project(self, ci_yaml: str | None = None, files: Mapping[str, str] | None = None) -> Project:
        """A new project in a group of its own, its files committed without starting a pipeline."""
        self.count += 1
        group = self.client.groups.create({"name": f"g{self.count}", "path": f"g{self.count}"})
        project = self.client.projects.create({"name": "app", "namespace_id": group.id})
        wanted = {**({".gitlab-ci.yml": ci_yaml} if ci_yaml else {}), **(files or {})}
        if wanted:
            actions = [{"action": "create", "file_path": file, "content": text} for file, text in wanted.items()]
            message = "first [skip ci]"
            project.commits.create({"branch": "main", "commit_message": message, "actions": actions})
        return project

    def runner(self, project: Project, **settings: Any) -> Runner:
        """A runner of a project that takes everything."""
        wanted = {"runner_type": "project_type", "project_id": project.id, **settings}
        answer = self.call("POST", "user/runners", json=wanted)
        assert answer.status_code == 201, answer.text
        return Runner(self, answer.json()["id"], answer.json()["token"])


@dataclass(frozen=True)
class Runner:
    """What gitlab-runner says to GitLab."""

    live: Live
    id: int
    token: str

    def ask(self, system_id: str = "s_1", **more: Any) -> requests.Response:
        info = {"name": "gitlab-runner", "version": "19.4.0", "platform": "linux", "architecture": "arm64", **more}
        return self.live.call("POST", "jobs/request", json={"token": self.token, "info": info, "system_id": system_id})

    def job(self, **more: Any) -> dict[str, Any]:
        """The next job, for a runner that says `more` of itself; AssertionError where there is none."""
        answer = self.ask(**more)
        assert answer.status_code == 201, f"{answer.status_code} {answer.text}"
        payload: dict[str, Any] = answer.json()
        return payload

    def next_name(self) -> str | None:
        """The name of the next job, which is then running; None where there is none."""
        answer = self.ask()
        return str(answer.json()["job_info"]["name"]) if answer.status_code == 201 else None

    def end(self, job: Mapping[str, Any], state: str = "success", **more: Any) -> requests.Response:
        return self.live.call("PUT", f"jobs/{job['id']}", json={"token": job["token"], "state": state, **more})

    def trace(self, job: Mapping[str, Any], text: bytes, start: int) -> requests.Response:
        headers = {"JOB-TOKEN": job["token"], "Content-Range": f"{start}-{start + len(text) - 1}"}
        headers |= {"Content-Type": "text/plain"}
        return self.live.call("PATCH", f"jobs/{job['id']}/trace", headers=headers, data=text)

    def upload(self, job: Mapping[str, Any], files: Mapping[str, str], **query: str) -> requests.Response:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as content:
            for name, text in files.items():
                content.writestr(name, text)
        part = {"file": ("artifacts.zip", archive.getvalue(), "application/octet-stream")}
        headers = {"JOB-TOKEN": job["token"]}
        return self.live.call("POST", f"jobs/{job['id']}/artifacts", headers=headers, params=query, files=part)


def values_of(job: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a job that a runner has got."""
    return {variable["key"]: variable["value"] for variable in job["variables"]}


def refused(status: int, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What GitLab says where it refuses a call of python-gitlab's."""
    with pytest.raises(gitlab.GitlabError) as caught:
        call(*arguments, **options)
    assert caught.value.response_code == status
    return caught.value.error_message


@contextlib.contextmanager
def running(state: Path, registry: str | None = None) -> Iterator[Live]:
    """A sandbox on this state directory, stopped at the end of the block."""
    # asyncio turns off the delay of small segments (40 ms per answer) only where the protocol is named.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        sandbox = Sandbox(state, url, Store(state / "gitlab.db"), registry)
        seed.ensure_token(sandbox)
        server = uvicorn.Server(web_server(sandbox))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        give_up = time.monotonic() + LIMIT
        while not server.started:
            assert time.monotonic() < give_up, "the sandbox did not start"
            time.sleep(0.01)
        try:
            yield Live(sandbox, seed.token_file(state).read_text().strip())
        finally:
            server.should_exit = True
            thread.join(LIMIT)
            sandbox.store.close()


def git(*arguments: str, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """git, without anybody's own configuration and without a question for a password."""
    identity = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env=environment | identity,
        text=True,
        capture_output=True,
        timeout=30,
        check=check,
    )
