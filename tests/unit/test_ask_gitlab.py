"""What is asked of a GitLab before anything is touched, tried on a small server of our own."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from stacks import ask_gitlab
from stacks.ask_gitlab import check_gitlab
from stacks.settings.mistakes import SettingsError
from tests.unit.web import Reply, always, answer, self_signed, serving

TOKEN = "glpat-right"
UNAUTHORIZED = json.dumps({"message": "401 Unauthorized"}).encode()
VERSION = json.dumps({"version": "19.4.0", "revision": "abc"}).encode()
PROBE = "/api/v4/version"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def gitlab(handler: BaseHTTPRequestHandler, token: str | None) -> None:
    """What GitLab answers to the version's address."""
    if token == TOKEN:
        answer(handler, 200, VERSION)
    elif token == "glpat-narrow":
        answer(handler, 403, json.dumps({"error": "insufficient_scope"}).encode())
    else:
        answer(handler, 401, UNAUTHORIZED)


def refusal(url: str, token: str | None = TOKEN) -> str:
    with pytest.raises(SettingsError) as caught:
        check_gitlab(url, token)
    return str(caught.value)


@pytest.mark.parametrize("path", ["", "/", "/gitlab", "/gitlab/"])
def test_a_gitlab_that_knows_the_token_is_taken_and_asked_twice(path: str) -> None:
    with serving(gitlab) as server:
        check_gitlab(server.url + path, TOKEN)
    probe = path.rstrip("/") + PROBE
    assert server.requests == [(probe, None), (probe, TOKEN)]


def test_a_gitlab_says_its_version_to_a_token_that_may_read() -> None:
    with serving(gitlab) as server:
        assert check_gitlab(server.url, TOKEN) == "19.4.0"
        assert check_gitlab(server.url, None) is None


def test_a_token_that_may_only_create_runners_is_taken_and_told_no_version() -> None:
    with serving(gitlab) as server:
        assert check_gitlab(server.url, "glpat-narrow") is None
    assert server.tokens == [None, "glpat-narrow"]


def test_a_gitlab_is_taken_without_a_token_where_every_runner_brings_its_own() -> None:
    with serving(gitlab) as server:
        check_gitlab(server.url, None)
    assert server.tokens == [None]


@pytest.mark.parametrize(("status", "body"), [(200, VERSION), (403, json.dumps({"message": "403 Forbidden"}).encode())])
def test_a_gitlab_that_answers_everybody_or_nobody_is_taken(status: int, body: bytes) -> None:
    with serving(always(status, body)) as server:
        check_gitlab(server.url, TOKEN)
    assert server.tokens == [None, TOKEN]


def test_a_wrong_token_is_refused_without_being_repeated() -> None:
    with serving(gitlab) as server:
        message = refusal(server.url, "glpat-s3cret")
    assert message == (
        f"gitlab:token: is not accepted by {server.url}: it may be expired; create one with scope api and "
        "export it as GITLAB_TOKEN"
    )


@pytest.mark.parametrize("token", ["", "glpat s3cret", "glpat-s3cret\n", "glpät-s3cret", "s3cret\x00"])
def test_a_token_with_odd_characters_is_refused_before_anything_is_asked(token: str) -> None:
    with serving(gitlab) as server:
        message = refusal(server.url, token)
    assert message == (
        "gitlab:token: (hidden) has characters that no token has: copy it again, without spaces and line ends"
    )
    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<!DOCTYPE html><title>Welcome</title>"),
        (404, b"404 page not found"),
        (404, b'{"message": "404 Not Found"}'),
        (401, b"<html>Sign in</html>"),
        (401, b'{"message": "Missing Authentication Token"}'),
        (401, b'{"message": null}'),
        (200, b'{"message": "200 OK"}'),
        (200, b'{"version": 3}'),
        (200, b"[]"),
        (200, b"3"),
        (200, b""),
        (200, b"\xff\xfe"),
        (200, b"[" * 60000),
        (200, b'{"version": "' + b"1" * 70000 + b'"}'),
        (502, b"<html>GitLab is not responding</html>"),
        (500, b'{"message": "500 Internal Server Error"}'),
    ],
)
def test_a_server_that_is_no_gitlab_is_refused_and_never_sees_the_token(status: int, body: bytes) -> None:
    with serving(always(status, body)) as server:
        message = refusal(server.url)
    assert message == (
        f"settings.gitlab.url: {server.url!r} answers something that is no GitLab API (GET {server.url}{PROBE}: status "
        f"{status}): give the base URL of a GitLab, for example https://gitlab.com"
    )
    assert server.tokens == [None]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_but_named(status: int) -> None:
    with serving(gitlab) as other:
        target = f"{other.url}{PROBE}"
        with serving(always(status, b"", {"Location": target})) as server:
            message = refusal(server.url)
    assert message == (
        f"settings.gitlab.url: {server.url!r} redirects to {target!r} (GET {server.url}{PROBE}: status {status}): give "
        "the base URL that GitLab itself answers at"
    )
    assert (server.tokens, other.requests) == ([None], [])


