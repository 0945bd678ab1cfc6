"""A team works on a stack by merge requests: previews, notes, updates and drift, all by real pipelines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.team import Team, artifacts, notes, program_repository, team
from tests.engine.world import ROOT, Sandbox, Stack, docker, inspect, trace, wait_for
from tests.unit.ci_repository import MERGE_REQUEST, of_stack_files, of_the_project
from toolchain import ci_local

WITH_TOOLS = {"TOOLCHAIN_ENV": f"{ROOT}/.toolchain/env"}


@pytest.fixture(scope="module")
def planted(new_stack: Callable[[], Stack], sandbox: Sandbox) -> tuple[Stack, str]:
    """A stack that is nowhere yet, and a secret in its settings: the token of a runner that exists already."""
    stack = new_stack()
    group = sandbox.client.groups.get(sandbox.described["group"])
    tag = f"{stack.name}-brought"
    given = {"runner_type": "group_type", "group_id": group.id, "tag_list": tag, "run_untagged": False}
    made: Any = sandbox.client.http_post("/user/runners", post_data={**given, "description": tag})
    stack.configure(runners=[stack.runner(), {"name": "brought", "kind": "plain", "tags": [tag]}])
    path = "gitlab-dind-runners:settings.runners[1].token"
    stack.pulumi("config", "set", "--secret", "--path", path, made["token"])
    return stack, made["token"]


@pytest.fixture(scope="module")
def secret(planted: tuple[Stack, str]) -> str:
    """The secret in the stack's settings."""
    return planted[1]


