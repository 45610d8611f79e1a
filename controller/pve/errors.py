"""What a failed call means and what to do next: the one table from PVE's words to Drover's errors.

Used by `pve.client` and `pve.metered`. Beside `pve.tasklog` the only file that matches PVE's message text; the texts are those of
qemu-server (PVE/API2/Qemu.pm), pve-container (PVE/API2/LXC.pm), pve-guest-common (PVE/AbstractConfig.pm,
PVE/ReplicationConfig.pm), pve-cluster (PVE/Cluster.pm) and pve-storage (PVE/Storage.pm), unchanged from 7.4 to 9.2.
"""

import re
from collections.abc import Iterable
from typing import Final

from controller.model.errors import Ambiguous, Busy, Denied, DroverError, Rejected, Retry, Stale
from controller.model.reasons import Why
from controller.pve.transport import HttpFailure

Row = tuple[re.Pattern[str], type[DroverError], Why]


def _rows(*rows: tuple[str, type[DroverError], Why]) -> tuple[Row, ...]:
    return tuple((re.compile(pattern), error, why) for pattern, error, why in rows)


_TEXTS: Final = _rows(
    # Somebody else is at work on the guest: wait.
    (r"\b(?:VM|CT) is locked \(", Busy, Why.GUEST_LOCKED),
    (r"can't lock file '.*' - got timeout", Busy, Why.GUEST_LOCKED),
    # The cluster can't do it now.
    (r"no quorum[?!]", Retry, Why.NO_QUORUM),
    (
        r"unable to open file '/etc/pve/.*Permission denied",
        Retry,
        Why.NO_QUORUM,
    ),  # /etc/pve is read-only without quorum
    (r"got lock request timeout", Retry, Why.BUSY),
    (r"'-locked command timed out", Ambiguous, Why.ANSWER_LOST),  # it was interrupted at work
    (r"ipcc_send_rec|^Connection refused$|proxy loop detected", Retry, Why.NODE_UNREACHABLE),
    (r"got timeout$", Retry, Why.TIMED_OUT),
    # What was planned on has changed.
    (r"Configuration file '.*' does not exist", Stale, Why.GUEST_MOVED),
    (r"unable to find configuration file for (?:VM|CT)", Stale, Why.GUEST_MOVED),
    (r"can't migrate running (?:VM|container) without", Stale, Why.STATE_CHANGED),
    (r"replication job '.*' already exists|replication job for guest '.*' already exists", Stale, Why.JOB_EXISTS),
    (r"^Guest '\d+' does not exist", Stale, Why.GUEST_GONE),
    (r"does not match current node of guest|^Source and target must not be identical", Stale, Why.GUEST_MOVED),
    (r"checksum mismatch|detected modified configuration", Stale, Why.STATE_CHANGED),
    # No until somebody changes something.
    (r"not a replication target", Rejected, Why.NOT_A_REPLICATION_TARGET),
    (
        r"missing replicate feature on volume|unable to replicate|^No replicatable volumes found",
        Rejected,
        Why.NOT_REPLICABLE,
    ),
    (r"^Target '.*' does not exist|no such cluster node|hostname lookup '.*' failed", Rejected, Why.UNKNOWN_NODE),
    (
        r"storage '.*' (?:does not exist|does not support|is disabled|is not available)",
        Rejected,
        Why.NOT_ALLOWED_BY_PVE,
    ),
    (r"content type '.*' is not available on storage", Rejected, Why.NOT_ALLOWED_BY_PVE),
    (r"failed to parse storage map", Rejected, Why.BAD_REQUEST),
    (r"no such (?:replication )?job|no such resource|no such ha rule", Rejected, Why.NOT_FOUND),
    (r"^only root can set", Denied, Why.PERMISSION_MISSING),
)
_RUNS: Final = (
    (re.compile(r"No common base snapshot"), Why.NO_COMMON_BASE),
    (re.compile(r"hostname lookup .* failed"), Why.UNKNOWN_NODE),
    (re.compile(r"storage '.*' is not available on node|storage '.*' does not exist"), Why.STORAGE_MISSING),
    (re.compile(r"out of space|No space left"), Why.NO_SPACE),
    (re.compile(r"dataset is busy"), Why.DATASET_BUSY),
    (re.compile(r"start time before last sync"), Why.CLOCK_WENT_BACK),
    (re.compile(r"can't lock file '.*' - got timeout"), Why.GUEST_LOCKED),
    (re.compile(r"no quorum"), Why.NO_QUORUM),
    (re.compile(r"missing replicate feature|unable to replicate|No replicatable volumes"), Why.NOT_REPLICABLE),
)
"""Why a replication run failed (pve-guest-common: PVE/Replication.pm), what says most first."""
_COMMANDS: Final = (
    (re.compile(r"pvesm export"), Why.TRANSFER_FAILED),
    (re.compile(r"ssh .*(?:failed: exit code|timed out|refused)"), Why.SSH_FAILED),
)
"""The command that failed, where nothing else is said."""
_PARAMETERS: Final = _rows(
    (r"Only root may use this option", Denied, Why.PERMISSION_MISSING),
    (r"no such task", Rejected, Why.NOT_FOUND),
    (r"No such storage", Rejected, Why.NOT_ALLOWED_BY_PVE),
    (r"not defined in schema", Rejected, Why.NOT_SUPPORTED),  # a parameter that this version does not have yet
)
_BY_STATUS: Final[dict[int, tuple[type[DroverError], Why]]] = {
    400: (Rejected, Why.BAD_REQUEST),
    401: (Denied, Why.AUTH_FAILED),
    403: (Denied, Why.PERMISSION_MISSING),
    404: (Rejected, Why.NOT_FOUND),
    429: (Retry, Why.BUSY),
    501: (Rejected, Why.NOT_SUPPORTED),
    595: (
        Retry,
        Why.NODE_UNREACHABLE,
    ),  # pveproxy could not connect to the node (AnyEvent::HTTP), so nothing happened there
}
_LOST: Final = frozenset({408, 502, 503, 504, 596, 597, 598, 599})
"""A proxy gave up waiting: the node behind it may still carry the request out."""


