"""YAML as plain data that remembers where each part of it was written.

Called by `sources` and `specs` for manifests, by `settings` for the machine's own file, by the simulator for its clusters.

Scalars follow the core schema of YAML 1.2: `no` and `12:30:00` are text, `022` is twenty-two, a date stays text. The text
is read event by event and never recursively: libyaml's own composer overflows the C stack on deep nesting.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

Scalar: TypeAlias = bool | int | float | str | None
Value: TypeAlias = Scalar | list["Value"] | dict[str | int, "Value"]

MAX_DEPTH = 64
"""Levels of nesting that a document may have."""
MAX_NODES = 500_000
"""Keys, values and containers in a file, counted with every alias written out."""
MAX_ALIASES = 1_000
"""Uses of `*alias` in a file."""

_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|(false|False|FALSE))\Z")
_INT = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_LONGEST_NUMBER = 40
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class YamlError(Exception):
    """Text that is not the YAML Drover reads: where, and what is wrong with it."""

    def __init__(self, position: Position, problem: str) -> None:
        super().__init__(f"{position}: {problem}")
        self.position = position
        self.problem = problem


@dataclass(slots=True)
class _Node:
    """One value with its place. `size` counts everything below it with aliases written out."""

    line: int
    column: int
    value: Value
    size: int = 1
    items: list["_Node"] = field(default_factory=list)
    members: dict[str | int, tuple["_Node", "_Node"]] = field(default_factory=dict)


class Document:
    """One YAML document: its plain data, the place of each part, and what is wrong inside it."""

    def __init__(self, file: str, root: _Node, errors: Sequence[YamlError] = ()) -> None:
        self.file = file
        self._root = root
        self.errors = tuple(errors)
        """Duplicate keys, unknown tags and the like. The value holds what could be read (the first of two equal keys)."""

    @property
    def value(self) -> Value:
        """The data; containers may be shared between aliases, so treat them as read-only."""
        return self._root.value

    def position(self, path: Sequence[str | int], *, of_key: bool = False) -> Position:
        """Where the value at `path` stands, or its nearest existing ancestor when there is no such path.

        A container is placed at its key, because its own text starts a line later. `of_key` asks for the key of a
        plain value too.
        """
        node = place = self._root
        for step in path:
            if isinstance(node.value, dict) and step in node.members:
                key, node = node.members[step]
                place = key if of_key or node.items or node.members or node.value is None else node
            elif isinstance(node.value, list) and isinstance(step, int) and 0 <= step < len(node.items):
                node = place = node.items[step]
            else:
                break
        return Position(self.file, place.line, place.column)


@dataclass(frozen=True, slots=True)
class Stream:
    """All that could be read of a file. `error` is where reading had to stop: nothing after it is known."""

    documents: tuple[Document, ...]
    error: YamlError | None


def parse(text: str, file: str) -> list[Document]:
    """Return the documents in `text`, empty ones left out. `file` is only named in positions.

    Raises YamlError for the first thing that is wrong anywhere in the text.
    """
    stream = read(text, file)
    errors = [error for document in stream.documents for error in document.errors]
    if stream.error is not None:
        errors.append(stream.error)
    if errors:
        raise errors[0]
    return list(stream.documents)


def read(text: str, file: str) -> Stream:
    """Like `parse`, but keep what is good: errors inside a document are in it, an error of syntax ends the stream."""
    documents: list[Document] = []
    builder = _Builder(file)
    loader: yaml.CSafeLoader | None = None
    try:
        text.encode()
        loader = yaml.CSafeLoader(text)
        while loader.check_event():
            event = loader.get_event()
            assert event is not None  # check_event has just said so
            root = builder.feed(event)
            if root is not None:
                documents.append(Document(file, root, builder.take_errors()))
    except YamlError as error:
        return Stream(tuple(documents), error)
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        return Stream(tuple(documents), _translate(error, text, file))
    finally:
        if loader is not None:
            loader.dispose()
    return Stream(tuple(documents), None)


def _translate(error: yaml.YAMLError | UnicodeEncodeError, text: str, file: str) -> YamlError:
    if isinstance(error, UnicodeEncodeError):
        return YamlError(_place_of(text, error.start, file), "the text is not valid Unicode")
    if isinstance(error, yaml.reader.ReaderError):  # counts bytes
        before = text.encode()[: error.position].decode(errors="ignore")
        return YamlError(_place_of(text, len(before), file), f"not readable as YAML: {error.reason}")
    assert isinstance(error, yaml.MarkedYAMLError)
    mark = error.problem_mark or error.context_mark
    place = Position(file, mark.line + 1, mark.column + 1) if mark is not None else Position(file, 1, 1)
    parts = [part for part in (error.problem, error.context) if part]
    return YamlError(place, "not readable as YAML: " + ", ".join(parts))


def _place_of(text: str, offset: int, file: str) -> Position:
    before = text[:offset]
    return Position(file, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


@dataclass(slots=True)
class _Open:
    """A container whose end has not been seen; `key` is a mapping key that waits for its value."""

    node: _Node
    anchor: str | None
    key: _Node | None = None
    ignored: bool = False


class _Builder:
    """Turns a stream of events into nodes; one document at a time."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Node] = {}
        self._root: _Node | None = None
        self._errors: list[YamlError] = []
        self._nodes = 0
        self._aliases = 0

    def feed(self, event: Event) -> _Node | None:
        """Take one event; return the root when it ends a document that is not empty."""
        assert event.start_mark is not None  # libyaml marks every event
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        match event:
            case DocumentStartEvent():
                self._anchors, self._root, self._errors = {}, None, []
            case DocumentEndEvent():
                root = self._root
                return None if root is None or root.value is None else root
            case MappingStartEvent():
                self._open(event, _Node(line, column, {}), "map")
            case SequenceStartEvent():
                self._open(event, _Node(line, column, []), "seq")
            case MappingEndEvent() | SequenceEndEvent():
                self._close()
            case ScalarEvent():
                node = _Node(line, column, self._scalar(event, line, column))
                self._remember(event.anchor, node)
                self._add(node)
            case AliasEvent():
                self._alias(event.anchor or "", line, column)
            case _:  # start and end of the stream
                pass
        return None

    def take_errors(self) -> tuple[YamlError, ...]:
        """Return what was wrong inside the document that has just ended."""
        return tuple(self._errors)

    def _complain(self, node: _Node, problem: str) -> None:
        self._errors.append(YamlError(Position(self._file, node.line, node.column), problem))

    def _stop(self, line: int, column: int, problem: str) -> YamlError:
        return YamlError(Position(self._file, line, column), problem)

    def _remember(self, anchor: str | None, node: _Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def _open(self, event: MappingStartEvent | SequenceStartEvent, node: _Node, wanted: str) -> None:
        if event.tag not in (None, "!", _TAG + wanted):
            self._complain(node, f"unknown tag {_short(event.tag)}; no tags are read but those of the core schema")
        if len(self._stack) >= MAX_DEPTH:
            raise self._stop(node.line, node.column, f"nested more than {MAX_DEPTH} levels deep")
        self._stack.append(_Open(node, event.anchor))

    def _close(self) -> None:
        done = self._stack.pop()
        self._remember(done.anchor, done.node)
        self._add(done.node)

    def _alias(self, name: str, line: int, column: int) -> None:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise self._stop(line, column, f"more than {MAX_ALIASES} aliases")
        target = self._anchors.get(name)
        if target is None:
            inside = any(open_.anchor == name for open_ in self._stack)
            problem = (
                f"alias *{name} is inside of what it repeats" if inside else f"alias *{name} has no anchor &{name}"
            )
            raise self._stop(line, column, problem)
        # The place is that of the alias, the content that of the anchor.
        self._add(_Node(line, column, target.value, target.size, target.items, target.members))

    def _add(self, node: _Node) -> None:
        self._nodes += node.size if not self._stack else 0
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        parent.node.size += node.size
        if self._nodes + parent.node.size > MAX_NODES:
            raise self._stop(node.line, node.column, f"more than {MAX_NODES} values in one file")
        if isinstance(parent.node.value, list):
            parent.node.items.append(node)
            parent.node.value.append(node.value)
        elif parent.key is None:
            parent.ignored = not self._is_good_key(parent.node, node)
            parent.key = node
        else:
            if not parent.ignored:
                self._set(parent.node, parent.key, node)
            parent.key = None

    def _is_good_key(self, mapping: _Node, key: _Node) -> bool:
        name = key.value
        if isinstance(name, bool) or not isinstance(name, str | int):
            self._complain(key, "a key has to be text or a whole number")
        elif name == "<<":
            self._complain(key, "merge keys (<<) are not read; write the fields out")
        elif name in mapping.members:
            first = mapping.members[name][0]
            self._complain(key, f"duplicate key {name!r}; the first one is at {self._file}:{first.line}:{first.column}")
        else:
            return True
        return False

    @staticmethod
    def _set(mapping: _Node, key: _Node, node: _Node) -> None:
        name = key.value
        assert isinstance(mapping.value, dict)
        assert isinstance(name, str | int)
        mapping.members[name] = (key, node)
        mapping.value[name] = node.value

    def _scalar(self, event: ScalarEvent, line: int, column: int) -> Scalar:
        text: str = event.value
        plain = event.implicit[0]
        if event.tag is None or event.tag == "!":
            kind = _kind_of(text) if plain and event.tag is None else "str"
        else:
            kind = event.tag.removeprefix(_TAG)
        value = _convert(kind, text)
        if value is not None or (kind == "null" and _NULL.match(text)):
            return value
        known = kind in _CONVERT or kind == "null"
        problem = (
            f"{text[:40]!r} is not a valid {kind}"
            if known
            else f"unknown tag {_short(event.tag)}; no tags are read but those of the core schema"
        )
        self._complain(_Node(line, column, text), problem)
        return text


def _kind_of(text: str) -> str:
    if _NULL.match(text):
        return "null"
    if _BOOL.match(text):
        return "bool"
    if _INT.match(text):
        return "int"
    return "float" if _FLOAT.match(text) else "str"


def _convert(kind: str, text: str) -> Scalar:
    convert = _CONVERT.get(kind)
    return convert(text) if convert is not None else None


def _bool(text: str) -> bool | None:
    match = _BOOL.match(text)
    return None if match is None else match[1] is None


def _int(text: str) -> int | None:
    if not _INT.match(text) or len(text) > _LONGEST_NUMBER:
        return None
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _float(text: str) -> float | None:
    if not (_FLOAT.match(text) or _INT.match(text)) or len(text) > _LONGEST_NUMBER:
        return None
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_CONVERT: dict[str, Callable[[str], Scalar]] = {"str": str, "bool": _bool, "int": _int, "float": _float}


def _short(tag: str | None) -> str:
    return (tag or "").replace(_TAG, "!!")
