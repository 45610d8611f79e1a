"""The JSON Schema of each kind, from its model: without references, and with the sentences of the source as descriptions.

Used by `crd`, by `reading` to say what a field allows, and by `drover schema`, which writes them for editors.
"""

import ast
import functools
import inspect
import json
import sys
from collections.abc import Mapping
from typing import TypeAlias

from controller.specs.base import Model, models_in
from controller.specs.common import Kind
from controller.specs.examples import example
from controller.specs.kinds import KINDS

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
Node: TypeAlias = dict[str, Json]


@functools.cache
def plain(model: type[Model]) -> Node:
    """Return the schema of `model` as pydantic has it, every reference written out. Not to be changed."""
    whole: Node = model.model_json_schema(by_alias=True)
    definitions = whole.pop("$defs", {})
    assert isinstance(definitions, dict)
    return _object(_inline(whole, definitions))


def _object(value: Json) -> Node:
    assert isinstance(value, dict)
    return value


def _inline(value: Json, definitions: Node) -> Json:
    if isinstance(value, list):
        return [_inline(entry, definitions) for entry in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str):
        target = _object(definitions[reference.removeprefix("#/$defs/")])
        value = {**target, **{key: entry for key, entry in value.items() if key != "$ref"}}
    return _simple(
        {key: _inline(entry, definitions) for key, entry in value.items() if key != "title" or isinstance(entry, dict)}
    )


def _simple(node: Node) -> Node:
    """Drop what pydantic adds for optional fields: a field is left out, never null."""
    choices = node.get("anyOf")
    if isinstance(choices, list):
        given = [choice for choice in choices if choice != {"type": "null"}]
        if len(given) == 1 and len(given) < len(choices):
            rest = {key: entry for key, entry in node.items() if key not in ("anyOf", "default")}
            return {**_object(given[0]), **rest}
        node = {**node, "anyOf": given}
    by_key = node.get("patternProperties")
    if isinstance(by_key, dict):  # what each key has to look like is in propertyNames
        [(pattern, below)] = by_key.items()
        keys = {**_object(node["propertyNames"]), "pattern": pattern}
        node = {**without(node, "patternProperties"), "additionalProperties": below, "propertyNames": keys}
    if "const" in node:
        node = {"enum" if key == "const" else key: [entry] if key == "const" else entry for key, entry in node.items()}
    return node


@functools.cache
def _sentences(module: str) -> Mapping[tuple[str, str], str]:
    """Return the docstrings below the fields of a module's classes."""
    found = {}
    for item in ast.parse(inspect.getsource(sys.modules[module])).body:
        if not isinstance(item, ast.ClassDef):
            continue
        for field, below in zip(item.body, item.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[item.name, name] = inspect.cleandoc(text)
    return found


def _sentence(model: type[Model], field: str) -> str:
    for owner in model.__mro__:
        text = (
            _sentences(owner.__module__).get((owner.__name__, field))
            if owner.__module__.startswith("controller.")
            else None
        )
        if text is not None:
            return " ".join(text.split())
    return ""


def described(model: type[Model], node: Node) -> Node:
    """Return `node`, the schema of `model`, with descriptions from the source on every field below."""
    properties = dict(_object(node.get("properties", {})))
    for name, info in model.model_fields.items():
        key = info.alias or name
        below = dict(_object(properties[key]))
        inner = next(models_in(info.annotation), None)
        if inner is not None and below.get("type") == "array":
            below["items"] = described(inner, _object(below["items"]))
        elif inner is not None:
            below = described(inner, below)
        sentence = _sentence(model, name)
        properties[key] = {"description": sentence, **without(below, "description")} if sentence else below
    return {**node, "properties": properties}


def exemplified(path: tuple[str, ...], node: Node) -> Node:
    """Return `node` with an example for every field below."""
    properties = node.get("properties")
    if isinstance(properties, dict):
        shown: Node = {}
        for key, below in properties.items():
            deeper = exemplified((*path, key), _object(below))
            named = len(path) > 1 and key not in ("uid", "generation")
            shown[key] = {**deeper, "examples": [example((*path, key), deeper)]} if named else deeper
        return {**node, "properties": shown}
    items = node.get("items")
    return {**node, "items": exemplified(path, items)} if isinstance(items, dict) else node


def without(node: Node, *keys: str) -> Node:
    """Return `node` less some of its keys."""
    return {key: value for key, value in node.items() if key not in keys}


def at(model: type[Model], path: tuple[str | int, ...]) -> Node | None:
    """Return the schema of what stands at `path`, or None when the model has no such place."""
    node = plain(model)
    for step in path:
        properties, more = node.get("properties"), node.get("additionalProperties")
        if isinstance(step, int):
            below = node.get("items")
        elif isinstance(properties, dict):
            below = properties.get(step)
        else:
            below = more
        if not isinstance(below, dict):
            return None
        node = below
    return node


def allowed(node: Node) -> str:
    """Say in words what a schema allows."""
    match node:
        case {"x-allowed": str(words)}:
            said = words
        case {"enum": list(choices)}:
            said = ", ".join(str(choice) for choice in choices)
        case {"type": "boolean"}:
            said = "true or false"
        case {"type": "integer" | "number" as kind, "minimum": low, **rest}:
            noun = "a whole number" if kind == "integer" else "a number"
            said = f"{noun} from {low} to {rest['maximum']}" if "maximum" in rest else f"{noun}, {low} or more"
        case {"type": "string", "maxLength": longest}:
            said = f"text of at most {longest} characters"
        case {"type": "array", "items": dict(items)}:
            said = (
                f"a list of at least one entry, each {allowed(items)}"
                if "minItems" in node
                else f"a list, each entry {allowed(items)}"
            )
        case {"properties": dict(fields)}:
            said = "a mapping with the fields " + ", ".join(fields)
        case _:
            said = "a mapping from text to text"
    return said


def _for_editors(value: Json) -> Json:
    if isinstance(value, list):
        return [_for_editors(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _for_editors(entry) for key, entry in value.items() if not key.startswith("x-")}
    if kept.get("enum") and "type" not in kept:
        kept["type"] = "string"
    return kept


def of_kind(kind: type[Kind]) -> Node:
    """Return the schema of one kind for editors."""
    node = described(kind, plain(kind))
    properties = _object(node["properties"])
    shown: Node = {name: properties[name] for name in ("apiVersion", "kind", "metadata", "spec")}
    node["properties"] = exemplified((kind.__name__,), {"properties": shown})["properties"]
    needed = [
        *("apiVersion", "kind"),
        *(name for name in ("metadata", "spec") if kind.model_fields[name].is_required()),
    ]
    head: Node = {"$schema": "http://json-schema.org/draft-07/schema#", "title": kind.__name__}
    return {**head, **_object(_for_editors({**node, "required": list(needed)}))}


def generate() -> Mapping[str, str]:
    """Return the editors' schemas by file name; `drover.json` takes any of the kinds."""
    schemas = {f"{name.lower()}.json": of_kind(kind) for name, kind in KINDS.items()}
    either: list[Json] = [
        {"if": {"properties": {"kind": {"const": name}}}, "then": {"$ref": f"{name.lower()}.json"}} for name in KINDS
    ]
    schemas["drover.json"] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Drover",
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": list(KINDS)}},
        "allOf": either,
    }
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}