@pytest.fixture(scope="module")
def members(planted: tuple[Stack, str], sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The team, whose stack its first pipeline has deployed."""
    with team(sandbox, planted[0], tmp_path_factory.mktemp("team")) as made:
        made.deploy(made.commit({made.settings_file: made.settings(concurrent=2)}))
        yield made


@pytest.fixture(scope="module")
def ci_local_program(environment: dict[str, str]) -> Path:
    """gitlab-ci-local, on a machine with the tools."""
    assert environment["PULUMI_HOME"]
    return ci_local.ensure(lambda _: None)


def other_image(stack: Stack) -> str:
    """Another name for the daemon's image."""
    return f"{json.loads((ROOT / '.toolchain' / 'images.json').read_text())['dind']}-{stack.name}"


def concurrent(stack: Stack) -> str:
    """The line of the real runner's configuration that says how many jobs it takes at once."""
    return stack.config_toml().splitlines()[0]


def test_a_pushed_change_is_previewed_and_deployed_to_the_real_stack(members: Team) -> None:
    assert concurrent(members.stack) == "concurrent = 2"
    environments = members.project.environments.list(get_all=True)
    assert {environment.name for environment in environments} == {"production", "production/preview"}


def test_merge_requests_get_a_note_each_and_a_merge_changes_the_real_stack(members: Team) -> None:
    daemon = inspect(f"{members.stack.prefix}-dind")
    docker("tag", daemon["Config"]["Image"], other_image(members.stack))
    # All three at once, as in a team.
    nothing = members.propose({"README.md": "The stacks of a larger team.\n"})
    more_jobs = members.propose({members.settings_file: members.settings(concurrent=3)})
    image = {"image": other_image(members.stack)}
    new_daemon = members.propose({members.settings_file: members.settings(daemon=image)})

    members.preview(more_jobs)
    [note] = notes(more_jobs)
    assert "- concurrent: 2\n+ concurrent: 3\n" in note
    assert "`config.toml` is written anew; its settings take effect without a restart of the runner" in note
    assert "Interrupted" not in note
    assert concurrent(members.stack) == "concurrent = 2"

    members.preview(new_daemon)
    [note] = notes(new_daemon)
    assert f"- daemon `{members.stack.prefix}-dind` is replaced, once the running jobs have ended" in note
    assert note.index("**Interrupted, nothing is lost**") < note.index("<details>")
    assert inspect(f"{members.stack.prefix}-dind")["Id"] == daemon["Id"]

    [pipeline] = nothing.pipelines.list(get_all=True)
    assert set(members.end_of(pipeline.id)) == {"review", "stop review"}
    assert notes(nothing) == []

    more_jobs.merge()
    members.deploy(members.project.mergerequests.get(more_jobs.iid).merge_commit_sha)
    wait_for("the new configuration", 20, lambda: concurrent(members.stack) == "concurrent = 3" or None)
    assert inspect(f"{members.stack.prefix}-dind")["Id"] == daemon["Id"]


def test_nothing_is_deployed_after_a_preview_that_failed(members: Team) -> None:
    before = inspect(f"{members.stack.prefix}-runner-config")["Id"]
    good = members.project.files.get(members.settings_file, ref="main").decode().decode()
    broken = members.commit({members.settings_file: members.settings(concurrent=0)})
    jobs = members.end_of(members.pipeline("push", broken).id)
    preview, up = (jobs[f"{name} {members.stack.name}"] for name in ("preview", "up"))
    assert (preview.status, up.status) == ("failed", "skipped")
    assert "settings.concurrent" in trace(preview)
    assert inspect(f"{members.stack.prefix}-runner-config")["Id"] == before
    members.commit({members.settings_file: good})


def test_two_pipelines_at_once_update_the_stack_one_after_the_other(members: Team) -> None:
    up, preview = f"up {members.stack.name}", f"preview {members.stack.name}"
    # A new daemon takes a while, in which the second pipeline comes to its own update.
    first = members.commit({members.settings_file: members.settings(daemon={"image": other_image(members.stack)})})
    # Before that the second would make the first redundant, as in GitLab, and do all of its work.
    members.until(members.pipeline("push", first).id, up, "running")
    second = members.commit({members.settings_file: members.settings(concurrent=5)})
    earlier, later = members.deploy(first)[up], members.deploy(second)
    assert later[preview].finished_at < earlier.finished_at <= later[up].started_at
    wait_for("the last configuration", 20, lambda: concurrent(members.stack) == "concurrent = 5" or None)
    assert inspect(f"{members.stack.prefix}-dind")["Config"]["Image"] == other_image(members.stack)


def test_a_forks_merge_request_without_secrets_has_its_settings_checked_and_deploys_nothing(members: Team) -> None:
    before = concurrent(members.stack)
    name, namespace = f"{members.project.path}-fork", members.project.namespace["full_path"]
    forked = members.project.forks.create({"path": name, "name": name, "namespace_path": namespace})
    fork = members.sandbox.client.projects.get(forked.id)
    good = members.propose({members.settings_file: members.settings(concurrent=7)}, fork)
    bad = members.propose({members.settings_file: members.settings(concurrent=0)}, fork)
    assert "only the settings were checked, as far as files tell" in members.preview(good, fork)
    assert "settings.concurrent" in members.preview(bad, fork, status="failed")
    assert {job.name for job in fork.jobs.list(get_all=True)} == {f"preview {members.stack.name}"}
    assert notes(good) == []
    assert concurrent(members.stack) == before


def test_a_review_stack_is_made_by_hand_and_goes_with_its_merge_request_when_the_branch_is_gone(members: Team) -> None:
    opened = members.propose({"README.md": "To be tried out.\n"})
    [pipeline] = opened.pipelines.list(get_all=True)
    runner = f"{members.stack.prefix}-review-runner"
    try:
        members.until(pipeline.id, "review", "manual").play()
        members.until(pipeline.id, "review", "success")
        assert inspect(runner)["State"]["Running"] is True
        members.project.branches.delete(opened.source_branch)
        opened.state_event = "close"
        opened.save()
        members.until(pipeline.id, "stop review", "success")
    finally:
        left = docker("ps", "--all", "--quiet", "--filter", f"name={runner}")
        docker("rm", "--force", "--volumes", *left.split(), check=False)
    assert left == ""
    assert f"review-{opened.iid}" not in members.stack.pulumi("stack", "ls", "--json").stdout
    assert members.sandbox.runners_of(f"review-{opened.iid}") == []


def test_a_schedule_opens_an_issue_about_what_was_changed_by_hand(members: Team) -> None:
    schedule = members.project.pipelineschedules.create({"ref": "main", "description": "drift", "cron": "0 4 * * *"})
    docker("rm", "--force", f"{members.stack.prefix}-runner")
    schedule.play()
    pipeline = members.pipeline("schedule", members.project.branches.get("main").commit["id"])
    [job] = members.end_of(pipeline.id).values()
    assert (job.name, job.status) == (f"drift {members.stack.name}", "failed")
    assert "1 gone" in trace(job)
    [issue] = members.project.issues.list(state="opened", get_all=True)
    assert issue.title == f"Drift of stack {members.stack.name}"
    assert f"{members.stack.prefix}-runner" in issue.description


def test_a_secret_of_the_settings_is_in_no_note_no_issue_no_trace_and_no_artifact(members: Team, secret: str) -> None:
    requests = members.project.mergerequests.list(get_all=True)
    jobs = [members.project.jobs.get(job.id) for job in members.project.jobs.list(get_all=True)]
    texts = [note for request in requests for note in notes(members.project.mergerequests.get(request.iid))]
    texts += [issue.description for issue in members.project.issues.list(get_all=True)]
    files = [artifacts(job) for job in jobs]
    assert len(texts) >= 3
    assert len(jobs) >= 10
    assert sum(f"preview/{members.stack.name}.md" in names for names in files) >= 5
    # It is really there, in the runner's own file.
    assert secret in inspect_config(members.stack)
    for text in [*texts, *(trace(job) for job in jobs), *(text for names in files for text in names.values())]:
        assert secret not in text
        assert members.sandbox.token not in text


def inspect_config(stack: Stack) -> str:
    """The runner's configuration as it stands in the volume, read without the runner."""
    image = inspect(f"{stack.prefix}-dind")["Config"]["Image"]
    volume = f"{stack.prefix}-runner-config:/config:ro"
    return docker("run", "--rm", "--volume", volume, "--entrypoint", "cat", image, "/config/config.toml")


def test_gitlab_ci_local_runs_the_lint_job_which_fails_where_something_is_wrong(
    ci_local_program: Path, tmp_path: Path
) -> None:
    repository = of_the_project(tmp_path / "it", ci_local_program)
    (repository.directory / "good.py").write_text('"""Good."""\n')
    good = repository.run("lint", "--force-shell-executor", variables=WITH_TOOLS, check=False)
    assert good.returncode == 0, good.stdout + good.stderr
    (repository.directory / "bad.py").write_text("import os\n")
    bad = repository.run("lint", "--force-shell-executor", variables=WITH_TOOLS, check=False)
    assert bad.returncode == 1
    assert "F401" in bad.stdout


def test_gitlab_ci_local_runs_the_preview_of_a_forks_merge_request(ci_local_program: Path, tmp_path: Path) -> None:
    repository = of_stack_files(tmp_path / "it", ci_local_program)
    program = {"PROGRAM_URL": str(program_repository(tmp_path / "program"))}
    of_fork = {"CI_MERGE_REQUEST_PROJECT_ID": "1", "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1217"}
    variables = WITH_TOOLS | MERGE_REQUEST | of_fork | program
    done = repository.run("preview staging", "--force-shell-executor", variables=variables, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "only the settings were checked" in (repository.directory / "preview" / "staging.txt").read_text()
