"""The engine on a machine where none answers: a mount, network and process namespace of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import images
from tests.engine.world import ROOT, missing
from toolchain import engine
from toolchain.gobuild import build
from toolchain.shared import cache_dir, link_or_copy

UP_DOWN = """
import os, subprocess, sys
from toolchain import engine

def docker(*arguments, **options):
    return subprocess.run(["docker", *arguments], text=True, timeout=60, **options)

print("before", engine.status())
engine.up(print)
began = os.stat(engine._home() / "dockerd.pid").st_mtime_ns
engine.up(print)
print("started once:", os.stat(engine._home() / "dockerd.pid").st_mtime_ns == began)
print("ours:", engine.status().ours)
docker("import", "-", "tiny", stdin=open(sys.argv[1], "rb"), stdout=subprocess.DEVNULL, check=True)
one = docker("run", "--rm", "--privileged", "tiny", "/dns-relay", capture_output=True)
print("privileged:", one.returncode, one.stderr.strip())
relay = ["/dns-relay", "127.0.0.1:53", "127.0.0.1:54"]
docker("run", "--detach", "--name", "busy", "tiny", *relay, stdout=subprocess.DEVNULL, check=True)
engine.down(print)
print("ours:", engine.status().ours)
docker("rm", "--force", "busy", stdout=subprocess.DEVNULL, check=True)
engine.down(print)
print("after", engine.status().version)
engine.down(print)
"""


@pytest.fixture
def bare(tmp_path: Path) -> list[str]:
    """A command prefix: nothing in /run, no network, and all processes gone at the end."""
    if os.geteuid() != 0:
        missing("only root can make the namespaces for an engine of its own")
    hide = f'mount -t tmpfs tmpfs /run && ip link set lo up && cd {ROOT} && exec "$@"'
    return [
        *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", hide, "sh"),
        *("env", "-u", "DOCKER_HOST", f"DINDRUNNER_CACHE={tmp_path}/cache"),
    ]


def link_or_copy_file(source: str, target: str) -> str:
    link_or_copy(Path(source), Path(target))
    return target


def test_an_engine_is_started_used_kept_while_in_use_and_stopped(bare: list[str], tmp_path: Path) -> None:
    relay = build(images.DNS_RELAY, say=print)
    # Without a network the daemon has to be in the cache, by links: it is large.
    engine.daemon_path(print)
    shutil.copytree(cache_dir() / "docker", tmp_path / "cache" / "docker", copy_function=link_or_copy_file)
    subprocess.run(["tar", "-cf", tmp_path / "tiny.tar", "-C", relay.parent, relay.name], check=True, timeout=60)
    done = subprocess.run(
        [*bare, sys.executable, "-c", UP_DOWN, tmp_path / "tiny.tar"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.sub(r"in \S+ s\b", "in N s", done.stdout).splitlines()
    assert said == [
        "before Status(host='unix:///var/run/docker.sock', version=None, ours=False)",
        "starting the Docker engine …",
        "starting the Docker engine: done in N s",
        "started once: True",
        "ours: True",
        "privileged: 2 usage: dns-relay LISTEN SERVER",
        "engine: left running, because containers use it: busy",
        "ours: True",
        "stopping the Docker engine …",
        "stopping the Docker engine: done in N s",
        "after None",
        "engine: none that was started here",
    ]
