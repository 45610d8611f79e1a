"""What all models of specs are made of: the base class, cross-field rules, constrained words, the mark for what waits.

Used by the modules of this package only.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self, TypeAlias, cast, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from controller.model.ids import ClusterName, NodeName, Vmid
from controller.yamlpos import Value

Raw: TypeAlias = Mapping[str | int, Value]
"""A mapping as it was read, before any default is filled in."""
Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule between the fields of one mapping, written twice: for us and for a Kubernetes API server.

    `holds` sees the mapping as written, so `"x" in raw` is CEL's `has(self.x)`. Fields in `values` are looked into, not only
    counted: the rule is not judged while one of them is wrong by itself. An empty `cel` means that CEL cannot see the fields.
    """

    holds: Callable[[Raw], bool]
    cel: str
    message: str
    allowed: str
    field: Path = ()
    values: tuple[Path, ...] = ()


_UNITS = {"Mibps": "MiBps", "Mib": "MiB", "Gib": "GiB", "Mbps": "MBps"}


def camel(name: str) -> str:
    """Name a field as in YAML: `reserve_memory_mib` is `reserveMemoryMiB`."""
    first, *rest = name.split("_")
    return first + "".join(_UNITS.get(part.capitalize(), part.capitalize()) for part in rest)


class Model(BaseModel):
    """Base of everything in a manifest: nothing unknown, nothing mutable, camelCase outside."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=camel,
        validate_by_name=True,
        validate_by_alias=True,
        allow_inf_nan=False,
        defer_build=True,
    )
    checks: ClassVar[tuple[Rule, ...]] = ()
    """Cross-field rules of this mapping."""

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        raw = cast("Raw", self.model_dump(mode="json", by_alias=True, exclude_unset=True)) if type(self).checks else {}
        for rule in type(self).checks:
            if not rule.holds(raw):
                raise PydanticCustomError("rule", "{said}", {"said": f"{rule.message}; allowed: {rule.allowed}"})
        return self


def models_in(annotation: object) -> Iterator[type[Model]]:
    """Yield the model classes that an annotation mentions: of a field, of the entries of a list, of an optional field."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def walk(model: type[Model], data: Value, path: Path = ()) -> Iterator[tuple[Path, type[Model], Raw]]:
    """Yield every mapping below `data` that a model describes, with its path; what has the wrong shape is left out."""
    if not isinstance(data, dict):
        return
    yield path, model, data
    for name, info in model.model_fields.items():
        key = camel(name)
        below = data.get(key)
        for inner in models_in(info.annotation):
            entries = enumerate(below) if isinstance(below, list) else ((None, below),)
            for index, entry in entries:
                yield from walk(inner, entry, (*path, key) if index is None else (*path, key, index))


def _no_entry_twice(entries: tuple[object, ...]) -> tuple[object, ...]:
    if len(set(entries)) < len(entries):
        raise PydanticCustomError("duplicate", "an entry stands there twice")
    return entries


no_entry_twice = AfterValidator(_no_entry_twice)


def says(allowed: str) -> dict[str, str]:
    """Attach the words for `allowed:` in messages, where a pattern would not help a person."""
    return {"x-allowed": allowed}


_DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = rf"({_DNS_LABEL}(\.{_DNS_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
LABEL_VALUE = "([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_NAME = f"{_DNS_LABEL}(\\.{_DNS_LABEL})*"

ObjectName = Annotated[
    str,
    Field(
        max_length=253,
        pattern=f"^{_NAME}$",
        json_schema_extra=says("a name of lower-case letters, digits, '-' and '.'"),
    ),
]
ClusterRefName = Annotated[
    ClusterName,
    Field(max_length=253, pattern=f"^{_NAME}$", json_schema_extra=says("the metadata.name of a PveCluster")),
]
PveNodeName = Annotated[
    NodeName,
    Field(
        max_length=63,
        pattern="^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$",
        json_schema_extra=says("the name of a node as PVE shows it"),
    ),
]
GuestId = Annotated[Vmid, Field(ge=100, le=999_999_999, json_schema_extra=says("a VMID, 100 to 999999999"))]
GuestGlob = Annotated[
    str,
    Field(
        max_length=253,
        pattern=r"^[A-Za-z0-9.*-]+$",
        json_schema_extra=says("the name of a guest, where * stands for any text"),
    ),
]
# PVE: pve-common src/PVE/JSONSchema.pm, format pve-tag
Tag = Annotated[
    str,
    Field(max_length=124, pattern=r"^[a-zA-Z0-9_][a-zA-Z0-9_+.-]*$", json_schema_extra=says("a PVE tag")),
]
# PVE: pve-access-control src/PVE/AccessControl.pm, pve_verify_poolid; pools nest up to three levels
Pool = Annotated[
    str,
    Field(
        max_length=254,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,2}$",
        json_schema_extra=says("the name of a PVE pool"),
    ),
]
LabelKey = Annotated[
    str,
    Field(
        max_length=316,
        pattern=f"^{_QUALIFIED}$",
        json_schema_extra=says("a label key such as topology.drover.dev/rack"),
    ),
]
LabelValue = Annotated[
    str,
    Field(
        max_length=63,
        pattern=f"^{LABEL_VALUE}$",
        json_schema_extra=says(
            "text of at most 63 letters, digits, '-', '_' and '.', in quotes if it looks like a number or true"
        ),
    ),
]
Word = Annotated[
    str,
    Field(
        max_length=63,
        pattern="^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        json_schema_extra=says("a name of letters, digits, '.', '_' and '-'"),
    ),
]
Text = Annotated[str, Field(max_length=1024)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[int, Field(ge=0, le=31_536_000)]
MiB = Annotated[int, Field(ge=0, le=1_073_741_824)]
MiBps = Annotated[int, Field(ge=0, le=1_000_000)]
Percent = Annotated[int, Field(ge=0, le=100)]
Priority = Annotated[int, Field(ge=-1000, le=1000)]

MAX_LIST = 1024
"""Entries that a list in a manifest may have."""
MAX_LABELS = 256


def exactly_one(*fields: str) -> Callable[[Raw], bool]:
    """Return the check that exactly one of `fields` is written."""
    return lambda raw: sum(field in raw for field in fields) == 1


def exactly_one_cel(*fields: str) -> str:
    """Return the same check in CEL."""
    return " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields) + " == 1"
