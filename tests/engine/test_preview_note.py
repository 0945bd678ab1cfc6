"""What a merge request is told: the real engine on a deployed stack, the real client on the sandbox's GitLab."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gitlab.v4.objects import Project, ProjectMergeRequest

from tests.engine.world import ROOT, STEP_SECONDS, Sandbox, Stack, run, unique

PLANTED = {
    "secure": "planted-as-pulumi-secret",
    "mirror": "planted-mirror.example",
    "environment": "planted-in-environment",
    "extra": "planted-in-extra",
    "runner": "glrt-plantedtokenofarunner",
    "gitlab": "planted-gitlab-token",
    "passphrase": "planted-passphrase",
}


@dataclass
class Pipeline:
    """A merge request's pipeline, as far as `tools` can tell. base: commit with the settings as they are deployed."""

    stack: Stack
    sandbox: Sandbox
    project: Project
    merge_request: ProjectMergeRequest
    base: str

    @property
    def variables(self) -> dict[str, str]:
        """What GitLab gives a job, and the project's own variables."""
        url = self.sandbox.described["url"]
        return {
            "PYTHONPATH": str(ROOT),
            "DINDRUNNER_BACKEND_URL": self.stack.environment["PULUMI_BACKEND_URL"],
            "DINDRUNNER_NOTE_TOKEN": self.sandbox.token,
            # Each preview would take seconds more.
            "DINDRUNNER_POLICY_PACK": "",
            "CI_API_V4_URL": f"{url}/api/v4",
            "CI_PROJECT_ID": str(self.project.id),
            "CI_JOB_URL": f"{url}/{self.project.path_with_namespace}/-/jobs/1",
            "CI_MERGE_REQUEST_IID": str(self.merge_request.iid),
            "CI_MERGE_REQUEST_PROJECT_ID": str(self.project.id),
            "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": str(self.project.id),
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": self.base,
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": self.merge_request.sha,
        }

    def tools(
        self,
        command: str,
        *arguments: str,
        status: int = 0,
        given: Mapping[str, str] | None = None,
        without: tuple[str, ...] = (),
    ) -> str:
        """What a command wrote, on both streams, with these variables and without those.

        AssertionError where it ends with another status.
        """
        environment = {**self.stack.environment, **self.variables, **(given or {})}
        done = subprocess.run(
            [sys.executable, "-m", "tools", command, "--stack", self.stack.name, *arguments],
            cwd=self.stack.directory,
            env={name: value for name, value in environment.items() if name not in without},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def notes(self) -> list[str]:
        """The bodies of the merge request's notes, but not GitLab's own."""
        return [note.body for note in self.merge_request.notes.list(get_all=True) if not note.system]

    def note(self) -> str:
        """The only one."""
        (body,) = self.notes()
        return str(body)


@pytest.fixture(scope="module")
def deployed(new_stack: Callable[..., Stack], sandbox: Sandbox) -> Iterator[Pipeline]:
    """A stack that `tools up` has brought up, in a repository whose last commit has its settings."""
    stack = new_stack()
    project = sandbox.project({"README.md": "stacks"})
    (stack.directory / ".gitignore").write_text("state\n")
    for words in (
        ["init", "--quiet"],
        ["add", f"Pulumi.{stack.name}.yaml"],
        ["commit", "--quiet", "--message=settings"],
    ):
        run("git", "-c", "user.name=t", "-c", "user.email=t@t", *words, cwd=stack.directory)
    base = run("git", "rev-parse", "HEAD", cwd=stack.directory).stdout.strip()
    pipeline = Pipeline(stack, sandbox, project, propose(project), base)
    pipeline.tools("up")
    yield pipeline
    stack.configure()
    log = pipeline.tools("destroy")
    assert "16 deleted" in log
    assert pipeline.tools("destroy") == f"there is no stack {stack.name}\n"


@pytest.fixture
def pipeline(deployed: Pipeline) -> Pipeline:
    """The same with a merge request of its own, and the settings as they are deployed."""
    deployed.stack.configure()
    deployed.merge_request = propose(deployed.project)
    return deployed


def propose(project: Project) -> ProjectMergeRequest:
    branch = unique("b")
    action = {"action": "create", "file_path": branch, "content": "x"}
    project.commits.create({"branch": branch, "start_branch": "main", "commit_message": "x", "actions": [action]})
    made = project.mergerequests.create({"source_branch": branch, "target_branch": "main", "title": branch})
    assert isinstance(made, ProjectMergeRequest)
    return made


def test_a_changed_setting_is_told_with_its_values_and_taken_back_in_the_same_note(pipeline: Pipeline) -> None:
    pipeline.stack.configure(concurrent=7)
    assert "was made" in pipeline.tools("preview")
    note = pipeline.note()
    assert note.startswith(f"<!-- gitlab-dind-runners preview: gitlab-dind-runners/{pipeline.stack.name} -->\n")
    assert "0 to create, 0 to update, 1 to replace, 0 to delete, 15 unchanged" in note
    assert "`config.toml` is written anew; its settings take effect without a restart of the runner" in note
    assert "```diff\n+ concurrent: 7\n```" in note
    assert "! uploads: changes, but is hidden, because it has a secret in it" in note
    pipeline.stack.configure()
    assert "was updated" in pipeline.tools("preview")
    assert (
        f":information_source: **Preview of stack** `{pipeline.stack.name}`: no changes, 16 unchanged"
        in pipeline.note()
    )


def test_a_changed_image_of_the_daemon_is_told_to_keep_the_cache(pipeline: Pipeline) -> None:
    pipeline.stack.configure(daemon={"image": "docker:99-dind"})
    log = pipeline.tools("preview")
    note = pipeline.note()
    assert "0 to create, 0 to update, 2 to replace, 0 to delete" in note
    kept = "it keeps its volume with the layer cache"
    assert f"daemon `{pipeline.stack.prefix}-dind` is replaced" in note
    assert kept in note
    assert kept in log
    assert '+ image: "docker:99-dind"' in note
    assert "Data is lost" not in note


def test_no_planted_secret_is_in_note_log_or_artifact(pipeline: Pipeline, tmp_path: Path) -> None:
    stack = pipeline.stack
    runner = stack.runner(environment={"HIDDEN": "-", "OPEN": PLANTED["environment"]})
    runner |= {"extra": {"docker": {"hostname": PLANTED["extra"]}}, "description": f"see {PLANTED['runner']}"}
    own = {"name": "own", "kind": "plain", "tags": ["own"], "token": PLANTED["runner"]}
    stack.configure(runners=[runner, own])
    encrypted = {
        "settings.runners[0].environment.HIDDEN": PLANTED["secure"],
        "settings.daemon.registry_mirrors[0]": f"https://{PLANTED['mirror']}",
    }
    for path, text in encrypted.items():
        stack.pulumi("config", "set", "--secret", "--path", f"gitlab-dind-runners:{path}", text)
    log = pipeline.tools("preview", "--out", str(tmp_path), given={"GITLAB_TOKEN": PLANTED["gitlab"]})
    artifacts = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert artifacts.keys() == {f"{stack.name}.{ending}" for ending in ("md", "txt", "diff")}
    note = pipeline.note()
    # That it is there shows that the change itself was told.
    assert '+  "registry-mirrors": [\n+    "[secret]"' in note
    for text in (note, log, *artifacts.values()):
        assert not [name for name, secret in PLANTED.items() if secret in text]


def test_a_failure_shows_no_planted_secret_either(pipeline: Pipeline, tmp_path: Path) -> None:
    given = {
        "PULUMI_BACKEND_URL": f"s3://b?endpoint=http://u:{PLANTED['gitlab']}@127.0.0.1:1&region=x",
        "PULUMI_CONFIG_PASSPHRASE": PLANTED["passphrase"],
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": PLANTED["secure"],
    }
    log = pipeline.tools("preview", "--out", str(tmp_path), status=1, given=given)
    assert "failed: the state's backend s3://b?endpoint=http://u:[secret]@127.0.0.1:1&region=x" in log
    for text in (log, pipeline.note(), *(file.read_text() for file in tmp_path.iterdir())):
        assert not [name for name, secret in PLANTED.items() if secret in text]


def test_a_merge_request_that_is_gone_is_no_failure(pipeline: Pipeline) -> None:
    told = "there is no merge request !404 any more: nothing was posted"
    assert told in pipeline.tools("preview", given={"CI_MERGE_REQUEST_IID": "404"})


def test_a_pipeline_that_a_newer_commit_has_overtaken_posts_nothing(pipeline: Pipeline) -> None:
    told = f"merge request !{pipeline.merge_request.iid} has a newer commit, whose own pipeline says what is so"
    assert told in pipeline.tools("preview", given={"CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "0" * 40})
    assert pipeline.notes() == []


def test_a_note_that_gitlab_does_not_take_is_not_a_failed_preview(pipeline: Pipeline) -> None:
    log = pipeline.tools("preview", status=3, given={"DINDRUNNER_NOTE_TOKEN": "glpat-wrong"})
    assert "no changes, 16 unchanged" in log
    assert "does not take DINDRUNNER_NOTE_TOKEN (401 Unauthorized)" in log


def test_a_missing_passphrase_fails_with_what_to_set(pipeline: Pipeline) -> None:
    log = pipeline.tools("preview", status=1, without=("PULUMI_CONFIG_PASSPHRASE",))
    name = pipeline.stack.name
    assert (
        f"Preview of stack {name}: failed: the passphrase of stack {name} is missing\nset PULUMI_CONFIG_PASSPHRASE"
        in log
    )
    assert f":x: **Preview of stack** `{name}`: failed: `the passphrase of stack {name} is missing`" in pipeline.note()


def test_an_unreachable_backend_fails_with_its_address(pipeline: Pipeline) -> None:
    log = pipeline.tools("preview", status=1, given={"PULUMI_BACKEND_URL": "file:///nowhere"})
    assert "failed: the state's directory file:///nowhere is not there: stat /nowhere: no such file or directory" in log


def test_a_locked_stack_is_previewed_with_a_warning_and_neither_changed_nor_destroyed(pipeline: Pipeline) -> None:
    name = pipeline.stack.name
    locks = pipeline.stack.directory / "state/.pulumi/locks/organization/gitlab-dind-runners" / name
    locks.mkdir(parents=True, exist_ok=True)
    lock = {"pid": 42, "username": "anna", "hostname": "ci-7", "timestamp": "2026-11-21T21:00:00Z"}
    (locks / "0.json").write_text(json.dumps(lock))
    try:
        assert "The stack is locked by `anna@ci-7 (pid 42) since 2026-11-21T21:00:00Z`" in pipeline.tools("preview")
        for command in ("up", "destroy"):
            log = pipeline.tools(command, status=1)
            assert (
                f"{command} of stack {name} failed:\nstack {name} is locked: another update runs, or one was killed\n"
                "by anna@ci-7 (pid 42) since 2026-11-21T21:00:00Z\n"
                f"wait for it to end; where none runs any more: pulumi cancel --stack {name}\n"
            ) in log
    finally:
        (locks / "0.json").unlink()


def test_wrong_settings_fail_the_preview_and_nothing_is_brought_up(pipeline: Pipeline) -> None:
    pipeline.stack.configure(concurrent="many")
    mistake = "settings.concurrent: 'many' is not accepted: should be a valid integer"
    assert mistake in pipeline.tools("preview", status=1)
    assert mistake in pipeline.note()
    assert pipeline.tools("up", status=1) == f"the settings of stack {pipeline.stack.name} are wrong\n{mistake}\n"


def test_what_is_protected_and_would_go_fails_the_preview_with_its_name(pipeline: Pipeline) -> None:
    stack = pipeline.stack
    volume = "dindrunner:docker:DindDaemon$docker:index/volume:Volume::dind-data"
    urn = f"urn:pulumi:{stack.name}::gitlab-dind-runners::{volume}"
    stack.pulumi("state", "protect", urn, "--yes")
    try:
        stack.configure(runners=[stack.runner(kind="host-docker")])
        pipeline.tools("preview", status=1)
    finally:
        stack.pulumi("state", "unprotect", urn, "--yes")
    note = pipeline.note()
    assert f"failed: `stack {stack.name} would delete what it protects`" in note
    assert f"- `{stack.prefix}-dind-data` would be deleted, but is protected: Pulumi refuses the whole update" in note


def test_a_forks_pipeline_checks_the_settings_and_says_what_it_cannot_tell(pipeline: Pipeline) -> None:
    fork = {"CI_PROJECT_ID": "9999", "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "9999"}
    without = ("DINDRUNNER_NOTE_TOKEN", "DINDRUNNER_BACKEND_URL")
    pipeline.stack.configure(concurrent=7)
    log = pipeline.tools("preview", without=without, given=fork)
    assert f"Preview of stack {pipeline.stack.name}: settings checked only\nSetting: + concurrent: 7\n" in log
    missing = "DINDRUNNER_NOTE_TOKEN, DINDRUNNER_BACKEND_URL, PULUMI_CONFIG_PASSPHRASE"
    assert f"This pipeline has no {missing} (a fork's pipeline gets no variables of the project)" in log
    pipeline.stack.configure(concurrent="many")
    assert "settings.concurrent: 'many' is not accepted" in pipeline.tools(
        "preview", status=1, without=without, given=fork
    )
    assert pipeline.notes() == []


def test_a_new_stack_is_previewed_without_touching_backend_or_file(pipeline: Pipeline) -> None:
    known, new = pipeline.stack, unique()
    file = known.directory / f"Pulumi.{new}.yaml"
    lines = (known.directory / f"Pulumi.{known.name}.yaml").read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("encryptionsalt"))
    file.write_text(text)
    log = pipeline.tools("preview", "--stack", new)
    assert "16 to create, 0 to update, 0 to replace, 0 to delete, 0 unchanged" in log
    assert f"The backend has no stack `{new}` yet: everything is new" in pipeline.note()
    assert file.read_text() == text
    stacks = run("pulumi", "stack", "ls", "--json", cwd=known.directory, env=dict(known.environment)).stdout
    assert [stack["name"] for stack in json.loads(stacks)] == [known.name]
    file.unlink()


def test_a_policy_that_is_broken_fails_the_preview_and_shows_it(
    pipeline: Pipeline, environment: Mapping[str, str]
) -> None:
    pack = "DINDRUNNER_POLICY_PACK"
    pipeline.stack.configure(daemon={"transport": "tcp"})
    log = pipeline.tools("preview", status=1, given={pack: environment[pack]})
    assert "policy violation" in next(line for line in log.splitlines() if line.startswith("Preview of stack"))
    note = pipeline.note()
    assert note.splitlines()[2].startswith(":x: ")
    assert "(mandatory): " in note
    assert "2 to replace" in note
    log = pipeline.tools("up", status=1, given={pack: environment[pack]})
    assert "takes connections on port 2375 without TLS" in log
    assert pipeline.stack.outputs()["daemon"]["transport"] == "tls"


def test_levels_of_policies_hold_for_preview_and_up(pipeline: Pipeline, environment: Mapping[str, str]) -> None:
    pack = {"DINDRUNNER_POLICY_PACK": environment["DINDRUNNER_POLICY_PACK"]}
    strict = {**pack, "DINDRUNNER_POLICY_CONFIG": str(ROOT / "policy" / "strict.json")}
    assert "missing-limit (advisory): " in pipeline.tools("preview", given=pack)
    assert "missing-limit (mandatory): " in pipeline.tools("preview", status=1, given=strict)


def test_drift_opens_an_issue_and_its_end_closes_it(pipeline: Pipeline, tmp_path: Path) -> None:
    assert "no drift, 16 unchanged" in pipeline.tools("drift")
    pipeline.stack.docker("rm", "--force", pipeline.stack.runner_container())
    log = pipeline.tools("drift", "--out", str(tmp_path), status=4)
    assert f"Drift of stack {pipeline.stack.name}: 1 gone, 15 unchanged" in log
    assert "already says so" in pipeline.tools("drift", status=4)
    assert issue(pipeline)["state"] == "opened"
    assert "gone `runner-container`" in issue(pipeline)["description"]
    pipeline.stack.pulumi("refresh", "--yes", "--skip-preview")
    pipeline.tools("up")
    assert "closed the issue" in pipeline.tools("drift")
    assert issue(pipeline)["state"] == "closed"


def issue(pipeline: Pipeline) -> dict[str, Any]:
    """The project's only issue."""
    (found,) = pipeline.project.issues.list(get_all=True, state="all")
    assert found.title == f"Drift of stack {pipeline.stack.name}"
    return dict(found.attributes)
