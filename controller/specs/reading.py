"""From a YAML document to an object, or to everything that is wrong with it.

Called by `sources` for each document of a revision. pydantic finds the problems, the words are ours.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from controller.model.ids import ObjectRef
from controller.specs import schema
from controller.specs.base import Path, walk
from controller.specs.common import API_VERSION, GROUP, Kind
from controller.specs.kinds import KINDS, Resource
from controller.specs.problem import InvalidError, Problem, dotted
from controller.yamlpos import Document, Value


def parse(document: Document) -> Resource:
    """Return the object that `document` describes. Raises InvalidError with all its problems at once."""
    problems = [Problem(error.position, "", error.problem, ref=identify(document)) for error in document.errors]
    value, kind = document.value, _kind_of(document)
    if kind is None or not isinstance(value, dict):
        raise InvalidError([*problems, _why_no_kind(document)])
    found: list[Problem] = []
    ref = identify(document)

    def complain(path: Path, message: str, allowed: str, *, of_key: bool = False) -> None:
        found.append(Problem(document.position(path, of_key=of_key), dotted(path), message, allowed, ref))

    holes = list(_holes(value))
    for path, message, allowed in holes:
        complain(path, message, allowed, of_key=True)
    try:
        resource = kind.model_validate_json(json.dumps(value), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        hollow = {path for path, _, _ in holes}
        for path, message, allowed, of_key in _explain(kind, value, error.errors(include_url=False)):
            if path not in hollow:
                complain(path, message, allowed, of_key=of_key)
    else:
        if not problems and not found:
            return resource.written_at(document.position(()))
    wrong = {problem.field for problem in found}
    for path, message, allowed in _broken_rules(kind, value, wrong):
        complain(path, message, allowed)
    raise InvalidError(sorted({*problems, *found}, key=lambda problem: (problem.position, problem.field)))


def identify(document: Document) -> ObjectRef | None:
    """Return kind and name of what `document` tries to be, or None when it does not say so."""
    value = document.value
    metadata = value.get("metadata") if isinstance(value, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(name, str) or not isinstance(kind, str) or (kind not in KINDS and not _is_foreign(value)):
        return None
    return ObjectRef(kind, name)


def _is_foreign(value: Value) -> bool:
    version = value.get("apiVersion") if isinstance(value, dict) else None
    return isinstance(version, str) and version.split("/")[0] != GROUP


def _kind_of(document: Document) -> type[Resource] | None:
    value = document.value
    if not isinstance(value, dict) or _is_foreign(value):
        return None
    kind = value.get("kind")
    return KINDS.get(kind) if isinstance(kind, str) else None


def _why_no_kind(document: Document) -> Problem:
    value, ref = document.value, identify(document)
    if not isinstance(value, dict):
        return Problem(
            document.position(()), "", f"the document is {_noun(value)}", "an object with apiVersion and kind"
        )
    if _is_foreign(value):
        where = document.position(("apiVersion",))
        return Problem(where, "apiVersion", f"{value['apiVersion']} is not Drover's", API_VERSION, ref)
    kind = value.get("kind")
    message = "is missing" if kind is None else f"{_shown(kind)} is no kind of {GROUP}{_guess(kind, KINDS)}"
    return Problem(document.position(("kind",)), "kind", message, ", ".join(KINDS), ref)


def _holes(value: Value, path: Path = ()) -> Iterator[tuple[Path, str, str]]:
    """Find what pydantic would let pass: an empty value, a key that is not text, no apiVersion."""
    if not path and isinstance(value, dict) and "apiVersion" not in value:
        yield ("apiVersion",), "is missing", API_VERSION
    if isinstance(value, dict):
        for key, below in value.items():
            if not isinstance(key, str):
                yield (*path, key), f"the key {key} is a number", f'text: "{key}" in quotes'
            yield from _holes(below, (*path, key))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _holes(entry, (*path, index))
    elif value is None:
        yield path, "is empty", "a value, or leave the field out"


def _broken_rules(kind: type[Kind], value: Value, wrong: Iterable[str]) -> Iterator[tuple[Path, str, str]]:
    for path, model, raw in walk(kind, value):
        for rule in model.checks:
            looked_at = [dotted((*path, *field)) for field in rule.values]
            if any(field == bad or bad.startswith((f"{field}.", f"{field}[")) for field in looked_at for bad in wrong):
                continue
            if not rule.holds(raw):
                yield (*path, *rule.field), rule.message, rule.allowed


def _explain(kind: type[Kind], value: Value, errors: Iterable[ErrorDetails]) -> Iterator[tuple[Path, str, str, bool]]:
    """Turn pydantic's errors into (path, what is wrong, what is allowed, whether it is about the key)."""
    for error in errors:
        if error["type"] == "rule":
            continue  # found again, and completely, by _broken_rules
        path = _real_path(kind, error["loc"], keep_last=error["type"] in ("missing", "extra_forbidden"))
        given = _value_at(value, path)
        if error["type"] == "too_short" and given:  # pydantic counts only the entries that are good
            continue
        if error["loc"][-1:] == ("[key]",):
            yield path, f"{_shown(path[-1])} cannot be a key", _allowed_key(kind, path), True
        elif error["type"] == "missing":
            yield path, "is missing", _allowed(kind, path), True
        elif error["type"] == "extra_forbidden":
            fields = _fields(kind, path[:-1])
            yield path, f"is not a field here{_guess(path[-1], fields)}", ", ".join(fields), True
        else:
            yield path, _complaint(error, given, schema.at(kind, path) or {}), _allowed(kind, path), False


