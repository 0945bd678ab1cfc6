"""CI/CD variables of a job: the predefined ones, the file's, the project's and the pipeline's.

What they mean: https://docs.gitlab.com/ci/variables/predefined_variables/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from lab.gitlab.core import REVISION, VERSION, Sandbox
from lab.gitlab.store import Row

Variable = dict[str, Any]
"""As a runner gets it: key, value, public, masked, file, raw."""

MOST_EXPANDED = 256 * 1024
"""Characters that are put in place of variables, in all jobs of a pipeline together."""

MOST_WITHIN = 100
"""How many variables may stand within each other."""

JOB_USER = "gitlab-ci-token"
"""The user name that goes with a job's token, for git and for the container registry."""


def is_protected(project: Row, pipeline: Row) -> bool:
    """Whether a pipeline runs for a protected reference: the default branch, as GitLab has it for a new project."""
    return bool(pipeline["ref"] == project["default_branch"] and not pipeline["tag"])


def of_pipeline(sandbox: Sandbox, project: Row, pipeline: Row) -> dict[str, str]:
    """Predefined variables that are known before there are jobs, none of them secret."""
    url = urlsplit(sandbox.url)
    commit = sandbox.repository(project["id"]).commit(pipeline["sha"]) or {}
    namespace = project["full_path"].rpartition("/")[0]
    message = commit.get("message", "")
    merge_request = pipeline["merge_request"]
    ref = merge_request["source_branch"] if merge_request else pipeline["ref"]
    result = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_SERVER": "yes",
        "CI_SERVER_NAME": "GitLab",
        "CI_SERVER_URL": sandbox.url,
        "CI_SERVER_FQDN": url.netloc,
        "CI_SERVER_HOST": url.hostname or "",
        "CI_SERVER_PORT": str(url.port or {"http": 80, "https": 443}[url.scheme]),
        "CI_SERVER_PROTOCOL": url.scheme,
        "CI_SERVER_VERSION": VERSION,
        "CI_SERVER_REVISION": REVISION,
        "CI_API_V4_URL": f"{sandbox.url}/api/v4",
        "CI_PROJECT_ID": str(project["id"]),
        "CI_PROJECT_NAME": project["path"],
        "CI_PROJECT_TITLE": project["name"],
        "CI_PROJECT_PATH": project["full_path"],
        "CI_PROJECT_PATH_SLUG": slug(project["full_path"]),
        "CI_PROJECT_NAMESPACE": namespace,
        "CI_PROJECT_NAMESPACE_ID": str(project["group_id"]),
        "CI_PROJECT_ROOT_NAMESPACE": namespace.partition("/")[0],
        "CI_PROJECT_URL": f"{sandbox.url}/{project['full_path']}",
        "CI_PROJECT_VISIBILITY": project["visibility"],
        "CI_DEFAULT_BRANCH": project["default_branch"],
        "CI_PIPELINE_ID": str(pipeline["id"]),
        "CI_PIPELINE_IID": str(pipeline["iid"]),
        "CI_PIPELINE_SOURCE": pipeline["source"],
        "CI_PIPELINE_URL": f"{sandbox.url}/{project['full_path']}/-/pipelines/{pipeline['id']}",
        "CI_CONFIG_PATH": ".gitlab-ci.yml",
        "CI_COMMIT_SHA": pipeline["sha"],
        "CI_COMMIT_SHORT_SHA": pipeline["sha"][:8],
        "CI_COMMIT_BEFORE_SHA": pipeline["before_sha"],
        "CI_COMMIT_REF_NAME": ref,
        "CI_COMMIT_REF_SLUG": slug(ref),
        "CI_COMMIT_REF_PROTECTED": str(is_protected(project, pipeline)).lower(),
        "CI_COMMIT_MESSAGE": message,
        "CI_COMMIT_TITLE": message.partition("\n")[0],
        "CI_COMMIT_DESCRIPTION": message.partition("\n")[2].strip(),
        "CI_COMMIT_AUTHOR": f"{commit.get('author_name')} <{commit.get('author_email')}>",
        "CI_COMMIT_TIMESTAMP": _to_the_second(commit.get("committed_date", "")),
    }
    if merge_request:
        result |= merge_request["variables"]
    else:
        result["CI_COMMIT_TAG" if pipeline["tag"] else "CI_COMMIT_BRANCH"] = pipeline["ref"]
    if sandbox.registry:
        result["CI_REGISTRY"] = sandbox.registry
        result["CI_REGISTRY_IMAGE"] = f"{sandbox.registry}/{project['full_path'].lower()}"
    return result


