"""What is hidden from notes, logs and artifacts, and what is not."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tools.secrets import Masker, from_environment, from_settings, is_secret_name

SECRET = 'corr&ct "horse"/battery'


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        json.dumps(SECRET),
        "corr&amp;ct &quot;horse&quot;/battery",
        quote(SECRET, safe=""),
        quote(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"{SECRET}\n".encode()).decode(),
    ],
)
def test_a_known_secret_is_hidden_however_it_is_written(shown: str) -> None:
    assert Masker([SECRET]).text(f"before {shown} after").replace('"', "") == "before [secret] after"


@pytest.mark.parametrize(
    "token",
    [
        "glpat-abcdefghij0123456789",
        "glrt-t3_abcdefghij01234.01.xy",
        "glcbt-64_abcdefghij",
        "GR1348941abcdefghijklmnop",
        "AKIAIOSFODNN7EXAMPLE",
        "pul-" + "0" * 40,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_token_or_key_is_hidden_though_nobody_named_it(token: str) -> None:
    assert Masker().text(f"({token})") == "([secret])"


@pytest.mark.parametrize("before", ["", "a", "ab", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_known_secret_is_hidden_inside_of_base64_wherever_it_begins(
    before: str, encode: Callable[[bytes], bytes]
) -> None:
    secret = "hush>>>this?is~it"
    shown = Masker([secret]).text(f'"{encode(f"{before}{secret}, and more".encode()).decode()}"')
    kept = shown.strip('"').split("[secret]")
    assert len(kept) == 2
    assert len(kept[0]) <= len(before) * 4 // 3 + 1


def test_a_character_that_is_not_seen_parts_no_secret() -> None:
    assert Masker(["hush-hush"]).text("hush\u200b-\x1b[0mhush glpat-abc\u200bdefghij0123") == "[secret] [secret]"


BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"


def test_the_beginning_of_a_key_takes_no_later_line_of_a_log_along() -> None:
    said = f"description: -----BEGIN PRIVATE KEY-----\n{BODY}\nerror: it failed\nof: -----END PRIVATE KEY-----\nlast"
    assert (
        Masker().log(said) == "description: [secret]\n[secret]\nerror: it failed\nof: -----END PRIVATE KEY-----\nlast"
    )


def test_a_log_of_a_key_shows_no_line_of_it_and_all_others() -> None:
    said = (
        f"first\n+ -----BEGIN RSA PRIVATE KEY-----\n+ Proc-Type: 4,ENCRYPTED\n+\n+ {BODY}\n+ abc=\n"
        "+ -----END RSA PRIVATE KEY----- glpat-abcdefghij0123456789\nlast"
    )
    hidden = "\n".join(["[secret]"] * 4)
    assert Masker().log(said) == f"first\n+ {hidden}\n[secret]\n[secret] [secret]\nlast".replace("\n+ [", "\n+ [", 1)


def test_what_is_hidden_twice_reads_as_once() -> None:
    masker = Masker(["secret"])
    assert masker.text(masker.text("a secret")) == "a [secret]"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://anna:pass@host/x", "https://anna:[secret]@host/x"),
        ("https://pass@host/x", "https://[secret]@host/x"),
        ("s3://key:pass@bucket", "s3://key:[secret]@bucket"),
        ("ssh://pi@raspberrypi.local", "ssh://pi@raspberrypi.local"),
        ("https://host/a@b:c", "https://host/a@b:c"),
    ],
)
def test_a_url_keeps_its_host_and_loses_its_password(url: str, shown: str) -> None:
    assert Masker().text(url) == shown


def test_a_short_secret_is_hidden_as_a_word_only() -> None:
    assert Masker(["dev"]).text("dev, device, /dev/null") == "[secret], device, /[secret]/null"


@pytest.mark.parametrize("value", ["", " ", "1", "on", "true", "False"])
def test_a_value_that_can_be_no_secret_is_not_hidden_everywhere(value: str) -> None:
    assert Masker([value]).text("1 of 2 is on, true, False") == "1 of 2 is on, true, False"


def test_of_a_secret_that_contains_another_nothing_is_left() -> None:
    assert Masker(["abcdefgh", "abcdefgh-ijklmnop"]).text("abcdefgh-ijklmnop") == "[secret]"


def test_each_line_of_a_secret_of_several_is_hidden() -> None:
    assert Masker(["first line\nsecond line"]).text("+second line") == "+[secret]"


def test_values_under_secret_names_are_hidden_wherever_they_stand() -> None:
    given = {
        "password": "a",
        "envs": ["DB_PASSWORD=b", "MODE=c"],
        "env": [{"name": "API_TOKEN", "value": "d"}, {"name": "MODE", "value": "e"}],
        "nested": {"privateKey": "f"},
        "automountServiceAccountToken": "no secret",
    }
    assert Masker().value(given) == {
        "password": "[secret]",
        "envs": ["DB_PASSWORD=[secret]", "MODE=c"],
        "env": [{"name": "API_TOKEN", "value": "[secret]"}, {"name": "MODE", "value": "e"}],
        "nested": {"privateKey": "[secret]"},
        "automountServiceAccountToken": "no secret",
    }


def test_a_value_after_an_option_that_names_a_secret_is_hidden() -> None:
    command = ["--port", "6379", "--requirepass", "x1z", "--masterauth=y", "-v"]
    assert Masker().value({"command": command}) == {
        "command": ["--port", "6379", "--requirepass", "[secret]", "--masterauth=[secret]", "-v"]
    }
    assert "x1z" in set(from_settings({"extra": {"services": [{"command": command}]}}))


def test_an_entry_that_kubernetes_calls_key_is_shown() -> None:
    given = {"tolerations": [{"key": "dedicated", "operator": "Exists"}], "tls.key": "x"}
    assert Masker().value(given) == {**given, "tls.key": "[secret]"}
    assert list(from_settings(given["tolerations"])) == []


def test_a_large_diff_with_many_secrets_is_masked_at_once() -> None:
    secrets = [f"secret-number-{index}-of-many" for index in range(300)]
    text = "\n".join(f'+ image.path[{index}]: "registry.example.com/some/image:{index}"' for index in range(50_000))
    began = time.monotonic()
    assert Masker(secrets).text(f"{text}\n{secrets[-1]}").endswith("\n[secret]")
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    "name",
    [
        "GITLAB_TOKEN",
        "apiKey",
        "credentials",
        "SecretKey",
        "private_key",
        "DB_PASS",
        "PULUMI_CONFIG_PASSPHRASE",
        "AWS_SECRET_ACCESS_KEY",
        "DB_PASSWORD_2",
        "DB_PW",
        "KUBECONFIG_B64",
        "CERT_BASE64",
        "DOCKER_AUTH_CONFIG",
        "client-key-data",
    ],
)
def test_variables_with_secrets_are_known_by_their_names(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["PATH", "PULUMI_CONFIG_PASSPHRASE_FILE", "GOOGLE_APPLICATION_CREDENTIALS", "PWD", "KEYBOARD", "TOKENIZER", ""],
)
def test_other_variables_are_not_taken_for_secrets(name: str) -> None:
    assert not is_secret_name(name)


def test_the_sandboxs_passphrase_is_no_secret_and_a_backends_password_is_one() -> None:
    environment = {"PULUMI_CONFIG_PASSPHRASE": "sandbox", "PULUMI_BACKEND_URL": "https://u:hush@host", "HOME": "/root"}
    assert list(from_environment(environment)) == ["hush"]


def test_secrets_are_found_in_registries_logins_and_in_base64() -> None:
    auths = {"auths": {"registry.example": {"auth": base64.b64encode(b"user:of-registry").decode()}}}
    key_file = base64.b64encode(json.dumps({"private_key": "of-cloud", "type": "x"}).encode()).decode()
    found = set(from_environment({"DOCKER_AUTH_CONFIG": json.dumps(auths), "KEY_B64": key_file, "X": "shown"}))
    assert {"of-registry", "of-cloud"} <= found
    assert "shown" not in found


def test_secrets_are_found_in_files_that_variables_name(tmp_path: Path) -> None:
    ours = tmp_path / "project.tmp"
    ours.mkdir()
    files = {
        "MINE": "of-file\n",
        "KUBECONFIG": "users:\n- user: {token: of-cluster}\n",
        "CI_SERVER_TLS_CA_FILE": "known",
    }
    for name, text in files.items():
        (ours / name).write_text(text)
    (tmp_path / "other").write_text("of-passphrase")
    environment = {
        "CI_PROJECT_DIR": str(tmp_path / "project"),
        **{name: str(ours / name) for name in files},
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(tmp_path / "other"),
        "OTHER": str(tmp_path / "other"),
        "SOME_TOKEN": str(tmp_path),
    }
    found = {text.strip() for text in from_environment(environment)}
    assert {"of-file", "of-cluster", "of-passphrase"} <= found
    assert "known" not in found


SETTINGS = {
    "docker_host": "ssh://pi@board",
    "daemon": {"registry_mirrors": [{"secure": "v1:abc"}]},
    "runners": [
        {
            "image": "registry.example/tools:1",
            "token": "glrt-x",
            "environment": {
                "MODE": "ci",
                "REGISTRY": "registry.example",
                "URL": "plain-but-long",
                "PASS": {"secure": "v1:d"},
            },
            "extra": {"docker": {"hostname": "builder-of-ours"}},
        }
    ],
}
DECRYPTED = {
    "docker_host": "ssh://pi@board",
    "daemon": {"registry_mirrors": ["https://m:hidden@mirror"]},
    "runners": [
        {
            "image": "registry.example/tools:1",
            "token": "glrt-x",
            "environment": {"MODE": "ci", "REGISTRY": "registry.example", "URL": "plain-but-long", "PASS": "decrypted"},
            "extra": {"docker": {"hostname": "builder-of-ours"}},
        }
    ],
}


def test_secrets_of_settings_are_what_is_encrypted_and_what_jobs_get() -> None:
    found = set(from_settings(SETTINGS, DECRYPTED))
    assert found == {"https://m:hidden@mirror", "hidden", "decrypted", "glrt-x", "plain-but-long", "builder-of-ours"}


def test_what_cannot_be_decrypted_leaves_the_rest_known() -> None:
    assert set(from_settings(SETTINGS)) == {"glrt-x", "plain-but-long", "builder-of-ours"}
