"""The board that the tests of the Raspberry Pi target deploy to is what they take it for."""

from __future__ import annotations

import json

from lab.images import recorded
from tests.engine.board import Board
from tests.engine.world import Sandbox, docker, unique, wait_for

ASK = """
import sys, urllib.error, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=10).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""
ASK_ON = f"""
import time
while True:
    try:
        exec({ASK!r})
    except OSError as error:
        print(error)
    time.sleep(1)
"""
ANSWER = ("python3", "-m", "http.server", "8000")


def python_image() -> str:
    return (recorded() or {})["python"]


def test_ssh_leads_to_an_engine_that_is_the_boards_own(board: Board) -> None:
    told = json.loads(board.ssh("docker info --format '{{json .}}'").stdout)
    assert told["Name"] == board.name == json.loads(board.docker("info", "--format", "{{json .Name}}"))
    assert told["ID"] != docker("info", "--format", "{{.ID}}")
    assert board.ssh("hostname").stdout.strip() == board.name


def test_containers_on_the_board_reach_the_sandbox_and_its_registry(board: Board, sandbox: Sandbox) -> None:
    urls = [f"{sandbox.described['url']}/api/v4/version", f"http://{sandbox.described['registry']}/v2/"]
    assert board.docker("run", "--rm", python_image(), "python3", "-c", ASK, *urls).split() == ["401", "200"]


def test_a_reboot_brings_back_what_is_to_be_restarted(board: Board) -> None:
    kept, ended = unique(), unique()
    for name, policy in ((kept, "unless-stopped"), (ended, "no")):
        board.docker("run", "--detach", "--init", "--name", name, "--restart", policy, python_image(), "sleep", "600")
    board.restart_engine()
    wait_for("the container", 30, lambda: True if board.inspect(kept)["State"]["Running"] else None)
    assert board.inspect(ended)["State"]["Status"] == "exited"
    board.docker("rm", "--force", kept, ended)


def test_the_client_of_ssh_sessions_claims_what_it_is_told_to(board: Board) -> None:
    def ask(command: str) -> dict[str, object]:
        return dict(json.loads(board.ssh(f"docker {command} --format '{{{{json .}}}}'").stdout))

    true = ask("version"), ask("info")
    with board.pretending(arch="arm64", cores=4, memory_mib=3794, limits_memory=False, info={"Swarm": {"Nodes": 2}}):
        version, info = ask("version"), ask("info")
    assert version == {
        "Client": {**true[0]["Client"], "Arch": "arm64"},  # type: ignore[dict-item]
        "Server": {**true[0]["Server"], "Arch": "arm64"},  # type: ignore[dict-item]
    }
    facts = ("Architecture", "NCPU", "MemTotal", "MemoryLimit", "Name")
    assert [info[fact] for fact in facts] == ["aarch64", 4, 3794 * 2**20, False, board.name]
    assert info["Swarm"] == {**true[1]["Swarm"], "Nodes": 2}  # type: ignore[dict-item]
    assert ask("version") == true[0]


def test_the_client_of_ssh_sessions_fails_as_the_real_one_does(board: Board) -> None:
    said = {}
    for failure in ("not installed", "not permitted", "not running"):
        with board.pretending(failure=failure):
            done = board.ssh("docker version", check=False)
            said[failure] = (done.returncode, done.stderr.strip())
    assert said["not installed"] == (127, "bash: line 1: docker: command not found")
    assert said["not permitted"][0] == said["not running"][0] == 1
    assert "ermission denied while trying to connect to the Docker daemon socket" in said["not permitted"][1]
    assert "Cannot connect to the Docker daemon at unix:///var/run/docker.sock." in said["not running"][1]
    board.ssh("docker version")


def test_services_reach_a_container_by_its_alias_also_after_a_reboot(swarm_board: Board) -> None:
    network, server, client = unique(), unique(), unique()
    swarm_board.docker("network", "create", "--driver", "overlay", "--attachable", network)
    on_network = ("--detach", "--init", "--network", network)
    kept = ("--restart", "unless-stopped", "--network-alias", "docker", "--privileged")
    swarm_board.docker("run", "--name", server, *on_network, *kept, python_image(), *ANSWER)
    asking = ("--name", client, "--no-resolve-image", python_image(), "python3", "-uc", ASK_ON, "http://docker:8000")
    swarm_board.docker("service", "create", *on_network, *asking)

    def answered() -> str | None:
        """The service's container that has had an answer."""
        running = swarm_board.docker("ps", "--quiet", "--filter", f"label=com.docker.swarm.service.name={client}")
        return next((task for task in running.split() if "200" in swarm_board.docker("logs", task)), None)

    def settled() -> bool | None:
        state = swarm_board.inspect(server)["State"]
        return True if state["Running"] or state["Error"] else None

    before = wait_for("the service to reach the container", 60, answered)
    swarm_board.restart_engine()
    wait_for("the container to be started", 30, settled)
    # The engine starts it only once, and may lose the network at that moment (moby#32607).
    swarm_board.docker("start", server)
    assert wait_for("the service to reach the container again", 60, answered) != before