def _real_path(kind: type[Kind], loc: tuple[int | str, ...], *, keep_last: bool) -> Path:
    """Cut what pydantic adds to a location: the branch of a union, `[key]`."""
    path: Path = ()
    for number, step in enumerate(loc):
        last = keep_last and number == len(loc) - 1
        if not last and schema.at(kind, (*path, step)) is None:
            break
        path = (*path, step)
    return path[:-1] if path[-1:] == ("[key]",) else path


def _value_at(value: Value, path: Path) -> Value:
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step]
    return value


def _allowed(kind: type[Kind], path: Path) -> str:
    node = schema.at(kind, path)
    return schema.allowed(node) if node is not None else ""


def _allowed_key(kind: type[Kind], path: Path) -> str:
    names = (schema.at(kind, path[:-1]) or {}).get("propertyNames")
    return schema.allowed(names) if isinstance(names, dict) else "text"


def _fields(kind: type[Kind], path: Path) -> list[str]:
    properties = (schema.at(kind, path) or {}).get("properties")
    return list(properties) if isinstance(properties, dict) else []


_SHAPES: Mapping[str, type | tuple[type, ...]] = {
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "string": str,
    "array": list,
    "object": dict,
}


def _complaint(error: ErrorDetails, given: Value, node: schema.Node) -> str:
    words = node.get("enum")
    shape = _SHAPES.get(str(node.get("type", "")))
    if shape is str and isinstance(given, bool | int | float):
        said = f"is {_shown(given)} without quotes, which is not text"
    elif shape is not None and (not isinstance(given, shape) or (isinstance(given, bool) and shape is not bool)):
        said = f"is {_noun(given)}"
    elif isinstance(words, list) and len(words) > 1:
        said = f"{_shown(given)} is not one of the words{_guess(given, [str(word) for word in words])}"
    elif error["type"] == "said":
        said = f"{_shown(given)} {error['msg']}"
    elif error["type"] == "duplicate":
        said = "has an entry twice"
    elif isinstance(given, list | dict):
        said = f"has {len(given)} entries" if given else "is empty"
    elif error["type"] == "string_too_long":
        said = f"is {len(str(given))} characters long"
    else:
        said = f"is {_shown(given)}"
    return said


def _noun(value: Value) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {_shown(value)}"
        case list():
            return "a list"
        case dict():
            return "a mapping"


def _shown(value: Value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def _guess(word: Value, words: Iterable[str]) -> str:
    """Suggest what was probably meant."""
    by_lower = {candidate.lower(): candidate for candidate in words}
    close = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.7)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""
