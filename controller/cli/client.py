"""Asks a running daemon over HTTP (reads) and over its control socket (what changes its mind). Used by the verbs."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

import click

from controller.report.overview import Overview
from controller.report.units import epoch_of

_API = "/apis/drover.dev/v1alpha1"
_SECONDS = 10.0

Data = dict[str, object]


class Client:
    """One daemon at `url`, which may ask for a token. Every failure is a ClickException with one sentence."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # The daemon is on this machine or beside it, never behind the proxy that the environment may name.
        self._opener = build_opener(ProxyHandler({}))
        self.now = 0.0
        """The daemon's time at its last answer, epoch seconds: ages are counted from it."""

    def items(self, plural: str, **filters: str | None) -> list[Data]:
        """All objects of a kind."""
        data = self._json(f"{_API}/{quote(plural)}", filters)
        items = data.get("items")
        return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []

    def item(self, plural: str, name: str, **filters: str | None) -> Data:
        """One object."""
        return self._json(f"{_API}/{quote(plural)}/{quote(name, safe='')}", filters)

    def snapshot(self, cluster: str) -> Data:
        """One look at a cluster, for planning elsewhere."""
        return self._json(f"{_API}/clusters/{quote(cluster, safe='')}/snapshot", {})

    def overview(self) -> Overview:
        """Everything at a glance."""
        return Overview.model_validate_json(self._read(f"{_API}/overview", {}))

    def watch(self) -> Iterator[Overview]:
        """Yield an overview now and after every change, until the daemon stops."""
        try:
            with self._open(f"{self.url}{_API}/overview/watch", None) as answer:
                for line in answer:
                    yield Overview.model_validate_json(line)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._sentence(error) from error

    def stream(self, plural: str, **filters: str | None) -> Iterator[Data]:
        """Yield one object per line of an answer that goes on until the daemon stops."""
        query = urlencode({key: value for key, value in filters.items() if value is not None})
        try:
            with self._open(f"{self.url}{_API}/{quote(plural)}?{query}", None) as answer:
                for line in answer:
                    yield json.loads(line)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._sentence(error) from error

    def _json(self, path: str, filters: dict[str, str | None]) -> Data:
        text = self._read(path, filters)
        try:
            data = json.loads(text)
        except ValueError as error:
            raise click.ClickException(f"{self.url} answers, but not as Drover does") from error
        assert isinstance(data, dict)
        return data

    def _read(self, path: str, filters: dict[str, str | None]) -> bytes:
        query = urlencode({key: value for key, value in filters.items() if value is not None})
        address = f"{self.url}{path}" + (f"?{query}" if query else "")
        try:
            with self._open(address, _SECONDS) as answer:
                self.now = epoch_of(answer.headers.get("Drover-Time", "")) or 0.0
                text: bytes = answer.read()
                return text
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._sentence(error) from error

    def _open(self, address: str, timeout: float | None) -> http.client.HTTPResponse:
        answer = self._opener.open(Request(address, headers=self._headers), timeout=timeout)  # noqa: S310 - what a person typed
        assert isinstance(answer, http.client.HTTPResponse)
        return answer

    def _sentence(self, error: Exception) -> click.ClickException:
        if isinstance(error, HTTPError):
            try:
                message = str(json.loads(error.read())["message"])
            except (ValueError, KeyError, TypeError):
                message = f"{self.url} answers {error.code} {error.reason}"
            return click.ClickException(message)
        why = error.reason if isinstance(error, URLError) else error
        return click.ClickException(
            f"no Drover answers at {self.url} ({why}); is `drover run` running? --server names another address"
        )


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("drover", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def command(path: Path, verb: str, body: Data) -> str:
    """Tell the daemon at the control socket `path` something; returns its answer. Raises ClickException."""
    connection = _UnixConnection(path)
    try:
        connection.request("POST", f"/{verb}", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        message = str(json.loads(answer.read())["message"])
    except PermissionError as error:
        raise click.ClickException(f"{path}: only the user that runs the daemon may do this") from error
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise click.ClickException(f"no Drover answers on {path} ({error}); is `drover run` running?") from error
    finally:
        connection.close()
    if answer.status >= 300:
        raise click.ClickException(message)
    return message
