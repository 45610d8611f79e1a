#!/usr/bin/env python3
"""Puts a comment of `drover plan -o markdown` below its merge request, in place of the last one. Called by the files beside it.

Usage: comment.py github|gitlab|forgejo FILE, with API (https://api.github.com, https://forge.example.org/api/v1,
https://gitlab.example.org/api/v4), REPOSITORY (owner/name; GitLab: the project's number), NUMBER (of the merge request) and
TOKEN in the environment. Needs nothing but Python. Exit codes: 0 written, 1 the forge refuses, 2 wrong usage.
"""

import json
import os
import sys
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, Request, build_opener

MARKER = "<!-- drover-review -->"
SECONDS = 60.0
MOST_PAGES = 20


class NoRedirects(HTTPRedirectHandler):
    """A token goes to the address that was given and to no other."""

    def redirect_request(self, *_: object) -> None:
        """Refuse every redirection."""
        return


OPENER = build_opener(NoRedirects)


class Forge:
    """Where comments are listed, made and changed."""

    def __init__(self, kind: str, env: dict[str, str]) -> None:
        api, number, token = env["API"].rstrip("/"), quote(env["NUMBER"], safe=""), env["TOKEN"]
        if not api.startswith(("https://", "http://127.0.0.1:")):
            raise ValueError("API has to be an https:// address")
        if kind == "gitlab":
            self.list = f"{api}/projects/{quote(env['REPOSITORY'], safe='')}/merge_requests/{number}/notes"
            self.one, self.change, self.headers = self.list, "PUT", {"PRIVATE-TOKEN": token}
        elif kind in ("github", "forgejo"):
            issues = f"{api}/repos/{quote(env['REPOSITORY'])}/issues"
            self.list, self.one, self.change = f"{issues}/{number}/comments", f"{issues}/comments", "PATCH"
            self.headers = {"Authorization": f"{'Bearer' if kind == 'github' else 'token'} {token}"}
        else:
            raise ValueError(f"unknown forge {kind!r}")
        self.paged = kind != "forgejo"  # Forgejo and Gitea give all comments at once

    def last(self) -> int | None:
        """The comment that is to be replaced."""
        for page in range(1, MOST_PAGES + 1 if self.paged else 2):
            rows = self.call("GET", f"{self.list}?per_page=100&page={page}" if self.paged else self.list)
            for row in rows if isinstance(rows, list) else []:
                if str(row.get("body") or "").startswith(MARKER):
                    return int(row["id"])
            if not rows:
                return None
        return None

    def put(self, text: str) -> str:
        """Write the comment; says what was done."""
        known = self.last()
        if known is not None:
            self.call(self.change, f"{self.one}/{known}", {"body": text})
            return f"comment {known} renewed"
        self.call("POST", self.list, {"body": text})
        return "comment written"

    def call(self, method: str, url: str, body: dict[str, str] | None = None) -> object:
        """One call of the forge's API."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {
            **self.headers,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "drover",
        }
        request = Request(url, data=data, headers=headers, method=method)  # noqa: S310 - https, or loopback in tests
        with OPENER.open(request, timeout=SECONDS) as answer:
            return json.loads(answer.read() or b"null")


def _text(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if not text.startswith(MARKER):
        raise ValueError(f"{file} was not made by drover plan -o markdown")
    return text


def main(arguments: list[str]) -> int:
    """Do it; one sentence says how it went."""
    try:
        kind, file = arguments
        sys.stdout.write(Forge(kind, dict(os.environ)).put(_text(Path(file))) + "\n")
    except HTTPError as error:
        said = error.read()[:300].decode(errors="replace")
        sys.stderr.write(f"the forge answers {error.code} {error.reason}: {said}\n")
        return 1
    except URLError as error:
        sys.stderr.write(f"the forge can't be reached: {error.reason}\n")
        return 1
    except KeyError as error:
        sys.stderr.write(f"{error.args[0]} is not in the environment\n")
        return 2
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
