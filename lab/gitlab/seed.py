"""What a fresh sandbox holds: an administrator with a token, and the demo project."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lab.gitlab import projects
from lab.gitlab.auth import make_token
from lab.gitlab.core import Sandbox, digest
from lab.gitlab.store import Row, now
from toolchain.shared import ROOT, Say, write_atomic

SAMPLE = ROOT / "examples" / "fastapi-app"
GROUP = "demo"
PROJECT = f"{GROUP}/fastapi-app"


def administrator(sandbox: Sandbox) -> Row:
    """The user `root`, made if missing."""
    known = sandbox.store.one("SELECT * FROM users WHERE username = 'root'")
    return known or sandbox.store.insert("users", username="root", name="Administrator", admin=True, created_at=now())


def token_file(state: Path) -> Path:
    """Where the administrator's token lies, mode 0600."""
    return state / "root-token"


def ensure_token(sandbox: Sandbox) -> None:
    """Makes the administrator's token, unless the file holds one that is good."""
    path = token_file(sandbox.state)
    if path.exists():
        os.chmod(path, 0o600)
        row = sandbox.store.one("SELECT * FROM tokens WHERE digest = ?", digest(path.read_text().strip()))
        if row and not row["revoked"]:
            return
    _, token = make_token(sandbox.store, administrator(sandbox), "root", ["api"])
    write_atomic(path, f"{token}\n", mode=0o600)


def demo_project(sandbox: Sandbox, images: Mapping[str, str | None], *, say: Say, sample: Path = SAMPLE) -> Row:
    """The demo project with the sample's files as they are now; a change becomes a new commit.

    images: values of CI/CD variables by name; None removes one that is there.
    """
    root = administrator(sandbox)
    store = sandbox.store
    with store.transaction():
        group = store.one("SELECT * FROM groups WHERE full_path = ?", GROUP)
        group = group or projects.make_group(sandbox, root, GROUP, GROUP)
        project = store.one("SELECT * FROM projects WHERE full_path = ?", PROJECT)
        project = project or projects.make_project(sandbox, root, group, "FastAPI app", PROJECT.rpartition("/")[2])
        for key, value in images.items():
            store.execute("DELETE FROM variables WHERE project_id = ? AND key = ?", project["id"], key)
            if value is not None:
                flags = {"masked": False, "protected": False, "raw": False}
                store.insert(
                    "variables", project_id=project["id"], key=key, value=value, variable_type="env_var", **flags
                )
    repository = sandbox.repository(project["id"])
    repository.create(project["default_branch"])
    if not sample.is_dir():
        say(f"sandbox: {PROJECT} stays empty: {sample} is missing")
    elif sha := repository.commit_directory(project["default_branch"], sample, "Take over the sample project", root):
        say(f"sandbox: {PROJECT} is at {sha[:8]}, made from {sample.relative_to(ROOT)}")
    return project
