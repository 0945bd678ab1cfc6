"""Removes secrets from everything that is shown: those that this process knows, and what looks like one.

Pulumi prints `[secret]` for what it knows to be secret. This is a second safety net. Without it, a plaintext setting,
an error text of a cloud's client, or a secret that lost its mark on the way would be shown.

An author may write what looks like the beginning of a secret. So a value is masked by itself, before it is joined with
others, and what a program printed line by line: none takes what comes after it along.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import yaml

from stacks.settings.sandbox import PASSPHRASE
from tools.markdown import clean

HIDDEN = "[secret]"
"""What stands for a secret; the same that Pulumi prints."""

LEAST = 8
"""Shorter secrets are hidden only as whole words: a passphrase `dev` must not take every word apart."""

SHORTEST = 3
"""What is shorter can be no secret, and would be hidden everywhere."""

MOST = 100_000
"""How many characters of a file are read for its secrets; a variable of GitLab's has at most 10,000."""

_SECRET_NAME = re.compile(
    r"((?<!by)(?<!com)pass|password|passwd|passphrase|[_.-]pwd|(^|[_.-])pw|secret|token|credentials?|auth|auth_config"
    r"|authorization|jwt|dsn|(^|_)sas|(private|access|account|api|secret|ssh|tls|signing|encryption|deploy|[_.-]|^)_?key"
    r"|key[_-]data|[_.-]b(ase)?64)(_?v?\d)?$",
    re.IGNORECASE,
)
"""A variable, key or option of such a name holds a secret."""

_NO_SECRET_NAME = re.compile(
    # In Kubernetes `key` names a label or an entry; Google's variable names a file.
    r"(^|_)(allow|use|has|is|no)_|automount|APPLICATION_CREDENTIALS$|public_?key$|(?-i:^key$)",
    re.IGNORECASE,
)

_FILES = ("KUBECONFIG", "GOOGLE_APPLICATION_CREDENTIALS")
"""Variables with the path of a file that has secrets, besides those whose own names tell."""

_OPEN_FILES = ("CI_SERVER_TLS_CA_FILE", "CI_SERVER_TLS_CERT_FILE")
"""GitLab's own variables of type file that hold certificates."""

_BEGIN, _END = (rf"-----{word} [A-Z ]*PRIVATE KEY(?: BLOCK)?-----" for word in ("BEGIN", "END"))
_SHAPES = (
    # Tokens of GitLab, of Pulumi, of AWS.
    re.compile(r"\b(?:glpat|glrt|glrtr|gldt|glcbt|glptt|glft|glsoat|glimt|glagent|glwt|glffct|gloas)-[\w.-]{8,}"),
    re.compile(r"\bGR1348941[\w-]{8,}"),
    re.compile(r"\bpul-[0-9a-f]{40}\b"),
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(rf"{_BEGIN}.*?(?:{_END}|\Z)", re.DOTALL),
)
_PEM = re.compile(r"\s*-----(?:BEGIN|END) [A-Z ]+-----\s*")
_OPEN_KEY = re.compile(rf"{_BEGIN}(?!.*{_END})")
_KEY_LINE = re.compile(
    r"(?:[\s|>+'\"]|-(?!-))*+(?:(?:Proc-Type|DEK-Info): [\w,-]+|[A-Za-z0-9+/=]*+)[\s'\",]*+" rf"(?:{_END}(?P<rest>.*))?"
)
"""A line of a key: nothing but its characters, maybe with the sign of a diff; and the rest after its end."""

_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{9,}")
"""What may be the base64 of something with a secret of `LEAST` characters in it."""

_PASSWORD_IN_URL = re.compile(r"(?<=://)([^/@\s:\"']*):[^/@\s\"']+@")
_USER_IN_URL = re.compile(r"(?<=http://)[^/@\s:\"']+@|(?<=https://)[^/@\s:\"']+@")
_ASSIGNMENT = re.compile(r"^(-{0,2}[A-Za-z_][\w.-]*)=(.+)$", re.DOTALL)
_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")


