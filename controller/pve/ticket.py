"""Tickets: staying logged in with user and password, for what PVE allows no API token.

Used by `pve.proxmoxer_transport`, one per endpoint. proxmoxer's own logs in once per thread and is dead after two idle hours;
this one is shared by all threads of an endpoint and logs in anew when it has to.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from controller.pve.transport import HttpFailure

RENEW_SECONDS: Final = 3600.0
"""Half of a ticket's life of two hours (pve-access-control: PVE/AccessControl.pm)."""


@dataclass(frozen=True, slots=True)
class TicketAuth:
    """A user with a password: `user@realm`, and the password, which shows up in no representation.

    monotonic: seconds that never jump, asked from any thread; the age of a ticket is counted in them.
    """

    user: str
    password: str = field(repr=False)
    monotonic: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Login:
    """What PVE gave for a password."""

    ticket: str = field(repr=False)
    csrf: str = field(repr=False)


class Ticket:
    """A valid ticket at any time. `log_in(user, password)` asks PVE: None when the password is refused, HttpFailure otherwise."""

    def __init__(self, auth: TicketAuth, log_in: Callable[[str, str], Login | None]) -> None:
        self._auth = auth
        self._log_in = log_in
        self._lock = threading.Lock()
        self._held: Login | None = None
        self._since = 0.0
        self._used = threading.local()

    def headers(self, method: str) -> Mapping[str, str]:
        """The cookie and, for what changes something, the CSRF token (pve-manager: PVE/HTTPServer.pm). Raises HttpFailure."""
        held = self._used.held = self._valid()
        cookie = {"Cookie": f"PVEAuthCookie={held.ticket}"}
        return cookie if method == "GET" else {**cookie, "CSRFPreventionToken": held.csrf}

    def forget(self) -> None:
        """PVE refused the ticket that this thread used: the next request logs in anew, unless another thread has done so."""
        with self._lock:
            if self._held is self._used.held:
                self._held = None

    def _valid(self) -> Login:
        with self._lock:
            now, held = self._auth.monotonic(), self._held
            if held is None or now - self._since > RENEW_SECONDS:
                # A ticket that still holds counts as a password; when it does not, the password itself has to.
                user = self._auth.user
                held = (held and self._log_in(user, held.ticket)) or self._log_in(user, self._auth.password)
                if held is None:
                    raise HttpFailure(status=401, reason=f"{user} can't log in: authentication failure")
                self._held, self._since = held, now
            return held
