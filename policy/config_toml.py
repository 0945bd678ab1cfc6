"""Finds the runners' config.toml in resources. Pure.

The file may hold tokens, so only the values that a rule names are ever shown.
"""

from __future__ import annotations

import base64
import binascii
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.labels import ROLE
from policy.resources import (
    CONTAINER,
    SWARM_SECRET,
    UNKNOWN,
    Resource,
    at,
    labels_of,
    strings,
    table,
    tables,
    variables,
)

FILE = "config.toml"
SECURITY_CONTEXTS = [
    f"{container}_security_context"
    for container in ("build_container", "service_container", "helper_container", "init_permissions_container")
]


@dataclass(frozen=True)
class Entry:
    """One `[[runners]]` entry. index: its position, which is that of the runner in the settings."""

    index: int
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The runner's name."""
        return str(self.options.get("name", ""))

    @property
    def where(self) -> str:
        """What to call it in a message."""
        return f"{FILE} runners[{self.index}] ({self.name})"

    @property
    def setting(self) -> str:
        """The path of the runner's settings."""
        return f"settings.runners[{self.index}]"

    @property
    def docker(self) -> Mapping[str, Any]:
        """Its `[runners.docker]` table."""
        return table(self.options.get("docker"))

    @property
    def kubernetes(self) -> Mapping[str, Any]:
        """Its `[runners.kubernetes]` table."""
        return table(self.options.get("kubernetes"))

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its jobs."""
        return variables(self.options.get("environment"))

    @property
    def grants(self) -> str:
        """The first option that gives jobs, or services of theirs, all rights on their machine; "" where none does."""
        for name, options in (("docker", self.docker), ("kubernetes", self.kubernetes)):
            for key in ("privileged", "services_privileged"):
                if options.get(key) is True:
                    return f"{name}.{key}"
        for key in SECURITY_CONTEXTS:
            if at(self.kubernetes, key).get("privileged") is True:
                return f"kubernetes.{key}.privileged"
        return ""

    @property
    def mounted(self) -> list[str]:
        """The sources of the volumes that `[runners.docker]` gives to its jobs."""
        return [volume.partition(":")[0] for volume in strings(self.docker.get("volumes")) if ":" in volume]

    @property
    def images(self) -> list[tuple[str, str]]:
        """The images that it names, by the path of the option."""
        found: list[tuple[str, str]] = []
        for name, options in (("docker", self.docker), ("kubernetes", self.kubernetes)):
            pairs = [(key, options.get(key)) for key in ("image", "helper_image")]
            services = tables(options.get("services"))
            pairs += [(f"services[{index}].name", each.get("name")) for index, each in enumerate(services)]
            found += [(f"{name}.{key}", image) for key, image in pairs if isinstance(image, str) and image]
        return found


def text_of(resource: Resource) -> object:
    """The config.toml that a resource carries: its text, UNKNOWN, or None where the resource carries none."""
    props = resource.props
    if resource.type == CONTAINER:
        for upload in tables(props.get("uploads")):
            if str(upload.get("file")).endswith(f"/{FILE}"):
                return content_of(upload)
    elif resource.type == SWARM_SECRET and labels_of(props).get(ROLE) == "config":
        return _decoded(props.get("data"))
    elif resource.on_kubernetes and resource.kind == "Secret":
        for key, decode in (("stringData", _known), ("data", _decoded)):
            if props.get(key) is UNKNOWN or FILE in at(props, key):
                return UNKNOWN if props.get(key) is UNKNOWN else decode(at(props, key)[FILE])
    return None


def entries_of(resource: Resource) -> list[Entry]:
    """The runners in the config.toml that a resource carries; none where it carries none, or it is unknown."""
    text = text_of(resource)
    if not isinstance(text, str):
        return []
    try:
        found = tomllib.loads(text).get("runners")
    except tomllib.TOMLDecodeError:
        return []
    return [Entry(index, options) for index, options in enumerate(tables(found))]


def content_of(upload: Mapping[str, Any]) -> object:
    """The text of a file that is uploaded to a container: UNKNOWN where it is, None where it is none."""
    return _known(upload.get("content")) or _decoded(upload.get("contentBase64"))


def _known(value: object) -> object:
    return value if value is UNKNOWN or (isinstance(value, str) and value) else None


def _decoded(value: object) -> object:
    if not isinstance(value, str) or not value:
        return _known(value)
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