def _to_the_second(time: str) -> str:
    """A time as variables have it: those of the API are to the millisecond."""
    return re.sub(r"\.\d+", "", time)


def for_rules(sandbox: Sandbox, project: Row, pipeline: Row) -> Callable[[Mapping[str, str]], dict[str, str]]:
    """What `rules` can ask for, by the file's own variables; the rest is looked up once for all jobs."""
    before = of_pipeline(sandbox, project, pipeline)
    after = {row["key"]: row["value"] for row in (*of_project(sandbox, project, pipeline), *pipeline["variables"])}
    return lambda of_file: before | dict(of_file) | after


def of_project(sandbox: Sandbox, project: Row, pipeline: Row, environment: str | None = None) -> list[Row]:
    """The project's CI/CD variables for a job of an environment, or of none; of one name the most exact.

    Protected ones only for a protected reference. `rules` see those for all environments only, as in GitLab.
    """
    protected = is_protected(project, pipeline)
    rows = [
        row
        for row in sandbox.store.all("SELECT * FROM variables WHERE project_id = ? ORDER BY id", project["id"])
        if (protected or not row["protected"]) and in_scope(row["environment_scope"], environment)
    ]
    rows.sort(key=lambda row: (row["environment_scope"] == environment, len(row["environment_scope"])))
    return list({row["key"]: row for row in rows}.values())


def in_scope(scope: str, environment: str | None) -> bool:
    """Whether an environment's name fits a scope, in which `*` stands for anything; None fits only `*`."""
    if environment is None:
        return scope == "*"
    return re.fullmatch(".*".join(map(re.escape, scope.split("*"))), environment) is not None


def of_job(
    sandbox: Sandbox, project: Row, pipeline: Row, job: Row, runner: Row, user: Row, timeout: int, token: str
) -> list[Variable]:
    """Everything that a runner gets with a job; of equal names, GitLab's precedence leaves one."""
    spec = job["spec"]
    url = f"{sandbox.url}/{project['full_path']}"
    plain = of_pipeline(sandbox, project, pipeline) | {
        "CI_JOB_ID": str(job["id"]),
        "CI_JOB_NAME": job["name"],
        "CI_JOB_NAME_SLUG": slug(job["name"]),
        "CI_JOB_STAGE": job["stage"],
        "CI_JOB_STARTED_AT": _to_the_second(job["started_at"]),
        "CI_JOB_TIMEOUT": str(timeout),
        "CI_JOB_URL": f"{url}/-/jobs/{job['id']}",
        "CI_RUNNER_ID": str(runner["id"]),
        "CI_RUNNER_DESCRIPTION": runner["description"] or "",
        "GITLAB_USER_ID": str(user["id"]),
        "GITLAB_USER_LOGIN": user["username"],
        "GITLAB_USER_NAME": user["name"],
        "GITLAB_USER_EMAIL": f"{user['username']}@sandbox.invalid",
    }
    environment = job["environment"] or {}
    if environment:
        plain |= {
            "CI_ENVIRONMENT_NAME": environment["name"],
            "CI_ENVIRONMENT_SLUG": environment["slug"],
            "CI_ENVIRONMENT_TIER": environment["tier"],
            "CI_ENVIRONMENT_ACTION": environment["action"],
        }
    if spec["when"] == "manual":
        plain["CI_JOB_MANUAL"] = "true"
    if spec["image"]:
        plain["CI_JOB_IMAGE"] = spec["image"]["name"]
    secret = {
        "CI_JOB_TOKEN": token,
        "CI_REPOSITORY_URL": repository_url(sandbox, project, token),
    }
    if sandbox.registry:
        plain["CI_REGISTRY_USER"] = JOB_USER
        secret["CI_REGISTRY_PASSWORD"] = token
    found = [
        *(_variable(key, value) for key, value in plain.items()),
        *(_variable(key, value, public=False, masked=True) for key, value in secret.items()),
        *(_variable(key, value) for key, value in spec["variables"].items()),
        *(
            _variable(row["key"], row["value"], public=False, masked=row["masked"], raw=row["raw"])
            | {"file": row["variable_type"] == "file"}
            for row in of_project(sandbox, project, pipeline, environment.get("name"))
        ),
        *(
            _variable(row["key"], row["value"], public=False) | {"file": row["variable_type"] == "file"}
            for row in pipeline["variables"]
        ),
    ]
    if environment.get("url"):
        found.append(_variable("CI_ENVIRONMENT_URL", expand_or_keep(environment["url"], values(found))))
    # One of a name: a later one replaces an earlier one, and stands where it stood.
    return list({variable["key"]: variable for variable in found}.values())


