"""Bare git repositories, through the `git` command."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lab.gitlab.store import Row
from toolchain.shared import whole_directory

NULL_SHA = "0" * 40
"""What git writes where there is no commit."""

_LIMIT = 60.0
_LEFTOVERS = "__pycache__/\n*.pyc\n.pytest_cache/\n.mypy_cache/\n.ruff_cache/\n.venv/\n"
_CONFIG = """\
[http]
receivepack = true
[uploadpack]
allowAnySHA1InWant = true
"""
"""Of each repository; a runner fetches a pipeline's commit."""
_FORMAT = "%H%x00%P%x00%an%x00%ae%x00%at%x00%cn%x00%ce%x00%ct%x00%B"
_FIELDS = _FORMAT.count("%x00") + 1


class GitError(Exception):
    """git refused; the text is what it said."""


@dataclass(frozen=True)
class Repository:
    """A bare repository below `path`."""

    path: Path

    def create(self, branch: str) -> None:
        """Makes it, empty, unless it is there; `branch` is what its HEAD names."""
        if self.path.exists():
            return
        with whole_directory(self.path) as path:
            made = Repository(path)
            made._git("init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}", ".")
            (path / "info").mkdir()
            with (path / "config").open("a") as config:
                config.write(_CONFIG)

    def sha(self, revision: str) -> str | None:
        """The commit of a branch, a tag or an abbreviated hash; None where there is none."""
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            with contextlib.suppress(GitError):
                return self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
        return None

    def branches(self) -> dict[str, str]:
        """Commits by branch."""
        return self._refs("refs/heads")

    def tags(self) -> dict[str, str]:
        """Commits by tag."""
        return self._refs("refs/tags")

    def commit(self, revision: str) -> Row | None:
        """A commit as GitLab's API shows it."""
        sha = revision if re.fullmatch(r"[0-9a-f]{40}", revision) else self.sha(revision)
        with contextlib.suppress(GitError):
            return _known_commit(self, sha) if sha else None
        return None

    def read(self, revision: str, file: str) -> bytes | None:
        """A file's content at a revision; None where there is no such file."""
        try:
            return self._run(["cat-file", "blob", f"{revision}:{file}"])
        except GitError:
            return None

    def changed_files(self, base: str, revision: str) -> list[str]:
        """The paths that differ between two revisions, of a renamed file both. Raises GitError for unknown ones."""
        return _texts(self._git("diff", "--name-only", "--no-renames", "-z", base, revision, "--"))

    def last_change(self, revision: str, path: str) -> str | None:
        """The newest commit that has changed a file; None where there was never such a file."""
        return self._git("rev-list", "--max-count=1", revision, "--", path).strip() or None

    def merge_base(self, one: str, other: str) -> str | None:
        """The commit where two revisions parted; None where they have nothing in common."""
        try:
            return self._git("merge-base", one, other).strip()
        except GitError:
            return None

    def fetch(self, other: Repository, sha: str, ref: str) -> None:
        """Takes over a commit of another repository (or of this one) under a reference."""
        if other.path != self.path:
            self._git("fetch", "--quiet", "--no-tags", str(other.path), f"+{sha}:{ref}")
        self.set_ref(ref, sha)

    def copy(self, other: Repository) -> None:
        """Takes over all branches and tags of another repository."""
        self._git("fetch", "--quiet", str(other.path), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")

    def merge(self, branch: str, sha: str, message: str, author: Row) -> str:
        """Merges a commit into a branch; returns the new commit. Raises GitError where they are in conflict."""
        target = self.branches()[branch]
        tree = self._git("merge-tree", "--write-tree", target, sha).split()[0]
        merged = self._commit(tree, [target, sha], message, author)
        self.set_ref(f"refs/heads/{branch}", merged, old=target)
        return merged

    def conflicts(self, branch: str, sha: str) -> bool:
        """Whether a commit cannot be merged into a branch."""
        try:
            self._git("merge-tree", "--write-tree", f"refs/heads/{branch}", sha)
        except GitError:
            return True
        return False

    def set_ref(self, ref: str, sha: str | None, *, old: str | None = None) -> None:
        """Creates, moves or (sha None) deletes a reference. Raises GitError where it is no longer at `old`."""
        expected = [] if old is None else [old]
        self._git("update-ref", *(["-d", ref] if sha is None else [ref, sha]), *expected)

    def commit_directory(self, branch: str, directory: Path, message: str, author: Row) -> str | None:
        """Commits a directory's files as they are, if they differ from the branch's; returns the new commit."""
        (self.path / "info" / "exclude").write_text(_LEFTOVERS)
        with self._index() as index:
            self._git("add", "--all", env={**index, "GIT_WORK_TREE": str(directory)})
            return self._commit_index(branch, self.branches().get(branch), message, author, index)

    def commit_files(
        self, branch: str, parent: str | None, files: Mapping[str, bytes | None], message: str, author: Row
    ) -> str | None:
        """Commits some changed files (None: deleted) on a branch; returns the new commit, None if nothing changed.

        parent: the branch's commit, None for a new branch. Raises GitError where it no longer is.
        """
        with self._index() as index:
            if parent:
                self._git("read-tree", parent, env=index)
            kept = [
                word
                for file, content in files.items()
                if content is not None
                for word in ("--cacheinfo", f"100644,{self._blob(content)},{file}")
            ]
            gone = "".join(f"0 {NULL_SHA}\t{file}\0" for file, content in files.items() if content is None)
            self._run(["update-index", "--add", *kept, "-z", "--index-info"], stdin=gone.encode(), env=index)
            return self._commit_index(branch, parent, message, author, index)

    def _commit_index(
        self, branch: str, parent: str | None, message: str, author: Row, index: Mapping[str, str]
    ) -> str | None:
        tree = self._git("write-tree", env=index).strip()
        if parent and self._git("rev-parse", f"{parent}^{{tree}}").strip() == tree:
            return None
        sha = self._commit(tree, [parent] if parent else [], message, author)
        self.set_ref(f"refs/heads/{branch}", sha, old=parent or NULL_SHA)
        return sha

    def _blob(self, content: bytes) -> str:
        return self._run(["hash-object", "-w", "--stdin"], stdin=content).decode().strip()

    def _commit(self, tree: str, parents: Sequence[str], message: str, author: Row) -> str:
        identity = {"NAME": author["name"], "EMAIL": f"{author['username']}@sandbox.invalid"}
        people = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in identity.items()}
        options = [word for parent in parents for word in ("-p", parent)]
        return self._git("commit-tree", tree, *options, "-m", message, env=people).strip()

    @contextlib.contextmanager
    def _index(self) -> Iterator[dict[str, str]]:
        with tempfile.TemporaryDirectory(prefix="dindrunner-index-") as directory:
            yield {"GIT_INDEX_FILE": f"{directory}/index"}

    def _refs(self, below: str) -> dict[str, str]:
        # Of an annotated tag: the commit, not the tag's own object.
        text = self._git("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)", below)
        fields = [line.split() for line in text.splitlines()]
        return {words[0].removeprefix(f"{below}/"): words[-1] for words in fields}

    def _git(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        return self._run(arguments, env=env).decode(errors="replace")

    def _run(self, arguments: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            input=stdin,
            capture_output=True,
            timeout=_LIMIT,
            env={**plain_environment(), "GIT_DIR": str(self.path), "GIT_LITERAL_PATHSPECS": "1", **(env or {})},
            check=False,
        )
        if done.returncode:
            raise GitError(done.stderr.decode(errors="replace").strip() or f"git {arguments[0]} failed")
        return done.stdout


@functools.lru_cache(maxsize=1000)
def _known_commit(repository: Repository, sha: str) -> Row:
    """A commit never changes: lists of jobs ask for the same one again and again. One that is missing may come."""
    return _commit(_texts(repository._git("log", "-z", f"--format={_FORMAT}", "--max-count=1", sha, "--")))


def _texts(output: str) -> list[str]:
    """What git printed with -z."""
    return output.split("\0")[:-1]


def plain_environment() -> dict[str, str]:
    """This process's environment without what would make git look elsewhere or at somebody's own configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}


def _commit(fields: Sequence[str]) -> Row:
    sha, parents, author, author_email, authored, committer, committer_email, committed, message = fields
    return {
        "id": sha,
        "short_id": sha[:8],
        "parent_ids": parents.split(),
        "title": message.partition("\n")[0],
        "message": message,
        "author_name": author,
        "author_email": author_email,
        "authored_date": _time(authored),
        "committer_name": committer,
        "committer_email": committer_email,
        "committed_date": _time(committed),
        "created_at": _time(committed),
    }


def _time(seconds: str) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat(timespec="milliseconds")
