"""One table of the settings file, and the words in it that may be secret.

Used by all modules of this package: every mistake names the file and the key.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path


class SettingsError(Exception):
    """The settings can't be used: names the file, the key, what is wrong and what would be right."""


class Secret:
    """A string that never shows itself in logs, tracebacks or dumps; `reveal()` is the only way to read it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; call it only where it goes onto the wire."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(****)"


class Table:
    """One TOML table with typed, named access, so that every mistake names the file and the key."""

    def __init__(self, content: Mapping[str, object], file: str, path: str) -> None:
        self._content, self._file, self._path = content, file, path
        self._asked: set[str] = set()

    def error(self, key: str, problem: str) -> SettingsError:
        """What is wrong with `key`, to be raised."""
        return SettingsError(f"{self._file}: {self._path}{key}: {problem}")

    def folder(self, env: Mapping[str, str]) -> Path:
        """Where files with relative names are: what systemd's LoadCredential= hands over, else beside the settings file."""
        return Path(env.get("CREDENTIALS_DIRECTORY") or Path(self._file).parent)

    def has(self, key: str) -> bool:
        """Whether it is there."""
        self._asked.add(key)
        return key in self._content

    def text(self, key: str, default: str | None = None) -> str:
        """A string; without a default it has to be there."""
        self._asked.add(key)
        value = self._content.get(key, default)
        if value is None:
            raise self.error(key, "is missing")
        if not isinstance(value, str):
            raise self.error(key, f"has to be a string, not {type(value).__name__}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings that has to be there."""
        self._asked.add(key)
        value = self._content.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, "has to be a list of strings")
        return tuple(str(item) for item in value)

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        """One of the words that are allowed."""
        value = self.text(key, default)
        if value not in allowed:
            raise self.error(key, f"{value!r} is not known; one of {', '.join(allowed)}")
        return value

    def number(self, key: str, default: float, *, least: float) -> float:
        """A finite number, `least` or more."""
        self._asked.add(key)
        value = self._content.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
            raise self.error(key, f"has to be a number of at least {least:g}")
        return float(value)

    def raw(self, key: str) -> Mapping[str, object] | None:
        """A table as it is written, None when it is not there."""
        self.table(key)  # says so when it is none
        value = self._content.get(key)
        return value if isinstance(value, dict) else None

    def names(self) -> tuple[str, ...]:
        """Every key, for tables whose keys people choose."""
        return tuple(self._content)

    def table(self, key: str) -> "Table":
        """A table below this one, empty when it is not there."""
        self._asked.add(key)
        value = self._content.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, "has to be a table")
        return Table(value, self._file, f"{self._path}{key}.")

    def holds_table(self, key: str) -> bool:
        """Whether it is there and a table."""
        return isinstance(self._content.get(key), dict)

    def tables(self, key: str) -> dict[str, "Table"]:
        """The tables below `key` by the names that people gave them."""
        group = self.table(key)
        return {name: group.table(name) for name in group.names()}

    def refuse_unknown(self) -> None:
        """Raises SettingsError for the first key that nobody has asked for."""
        unknown = sorted(set(self._content) - self._asked)
        if unknown:
            raise self.error(unknown[0], f"is not a setting; known here: {', '.join(sorted(self._asked))}")


def file_of(table: Table, key: str, env: Mapping[str, str]) -> Path | None:
    """A file of the machine; a relative name is looked for where the secrets are."""
    return (table.folder(env) / table.text(key)).absolute() if table.has(key) else None


def needed(table: Table, name: str, env: Mapping[str, str]) -> Secret:
    """A word that has to be there and may be secret: `NAME`, `NAMEEnv` or `NAMEFile`."""
    found = given(table, name, env)
    if found is None:
        raise table.error(name, f"exactly one of {name}, {name}Env and {name}File has to be given")
    return found


def given(table: Table, name: str, env: Mapping[str, str]) -> Secret | None:
    """A word that may be secret: `NAME`, `NAMEEnv` or `NAMEFile`; None when none of them is there."""
    sources = [key for key in (name, f"{name}Env", f"{name}File") if table.has(key)]
    if not sources:
        return None
    if len(sources) > 1:
        raise table.error(sources[1], f"only one of {name}, {name}Env and {name}File can be given")
    return secret_of(table, sources[0], env, token=True, what=f"holds no {name}")


def secret_of(
    table: Table, source: str, env: Mapping[str, str], *, token: bool, what: str = "holds no token's secret"
) -> Secret:
    """The secret that the key `source` gives; token: one word of printable ASCII, else a password, with anything in it.

    what: how the error says that it is none.
    """
    given = table.text(source)
    if source.endswith("Env"):
        if not env.get(given):
            raise table.error(source, f"the environment variable {given} is not set")
        given = env[given]
    elif source.endswith("File"):
        path = table.folder(env) / given  # an absolute path stays what it is
        try:
            given = path.read_text(encoding="utf-8")
        except OSError as error:
            raise table.error(source, f"{path} can't be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise table.error(
                source, f"{path} holds no text; put the token's secret or the password into it, alone"
            ) from error
    if not token:
        return Secret(given.rstrip("\r\n"))  # a password may hold anything but the line break of its file
    # It becomes part of a header: a blank or a line break in it would be an error of the wire that no one understands.
    secret = given.strip()
    if not re.fullmatch("[!-~]+", secret):
        raise table.error(source, f"{what}: one word of printable ASCII, alone")
    return Secret(secret)
