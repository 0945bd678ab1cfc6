"""Types of single settings: what a value may look like, and what is said of one that does not. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from components.defaults import DAEMON_IMAGE
from components.image_names import Reference, is_newest
from stacks.settings.places import leaves, written

MOST = 2**31 - 1
"""Upper limit of whole numbers: GitLab's database and GitLab Runner on 32-bit ARM hold no more."""

_IN_PATH = r"\w./@%+=~-"
_HOST = r"(?![.-])[\w.:\[\]-]*"

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"

NAME = r"[a-z0-9][a-z0-9-]{0,39}"
"""What a prefix of names on an engine may look like: every name made of it is a host name, too."""


@dataclass(frozen=True)
class _Matching:
    """A check that a whole string matches; `remedy` says what it otherwise is not, and what to write.

    pydantic's own check by pattern, with a text of ours; editors get the pattern.
    """

    pattern: str
    remedy: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise ValueError(self.remedy)
        return value


def _pinned(image: str) -> str:
    """Refuse an image whose content may change under the same name."""
    if ":" in Reference.parse(image).repository.rpartition("/")[2]:
        raise ValueError(f"has two tags: name one, for example {DAEMON_IMAGE}")
    if is_newest(image):
        raise ValueError(f"is not pinned: name a version tag or a digest, for example {DAEMON_IMAGE}")
    return image


def _seen(text: str) -> str:
    """Refuse what takes effect unseen where the text is shown: in GitLab's pages, terminals and notes."""
    if not text.isprintable():
        raise ValueError("has characters that are not seen, such as the end of a line or a colour: leave them out")
    return text


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _path_or_id(value: object) -> object:
    is_path = isinstance(value, str) and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", value, re.ASCII)
    is_id = type(value) is int and 0 < value <= MOST
    if value is None or is_path or is_id:
        return value
    raise ValueError("is no path or ID: give the full path, for example my-group/my-project, or the numeric ID")


def _tenths(cpus: float) -> float:
    if round(cpus, 1) != cpus:
        raise ValueError(f"is too fine: use tenths, for example {max(round(cpus, 1), 0.1)}")
    return cpus


def _subnet(value: object) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(value if isinstance(value, str) else "")
    except ValueError:
        network = None
    if network is None or network.prefixlen < 8 or network.is_loopback or network.is_multicast or network.is_reserved:
        raise ValueError("is no subnet for containers: give its first address and its length, for example 10.90.0.0/24")
    return network


def _address(value: object) -> IPAddress:
    try:
        return ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("is no IP address: write for example 9.9.9.9") from None


def _certificate_name(value: str) -> str:
    if not is_address(value) and not re.fullmatch(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", value):
        raise ValueError("is no host name or IP address: write for example docker")
    return value


def listen_address(value: str) -> str:
    parts = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/\s]*):([0-9]{1,5})", value)
    if parts is None or not 0 < int(parts[2]) < 2**16:
        raise ValueError("is no address to listen on: write host:port or :port, for example :9252")
    return value


def _variables(value: object) -> object:
    """Names and values of environment variables, of which only the names may be shown."""
    for name, text in value.items() if isinstance(value, Mapping) else ():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            shown = repr(str(name).partition("=")[0])
            raise ValueError(f"has {shown}, which is no variable's name: use letters, digits and _, no digit first")
        if not isinstance(text, str):
            raise ValueError(f"gives {name} a value that is no string: put it into quotes")
    return value


def _labels(value: object) -> object:
    """Labels as Kubernetes takes them."""
    for key, text in value.items() if isinstance(value, Mapping) else ():
        if not isinstance(key, str) or not re.fullmatch(rf"([a-z0-9.-]+/)?{_LABEL}", key):
            raise ValueError(f"has {key!r}, which is no label's key: write for example cloud.google.com/gke-nodepool")
        if not isinstance(text, str) or not re.fullmatch(rf"({_LABEL})?", text):
            raise ValueError(f"gives {key} a value that no label has: use up to 63 letters, digits, - . _, in quotes")
    return value


def _toml_table(value: object) -> object:
    if isinstance(value, Mapping):
        for path in (path for path, below in leaves(value) if below is None):
            raise ValueError(f"has no value at {written(path)}: give it one or remove it, as TOML has no null")
    return value


IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Address = Annotated[IPAddress, BeforeValidator(_address)]
Subnet = Annotated[ipaddress.IPv4Network, BeforeValidator(_subnet)]
PathOrId = Annotated[int | str, BeforeValidator(_path_or_id)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1, le=MOST)]
CountOrNone = Annotated[int, Field(strict=True, ge=0, le=MOST)]
Cpus = Annotated[float, Field(strict=True, ge=0.1, le=1024), AfterValidator(_tenths)]
LocalPath = Annotated[str, _Matching(r"\S+", "is no path that SSH takes: write it without spaces")]
Variables = Annotated[Mapping[str, str], BeforeValidator(_variables)]
TomlTable = Annotated[Mapping[str, Any], BeforeValidator(_toml_table)]
PullPolicy = Literal["always", "if-not-present", "never"]
PullPolicies = Annotated[
    tuple[PullPolicy, ...],
    Field(min_length=1),
    BeforeValidator(_one_or_many, json_schema_input_type=PullPolicy | Annotated[list[PullPolicy], Field(min_length=1)]),
]
Image = Annotated[
    str,
    _Matching(
        # GitLab Runner expands variables in the images of jobs and helpers.
        r"[A-Za-z0-9$][A-Za-z0-9$._:/{}-]*(@sha256:[0-9a-f]{64})?",
        f"is no image: write it as [registry/]name:tag, for example {DAEMON_IMAGE}",
    ),
    AfterValidator(_pinned),
]
Name = Annotated[
    str,
    _Matching(
        NAME,
        "is no name: use up to 40 lower-case letters, digits and dashes, and no dash first",
    ),
]
Description = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_seen)]
Tag = Annotated[
    str,
    _Matching(r"[^,\s]{1,255}", "is no tag: use up to 255 characters, no spaces, no commas"),
    AfterValidator(_seen),
]
CertificateName = Annotated[str, AfterValidator(_certificate_name)]
Registry = Annotated[
    str,
    _Matching(r"(http://)?[A-Za-z0-9.:\[\]-]+(/[0-9]{1,3})?", "is no registry: write it as host[:port] or as a subnet"),
]
Volume = Annotated[
    str, _Matching(r"/[^:]*|[^:]+:/[^:]*(:[^:]+)?", "is no volume: write it as /path, or as source:/path[:mode]")
]
NO_ENGINE = "is no Docker engine: write it as unix:///path, tcp://host:port or ssh://user@host"
Engine = Annotated[
    str,
    _Matching(
        # What may follow a host, and a password, is refused with a text that does not show it.
        rf"unix:///[{_IN_PATH}]+|npipe://[\w./-]+|(tcp|ssh)://(?=\S)(\w[\w.-]*(:[^@/\s]*)?@)?{_HOST}(/[{_IN_PATH}]*)?([?#]\S*)?",
        NO_ENGINE,
    ),
]
_OfPath = _Matching(
    rf"/[{_IN_PATH}]+",
    "has characters that are not taken in a path here: use letters, digits and . _ - @ % + = ~ between the slashes",
)
SocketPath = Annotated[
    str, _Matching(r"/[^:\s]+", "is no path of a socket: write it as /var/run/docker.sock, without unix://"), _OfPath
]
Directory = Annotated[
    str,
    _Matching(
        r"/[^:,\s]+", "is no absolute path of a directory: write it as /mnt/disk/docker, without spaces, : and ,"
    ),
    _OfPath,
]
NetworkMode = Annotated[
    str,
    _Matching(
        r"(container:)?[A-Za-z0-9][A-Za-z0-9_.-]*",
        "is no network of Docker: write bridge, host, none, container:name, or the name of a network, of letters, "
        "digits and _ . -",
    ),
]
CloudProject = Annotated[
    str,
    Field(min_length=1),
    _Matching(
        r"([a-z0-9][a-z0-9.-]*:)?[a-z0-9][a-z0-9-]{0,62}",
        "is no ID of a project in Google Cloud: write it as gcloud projects list shows it, for example my-project-123",
    ),
]
CloudLocation = Annotated[
    str,
    Field(min_length=1),
    _Matching(
        r"[a-z]+-[a-z]+[0-9]+(-[a-z])?",
        "is no zone or region of Google Cloud: write for example europe-west3, or europe-west3-a",
    ),
]
ClusterName = Annotated[
    str,
    Field(min_length=1),
    _Matching(
        r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
        "is no name of a cluster in Google Cloud: use up to 40 lower-case letters, digits and dashes, a letter first, "
        "no dash last",
    ),
]
VolumeName = Annotated[
    str,
    _Matching(
        r"[A-Za-z0-9][A-Za-z0-9_.-]+", "is no name of a Docker volume: write it as `docker volume ls` shows it, no path"
    ),
]
NodeLabel = Annotated[
    str,
    _Matching(
        r"[A-Za-z0-9][A-Za-z0-9._/-]*=[A-Za-z0-9._-]+",
        "is no label of a node: write it as key=value, for example ci=true",
    ),
]


KubernetesName = Annotated[
    str,
    _Matching(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "is no name in Kubernetes: use up to 63 lower-case letters, digits and dashes, no dash first or last",
    ),
]
ObjectName = Annotated[
    str,
    _Matching(
        r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
        "is no name in Kubernetes: use up to 253 lower-case letters, digits, dashes and dots, a letter or digit "
        "first and last",
    ),
]
Schedule = Annotated[
    str,
    _Matching(
        r"@(hourly|daily|midnight|weekly|monthly|yearly|annually)|[0-9A-Za-z*,/?-]+( [0-9A-Za-z*,/?-]+){4}",
        'is no schedule: write five fields as for cron, for example "0 0 * * 0" for Sunday at midnight, UTC',
    ),
]
Labels = Annotated[Mapping[str, str], BeforeValidator(_labels)]


def split(url: str) -> SplitResult | None:
    """The parts of a URL; None where they, or its port, make no sense."""
    try:
        parts = urlsplit(url)
        usable = parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        return None
    return parts if usable else None


def web_url(url: str) -> SplitResult | None:
    """The parts of an http or https URL; None where it is none."""
    parts = split(url)
    return parts if parts and parts.scheme in ("http", "https") and parts.hostname else None


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
