"""ARM programs on a machine that is none: emulation by QEMU, and a small arm64 image that a job can run in.

Both come from Debian's packages alone. What apt on this machine is set up for is left as it is.
"""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from tests.engine.world import STEP_SECONDS, install, missing, run
from toolchain.debian import find_program, root_prefix
from toolchain.shared import ToolchainError

PLATFORM = "linux/arm64"
MACHINE = "aarch64"
"""What `uname -m` prints there."""

BINFMT = Path("/proc/sys/fs/binfmt_misc")
HANDLER = BINFMT / "qemu-aarch64"
REGISTRATION = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
"""From the package qemu-user-static: what the kernel is told, as it is written to `register`."""

_APT = """\
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "root";
Dir::State "{directory}";
Dir::State::status "{directory}/status";
Dir::Cache "{directory}/cache";
"""
_ACCOUNTS = {"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n"}
_DIRECTORIES = {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777, "usr/bin": 0o755, "var/tmp": 0o1777}


@contextmanager
def ensure_emulation() -> Iterator[None]:
    """This machine runs arm64 programs, in containers and in containers of those as well; afterwards as before."""
    if platform.machine() == MACHINE:
        yield
        return
    try:
        as_root = root_prefix("arm64 has to be emulated")
    except ToolchainError as error:
        missing(str(error))
        raise
    if not BINFMT.joinpath("register").exists():
        _require(as_root, "mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT))
    if registered := not HANDLER.exists():
        _install(as_root)
        # The package registers it itself where the machine lets it.
        if not HANDLER.exists():
            _require(as_root, "tee", str(BINFMT / "register"), text=REGISTRATION.read_text())
    try:
        # F: the kernel keeps the emulator open, so that it is there for containers, too.
        flags = [line for line in HANDLER.read_text().splitlines() if line.startswith("flags:")]
        if "F" not in flags[0].removeprefix("flags:"):
            missing(f"arm64 programs do not run in containers: {HANDLER} has no flag F")
        yield
    finally:
        if registered:
            _require(as_root, "tee", str(HANDLER), text="-1")


def arm64_image(name: str, docker: Sequence[str] = ("docker",)) -> str:
    """Load the image, `name:tag`, into an engine, and give back its name; only while arm64 is emulated.

    docker: the client's command line up to its first word, such as ("docker", "--host", "unix:///run/docker.sock"), or
    ("docker", "exec", "--interactive", "name", "docker") for the engine in a container.
    """
    with tempfile.TemporaryDirectory() as directory:
        busybox = _busybox(Path(directory))
        # Its own list: busybox names its applets, among them sh.
        applets = run(str(busybox), "--list").stdout.split()
        return _load(name, _root_file_system(busybox.read_bytes(), applets), docker)


def foreign_image(name: str, docker: Sequence[str] = ("docker",)) -> str:
    """Load an image for arm64 without anything to run in it; arguments as for `arm64_image`, no emulation needed."""
    return _load(name, _archive([_entry("etc", 0o755, tarfile.DIRTYPE)]), docker)


def _load(name: str, layer: bytes, docker: Sequence[str]) -> str:
    # Not `docker import --platform`: before 23.0 the engine gives the image its own architecture all the same.
    content = _saved_image(name, layer)
    done = subprocess.run([*docker, "load"], input=content, capture_output=True, timeout=STEP_SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return name


def _install(as_root: Sequence[str]) -> None:
    """Has the emulator; installs it where nobody's machine is changed by that."""
    if REGISTRATION.exists():
        return
    if not (os.environ.get("CI") or not Path("/run/systemd/system").exists()) or not find_program("apt-get"):
        missing("arm64 cannot be emulated: install qemu-user-static (sudo apt-get install qemu-user-static)")
    install(["qemu-user-static"], as_root)


def _busybox(directory: Path) -> Path:
    """Debian's static busybox for arm64, by an apt that has lists of its own; its signatures are checked as ever."""
    if find_program("apt-get") is None or find_program("dpkg-deb") is None:
        missing("there is no apt, which the arm64 image comes from")
    for part in ("lists/partial", "cache/archives/partial"):
        directory.joinpath(part).mkdir(parents=True)
    directory.joinpath("status").touch()
    directory.joinpath("apt.conf").write_text(_APT.format(directory=directory))
    environment = {**os.environ, "APT_CONFIG": str(directory / "apt.conf")}
    for command in (("update",), ("download", "busybox-static")):
        done = run("apt-get", "-qq", *command, cwd=directory, env=environment, check=False)
        if done.returncode:
            missing(f"busybox-static for arm64 cannot be had: {done.stderr.strip()}")
    (package,) = directory.glob("busybox-static_*_arm64.deb")
    run("dpkg-deb", "--extract", str(package), str(directory / "root"))
    (found,) = (path for path in directory.glob("root/**/bin/busybox") if path.is_file())
    return found


def _root_file_system(busybox: bytes, applets: Sequence[str]) -> bytes:
    """A root file system with busybox under the names of its applets, as a tar archive."""
    entries = [_entry(name, mode, tarfile.DIRTYPE) for name, mode in _DIRECTORIES.items()]
    entries += [_entry(name, 0o644, data=text.encode()) for name, text in _ACCOUNTS.items()]
    entries.append(_entry("bin/busybox", 0o755, data=busybox))
    entries += [
        _entry(f"bin/{name}", 0o777, tarfile.SYMTYPE, target="busybox") for name in applets if name != "busybox"
    ]
    # Scripts ask for it there.
    entries.append(_entry("usr/bin/env", 0o777, tarfile.SYMTYPE, target="../../bin/busybox"))
    return _archive(entries)


def _saved_image(name: str, layer: bytes) -> bytes:
    """An image of one layer, as `docker save` writes it.

    https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
    """
    config = {
        "os": "linux",
        "architecture": PLATFORM.partition("/")[2],
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }
    content = json.dumps(config).encode()
    file = f"{sha256(content).hexdigest()}.json"
    manifest = [{"Config": file, "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {file: content, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()}
    return _archive([_entry(path, 0o644, data=data) for path, data in files.items()])


def _entry(
    name: str, mode: int, kind: bytes = tarfile.REGTYPE, data: bytes = b"", target: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.type, entry.size, entry.linkname = mode, kind, len(data), target
    return entry, data


def _archive(entries: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for entry, data in entries:
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def _require(as_root: Sequence[str], *command: str, text: str = "") -> None:
    """Run a command as root, or end the test because this machine does not let it."""
    done = run(*as_root, *command, input=text, check=False)
    if done.returncode:
        missing(f"arm64 cannot be emulated: {' '.join(command)}: {done.stderr.strip()}")