class Masker:
    """Replaces secrets by `[secret]`, in texts and in trees of plain values."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first, or what contains another would be left in pieces.
        self._known = sorted(
            {form for secret in secrets for form in _forms(secret)}, key=lambda form: (-len(form.text), form)
        )

    def text(self, text: str) -> str:
        """A single value without secrets, and without characters that are not seen, which could part one."""
        text = clean(text)
        return self._without(self._found(text), text)

    def _found(self, text: str) -> list[_Form]:
        """The known ones in a text. A pattern of all of them would take minutes for a large diff."""
        encoded = "\n".join(set(_ENCODED.findall(text)))
        return [form for form in self._known if form.text in (encoded if form.is_encoded else text)]

    def _without(self, known: Sequence[_Form], text: str) -> str:
        if found := [form.pattern for form in known if form.text in text]:
            text = re.sub("|".join([re.escape(HIDDEN), *found]), HIDDEN, text)
        for shape in _SHAPES:
            text = shape.sub(HIDDEN, text)
        text = _PASSWORD_IN_URL.sub(rf"\1:{HIDDEN}@", text)
        return _USER_IN_URL.sub(f"{HIDDEN}@", text)

    def log(self, text: str) -> str:
        """As many lines as there were, without secrets: what a program printed, or a message with values of others."""
        text = clean(text)
        return "\n".join(map(self.lines(self._found(text)), text.split("\n")))

    def lines(self, known: Sequence[_Form] | None = None) -> Callable[[str], str]:
        """What masks the lines of one stream, one after another as they come; a private key may have many.

        known: those of the secrets that may be in it; None for all.
        """
        in_key = False

        def mask(line: str) -> str:
            nonlocal in_key
            line = clean(line)
            found = _KEY_LINE.fullmatch(line) if in_key else None
            if found and found["rest"] is None:
                return HIDDEN if line.strip() else line
            if found:
                in_key = False
                return HIDDEN + mask(found["rest"])
            in_key = bool(_OPEN_KEY.search(line))
            return self._without(self._found(line) if known is None else known, line)

        return mask

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
    """The secrets among environment variables, and in the files that they name.

    Such a file is every CI/CD variable of type file: the variable has its path. The sandbox's passphrase is no secret,
    as everybody knows it.
    """
    of_variables = {environment.get("RUNNER_TEMP_PROJECT_DIR"), f"{environment.get('CI_PROJECT_DIR', '')}.tmp"}
    for name, value in environment.items():
        named = is_secret_name(name)
        if named and value != PASSPHRASE:
            yield from _within(value)
        elif not named:
            yield from _passwords(value)
        is_file = named or is_secret_name(name.removesuffix("_FILE")) or name in _FILES
        if value.startswith("/") and (is_file or (str(Path(value).parent) in of_variables and name not in _OPEN_FILES)):
            yield from _within(_content(Path(value)))


def _content(file: Path) -> str:
    """The beginning of a file's text; empty where it is none, or cannot be read."""
    try:
        with file.open(errors="replace") as opened:
            return opened.read(MOST) if file.is_file() else ""
    except (OSError, ValueError):
        return ""


def _within(secret: str) -> Iterator[str]:
    """A secret, and those in it: in base64, in URLs, and below names in JSON or YAML, as a kubeconfig has them."""
    yield secret
    yield from _passwords(secret)
    if decoded := _decoded(secret):
        yield from _within(decoded)
        # As registries' logins are written.
        yield decoded.partition(":")[2]
    try:
        parsed = yaml.safe_load(secret) if secret.lstrip().startswith(("{", "[")) or "\n" in secret else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    for path, text in _leaves(parsed):
        if path and is_secret_name(path[-1]):
            yield from _within(text)


def _decoded(secret: str) -> str:
    """The text that a secret is in base64; empty where it is none."""
    try:
        decoded = base64.b64decode("".join(secret.split()), validate=True).decode()
    except ValueError:
        return ""
    return decoded if len(decoded) >= LEAST and all(one.isprintable() or one.isspace() for one in decoded) else ""


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
        if is_secret_name(name):
            yield from _within(text)
        elif len(text) >= LEAST and not any(text in other for other in shown):
            yield text


def _encrypted(plain: Any, decrypted: Any) -> Iterator[str]:
    match plain:
        case {"secure": str()}:
            for _, text in _leaves(decrypted):
                yield from _within(text)
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


class _Form(NamedTuple):
    """How a text may show a secret. pattern: what is hidden where it has `text` in it. is_encoded: in base64."""

    text: str
    pattern: str
    is_encoded: bool = False


def _forms(secret: str) -> Iterator[_Form]:
    """A secret as texts may show it: as it is, its lines, and encoded."""
    secret = secret.strip()
    if len(secret) < SHORTEST or secret.lower() in ("true", "false", "none", "null"):
        return
    seen = clean(secret)
    texts = {seen, html.escape(seen), quote(secret, safe=""), quote(secret)}
    texts |= {json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    texts |= {line.strip() for line in seen.splitlines() if len(line.strip()) >= LEAST and not _PEM.fullmatch(line)}
    for text in texts - {""}:
        escaped = re.escape(text)
        yield _Form(text, escaped if len(text) >= LEAST else rf"(?<!\w){escaped}(?!\w)")
    if len(secret) >= LEAST:
        yield from _in_base64(secret.encode())


def _in_base64(secret: bytes) -> Iterator[_Form]:
    """What a secret is within base64, whatever is before it; its ends, which depend on that, are hidden with it."""
    for before in range(3):
        begin, end = -(-before * 8 // 6), (before + len(secret)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(bytes(before) + secret).decode()[begin:end]
            pattern = rf"{'[A-Za-z0-9+/_-]?' if before else ''}{re.escape(text)}[A-Za-z0-9+/_-]{{0,2}}={{0,2}}"
            yield _Form(text, pattern, is_encoded=True)