def test_the_token_does_not_follow_a_redirect_to_another_server() -> None:
    with serving(gitlab) as other:

        def lure(handler: BaseHTTPRequestHandler, token: str | None) -> None:
            if token is None:
                answer(handler, 401, UNAUTHORIZED)
            else:
                answer(handler, 302, b"", {"Location": f"{other.url}{PROBE}"})

        with serving(lure) as server:
            assert "redirects to" in refusal(server.url)
    assert other.requests == []


def test_a_closed_port_is_named_with_its_reason() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert refusal(url) == (
            f"settings.gitlab.url: {url!r} does not answer within 10 s ([Errno 111] Connection refused): check the "
            "URL, and that this machine reaches it"
        )


def test_a_name_that_does_not_exist_is_named_with_its_reason() -> None:
    message = refusal("http://gitlab.invalid")
    assert message.startswith("settings.gitlab.url: 'http://gitlab.invalid' does not answer within 10 s (")
    assert message.endswith("): check the URL, and that this machine reaches it")


def _silence(_handler: BaseHTTPRequestHandler, _: str | None) -> None:
    """Answer nothing for a long time."""
    time.sleep(2)


def _drops(handler: BaseHTTPRequestHandler, _: str | None) -> None:
    """Answer a byte at a time, each well within a socket's own limit."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    try:
        for _byte in range(100):
            handler.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:
        return


@pytest.mark.parametrize("reply", [_silence, _drops])
def test_a_server_that_is_too_slow_is_given_up_in_time(reply: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_gitlab, "TIMEOUT_SECONDS", 0.2)
    with serving(reply) as server:
        start = time.monotonic()
        message = refusal(server.url)
        took = time.monotonic() - start
        assert message == (
            f"settings.gitlab.url: {server.url!r} does not answer within 0.2 s (timed out): check the URL, and that "
            "this machine reaches it"
        )
        assert took < 1.5
        assert server.tokens == [None]


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"HTTP/1.1 2000 No\r\n\r\n"])
def test_a_server_that_speaks_no_http_is_refused_without_a_traceback(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(greeting)

        thread = threading.Thread(target=greet)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        message = refusal(url)
        thread.join()
    assert message.startswith(f"settings.gitlab.url: {url!r} does not answer within 10 s (")


def test_an_answer_that_ends_too_early_is_refused_without_a_traceback() -> None:
    def cut(handler: BaseHTTPRequestHandler, _: str | None) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(VERSION[:5])

    with serving(cut) as server:
        message = refusal(server.url)
    assert f"{server.url!r} " in message
    assert server.tokens == [None]


def test_only_a_gitlab_on_this_machine_is_asked_past_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(always(502, b"")) as proxy, serving(gitlab) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        check_gitlab(server.url, TOKEN, direct=True)
        assert (proxy.requests, server.tokens) == ([], [None, TOKEN])
        assert "status 502" in refusal(server.url)
        assert proxy.requests == [(f"{server.url}{PROBE}", None)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    return self_signed(tmp_path_factory.mktemp("certificate"))


def test_a_gitlab_with_a_private_ca_is_taken_where_the_settings_name_that_ca(certificate: Path) -> None:
    with serving(gitlab, certificate) as server:
        check_gitlab(server.url, TOKEN, ca_file=str(certificate))
        assert server.tokens == [None, TOKEN]


def test_an_untrusted_certificate_is_refused_before_the_token_is_sent(certificate: Path) -> None:
    with serving(gitlab, certificate) as server:
        message = refusal(server.url, TOKEN)
    assert message == (
        f"settings.gitlab.url: {server.url!r} has a certificate that is not trusted (self-signed certificate): "
        "name its CA in settings.gitlab.ca_file"
    )
    assert server.tokens == []


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file or directory"), ("no PEM", "[X509")])
def test_a_ca_file_that_is_none_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError) as caught:
        check_gitlab("https://gitlab.example.com", None, ca_file=str(file))
    assert str(caught.value).startswith(
        f"settings.gitlab.ca_file: {str(file)!r} cannot be read as PEM certificates ({reason}"
    )
    assert str(caught.value).endswith("): give the file of the CA that signed GitLab's certificate")
