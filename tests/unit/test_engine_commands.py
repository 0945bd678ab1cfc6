"""Command lines that ask a Docker engine, here or by SSH."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from components.docker_client import DockerEngine

OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10")


@pytest.mark.parametrize("host", ["unix:///var/run/docker.sock", "tcp://board:2376", "npipe:////./pipe/docker_engine"])
def test_the_client_of_this_machine_asks_what_it_reaches_by_itself(host: str) -> None:
    engine = DockerEngine(host=host)
    assert not engine.by_ssh
    assert engine.docker("info", "--format", "{{json .}}") == [
        "docker",
        "--host",
        host,
        "info",
        "--format",
        "{{json .}}",
    ]


def test_a_command_for_the_machine_of_a_local_engine_runs_here() -> None:
    assert DockerEngine(host="unix:///var/run/docker.sock").command("test", "-d", "/my disk") == [
        "test",
        "-d",
        "/my disk",
    ]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("ssh://raspberry", ["--", "raspberry"]),
        ("ssh://raspberry/", ["--", "raspberry"]),
        ("ssh://pi@raspberry", ["-l", "pi", "--", "raspberry"]),
        ("ssh://pi@raspberry:2222", ["-l", "pi", "-p", "2222", "--", "raspberry"]),
        # An alias of ~/.ssh/config is told by its capitals.
        ("ssh://MyPi", ["--", "MyPi"]),
        ("ssh://pi@MyPi.Home:2222/run/docker.sock", ["-l", "pi", "-p", "2222", "--", "MyPi.Home"]),
        ("ssh://[FD00::2]", ["--", "FD00::2"]),
        ("ssh://pi@[fd00::2]", ["-l", "pi", "--", "fd00::2"]),
        ("ssh://pi@[fd00::2]:2222", ["-l", "pi", "-p", "2222", "--", "fd00::2"]),
        ("ssh://-oProxyCommand=evil", ["--", "-oProxyCommand=evil"]),
    ],
)
def test_by_ssh_the_client_of_the_other_machine_asks(host: str, words: list[str]) -> None:
    engine = DockerEngine(host=host, ssh_options=OPTIONS)
    assert engine.by_ssh
    assert engine.docker("info")[:-1] == ["ssh", *OPTIONS, *words]
    assert engine.command("test", "-d", "/mnt") == ["ssh", *OPTIONS, *words, "test -d /mnt"]


def test_a_socket_of_the_other_machine_is_named_to_its_client() -> None:
    engine = DockerEngine(host="ssh://pi@raspberry/run/user/1000/docker.sock")
    assert engine.docker("info")[-1] == "docker --host unix:///run/user/1000/docker.sock info"
    assert engine.command("id")[-1] == "id"


@pytest.mark.parametrize(
    "word", ["two words", "{{json .}}", "$HOME", "`id`", "it's", '"', "a;b", "*", "größe", "", "line\nend", "~", "#"]
)
def test_every_word_arrives_by_ssh_as_it_was(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As sshd does: the words after the host go to a shell as one text.
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nexec sh -c "$3"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    command = DockerEngine(host="ssh://pi@raspberry").command("printf", "%s|", "first", word, "last")
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"first|{word}|last|"
