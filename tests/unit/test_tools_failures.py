"""What is said of each way in which Pulumi fails, from what it really wrote."""

from __future__ import annotations

import pytest

from tools.failures import Kind, explain, explain_timeout

SET_PASSPHRASE = (
    "set PULUMI_CONFIG_PASSPHRASE, or PULUMI_CONFIG_PASSPHRASE_FILE, to the passphrase that the secrets of "
    "Pulumi.dev.yaml are encrypted with (in CI/CD: a masked variable; a protected one reaches only protected branches)"
)
CHECK_URL = "check DINDRUNNER_BACKEND_URL, and that this machine reaches it and may read it (docs/use/teams.md)"
CREDENTIALS = (
    "set those of its cloud (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_CREDENTIALS, or "
    "AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY), or give the job an identity (docs/use/teams.md)"
)
ENCRYPTED_ELSEWHERE = (
    "an encrypted value in the settings of stack dev cannot be decrypted: it is encrypted for another stack, or stands "
    "in Pulumi.yaml, where no stack can read it"
)
SET_AGAIN = "set it again: pulumi config set --secret --stack dev (with --path, as docs/use/settings.md has it)"
SECRETS = "error: getting stack configuration: get stack secrets manager:"

CASES = {
    "a directory that is not there": (
        'error: unable to open state directory "file:///no": stat /no: no such file or directory',
        Kind.BACKEND,
        "the state's directory s3://b is not there: stat /no: no such file or directory",
        "check DINDRUNNER_BACKEND_URL; a new directory is made with mkdir",
    ),
    "S3 that does not answer": (
        'error: read ".pulumi/meta.yaml": blob (key ".pulumi/meta.yaml") (code=Unknown): operation error S3: '
        "GetObject, exceeded maximum number of attempts, 3, https response error StatusCode: 0, RequestID: , HostID: , "
        'request send failed, Get "http://127.0.0.1:1/b": dial tcp 127.0.0.1:1: connect: connection refused',
        Kind.BACKEND,
        "the state's backend s3://b does not answer: connection refused",
        CHECK_URL,
    ),
    "S3 without credentials": (
        'error: read ".pulumi/meta.yaml": blob (key ".pulumi/meta.yaml") (code=Unknown): operation error S3: '
        "GetObject, get identity: get credentials: failed to refresh cached credentials, no EC2 IMDS role found, "
        "operation error",
        Kind.BACKEND,
        "the state's backend s3://b does not take the credentials, or there are none: no EC2 IMDS role found, "
        "operation error",
        CREDENTIALS,
    ),
    "Google without credentials": (
        "error: missing google credentials: unable to find gcp credentials: google: could not find default "
        "credentials.",
        Kind.BACKEND,
        "the state's backend s3://b does not take the credentials, or there are none: missing google credentials: "
        "unable to find gcp credentials: google: could not find default credentials.",
        CREDENTIALS,
    ),
    "Azure without an account": (
        'error: unable to open bucket "azblob://b": azureblob: Options.AccountName is required',
        Kind.BACKEND,
        "the state's backend s3://b does not take the credentials, or there are none: Options.AccountName is required",
        CREDENTIALS,
    ),
    "Pulumi Cloud without a login": (
        "error: PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions",
        Kind.BACKEND,
        "s3://b is Pulumi Cloud, or a service like it, and nobody is logged in",
        "set PULUMI_ACCESS_TOKEN, or choose another backend with DINDRUNNER_BACKEND_URL (docs/use/teams.md)",
    ),
    "no passphrase": (
        f"{SECRETS} passphrase must be set with PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE environment "
        "variables",
        Kind.PASSPHRASE,
        "the passphrase of stack dev is missing",
        SET_PASSPHRASE,
    ),
    "another passphrase": (
        f"{SECRETS} incorrect passphrase",
        Kind.PASSPHRASE,
        "the passphrase is not the one of stack dev",
        SET_PASSPHRASE,
    ),
    "a passphrase's file that is not there": (
        f"{SECRETS} unable to read PULUMI_CONFIG_PASSPHRASE_FILE: open /no: no such file or directory",
        Kind.PASSPHRASE,
        "the file that PULUMI_CONFIG_PASSPHRASE_FILE names cannot be read: open /no: no such file or directory",
        SET_PASSPHRASE,
    ),
    "a key that may not be used": (
        f"{SECRETS} secrets (code=PermissionDenied): operation error KMS: Decrypt, AccessDeniedException",
        Kind.KMS,
        "the key that encrypts the secrets of stack dev cannot be used: secrets (code=PermissionDenied): operation "
        "error KMS: Decrypt, AccessDeniedException",
        "check `secretsprovider` in Pulumi.dev.yaml, and that the credentials of this machine or job may decrypt with "
        "that key",
    ),
    "a value of another stack": (
        "error: validating stack config: cipher: message authentication failed",
        Kind.PASSPHRASE,
        ENCRYPTED_ELSEWHERE,
        SET_AGAIN,
    ),
    "a value that is encrypted in Pulumi.yaml": (
        "The Pulumi CLI encountered a fatal error. This is a bug!\nPulumi Version:   v3.259.0\n"
        "Panic:            attempt to batch decrypt values\n\ngoroutine 1 [running]:",
        Kind.PASSPHRASE,
        ENCRYPTED_ELSEWHERE,
        SET_AGAIN,
    ),
    "a plugin that cannot be downloaded": (
        "error: failed to load language plugin yaml: no language plugin 'pulumi-language-yaml' found in the workspace "
        "or on your $PATH: dial tcp: connection refused",
        Kind.OTHER,
        "a plugin of Pulumi cannot be had: no language plugin 'pulumi-language-yaml' found in the workspace or on your "
        "$PATH: dial tcp: connection refused",
        "python3 -m toolchain install (with --cluster for a stack on a cluster), and where that fails: python3 -m "
        "toolchain doctor",
    ),
    "a stack that is not there": (
        "error: no stack named 'dev' found",
        Kind.UNKNOWN_STACK,
        "s3://b has no stack dev",
        "check the name and DINDRUNNER_BACKEND_URL; a new stack is made by: pulumi stack init dev",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_failure_is_named_with_its_value_and_its_remedy(case: str) -> None:
    output, kind, what, remedy = CASES[case]
    failure = explain(f"{output}\n", stack="dev", backend="s3://b")
    assert failure.kind is kind
    assert failure.lines == (what, remedy)
    assert failure.output == output


def test_a_lock_is_told_with_its_holder() -> None:
    output = (
        "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the "
        "lock file with `pulumi cancel`.\n  file:///s/.pulumi/locks/organization/p/dev/a.json?no_tmp_dir=true: created "
        "by anna@ci-7 (pid 4242) at 2026-11-21T21:00:00Z\n"
    )
    failure = explain(output, stack="dev", backend="file:///s")
    assert failure.kind is Kind.LOCKED
    assert failure.lines == (
        "stack dev is locked: another update runs, or one was killed",
        "by anna@ci-7 (pid 4242) since 2026-11-21T21:00:00Z",
        "wait for it to end; where none runs any more: pulumi cancel --stack dev",
    )


def test_wrong_settings_are_told_in_the_programs_own_words() -> None:
    errors = [
        "the settings of stack dev are wrong:\nsettings.concurrent: 'many' is not accepted: should be a valid integer",
        "an unhandled error occurred: program exited with non-zero exit code: 1",
    ]
    failure = explain("", stack="dev", backend="file:///s", errors=errors)
    assert failure.kind is Kind.SETTINGS
    assert failure.lines == (
        "the settings of stack dev are wrong",
        "settings.concurrent: 'many' is not accepted: should be a valid integer",
    )


UPDATE_LOG = """Updating (dev):

@ updating....
    pulumi:pulumi:Stack runners-dev running error: the settings of stack dev are wrong:
    pulumi:pulumi:Stack runners-dev **failed** 2 errors
Diagnostics:
  pulumi:pulumi:Stack (runners-dev):
    error: the settings of stack dev are wrong:
    settings.concurrent: 'many' is not accepted: should be a valid integer
    error: an unhandled error occurred: program exited with non-zero exit code: 1

Outputs:
    network: "x"
"""


def test_wrong_settings_are_found_in_the_log_of_an_update() -> None:
    failure = explain(UPDATE_LOG, stack="dev", backend="file:///s")
    assert failure.lines == (
        "the settings of stack dev are wrong",
        "settings.concurrent: 'many' is not accepted: should be a valid integer",
    )


def test_a_provider_that_reaches_nothing_during_an_update_is_not_taken_for_the_backend() -> None:
    log = (
        "Updating (dev):\nDiagnostics:\n  docker:index:Container (dind-container):\n"
        "    error: Cannot connect to the Docker daemon: connection refused\n    Is it running?\n\n"
        "Resources:\n    1 created\n"
    )
    failure = explain(log, stack="dev", backend="file:///s")
    assert failure.kind is Kind.OTHER
    assert failure.lines == ("Cannot connect to the Docker daemon: connection refused",)
    assert failure.output == "Cannot connect to the Docker daemon: connection refused\nIs it running?"


def test_what_a_program_warns_of_is_not_taken_for_the_backend() -> None:
    log = (
        "Updating (dev):\nDiagnostics:\n  pulumi:pulumi:Stack (runners-dev):\n"
        "    warning: the mirror does not answer: connection refused\n\nerror: update failed\n"
    )
    failure = explain(log, stack="dev", backend="file:///s")
    assert failure.kind is Kind.OTHER
    assert failure.lines == ("update failed",)


@pytest.mark.parametrize(
    "error",
    [
        "resource urn:x cannot be deleted\nbecause it is protected. To unprotect the resource, run: pulumi",
        "unable to replace resource urn:x\nas it is currently marked for protection. To unprotect the resource, run",
    ],
)
def test_what_is_protected_is_told_with_how_to_lift_that(error: str) -> None:
    failure = explain("", stack="dev", backend="file:///s", errors=[error, "preview failed"])
    assert failure.kind is Kind.PROTECTED
    assert failure.lines == (
        "stack dev would delete what it protects",
        "undo that change, or lift the protection first, in an update of its own (daemon.claim.protect: false)",
    )


def test_a_provider_that_protects_something_of_its_own_is_told_in_its_words() -> None:
    error = "GitLab answers 403: a runner of a protected branch cannot be deleted"
    failure = explain("", stack="dev", backend="file:///s", errors=[error])
    assert failure.lines == (error,)


def test_an_unknown_failure_is_told_by_the_engines_first_error() -> None:
    failure = explain("warning: a\nerror: something new\nmore\n", stack="dev", backend="file:///s")
    assert failure.lines == ("something new",)
    assert failure.output == "warning: a\nerror: something new\nmore"


def test_an_engine_that_says_nothing_is_no_riddle() -> None:
    assert explain("", stack="dev", backend="file:///s").lines == ("Pulumi said nothing",)


def test_a_limit_that_was_reached_is_told_with_what_may_not_answer() -> None:
    assert explain_timeout("pulumi preview", 900, "").lines == (
        "pulumi preview did not end within 900 s",
        "something does not answer: an engine, a cluster, GitLab or the state's backend",
    )
