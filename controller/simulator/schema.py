"""PVE's own parameter checks: which methods exist, what each parameter may be, and the texts of a refusal.

Called by `simulator.simulator` for every request before its handler. The data files beside this module are facts taken from
the official API schema of one release each (`tests/contract/schema_from_apidoc.py` writes them).
"""

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from controller.simulator import formats
from controller.simulator.api import ApiError

MISSING = "property is missing and it is not optional"
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
_INDEXED = re.compile(r"(?P<name>[a-z_-]+)(?P<index>\d+)")
_COUNTS = {
    "acmedomain": 6, "dev": 256, "hostpci": 16, "ide": 4, "ipconfig": 32, "link": 8, "mp": 256, "net": 32, "numa": 8,
    "parallel": 3, "sata": 6, "scsi": 31, "serial": 4, "unused": 256, "usb": 14, "virtio": 16, "virtiofs": 10,
}  # fmt: skip
"""How many of each numbered key exist (qemu-server: PVE/QemuServer.pm, pve-container: PVE/LXC/Config.pm)."""


@dataclass(frozen=True, slots=True)
class Method:
    """One official API method.

    verb, template: `GET`, `/nodes/{node}/qemu`. parameters: name to its bounds. by, kinds: further parameters that depend
    on the value of parameter `by`. check: PVE's permission expression, None when any user may call. world: needs no
    credentials. protected: runs in pvedaemon. proxyto: the path parameter that names the node which answers, "" = the asked
    one. ticket_only: refused to API tokens.
    """

    verb: str
    template: str
    parameters: Mapping[str, Mapping[str, Any]]
    by: str = ""
    kinds: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    check: Sequence[Any] | None = None
    world: bool = False
    protected: bool = False
    proxyto: str = ""
    ticket_only: bool = False