def repository_url(sandbox: Sandbox, project: Row, token: str) -> str:
    """Where a job clones from, its token included."""
    url = urlsplit(sandbox.url)
    return f"{url.scheme}://{JOB_USER}:{token}@{url.netloc}/{project['full_path']}.git"


def values(variables: Sequence[Variable]) -> dict[str, str]:
    """What `expand` takes for a runner's variables, of equal names the last; raw ones are not expanded themselves."""
    return {
        variable["key"]: variable["value"].replace("$", "$$") if variable["raw"] else variable["value"]
        for variable in variables
    }


class TooLong(ValueError):
    """Variables that name each other would become more than fits anywhere."""


class Budget:
    """How much may still be put in place of variables: ten, each with the next one ten times, mean gigabytes."""

    def __init__(self) -> None:
        self.left = MOST_EXPANDED

    def take(self, text: str) -> None:
        """Count what replaces a variable. Raises TooLong."""
        self.left -= len(text) + 1
        if self.left < 0:
            raise TooLong


def expand_or_keep(text: str, known: Mapping[str, str]) -> str:
    """As `expand`; a text that would become too long stays as it stands."""
    try:
        return expand(text, known)
    except TooLong:
        return text


def expand(
    text: str, known: Mapping[str, str], budget: Budget | None = None, within: frozenset[str] = frozenset()
) -> str:
    """`$NAME` and `${NAME}` replaced, also in what replaces them, unknown ones by nothing; `$$` is a dollar.

    budget: that of several texts; None: one of its own. within: the names whose values the text is part of; those stay
    as they stand. Raises TooLong.
    """
    allowed = budget or Budget()
    if len(within) > MOST_WITHIN:
        raise TooLong

    def replaced(found: re.Match[str]) -> str:
        name = found[2] or found[3]
        if found[1] or name in within:
            return found[1] or found[0]
        value = known.get(name, "")
        allowed.take(value)
        return expand(value, known, allowed, within | {name})

    return re.sub(r"\$(?:(\$)|(\w+)|\{(\w+)\})", replaced, text)


def slug(text: str) -> str:
    """Lower case, at most 63 characters, everything but 0-9 and a-z replaced by `-`, none at the ends."""
    return re.sub(r"[^a-z0-9]", "-", text.lower())[:63].strip("-")


def _variable(key: str, value: str, *, public: bool = True, masked: bool = False, raw: bool = False) -> Variable:
    return {"key": key, "value": value, "public": public, "masked": masked, "file": False, "raw": raw}
