"""Which of a config.toml's values may be secrets. Pure.

If in doubt, a value counts as one: setting it again by hand costs less than a password in a repository.
"""

from __future__ import annotations

import re

from stacks.settings.places import Path
from tools.markdown import clean
from tools.secrets import Masker, is_secret_name

_NAME = re.compile(
    r"pass|pwd|secret|token|credential|auth|cookie|salt|signature|webhook|dsn|jwt|bearer|_sas|(?<![a-z])key|[a-z_]key$"
    r"|^AccessID$",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(
    r"_allowed$|^automount|^image_pull_secrets$|AuthenticationType|EncryptionKeyID|^FF_|AUTHOR|KEYWORD|_KEY_(FILE|PATH)$"
    r"|_FILE$|^DOCKER_(CERT_PATH|TLS_VERIFY|TLS_CERTDIR)$",
    re.IGNORECASE,
)
_IN_SCRIPT = re.compile(
    r"(pass(word|wd|phrase)?|(?:(?<![a-z])|-D)pwd?|secret|token|api_?key|authorization)"
    r"[\"']?\s*[=: ]\s*[\"']?[^\s$\"'{(]{3,}"
    r"|\s(-p|-u|--user)[ =]?[\"']?[^\s$\"'-][^\s$\"']*",
    re.IGNORECASE,
)
_RANDOM = re.compile(r"(?<![\w@:/.-])(?=[\w+=-]*\d)(?=[\w+=-]*[A-Za-z])[A-Za-z0-9+=_-]{16,}(?![\w.-])")
_MIXED_WORD = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[^\s/:.]{6,}")
"""In a variable, such a word may well be a password."""
_NO_PASSWORD = re.compile(r"(DOCKER|BUILDKIT|FF|LC|GIT)_|LANG|TZ|\w*(REGION|ZONE|VERSION)$")
_NUMBER_OR_FLAG = re.compile(r"|true|false|yes|no|on|off|[0-9.]{1,6}", re.IGNORECASE)
_MASKER = Masker()


def is_secret(path: Path, value: object) -> bool:
    """Whether the value at this place, in a table of variables, of the cache or of further keys, may be a secret."""
    if not isinstance(value, str) or _NUMBER_OR_FLAG.fullmatch(value):
        return False
    names = [part for part in path if isinstance(part, str)]
    own = names[-1] if names else ""
    # An affinity names labels, by `key` and `topology_key`.
    if (_NAME.search(own) or is_secret_name(own)) and not _NO_SECRET.search(own) and "affinity" not in names:
        return True
    if "environment" in names and _MIXED_WORD.fullmatch(value) and not _NO_PASSWORD.match(own) and "=" not in value:
        return True
    name, _, assigned = value.partition("=")
    if re.fullmatch(r"[A-Za-z_]\w*", name) and assigned and is_secret(("environment", name), assigned):
        return True
    return _looks_like_one(value)


def asks_for_secret(word: object) -> bool:
    """Whether a word of a command is an option whose value, the next word, may be a secret."""
    return isinstance(word, str) and bool(re.fullmatch(r"--?[\w-]+", word) and _NAME.search(word))


def _looks_like_one(text: str) -> bool:
    return _MASKER.text(text) != clean(text) or bool(_IN_SCRIPT.search(text) or _RANDOM.search(text))


def shown(text: str) -> str:
    """A message that may quote a value, or the reason without it."""
    return "its value is refused, which is not shown here, as it may be a secret" if _looks_like_one(text) else text