class Schema:
    """The methods of one PVE release."""

    def __init__(self, version: str, methods: Sequence[Method]) -> None:
        self.version = version
        self._exact = {(m.verb, m.template): m for m in methods if "{" not in m.template}
        self._patterns: dict[tuple[str, int], list[tuple[re.Pattern[str], Method]]] = {}
        for method in methods:
            if "{" in method.template:
                key = (method.verb, method.template.count("/"))
                self._patterns.setdefault(key, []).append((_pattern(method.template), method))
        self._volume = [m for m in methods if m.template.endswith("/content/{volume}")]

    def find(self, verb: str, path: str) -> tuple[Method, dict[str, str]]:
        """The method behind a request and the parameters in its path, percent-decoded by the caller.

        Raises ApiError 501 for what this release does not have (pve-manager: PVE/HTTPServer.pm), the probe for versions.
        """
        if (exact := self._exact.get((verb, path))) is not None:
            return exact, {}
        for pattern, method in self._patterns.get((verb, path.count("/")), ()):
            if match := pattern.fullmatch(path):
                return method, match.groupdict()
        for method in self._volume:  # the only parameter that may hold a slash
            if method.verb == verb and (match := _pattern(method.template, greedy=True).fullmatch(path)):
                return method, match.groupdict()
        raise ApiError(501, f"Method '{verb} {path}' not implemented")

    def validate(self, method: Method, params: Mapping[str, Any]) -> dict[str, Any]:
        """`params` (path parameters included) with numbers and booleans as numbers, lists as comma text or list.

        Raises ApiError 400 with a text for every parameter that is wrong (pve-common: PVE/JSONSchema.pm).
        """
        given = {name: value for name, value in params.items() if value is not None}
        known: dict[str, Mapping[str, Any]] = dict(method.parameters)
        if method.by:
            known.update(method.kinds.get(str(given.get(method.by, "")), {}))
        errors: dict[str, str] = {}
        checked: dict[str, Any] = {}
        for name, bounds in known.items():
            if "[n]" not in name and name not in given and not bounds.get("optional"):
                errors[name] = MISSING
        for name, value in given.items():
            numbered = _bounds_of(name, known)
            if numbered is None:
                errors[name] = UNKNOWN
                continue
            checked[name] = self._one(name, numbered, _wrapped(numbered, value), errors)
            if (needs := numbered.get("requires")) and isinstance(needs, str) and needs not in given:
                errors[needs] = f"missing property - '{name}' requires this property"
        if errors:
            raise ApiError(400, "Parameter verification failed.", errors=errors)
        return checked

    def _one(self, path: str, bounds: Mapping[str, Any], value: Any, errors: dict[str, str]) -> Any:
        """One value, converted; what is wrong with it goes into `errors` under `path`."""
        kind = bounds.get("type", "string")
        if kind == "array" and isinstance(value, list):
            return [self._one(f"{path}[{i}]", bounds.get("items", {}), entry, errors) for i, entry in enumerate(value)]
        text = _text(value)
        if (objection := _type_objection(kind, text)) or (objection := self._bound_objection(path, bounds, text)):
            errors[path] = objection
            return value
        return _converted(kind, text)

    def _bound_objection(self, path: str, bounds: Mapping[str, Any], text: str) -> str:
        if objection := self._format_objection(path, bounds, text):
            return f"invalid format - {objection}"
        if "pattern" in bounds and not _matches(bounds["pattern"], text):
            return "value does not match the regex pattern"
        if "longest" in bounds and len(text) > bounds["longest"]:
            return f"value may only be {bounds['longest']} characters long"
        if "shortest" in bounds and len(text) < bounds["shortest"]:
            return f"value must be at least {bounds['shortest']} characters long"
        return _number_objection(bounds, text) or _enum_objection(bounds, text)

    def _format_objection(self, path: str, bounds: Mapping[str, Any], text: str) -> str:
        if "parts" in bounds:
            try:
                parts = split_property_string(bounds["parts"], text)
            except ValueError as error:
                return f"{error}\n"
            errors: dict[str, str] = {}
            for name, part in bounds["parts"].items():
                if name not in parts and not part.get("optional") and "alias" not in part:
                    errors[f"{path}.{name}"] = MISSING
            for name, value in parts.items():
                self._one(f"{path}.{name}", bounds["parts"][name], value, errors)
            return "format error\n" + "".join(f"{k}: {v}\n" for k, v in errors.items()) if errors else ""
        return formats.objection(bounds["format"], text, self.version) if "format" in bounds else ""


def split_property_string(parts: Mapping[str, Mapping[str, Any]], text: str) -> dict[str, str]:
    """`virtio=AA:..,bridge=vmbr0` as a dictionary by full key names (pve-common: PVE/JSONSchema.pm parse_property_string).

    Raises ValueError with PVE's sentence.
    """
    first = next((name for name, part in parts.items() if part.get("first")), None)
    found: dict[str, str] = {}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if not item.strip():
            continue
        if not equals:
            if first is None:
                raise ValueError("value without key, but schema does not define a default key")
            key, value = first, item
        part = parts.get(key)
        if part is not None and "alias" in part:
            found[part.get("names", key)] = key
            key = part["alias"]
            part = parts.get(key)
        if part is None:
            raise ValueError(f"invalid key in comma-separated list property: {key}")
        if key in found:
            raise ValueError(f"duplicate key in comma-separated list property: {key}")
        boolean = part.get("type") == "boolean"
        found[key] = _BOOLEAN_WORDS.get(value.lower(), value) if boolean else value
    return found


_BOOLEAN_WORDS = {"1": "1", "on": "1", "yes": "1", "true": "1", "0": "0", "off": "0", "no": "0", "false": "0"}
_TYPES: dict[str, Callable[[str], object]] = {
    "boolean": re.compile(r"[01]").fullmatch,
    "integer": re.compile(r"[+-]?\d+").fullmatch,
    "number": re.compile(r"[+-]?(?=\d|\.\d)\d*(\.\d*)?([Ee][+-]?\d+)?").fullmatch,
}


