"""Templates filled: the page around everything, and its main part, which is what changes. Called by `report.page.live`.

Jinja escapes every value: names of guests and messages come from other systems.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from controller import __version__
from controller.report.page.content import TONES, room_words
from controller.report.units import count_of, duration, rate, size, timestamp

STATIC: Mapping[str, str] = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
"""The files beside the page, and their types."""


def main(template: str, **values: object) -> str:
    """The part of a page that changes."""
    return _environment().get_template(template).render(assets=assets(), **values)


def whole(part: str, *, title: str, now: float, etag: str, query: str = "", refresh: int = 5) -> str:
    """The document around `part`. `refresh`: seconds between two loads in browsers without scripts, 0 = never."""
    return (
        _environment()
        .get_template("page.html")
        .render(
            main=Markup(part),  # noqa: S704 - made by `main` above, which escapes
            title=title,
            now=now,
            etag=etag,
            query=query,
            refresh=refresh,
            assets=assets(),
            version=__version__,
        )
    )


@cache
def static(name: str) -> bytes:
    """One of the files beside the page."""
    return resources.files(__package__).joinpath("static", name).read_bytes()


@cache
def assets() -> str:
    """Changes whenever one of the files does."""
    return hashlib.sha256(b"".join(static(name) for name in sorted(STATIC))).hexdigest()[:12]


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("controller.report.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters |= {
        "size": size,
        "rate": rate,
        "duration": duration,
        "count_of": count_of,
        "stamp": timestamp,
        "clock": _clock,
        "tone": lambda word: TONES.get(word, "warn"),
        "room_words": room_words,
        "prose": _prose,
        "pc": lambda number: f"{number:.1f}%",
    }
    return made


def _prose(text: str) -> Markup:
    """A sentence in which `words` of commands and fields stand out."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped right here


def _clock(epoch: float) -> str:
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
