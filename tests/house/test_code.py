"""Rules of the house that no linter knows: who may tell the time, print, swallow exceptions, read PVE's texts, forget types."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from controller.model.reasons import Why

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "controller").rglob("*.py"))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def dotted(node: ast.expr) -> str:
    """`a.b.c` for names and attributes, an empty text for everything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


TIME = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.sleep", "time.localtime",
    "time.gmtime", "asyncio.sleep", "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now",
    "datetime.datetime.utcnow", "datetime.date.today",
}  # fmt: skip


def tells_the_time(module: ast.Module) -> Iterator[ast.AST]:
    """`asyncio.sleep(0)` takes no time: it lets others have a turn."""
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    turns = [call.func for call in calls if dotted(call.func) == "asyncio.sleep" and ast.unparse(call.args[0]) == "0"]
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and dotted(node) in TIME and node not in turns:
            yield node
        if isinstance(node, ast.ImportFrom) and any(f"{node.module}.{name.name}" in TIME for name in node.names):
            yield node


def prints(module: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and dotted(node.func) in ("print", "click.echo", "sys.stdout.write"):
            yield node


def is_bare_raise(node: ast.stmt) -> bool:
    return isinstance(node, ast.Raise) and node.exc is None


def catches_everything(module: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(module):
        if not isinstance(node, ast.ExceptHandler) or is_bare_raise(node.body[-1]):
            continue  # cleaning up and raising again swallows nothing
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if any(kind is None or dotted(kind) in ("Exception", "BaseException") for kind in caught):
            yield node
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and dotted(node.func).endswith("suppress"):
            yield from (kind for kind in node.args if dotted(kind) in ("Exception", "BaseException"))


def forgets_types(module: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and node.id == "Any":
            yield node
        if isinstance(node, ast.Attribute) and dotted(node) == "typing.Any":
            yield node


MATCHERS = ("startswith", "endswith", "find", "index", "partition", "removeprefix", "split")
PATTERNS = ("re.compile", "re.match", "re.search", "re.fullmatch", "re.findall", "re.sub")


def matches_sentences(module: ast.Module) -> Iterator[ast.AST]:
    """Look for a text of several words: PVE's messages are the only sentences that anybody could want to recognise."""
    for node in ast.walk(module):
        candidates: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            candidates = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and (
            dotted(node.func).split(".")[-1] in MATCHERS or dotted(node.func) in PATTERNS
        ):
            candidates = node.args
        for text in candidates:
            if isinstance(text, ast.Constant) and isinstance(text.value, str) and len(text.value.split()) > 1:
                yield node


def asks_whether_it_is_real(module: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(module):
        names = [getattr(node, attribute, None) for attribute in ("id", "attr", "arg")]
        if any(isinstance(name, str) and re.search("dry_?run|simulated|is_fake", name.lower()) for name in names):
            yield node


def everywhere_but(*rooms: str) -> list[Path]:
    return [file for file in FILES if not file.relative_to(ROOT / "controller").as_posix().startswith(rooms)]


RULES: dict[str, tuple[Callable[[ast.Module], Iterator[ast.AST]], list[Path]]] = {
    "only the clock tells the time and sleeps": (
        tells_the_time,
        everywhere_but("clock.py", "rehearse/virtual_time.py"),
    ),
    "only cli prints": (prints, everywhere_but("cli")),
    "only the daemon survives whatever happens": (catches_everything, everywhere_but("loop/daemon.py")),
    "only the wire and the simulator hold untyped data": (forgets_types, everywhere_but("pve/", "simulator/")),
    "only two files read PVE's sentences": (
        matches_sentences,
        everywhere_but("pve/errors.py", "pve/tasklog.py", "simulator/", "sources/git/"),  # the last reads git's
    ),
    "nobody asks whether the cluster is real": (
        asks_whether_it_is_real,
        everywhere_but("simulator/", "rehearse/", "cli"),
    ),
}
PLANTED = {
    "only the clock tells the time and sleeps": [
        "import time\ntime.monotonic()", "from datetime import datetime\ndatetime.now(UTC)", "from asyncio import sleep",
        "await asyncio.sleep(1)",
    ],
    "only cli prints": ["print('hello')", "import click\nclick.echo('hello')"],
    "only the daemon survives whatever happens": [
        "try: pass\nexcept Exception: pass", "try: pass\nexcept: pass", "try: pass\nexcept (OSError, BaseException): pass",
        "with contextlib.suppress(Exception): pass",
    ],
    "only the wire and the simulator hold untyped data": ["x: dict[str, Any] = {}", "import typing\ny: typing.Any"],
    "nobody asks whether the cluster is real": ["if dry_run: pass", "if settings.simulated: pass", "def f(dry_run=False): pass"],
    "only two files read PVE's sentences": [
        "'is locked' in text", "text.startswith('VM is locked')", "re.search(r'no quorum\\?', text)",
    ],
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_is_kept(rule: str) -> None:
    broken, files = RULES[rule]
    found = [f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}" for file in files for node in broken(tree(file))]
    assert not found, f"{rule}: {found}"


@pytest.mark.parametrize(("rule", "code"), [(rule, code) for rule, codes in PLANTED.items() for code in codes])
def test_a_planted_fault_is_noticed(rule: str, code: str) -> None:
    broken, _ = RULES[rule]
    assert list(broken(ast.parse(code)))


def test_who_silences_a_tool_says_which_rule_and_why() -> None:
    silenced = re.compile(r"#\s*(?:noqa|type: ignore|pragma)\b(.*)")
    reasoned = re.compile(r"^(?:: [A-Z]+\d+(?:, [A-Z]+\d+)* - \S|\[[\w, -]+\] +# \S)")
    unreasoned = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for room in ("controller", "tests")
        for file in sorted((ROOT / room).rglob("*.py"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if (found := silenced.search(line)) and not reasoned.match(found[1])
    ]
    assert not unreasoned, "\n".join(unreasoned)


def test_a_module_says_what_it_is_and_who_calls_it() -> None:
    silent = []
    for file in FILES:
        said = ast.get_docstring(tree(file)) or ""
        sentences = [part for line in said.splitlines() for part in line.split(". ") if part.strip()]
        # A verb's module begins with the verb, which says who calls it.
        needed = 1 if file.name in ("__init__.py", "__main__.py") or said.startswith("`drover ") else 2
        if tree(file).body and len(sentences) < needed:
            silent.append(str(file.relative_to(ROOT)))
    assert not silent, f"two lines: what it is, who calls it: {silent}"


def test_every_reason_is_given_somewhere() -> None:
    given = {
        f"{dotted(node.value)}.{node.attr}"
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Attribute)
    }
    never = [str(reason) for reason in Why if f"Why.{reason.name}" not in given]
    assert not never, f"a word of the closed list that nobody says: {never}"