@functools.cache
def schema_for(version: str) -> Schema:
    """The schema that stands for a release: 8.x is read as 8.4, 9.x as 9.2."""
    release = "8.4" if version.startswith(("7.", "8.")) else "9.2"
    text = resources.files("controller.simulator").joinpath(f"schema-{release}.json").read_text(encoding="utf-8")
    data = json.loads(text)
    kinds = data["parameters"]

    def named(indexes: Mapping[str, int]) -> dict[str, Mapping[str, Any]]:
        return {name: kinds[index] for name, index in indexes.items()}

    methods = [Method("GET", "/", {})]  # the one that the official documentation does not print
    for name, entry in data["methods"].items():
        verb, template = name.split(" ", 1)
        depends = entry.get("depends", {})
        methods.append(
            Method(
                verb,
                template,
                named(entry["parameters"]),
                by=depends.get("by", ""),
                kinds={kind: named(indexes) for kind, indexes in depends.get("kinds", {}).items()},
                check=entry.get("check"),
                world=bool(entry.get("world")),
                protected=bool(entry.get("protected")),
                proxyto=entry.get("proxyto", ""),
                ticket_only=bool(entry.get("ticket_only")),
            )
        )
    return Schema(release, methods)


@functools.cache
def _pattern(template: str, *, greedy: bool = False) -> re.Pattern[str]:
    last = ".+" if greedy else "[^/]+"
    text = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
    return re.compile(re.sub(r"\[\^/\]\+\)$", f"{last})", text))


def _bounds_of(name: str, known: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    if name in known:
        return known[name] if "[n]" not in name else None
    match = _INDEXED.fullmatch(name)
    if match is None or int(match["index"]) >= _COUNTS.get(match["name"], 0):
        return None
    return known.get(f"{match['name']}[n]")


def _wrapped(bounds: Mapping[str, Any], value: Any) -> Any:
    """A single value for an array becomes one; an array for a `*-list` text is joined (pve-common: PVE/RESTHandler.pm)."""
    if bounds.get("type") == "array":
        return value if isinstance(value, list) else [value]
    if isinstance(value, list) and str(bounds.get("format", "")).endswith("-list"):
        return ",".join(_text(entry) for entry in value)
    return value


def _text(value: Any) -> str:
    if value is True or value is False:
        return str(int(value))
    return value if isinstance(value, str) else str(value)


def _type_objection(kind: str, text: str) -> str:
    accepts = _TYPES.get(kind)
    return "" if accepts is None or accepts(text) else f"type check ('{kind}') failed - got '{text}'"


def _number_objection(bounds: Mapping[str, Any], text: str) -> str:
    if ("max" in bounds or "min" in bounds) and _TYPES["number"](text):
        if "max" in bounds and float(text) > bounds["max"]:
            return f"value must have a maximum value of {bounds['max']}"
        if "min" in bounds and float(text) < bounds["min"]:
            return f"value must have a minimum value of {bounds['min']}"
    return ""


def _enum_objection(bounds: Mapping[str, Any], text: str) -> str:
    allowed = bounds.get("enum")
    if allowed is None or text in map(str, allowed):
        return ""
    return f"value '{text}' does not have a value in the enumeration '{', '.join(map(str, allowed))}'"


def _matches(perl: str, text: str) -> bool:
    return re.fullmatch(_python_pattern(perl), text, re.DOTALL) is not None


@functools.cache
def _python_pattern(perl: str) -> str:
    """PVE prints compiled Perl expressions as `(?^i:...)`."""
    return re.sub(r"\(\?\^?([a-z]*):", lambda m: f"(?{m[1].replace('u', '')}:", perl)


def _converted(kind: str, text: str) -> Any:
    if kind in ("integer", "boolean"):
        return int(text)
    if kind == "number":
        number = float(text)
        return int(number) if number.is_integer() else number
    return text
