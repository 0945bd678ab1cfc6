"""Removes secrets from everything that is shown: those that this process knows, and what looks like one. Pure.

Pulumi prints `[secret]` for what it knows to be secret. This is a second safety net. Without it, a plaintext setting,
an error text of a cloud's client, or a secret that lost its mark on the way would be shown.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from stacks.settings.sandbox import PASSPHRASE

HIDDEN = "[secret]"
"""What stands for a secret; the same that Pulumi prints."""

LEAST = 8
"""Shorter secrets are hidden only as whole words: a passphrase `dev` must not take every word apart."""

SHORTEST = 3
"""What is shorter can be no secret, and would be hidden everywhere."""

_SECRET_NAME = re.compile(
    r"((?<!by)(?<!com)pass|password|passwd|passphrase|[_.-]pwd|secret|token|credentials?|auth|authorization|jwt|dsn"
    r"|(^|_)sas|(private|access|account|api|secret|ssh|tls|signing|encryption|deploy|[_.-]|^)_?key)(_?v?\d)?$",
    re.IGNORECASE,
)
"""A variable, key or option of such a name holds a secret."""

_NO_SECRET_NAME = re.compile(
    # In Kubernetes `key` names a label or an entry; Google's variable names a file.
    r"(^|_)(allow|use|has|is|no)_|automount|APPLICATION_CREDENTIALS$|public_?key$|(?-i:^key$)",
    re.IGNORECASE,
)

_SHAPES = (
    # Tokens of GitLab, of Pulumi, of AWS.
    re.compile(r"\b(?:glpat|glrt|glrtr|gldt|glcbt|glptt|glft|glsoat|glimt|glagent|glwt|glffct|gloas)-[\w.-]{8,}"),
    re.compile(r"\bGR1348941[\w-]{8,}"),
    re.compile(r"\bpul-[0-9a-f]{40}\b"),
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
)
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^/@\s:\"']*):[^/@\s\"']+@")
_USER_IN_URL = re.compile(r"(?<=http://)[^/@\s:\"']+@|(?<=https://)[^/@\s:\"']+@")
_ASSIGNMENT = re.compile(r"^(-{0,2}[A-Za-z_][\w.-]*)=(.+)$", re.DOTALL)
_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")


class Masker:
    """Replaces secrets by `[secret]`, in texts and in trees of plain values."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        # The longest first, or what contains another would be left in pieces.
        self._known = sorted(forms, key=lambda form: (-len(form), form))

    def text(self, text: str) -> str:
        """The text without secrets."""
        # A pattern of all of them would take minutes for a large diff.
        if found := [form for form in self._known if form in text]:
            text = re.sub("|".join(map(_pattern, found)), HIDDEN, text)
        for shape in _SHAPES:
            text = shape.sub(HIDDEN, text)
        text = _PASSWORD_IN_URL.sub(rf"\1:{HIDDEN}@", text)
        return _USER_IN_URL.sub(f"{HIDDEN}@", text)

    def value(self, value: Any, name: str = "") -> Any:
        """A plain value without secrets, keys included; name: its key, which may tell that it is one."""
        match value:
            case Mapping():
                if {"name", "value"} <= value.keys() and is_secret_name(str(value["name"])):
                    value = {**value, "value": HIDDEN}
                return {self.text(str(key)): self.value(item, str(key)) for key, item in value.items()}
            case [*items]:
                return [self.value(item, option or name) for option, item in _with_options(items)]
            case str() if value and is_secret_name(name):
                return HIDDEN
            case str():
                assigned = _ASSIGNMENT.match(value)
                if assigned and is_secret_name(assigned[1]):
                    return f"{assigned[1]}={HIDDEN}"
                return self.text(value)
        return value


def is_secret_name(name: str) -> bool:
    """Whether a key or variable of this name holds a secret by what it is called."""
    return bool(_SECRET_NAME.search(name)) and not _NO_SECRET_NAME.search(name)


def from_environment(environment: Mapping[str, str]) -> Iterator[str]:
    """The secrets among environment variables; the sandbox's passphrase is none, as everybody knows it."""
    for name, value in environment.items():
        if is_secret_name(name) and value != PASSPHRASE:
            yield value
        yield from _passwords(value)


def from_settings(plain: Any, decrypted: Any = None) -> Iterator[str]:
    """The secrets in a stack's settings.

    plain: as they stand in the file, with `secure:` where a value is encrypted. decrypted: the same with those in
    plain text; None where they cannot be had. What jobs get (`environment`, `extra`, `cache`) and every `token` counts
    as a secret, unless the same text stands in the open elsewhere in the settings.
    """
    encrypted = list(_encrypted(plain, decrypted))
    yield from encrypted
    hidden, shown = set(), []
    for path, text in _leaves(plain):
        if {"environment", "extra", "cache", "token"} & set(path) or is_secret_name(path[-1] if path else ""):
            hidden.add((path[-1], text))
        elif "secure" not in path:
            shown.append(text)
    for name, text in sorted(hidden):
        if is_secret_name(name) or (len(text) >= LEAST and not any(text in other for other in shown)):
            yield text


def _encrypted(plain: Any, decrypted: Any) -> Iterator[str]:
    match plain:
        case {"secure": str()}:
            for _, text in _leaves(decrypted):
                yield text
                yield from _passwords(text)
        case Mapping():
            for key, item in plain.items():
                yield from _encrypted(item, decrypted.get(key) if isinstance(decrypted, Mapping) else None)
        case [*items]:
            others = decrypted if isinstance(decrypted, list) and len(decrypted) == len(items) else [None] * len(items)
            for item, other in zip(items, others, strict=True):
                yield from _encrypted(item, other)


def _passwords(text: str) -> list[str]:
    """Those in a text's URLs, which are hidden there by their shape, but a message may name them alone."""
    return re.findall(r"://[^/@\s:]*:([^/@\s]+)@", text)


def _with_options(items: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The items of a list, each with the option before it that names a secret: `--requirepass`, then the password."""
    before: Any = None
    for item in items:
        is_option = isinstance(before, str) and _OPTION.fullmatch(before) and is_secret_name(before)
        yield before if is_option else "", item
        before = item


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text with the names above it: keys, and options of commands, which the walk of settings does not know."""
    match value:
        case Mapping():
            for key, item in value.items():
                yield from _leaves(item, (*path, str(key)))
        case [*items]:
            for option, item in _with_options(items):
                yield from _leaves(item, (*path, option) if option else path)
        case str() if value:
            yield path, value


def _forms(secret: str) -> Iterator[str]:
    """A secret as texts may show it: as it is, its lines, and encoded."""
    secret = secret.strip()
    if len(secret) < SHORTEST or secret.lower() in ("true", "false", "none", "null"):
        return
    yield secret
    yield from (line.strip() for line in secret.splitlines() if len(line.strip()) >= LEAST)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield html.escape(secret)
    yield quote(secret, safe="")
    yield quote(secret)
    if len(secret) >= LEAST:
        # A file's has a line's end.
        yield from (base64.b64encode(text.encode()).decode() for text in (secret, f"{secret}\n"))


def _pattern(form: str) -> str:
    text = re.escape(form)
    return text if len(form) >= LEAST else rf"(?<!\w){text}(?!\w)"