def translate(failure: HttpFailure, *, method: str, path: str) -> DroverError:
    """The error that `failure` of `method` `path` stands for. An answer that is lost to a change is Ambiguous, to a read Retry."""
    error, why = _meaning(failure)
    if error is Ambiguous and method == "GET":
        error, why = Retry, Why.TIMED_OUT if why is Why.ANSWER_LOST else why
    return error(why, f"{method} {path}: {_sentence(failure)}")


def failed_run(error: str, log: Iterable[str] | None = None) -> Why | None:
    """What the error of a replication run means, None when it does not say.

    The error of a command only tells its exit code; the cause is in the log of the run, and only there.
    """
    text = "\n".join([error, *(log or ())])
    known = _RUNS if log is None else _RUNS + _COMMANDS
    return next((why for pattern, why in known if pattern.search(text)), None)


def _meaning(failure: HttpFailure) -> tuple[type[DroverError], Why]:
    status = failure.status
    if not failure.delivered:
        return Retry, Why.TLS_FAILED if failure.tls else Why.UNREACHABLE
    if status is None or status in _LOST:
        return Ambiguous, Why.ANSWER_LOST
    if status < 400:
        return Ambiguous, Why.PVE_ERROR  # something that is no PVE answered in its place
    known = _match(_PARAMETERS, " ".join(failure.errors.values())) if status == 400 else None
    known = known or (_match(_TEXTS, _text(failure)) if status == 500 else None)
    return known or _BY_STATUS.get(status, (Rejected, Why.PVE_ERROR))


def _match(rows: tuple[Row, ...], text: str) -> tuple[type[DroverError], Why] | None:
    return next(((error, why) for pattern, error, why in rows if pattern.search(text)), None)


def _text(failure: HttpFailure) -> str:
    """All that PVE said: the body's message, or on 7.4 the reason phrase of the status line."""
    return (failure.message or failure.reason).strip()


def _sentence(failure: HttpFailure) -> str:
    text = "; ".join(line.strip() for line in _text(failure).splitlines() if line.strip())
    parameters = ", ".join(f"{name}: {said.strip()}" for name, said in sorted(failure.errors.items()))
    told = f"{text} ({parameters})" if parameters else text
    if failure.status is None:
        return f"{failure.endpoint}: {told}" if failure.endpoint else told
    return f"{failure.status} {told}"
