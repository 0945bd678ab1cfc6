"""What is said of a stack's settings from files and git alone."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tools.merge_request import merge_request, missing_variables
from tools.settings_check import changed_settings, check

GOOD = """\
config:
  gitlab-dind-runners:settings:
    target: docker-host
    gitlab: {url: https://gitlab.com, scope: project, project: g/p}
    concurrent: 2
    runners:
      - name: docker
        tags: [dind]
        environment: {PASSWORD: planted-one}
"""
SHARED = """\
name: gitlab-dind-runners
config:
  gitlab-dind-runners:shared:
    value: {gitlab: {scope: group, group: all}, concurrent: 9}
"""


def write(directory: Path, own: str = GOOD, shared: str = "name: gitlab-dind-runners\n") -> None:
    (directory / "Pulumi.dev.yaml").write_text(own)
    (directory / "Pulumi.yaml").write_text(shared)


def git(directory: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *words]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


def commit(directory: Path) -> str:
    git(directory, "init", "--quiet")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message=x")
    return git(directory, "rev-parse", "HEAD")


def test_right_settings_have_no_mistakes(tmp_path: Path) -> None:
    write(tmp_path)
    assert check(tmp_path, "dev").mistakes == ()


def test_a_mistake_is_told_as_the_program_tells_it(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("concurrent: 2", "concurrent: many"))
    assert check(tmp_path, "dev").mistakes == (
        "settings.concurrent: 'many' is not accepted: should be a valid integer",
    )


def test_shared_settings_count_as_the_stacks_own(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("scope: project, project: g/p", "url: https://gitlab.com"), SHARED)
    assert check(tmp_path, "dev").mistakes == ()


def test_the_sandbox_is_a_gitlab_whether_it_runs_or_not(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("https://gitlab.com", "sandbox"))
    assert check(tmp_path, "dev").mistakes == ()


def test_an_encrypted_value_is_no_mistake_and_is_named(tmp_path: Path) -> None:
    write(tmp_path, f"{GOOD}        token: {{secure: v1:abc}}\n    daemon: {{registry_mirrors: [{{secure: v1:d}}]}}\n")
    checked = check(tmp_path, "dev")
    assert checked.encrypted == ("settings.runners[0].token", "settings.daemon.registry_mirrors[0]")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert check(tmp_path, "prod").mistakes == (
        "Pulumi.prod.yaml: is missing: copy Pulumi.dev.yaml and change its settings",
    )


def test_a_file_that_is_no_yaml_is_told_with_the_place_and_without_what_stands_there(tmp_path: Path) -> None:
    write(tmp_path, 'config:\n  a: {b: "planted"\n  c: d\n')
    assert check(tmp_path, "dev").mistakes == (
        "Pulumi.dev.yaml: is no YAML: line 3: expected ',' or '}', but got '<scalar>'",
    )


def test_a_table_that_is_kept_as_a_text_is_told_without_what_stands_there(tmp_path: Path) -> None:
    write(tmp_path)
    base = commit(tmp_path)
    write(tmp_path, GOOD.replace("settings:\n", "settings: |\n"))
    assert check(tmp_path, "dev").mistakes == ("settings: is no table: write target, gitlab and runners below it",)
    assert changed_settings(tmp_path, "dev", base) == []


def test_changed_settings_are_told_by_path_and_what_jobs_get_is_hidden(tmp_path: Path) -> None:
    write(tmp_path)
    base = commit(tmp_path)
    write(tmp_path, GOOD.replace("concurrent: 2", "concurrent: 5").replace("planted-one", "planted-two"))
    assert changed_settings(tmp_path, "dev", base) == [
        "- concurrent: 2",
        "+ concurrent: 5",
        "! runners[0].environment.PASSWORD: changes, but is hidden",
    ]


def test_a_value_that_is_encrypted_on_one_side_is_hidden_on_the_other(tmp_path: Path) -> None:
    mirrors = "    daemon: {registry_mirrors: [https://planted.example], image: %s}\n"
    write(tmp_path, GOOD + mirrors % "planted-image")
    base = commit(tmp_path)
    encrypted = (mirrors % "{secure: v1:a}").replace("[https://planted.example]", "[{secure: v1:b}]")
    write(tmp_path, GOOD + encrypted)
    assert changed_settings(tmp_path, "dev", base) == [
        "- daemon.registry_mirrors: [secret]",
        "! daemon.image: changes, but is hidden",
        "+ daemon.registry_mirrors[0]: [secret]",
    ]


def test_many_changed_settings_are_told_at_once(tmp_path: Path) -> None:
    names = "".join(f"      - {{name: runner-{index}, tags: [tag-%s]}}\n" for index in range(600))
    write(tmp_path, GOOD + names.replace("%s", "old"))
    base = commit(tmp_path)
    write(tmp_path, GOOD + names.replace("%s", "new"))
    began = time.monotonic()
    assert len(changed_settings(tmp_path, "dev", base)) == 1200
    assert time.monotonic() - began < 10


def test_a_change_of_what_all_stacks_share_is_told_too(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("    concurrent: 2\n", ""), SHARED)
    base = commit(tmp_path)
    write(tmp_path, GOOD.replace("    concurrent: 2\n", ""), SHARED.replace("concurrent: 9", "concurrent: 3"))
    assert changed_settings(tmp_path, "dev", base) == ["- concurrent: 9", "+ concurrent: 3"]


@pytest.mark.parametrize("base", ["", "0" * 40])
def test_a_base_that_git_does_not_have_tells_nothing_of_changes(tmp_path: Path, base: str) -> None:
    write(tmp_path)
    commit(tmp_path)
    assert changed_settings(tmp_path, "dev", base) == []


def test_a_new_stacks_settings_are_all_new(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: gitlab-dind-runners\n")
    base = commit(tmp_path)
    write(tmp_path)
    assert changed_settings(tmp_path, "dev", base)[0] == "+ target: docker-host"


FORK = {
    "CI_PROJECT_ID": "7",
    "CI_COMMIT_SHA": "def",
    "CI_MERGE_REQUEST_IID": "3",
    "CI_MERGE_REQUEST_PROJECT_ID": "1",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "7",
    "CI_MERGE_REQUEST_DIFF_BASE_SHA": "abc",
}


def test_a_merge_request_of_a_fork_is_told_apart() -> None:
    found = merge_request(FORK)
    assert found is not None
    assert (found.iid, found.project, found.base_commit, found.is_from_fork) == (3, "1", "abc", True)
    assert found.head_commit == "def"
    merged = merge_request({**FORK, "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "branch"})
    assert merged is not None
    assert merged.head_commit == "branch"
    own = merge_request({**FORK, "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1"})
    assert own is not None
    assert not own.is_from_fork


def test_another_pipeline_has_no_merge_request() -> None:
    assert merge_request({"CI_PROJECT_ID": "7"}) is None


def test_missing_variables_are_named_and_the_sandboxs_passphrase_is_none() -> None:
    every = ["DINDRUNNER_NOTE_TOKEN", "DINDRUNNER_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE"]
    assert missing_variables({"PULUMI_CONFIG_PASSPHRASE": "sandbox"}) == every
    assert missing_variables(dict.fromkeys(every, "x")) == []
    assert missing_variables({}, needs_passphrase=False) == every[:2]
    assert missing_variables({**dict.fromkeys(every[:2], "x"), "PULUMI_CONFIG_PASSPHRASE_FILE": "/f"}) == []
