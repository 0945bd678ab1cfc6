"""Explains from Pulumi's output why it failed: what is wrong, with which value, and what helps. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Kinds of failures that are told apart."""

    BACKEND = "backend"
    LOCKED = "locked"
    PASSPHRASE = "passphrase"
    KMS = "kms"
    UNKNOWN_STACK = "unknown stack"
    SETTINGS = "settings"
    PROTECTED = "protected"
    TIME = "time"
    OTHER = "other"


@dataclass(frozen=True)
class Failure:
    """A failure. lines: what is wrong, then what helps. output: what the engine said, where that adds to it."""

    kind: Kind
    lines: tuple[str, ...]
    output: str = ""


@dataclass(frozen=True)
class _Reason:
    """pattern: of what was said; its groups, `{stack}` and `{backend}` may be used in the texts."""

    kind: Kind
    pattern: str
    what: str
    remedy: str


_PASSPHRASE_REMEDY = (
    "set PULUMI_CONFIG_PASSPHRASE, or PULUMI_CONFIG_PASSPHRASE_FILE, to the passphrase that the secrets of "
    "Pulumi.{stack}.yaml are encrypted with (in CI/CD: a masked variable; a protected one reaches only protected "
    "branches)"
)
_BACKEND_REMEDY = "check DINDRUNNER_BACKEND_URL, and that this machine reaches it and may read it (docs/use/teams.md)"

_REASONS = (
    _Reason(
        Kind.OTHER,
        r"(?P<detail>(?:could not load plugin|no (?:resource|language|analyzer) plugin|failed to download plugin"
        r"|downloading plugin|\[(?:resource|language) plugin ).*)",
        "a plugin of Pulumi cannot be had: {detail}",
        "python3 -m toolchain install (with --cluster for a stack on a cluster), and where that fails: "
        "python3 -m toolchain doctor",
    ),
    _Reason(
        Kind.PASSPHRASE,
        r"message authentication failed|attempt to (?:batch )?decrypt value",
        "an encrypted value in the settings of stack {stack} cannot be decrypted: it is encrypted for another stack, "
        "or stands in Pulumi.yaml, where no stack can read it",
        "set it again: pulumi config set --secret --stack {stack} (with --path, as docs/use/settings.md has it)",
    ),
    _Reason(
        Kind.LOCKED,
        r"currently locked by \d+ lock",
        "stack {stack} is locked: another update runs, or one was killed",
        "wait for it to end; where none runs any more: pulumi cancel --stack {stack}",
    ),
    _Reason(
        Kind.LOCKED,
        r"\[409\] Conflict|another update is currently in progress",
        "stack {stack} is locked: another update runs, or one was killed",
        "wait for it to end; where none runs any more: pulumi cancel --stack {stack}",
    ),
    _Reason(
        Kind.PASSPHRASE,
        r"incorrect passphrase",
        "the passphrase is not the one of stack {stack}",
        _PASSPHRASE_REMEDY,
    ),
    _Reason(
        Kind.PASSPHRASE,
        r"unable to read PULUMI_CONFIG_PASSPHRASE_FILE: (?P<detail>.*)",
        "the file that PULUMI_CONFIG_PASSPHRASE_FILE names cannot be read: {detail}",
        _PASSPHRASE_REMEDY,
    ),
    _Reason(
        Kind.PASSPHRASE,
        r"passphrase must be set",
        "the passphrase of stack {stack} is missing",
        _PASSPHRASE_REMEDY,
    ),
    _Reason(
        Kind.KMS,
        r"get stack secrets manager: (?P<detail>.*)",
        "the key that encrypts the secrets of stack {stack} cannot be used: {detail}",
        "check `secretsprovider` in Pulumi.{stack}.yaml, and that the credentials of this machine or job may decrypt "
        "with that key",
    ),
    _Reason(
        Kind.UNKNOWN_STACK,
        r"no stack named '(?P<detail>[^']*)' found",
        "{backend} has no stack {stack}",
        "check the name and DINDRUNNER_BACKEND_URL; a new stack is made by: pulumi stack init {stack}",
    ),
    _Reason(
        Kind.BACKEND,
        r"PULUMI_ACCESS_TOKEN must be set for login|\[401\] Unauthorized|invalid access token",
        "{backend} is Pulumi Cloud, or a service like it, and nobody is logged in",
        "set PULUMI_ACCESS_TOKEN, or choose another backend with DINDRUNNER_BACKEND_URL (docs/use/teams.md)",
    ),
    _Reason(
        Kind.BACKEND,
        r"unable to open state directory \S+ (?P<detail>.*)",
        "the state's directory {backend} is not there: {detail}",
        "check DINDRUNNER_BACKEND_URL; a new directory is made with mkdir",
    ),
    _Reason(
        Kind.BACKEND,
        r"(?P<detail>missing google credentials.*|no EC2 IMDS role found.*|Options\.AccountName is required.*"
        r"|NoCredentialProviders.*|InvalidAccessKeyId.*|SignatureDoesNotMatch.*|AuthorizationFailure.*|AccessDenied.*"
        r"|access denied.*|DefaultAzureCredential.*)",
        "the state's backend {backend} does not take the credentials, or there are none: {detail}",
        "set those of its cloud (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_CREDENTIALS, or "
        "AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY), or give the job an identity (docs/use/teams.md)",
    ),
    _Reason(
        Kind.BACKEND,
        r"(?P<detail>(?:connection refused|no such host|i/o timeout|context deadline exceeded|no route to host"
        r"|network is unreachable|NoSuchBucket|certificate signed by unknown authority|TLS handshake timeout"
        r"|server misbehaving|server gave HTTP response).*)",
        "the state's backend {backend} does not answer: {detail}",
        _BACKEND_REMEDY,
    ),
    _Reason(
        Kind.BACKEND,
        r"(?P<detail>(?:unable to open bucket|could not list bucket|error listing stacks|read \"\.pulumi/meta\.yaml\""
        r"|performing HTTP request).*)",
        "the state's backend {backend} cannot be read: {detail}",
        _BACKEND_REMEDY,
    ),
)
"""The first that fits is taken, so the more special ones come first."""

