"""One attempt to carry a request, as the thread that performs it and the event loop that may give it up both see it.

Used by `pve.proxmoxer_transport` alone; separate from it because only urllib3 knows when a request is about to be sent.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool


class AbandonedError(Exception):
    """Raised in a worker whose caller no longer waits, before anything was sent."""


class Attempt:
    """Whether a request has been sent, and the means to cut it short.

    sent: true from just before the first byte of the request goes out; until then nothing can have happened on a server.
    reused: the connection had carried requests before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: HTTPSConnection | None = None
        self._abandoned = False
        self.sent = False
        self.reused = False

    def sending(self, connection: HTTPSConnection, *, reused: bool) -> None:
        """Called by the connection just before it writes. Raises AbandonedError when nobody waits any more."""
        with self._lock:
            if self._abandoned:
                raise AbandonedError
            self._connection, self.sent, self.reused = connection, True, reused

    def ended(self) -> None:
        """The thread is through with the connection, which may belong to another attempt from now on."""
        with self._lock:
            self._connection = None

    def abandon(self) -> bool:
        """Give up: nothing is sent any more, and a connection in use is cut so that its thread ends. Returns `sent`."""
        with self._lock:
            self._abandoned = True
            if self._connection is not None and self._connection.sock is not None:
                with suppress(OSError):
                    # The plain socket's shutdown wakes the reading thread without touching the TLS state it works on.
                    socket.socket.shutdown(self._connection.sock, socket.SHUT_RDWR)
            return self.sent


_of_this_thread = threading.local()


def begin(attempt: Attempt) -> None:
    """Connections used by the calling thread report to `attempt` from now on."""
    _of_this_thread.attempt = attempt


@contextmanager
def aside() -> Iterator[None]:
    """What the calling thread does inside is no part of its attempt: logging in sends nothing of the request."""
    own = _of_this_thread.attempt
    _of_this_thread.attempt = Attempt()
    try:
        yield
    finally:
        _of_this_thread.attempt = own


class _Connection(HTTPSConnection):
    """urllib3 connects first and calls `request` only on an established, verified connection."""

    _requests = 0

    def request(self, *args: Any, **kwargs: Any) -> None:
        attempt: Attempt = _of_this_thread.attempt
        attempt.sending(self, reused=self._requests > 0)
        self._requests += 1
        super().request(*args, **kwargs)

    def close(self) -> None:
        self._requests = 0
        super().close()


class Pool(HTTPSConnectionPool):
    """A pool of connections that report to the attempt of the thread that uses them."""

    ConnectionCls = _Connection
