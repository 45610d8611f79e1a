"""One manifest on its way to a file, and names that Kubernetes allows. Used by the modules of this package."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Value = str | int | float | bool | list["Value"] | dict[str, "Value"]
"""What a manifest is made of."""


@dataclass(frozen=True, slots=True)
class Document:
    """An object as it is to be written. notes: sentences for people, written as comments above it. file: where it belongs."""

    file: str
    kind: str
    name: str
    spec: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()

    def raw(self, api_version: str) -> dict[str, Value]:
        """As YAML has it."""
        head: dict[str, Value] = {"apiVersion": api_version, "kind": self.kind, "metadata": {"name": self.name}}
        return {**head, "spec": dict(self.spec)} if self.spec else head


@dataclass(frozen=True, slots=True)
class Export:
    """All manifests of one cluster, and what could not be said in them."""

    documents: tuple[Document, ...]
    left_out: tuple[str, ...] = ()


class Names:
    """Hands out names that are valid, and taken once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, text: str) -> str:
        """A name for what people call `text`: a lower-case RFC 1123 label of at most 50 characters."""
        base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:50].strip("-") or "unnamed"
        name, number = base, 2
        while name in self._taken:
            name, number = f"{base}-{number}", number + 1
        self._taken.add(name)
        return name
