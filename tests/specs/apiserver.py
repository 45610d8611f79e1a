"""What an API server would say: structural schemas, defaulting, strict fields, list types and CEL rules, offline."""

import copy
from collections.abc import Iterator
from datetime import datetime

import cel
import jsonschema
from jsonschema import FormatChecker

from controller.specs.schema import Json, Node

FORMATS = FormatChecker(())


@FORMATS.checks("date-time", raises=ValueError)
def _is_a_time(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))


def root_schema(definition: Node) -> Node:
    match definition:
        case {"spec": {"versions": [{"schema": {"openAPIV3Schema": dict(schema)}}]}}:
            return schema
    raise AssertionError("not a CustomResourceDefinition")


def refusals(definition: Node, given: Json) -> list[str]:
    """All reasons to refuse an object, in the order in which an API server looks for them."""
    schema = root_schema(definition)
    assert isinstance(given, dict)
    metadata = given.pop("metadata", {})
    found = list(_unknown(schema, given, ""))
    _fill_in(schema, given)
    plain = _as_json_schema(schema)
    assert isinstance(plain, dict)
    validator = jsonschema.Draft4Validator(plain, format_checker=FORMATS)
    found += [f"{error.json_path}: {error.message}" for error in validator.iter_errors(given)]
    found += list(_list_types(schema, given, ""))
    return found or list(_rules(schema, {**given, "metadata": metadata}, ""))


def _below(schema: Json, value: Json, path: str) -> Iterator[tuple[Node, Json, str]]:
    match schema, value:
        case {"properties": dict(properties)}, dict():
            for key in value:
                below = properties.get(key)
                if isinstance(below, dict):
                    yield below, value[key], f"{path}.{key}"
        case {"additionalProperties": dict(below)}, dict():
            for key in value:
                yield below, value[key], f"{path}.{key}"
        case {"items": dict(below)}, list():
            for index, entry in enumerate(value):
                yield below, entry, f"{path}[{index}]"


def _unknown(schema: Node, value: Json, path: str) -> Iterator[str]:
    properties = schema.get("properties")
    if isinstance(properties, dict) and isinstance(value, dict) and path != ".metadata":
        yield from (f"{path}.{key}: unknown" for key in value if key not in properties)
    for below, entry, where in _below(schema, value, path):
        yield from _unknown(below, entry, where)


def _fill_in(schema: Node, value: Json) -> None:
    properties = schema.get("properties")
    if isinstance(properties, dict) and isinstance(value, dict):
        for key, below in properties.items():
            if isinstance(below, dict) and "default" in below and key not in value:
                value[key] = copy.deepcopy(below["default"])
    for below, entry, _ in _below(schema, value, ""):
        _fill_in(below, entry)


def _list_types(schema: Node, value: Json, path: str) -> Iterator[str]:
    if isinstance(value, list):
        keys = schema.get("x-kubernetes-list-map-keys")
        seen: list[Json] = []
        for entry in value if "x-kubernetes-list-type" in schema else ():
            mark = (
                [entry.get(str(key)) for key in keys] if isinstance(keys, list) and isinstance(entry, dict) else entry
            )
            if mark in seen:
                yield f"{path}: {entry} twice"
            seen.append(mark)
    for below, entry, where in _below(schema, value, path):
        yield from _list_types(below, entry, where)


def _rules(schema: Node, value: Json, path: str) -> Iterator[str]:
    rules = schema.get("x-kubernetes-validations", [])
    assert isinstance(rules, list)
    for rule in rules:
        assert isinstance(rule, dict)
        if not cel.evaluate(str(rule["rule"]), {"self": value}):
            yield f"{path}: {rule['message']}"
    for below, entry, where in _below(schema, value, path):
        yield from _rules(below, entry, where)


def _as_json_schema(value: Json) -> Json:
    if isinstance(value, list):
        return [_as_json_schema(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    node = {key: _as_json_schema(entry) for key, entry in value.items() if not key.startswith("x-kubernetes")}
    if "x-kubernetes-int-or-string" in value:
        node["type"] = ["integer", "string"]
    return node


STRUCTURAL_KEYS = {
    "type", "description", "properties", "required", "items", "additionalProperties", "enum", "default", "format", "pattern",
    "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties",
    "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-int-or-string",
}  # fmt: skip


def structural_faults(schema: Node, path: str = "") -> Iterator[str]:
    """What an API server would not accept as a structural schema, and lengths without a bound."""
    yield from (f"{path}: {key} is not allowed" for key in schema if key not in STRUCTURAL_KEYS)
    kind, int_or_string = schema.get("type"), "x-kubernetes-int-or-string" in schema
    if int_or_string == ("type" in schema):
        yield f"{path}: exactly one of type and x-kubernetes-int-or-string"
    if "properties" in schema and "additionalProperties" in schema:
        yield f"{path}: properties beside additionalProperties"
    bound = {"string": "maxLength", "array": "maxItems"}.get(str(kind))
    if bound is not None and bound not in schema and "enum" not in schema and path not in (".apiVersion", ".kind"):
        yield f"{path}: no {bound}"
    if "additionalProperties" in schema and "maxProperties" not in schema:
        yield f"{path}: no maxProperties"
    yield from _list_faults(schema, path)
    properties = schema.get("properties", {})
    assert isinstance(properties, dict)
    for name in _names(schema.get("required")):
        if name not in properties:
            yield f"{path}: required {name} is not a property"
    for key, below in [*properties.items(), ("*", schema.get("additionalProperties")), ("[]", schema.get("items"))]:
        if isinstance(below, dict):
            yield from structural_faults(below, f"{path}.{key}")
        elif below is not None:
            yield f"{path}.{key}: not a schema"


def _names(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _list_faults(schema: Node, path: str) -> Iterator[str]:
    if (schema.get("type") == "array") != ("items" in schema):
        yield f"{path}: an array has items, and nothing else has"
    items = schema.get("items")
    if (
        schema.get("x-kubernetes-list-type") == "set"
        and isinstance(items, dict)
        and items.get("type") in ("object", "array")
    ):
        yield f"{path}: a set of containers"
    for key in _names(schema.get("x-kubernetes-list-map-keys")):
        if not isinstance(items, dict) or key not in _names(items.get("required")):
            yield f"{path}: the key {key} of the list is not required"