_SETTINGS = re.compile(r"the settings of stack \S+ are wrong:\n(?P<lines>(?:.+\n?)+)")
_NOISE = "an unhandled error occurred: program exited with non-zero exit code"
SAYS_NOTHING = {"preview failed", "update failed"}
"""Errors that only say that there are others, or that a policy was violated."""

_DIAGNOSTICS = re.compile(r"^Diagnostics:\n(?P<text>(?:[ ]{2}.*\n|\n)+)", re.MULTILINE)
_ERROR = re.compile(r"^(?:error: |Panic: ).*(?:\n[ \t]+\S.*)*", re.MULTILINE)
_IS_PROTECTED = re.compile(r"(?:because it is protected|as it is currently marked for protection)\. To unprotect")
_HOLDER = re.compile(r"created by (?P<who>\S+ \(pid \d+\)) at (?P<since>\S+)")


def explain(output: str, *, stack: str, backend: str, errors: Sequence[str] = ()) -> Failure:
    """What went wrong.

    output: what Pulumi wrote, on both streams. errors: the diagnostics of that severity, which are the program's.
    backend: URL of the state's backend, without secrets.
    """
    errors = errors or _diagnosed(output)
    told = "\n".join(errors) or output
    # In the log of an update the text comes twice: in a table, and whole.
    for wrong in reversed(list(_SETTINGS.finditer(told))):
        mistakes = [line.strip() for line in wrong["lines"].splitlines() if line.strip() and _NOISE not in line]
        return Failure(Kind.SETTINGS, (f"the settings of stack {stack} are wrong", *mistakes))
    if errors:
        return _of_program(errors, stack)
    # Not in what the program or a provider wrote: that an engine refuses connections says nothing of the backend.
    failed = "\n".join(_ERROR.findall(output)) or output
    for reason in _REASONS:
        found = re.search(reason.pattern, failed, re.IGNORECASE)
        if found:
            groups = {name: (text or "").strip() for name, text in found.groupdict().items()}
            values = {"stack": stack, "backend": backend, **groups}
            lines = [reason.what.format_map(values)]
            if reason.kind is Kind.LOCKED:
                lines += [f"by {one['who']} since {one['since']}" for one in _HOLDER.finditer(output)]
            return Failure(reason.kind, (*lines, reason.remedy.format_map(values)), output.strip())
    return Failure(Kind.OTHER, (_first_error(output),), output.strip())


def explain_timeout(what: str, seconds: float, output: str) -> Failure:
    """A command that did not end in time."""
    return Failure(
        Kind.TIME,
        (
            f"{what} did not end within {seconds:.0f} s",
            "something does not answer: an engine, a cluster, GitLab or the state's backend",
        ),
        output.strip(),
    )


def _of_program(errors: Sequence[str], stack: str) -> Failure:
    """What the program, a provider or the engine reported while the stack was looked at."""
    texts = [text.strip() for text in errors if _NOISE not in text and text.strip() not in SAYS_NOTHING]
    if any(_IS_PROTECTED.search(text) for text in texts):
        return Failure(
            Kind.PROTECTED,
            (
                f"stack {stack} would delete what it protects",
                "undo that change, or lift the protection first, in an update of its own (daemon.claim.protect: false)",
            ),
            "\n".join(texts),
        )
    first = texts[0].splitlines()[0] if texts else "the program failed"
    return Failure(Kind.OTHER, (first,), "\n".join(texts))


def _diagnosed(output: str) -> list[str]:
    """The errors in the log of an update that has begun; before, there is no list of diagnostics."""
    found = _DIAGNOSTICS.search(output)
    blocks = re.split(r"^ {4}(?=error: |warning: )|^ {2}(?=\S)", found["text"], flags=re.MULTILINE) if found else []
    errors = [block.removeprefix("error: ") for block in blocks if block.startswith("error: ")]
    return ["\n".join(line.strip() for line in error.strip().splitlines()) for error in errors]


def _first_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    found = next(
        (line for line in lines if line.startswith("error:")), lines[0] if lines else "error: Pulumi said nothing"
    )
    return found.removeprefix("error:").strip()
