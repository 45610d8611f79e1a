"""`drover explain-field`: what a field of a manifest means, takes and looks like, as `kubectl explain` does. Needs no cluster."""

import difflib
from collections.abc import Iterator
from textwrap import wrap

import click

from controller.cli.table import emit, paint
from controller.report.reference import one_line
from controller.specs import KINDS
from controller.specs.schema import Node, allowed, of_kind

_WIDTH = 100


@click.command()
@click.argument("path")
@click.option("--recursive", is_flag=True, help="Only names, with everything below.")
def command(path: str, recursive: bool) -> None:
    """Explain a kind or a field of it, such as PlacementPolicy.spec.keepApart.

    Kinds are also known by their plural and short names, in any case. Exit codes: 0 explained, 1 there is no such field.
    """
    word, *steps = path.rstrip(".").split(".")
    kind = _kind(word)
    node, told = of_kind(KINDS[kind]), [kind]
    for step in steps:
        fields = _fields(node)
        key = step.removesuffix("[]")
        if key not in fields:
            raise click.ClickException(_unknown(".".join(told), key, list(fields)))
        node = fields[key]
        told.append(key)
    emit(_tree(node, 0) if recursive else _told(told, node))


def _kind(word: str) -> str:
    names = {name.lower(): name for name in KINDS}
    names |= {kind.plural: name for name, kind in KINDS.items()}
    names |= {short: name for name, kind in KINDS.items() for short in kind.short_names}
    found = names.get(word.lower())
    if found is None:
        near = [names[each] for each in difflib.get_close_matches(word.lower(), names, 3, 0.5)]
        hint = f"did you mean {' or '.join(dict.fromkeys(near))}? " if near else ""
        raise click.ClickException(f"there is no kind {word}; {hint}There are {', '.join(KINDS)}")
    return found


def _unknown(above: str, key: str, fields: list[str]) -> str:
    if not fields:
        return f"{above} holds no fields, so there is no {key} in it"
    lower = {each.lower(): each for each in fields}
    near = [lower[each] for each in difflib.get_close_matches(key.lower(), lower, 3, 0.5)]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{above} has no field {key}; {hint}It has {', '.join(fields)}"


def _fields(node: Node) -> dict[str, Node]:
    """The fields of a mapping, or of the entries of a list."""
    items = node.get("items")
    inner = items if isinstance(items, dict) else node
    properties = inner.get("properties")
    return (
        {key: below for key, below in properties.items() if isinstance(below, dict)}
        if isinstance(properties, dict)
        else {}
    )


def _type(node: Node) -> str:
    kind, items = node.get("type"), node.get("items")
    if kind == "array" and isinstance(items, dict):
        return f"list of {_type(items)}"
    if _fields(node) or kind == "object":
        return "mapping"
    return str(kind or "number or text")


def _told(path: list[str], node: Node) -> Iterator[str]:
    yield f"{paint('FIELD', 'bold') if len(path) > 1 else paint('KIND', 'bold')}  {'.'.join(path)}  <{_type(node)}>"
    yield ""
    text = node.get("description")
    if not text and len(path) == 1:
        text = " ".join((KINDS[path[0]].__doc__ or "").split())
    yield from (f"  {line}" for line in wrap(str(text or ""), _WIDTH))
    default, examples, fields = node.get("default"), node.get("examples"), _fields(node)
    if not fields:
        yield f"  Allowed: {allowed(node)}"
    if default not in (None, "", [], {}):
        yield f"  Default: {one_line(default)}"
    if isinstance(examples, list):
        yield f"  Example: {path[-1]}: {one_line(examples[0])}"
    if fields:
        items = node.get("items")
        required = (items if isinstance(items, dict) else node).get("required", [])
        yield ""
        yield paint("FIELDS", "bold")
        for key, below in fields.items():
            needed = " required" if isinstance(required, list) and key in required else ""
            yield f"  {paint(key, 'bold')} <{_type(below)}>{needed}"
            yield from (f"      {line}" for line in wrap(str(below.get("description", "")), _WIDTH))


def _tree(node: Node, depth: int) -> Iterator[str]:
    for key, below in _fields(node).items():
        yield f"{'  ' * depth}{key} <{_type(below)}>"
        yield from _tree(below, depth + 1)
