"""git over HTTP in the sandbox, with the real git."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from gitlab.v4.objects import Project

from lab.gitlab import seed
from lab.gitlab.repository import Repository
from lab.tests.live_sandbox import Live, git, refused, running

CI = "job: {script: [x]}\n"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("sandbox")) as found:
        yield found


def address(live: Live, project: Project, token: str, user: str = "any") -> str:
    return f"{live.url.replace('://', f'://{user}:{token}@')}/{project.path_with_namespace}.git"


def commit(clone: Path, files: dict[str, str], message: str = "change") -> None:
    for name, text in files.items():
        (clone / name).write_text(text)
    git("add", "--all", cwd=clone)
    git("commit", "--quiet", "--message", message, cwd=clone)


def test_a_push_is_there_for_the_next_clone_and_starts_a_pipeline(live: Live, tmp_path: Path) -> None:
    project = live.project()
    url = address(live, project, live.token)
    git("clone", "--quiet", url, str(tmp_path / "a"))
    git("checkout", "--quiet", "-B", "main", cwd=tmp_path / "a")
    (tmp_path / "a" / "large").write_bytes(content := os.urandom(3_000_000))  # incompressible: as large on the way
    commit(tmp_path / "a", {".gitlab-ci.yml": CI})
    git("push", "--quiet", "origin", "main", cwd=tmp_path / "a")
    (pipeline,) = project.pipelines.list(get_all=True)
    head = git("rev-parse", "HEAD", cwd=tmp_path / "a").stdout.strip()
    assert (pipeline.source, pipeline.ref, pipeline.sha) == ("push", "main", head)
    git("clone", "--quiet", "--depth", "1", url, str(tmp_path / "b"))
    assert (tmp_path / "b" / "large").read_bytes() == content
    commit(tmp_path / "b", {"x": "1"})
    git("push", "--quiet", "origin", "main", "HEAD:topic", cwd=tmp_path / "b")
    assert [one.ref for one in project.pipelines.list(get_all=True)] == ["topic", "main", "main"]


def test_a_push_starts_nothing_for_a_branch_that_something_else_moves_meanwhile(live: Live, tmp_path: Path) -> None:
    project = live.project(CI)
    for branch in ("topic", "other"):
        project.branches.create({"branch": branch, "ref": "main"})
    before = len(project.pipelines.list(get_all=True))
    git("clone", "--quiet", "--branch", "topic", address(live, project, live.token), str(tmp_path / "a"))
    commit(tmp_path / "a", {"x": "1"})
    bare = live.sandbox.repository(project.id).path
    tree, parent = (git("rev-parse", f"main{what}", cwd=bare).stdout.strip() for what in ("^{tree}", ""))
    moved = git("commit-tree", tree, "-p", parent, "-m", "another", cwd=bare).stdout.strip()
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\nunset GIT_QUARANTINE_PATH\nexec git update-ref refs/heads/other {moved}\n")
    hook.chmod(0o755)
    git("push", "--quiet", "origin", "topic", cwd=tmp_path / "a")
    assert project.branches.get("other").commit["id"] == moved
    refs = [pipeline.ref for pipeline in project.pipelines.list(get_all=True)]
    assert (refs[0], len(refs)) == ("topic", before + 1)


def test_a_commit_that_was_asked_for_too_early_is_found_later(live: Live, tmp_path: Path) -> None:
    project = live.project(CI)
    git("clone", "--quiet", address(live, project, live.token), str(tmp_path / "a"))
    commit(tmp_path / "a", {"x": "1"}, "late")
    head = git("rev-parse", "HEAD", cwd=tmp_path / "a").stdout.strip()
    assert refused(404, project.commits.get, head) == "404 Commit Not Found"
    git("push", "--quiet", "origin", "main", cwd=tmp_path / "a")
    assert project.commits.get(head).title == "late"


def test_skip_ci_in_the_message_starts_no_pipeline(live: Live, tmp_path: Path) -> None:
    project = live.project(CI)
    git("clone", "--quiet", address(live, project, live.token), str(tmp_path / "a"))
    commit(tmp_path / "a", {"x": "1"}, "quiet [skip ci]")
    git("push", "--quiet", "origin", "main", cwd=tmp_path / "a")
    assert project.pipelines.list(get_all=True) == []


def test_a_jobs_token_clones_its_own_project_while_the_job_runs(live: Live, tmp_path: Path) -> None:
    project, other = live.project(CI), live.project(CI)
    project.pipelines.create({"ref": "main"})
    runner = live.runner(project)
    job = runner.job()
    own = job["git_info"]["repo_url"]
    git("clone", "--quiet", own, str(tmp_path / "a"))
    commit(tmp_path / "a", {"x": "1"})
    pushed = git("push", "origin", "main", cwd=tmp_path / "a", check=False)
    assert "403" in pushed.stderr
    foreign = git("ls-remote", address(live, other, job["token"], "gitlab-ci-token"), check=False)
    assert "not found" in foreign.stderr
    runner.end(job)
    late = git("ls-remote", own, check=False)
    assert late.returncode != 0
    assert "Authentication failed" in late.stderr


def test_the_commit_of_a_pipeline_can_be_fetched_after_its_branch_moved(live: Live, tmp_path: Path) -> None:
    project = live.project(CI)
    pipeline = project.pipelines.create({"ref": "main"})
    url = address(live, project, live.token)
    git("clone", "--quiet", url, str(tmp_path / "a"))
    git("commit", "--quiet", "--amend", "--message", "other [skip ci]", cwd=tmp_path / "a")
    git("push", "--quiet", "--force", "origin", "main", cwd=tmp_path / "a")
    git("init", "--quiet", str(tmp_path / "b"))
    reference = f"refs/pipelines/{pipeline.id}"
    git("fetch", "--quiet", "--depth", "20", url, f"+{reference}:{reference}", cwd=tmp_path / "b")
    git("checkout", "--quiet", pipeline.sha, cwd=tmp_path / "b")
    assert (tmp_path / "b" / ".gitlab-ci.yml").read_text() == CI


@pytest.mark.parametrize(
    ("scope", "clones", "pushes"),
    [
        ("api", True, True),
        ("write_repository", True, True),
        ("read_repository", True, False),
        ("read_api", False, False),
    ],
)
def test_scopes_say_what_a_token_may_do_with_a_repository(
    live: Live, tmp_path: Path, scope: str, clones: bool, pushes: bool
) -> None:
    project = live.project(CI)
    url = address(live, project, live.token_with(scope))
    assert (git("ls-remote", url, check=False).returncode == 0) is clones
    git("clone", "--quiet", address(live, project, live.token), str(tmp_path / "a"))
    commit(tmp_path / "a", {"x": "1"}, "[skip ci]")
    assert (git("push", url, "main", cwd=tmp_path / "a", check=False).returncode == 0) is pushes


def test_nothing_is_told_without_a_password(live: Live) -> None:
    project = live.project(CI)
    answer = requests.get(f"{live.url}/{project.path_with_namespace}.git/info/refs?service=git-upload-pack", timeout=5)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="GitLab"')


@pytest.mark.parametrize("path", ["/g1/app.git/config", "/g1/app.git/objects/info/packs", "/../gitlab.db"])
def test_only_the_smart_protocol_is_served(live: Live, path: str) -> None:
    answer = requests.get(f"{live.url}{path}", auth=("any", live.token), timeout=5)
    assert answer.status_code == 404


def test_the_demo_project_follows_the_samples_files(live: Live, tmp_path: Path) -> None:
    said: list[str] = []
    sample = seed.SAMPLE
    images = {"PYTHON_IMAGE": "127.0.0.1:1/python:1", "POSTGRES_IMAGE": None}
    for _ in range(2):
        seed.demo_project(live.sandbox, images, say=said.append)
    assert len(said) == 1
    project = live.client.projects.get(seed.PROJECT)
    git("clone", "--quiet", address(live, project, live.token), str(tmp_path / "a"))
    found = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert {path for path in found if path.parts[0] != ".git"} == {
        path.relative_to(sample)
        for path in sample.rglob("*")
        if path.is_file() and not {"__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache"} & set(path.parts)
    }
    assert [variable.key for variable in project.variables.list(get_all=True)] == ["PYTHON_IMAGE"]


def test_a_repository_whose_making_was_interrupted_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(tmp_path / "1.git")

    def killed(made: Repository, *arguments: str) -> str:
        made._run(arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Repository, "_git", killed)
        with pytest.raises(KeyboardInterrupt):
            repository.create("main")
    assert list(tmp_path.iterdir()) == []
    repository.create("main")
    assert repository._git("config", "http.receivepack") == "true\n"


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (
            {"action": "move", "file_path": "a"},
            "action move is not supported by the sandbox GitLab (create, update, delete are)",
        ),
        ({"action": "create", "file_path": "a", "content": "x", "encoding": "base64"}, "content of a is not base64"),
        ({"action": "create", "file_path": "../a", "content": "x"}, "error: Invalid path '../a'"),
        ({"action": "create", "file_path": ".gitlab-ci.yml", "content": CI}, "A commit needs a change"),
    ],
)
def test_a_commit_that_cannot_be_is_refused(live: Live, action: dict[str, str], message: str) -> None:
    project = live.project(CI)
    wanted = {"branch": "main", "commit_message": "x", "actions": [action]}
    answer = live.call("POST", f"projects/{project.id}/repository/commits", json=wanted)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(f"400 Bad request - {message}")
