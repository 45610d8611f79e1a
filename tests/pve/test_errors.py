"""Every refusal PVE was seen to give, and what Drover makes of it. Texts are PVE's own wire strings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.errors import Ambiguous, Busy, Denied, DroverError, Rejected, Retry, Stale
from controller.model.reasons import Why
from controller.pve.errors import translate
from controller.pve.transport import HttpFailure

PATH = "/nodes/pve1/qemu/100/migrate"

SAID_WITH_500 = [
    ("VM is locked (migrate)", Busy, Why.GUEST_LOCKED),
    ("VM is locked (backup)", Busy, Why.GUEST_LOCKED),
    ("VM is locked (snapshot-delete)", Busy, Why.GUEST_LOCKED),
    ("CT is locked (backup)", Busy, Why.GUEST_LOCKED),
    ("can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout", Busy, Why.GUEST_LOCKED),
    ("can't lock file '/var/lock/pve-manager/pve-migrate-100' - got timeout", Busy, Why.GUEST_LOCKED),
    ("cluster not ready - no quorum?", Retry, Why.NO_QUORUM),
    ("cfs-lock 'file-replication_cfg' error: no quorum!", Retry, Why.NO_QUORUM),
    ("create pool failed: cfs-lock 'file-user_cfg' error: no quorum!", Retry, Why.NO_QUORUM),
    (
        "unable to open file '/etc/pve/nodes/pve1/qemu-server/163.conf.tmp.1654' - Permission denied",
        Retry,
        Why.NO_QUORUM,
    ),
    ("cfs-lock 'file-replication_cfg' error: got lock request timeout", Retry, Why.BUSY),
    ("'file-replication_cfg'-locked command timed out - aborting", Ambiguous, Why.ANSWER_LOST),
    ("ipcc_send_rec[1] failed: Connection refused", Retry, Why.NODE_UNREACHABLE),
    ("proxy loop detected", Retry, Why.NODE_UNREACHABLE),
    ("VM 100 qmp command 'query-status' failed - got timeout", Retry, Why.TIMED_OUT),
    ("Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist", Stale, Why.GUEST_MOVED),
    ("Configuration file 'nodes/pve1/lxc/200.conf' does not exist", Stale, Why.GUEST_MOVED),
    ("unable to find configuration file for VM 100 on node 'pve1'", Stale, Why.GUEST_MOVED),
    ("can't migrate running VM without --online", Stale, Why.STATE_CHANGED),
    ("can't migrate running container without --online or --restart", Stale, Why.STATE_CHANGED),
    ("checksum mismatch (file change by other user?)", Stale, Why.STATE_CHANGED),
    ("detected modified configuration - file changed by other user? Try again.", Stale, Why.STATE_CHANGED),
    (
        "Cannot live-migrate replicated VM to node 'pve3' - not a replication target. Use 'force' to override.",
        Rejected,
        Why.NOT_A_REPLICATION_TARGET,
    ),
    ("no such cluster node 'pve9'", Rejected, Why.UNKNOWN_NODE),
    (
        "hostname lookup 'pve9' failed - failed to get address info for: pve9: Name or service not known",
        Rejected,
        Why.UNKNOWN_NODE,
    ),
    ("storage 'fast12' is not available on node 'pve3'", Rejected, Why.NOT_ALLOWED_BY_PVE),
    ("storage 'fast12' is disabled", Rejected, Why.NOT_ALLOWED_BY_PVE),
    ("storage 'nosuch' does not exist", Rejected, Why.NOT_ALLOWED_BY_PVE),
    ("storage 'iso' does not support vm images", Rejected, Why.NOT_ALLOWED_BY_PVE),
    ("local:iso/x.iso: content type 'iso' is not available on storage 'local'", Rejected, Why.NOT_ALLOWED_BY_PVE),
    ("failed to parse storage map: duplicate mapping", Rejected, Why.BAD_REQUEST),
    ("no such job '777-0'", Rejected, Why.NOT_FOUND),
    ("no such replication job '777-0'", Rejected, Why.NOT_FOUND),
    ("no such resource 'vm:999'", Rejected, Why.NOT_FOUND),
    ("replication job '100-0' already exists", Stale, Why.JOB_EXISTS),
    ("replication job for guest '100' to target 'local/pve2' already exists", Stale, Why.JOB_EXISTS),
    ("Guest '100' does not exist.", Stale, Why.GUEST_GONE),
    ("Source 'pve2' does not match current node of guest '100' (pve1)", Stale, Why.GUEST_MOVED),
    ("Source and target must not be identical", Stale, Why.GUEST_MOVED),
    ("Target 'pve9' does not exist.", Rejected, Why.UNKNOWN_NODE),
    ("missing replicate feature on volume 'local-lvm:vm-100-disk-0'", Rejected, Why.NOT_REPLICABLE),
    ("unable to replicate local file/device '/dev/sdb'", Rejected, Why.NOT_REPLICABLE),
    ("unable to replicate mountpoint type 'bind'", Rejected, Why.NOT_REPLICABLE),
    ("No replicatable volumes found", Rejected, Why.NOT_REPLICABLE),
    ("only root can set 'lock' config", Denied, Why.PERMISSION_MISSING),
    ("something nobody has heard of", Rejected, Why.PVE_ERROR),
    ("", Rejected, Why.PVE_ERROR),
]


@pytest.mark.parametrize(("text", "error", "why"), SAID_WITH_500)
@pytest.mark.parametrize("with_message", [True, False], ids=["8.4 and later", "7.4"])
def test_what_pve_says_with_a_500(text: str, error: type[DroverError], why: Why, with_message: bool) -> None:
    failure = HttpFailure(status=500, reason=text, message=f"{text}\n" if with_message else "")
    meant = translate(failure, method="POST", path=PATH)
    assert (type(meant), meant.why) == (error, why)
    assert text in meant.message


BY_PARAMETER = [
    ({"target": "target is local node."}, Rejected, Why.BAD_REQUEST),
    ({"force": "Only root may use this option."}, Denied, Why.PERMISSION_MISSING),
    ({"migration_type": "Only root may use this option."}, Denied, Why.PERMISSION_MISSING),
    ({"online": "type check ('boolean') failed - got 'True'"}, Rejected, Why.BAD_REQUEST),
    ({"upid": "no such task"}, Rejected, Why.NOT_FOUND),
    ({"upid": "unable to parse worker upid"}, Rejected, Why.BAD_REQUEST),
    ({"storage": "No such storage."}, Rejected, Why.NOT_ALLOWED_BY_PVE),
    (
        {
            "with-conntrack-state": "property is not defined in schema and the schema does not allow additional properties"
        },
        Rejected,
        Why.NOT_SUPPORTED,
    ),
    ({}, Rejected, Why.BAD_REQUEST),
]


@pytest.mark.parametrize(("errors", "error", "why"), BY_PARAMETER)
def test_what_pve_says_about_parameters(errors: dict[str, str], error: type[DroverError], why: Why) -> None:
    failure = HttpFailure(status=400, reason="Parameter verification failed.", errors=errors)
    meant = translate(failure, method="POST", path=PATH)
    assert (type(meant), meant.why) == (error, why)
    assert all(f"{name}: {text}" in meant.message for name, text in errors.items())


BY_STATUS = [
    # status, reason, of a read, of a change
    (401, "No ticket", (Denied, Why.AUTH_FAILED), (Denied, Why.AUTH_FAILED)),
    (401, "Authentication failed!", (Denied, Why.AUTH_FAILED), (Denied, Why.AUTH_FAILED)),
    (
        403,
        "Permission check failed (/vms/100, VM.Migrate)",
        (Denied, Why.PERMISSION_MISSING),
        (Denied, Why.PERMISSION_MISSING),
    ),
    (501, "Method 'GET /x' not implemented", (Rejected, Why.NOT_SUPPORTED), (Rejected, Why.NOT_SUPPORTED)),
    (424, "node is not in a cluster", (Rejected, Why.PVE_ERROR), (Rejected, Why.PVE_ERROR)),
    (404, "Not Found", (Rejected, Why.NOT_FOUND), (Rejected, Why.NOT_FOUND)),
    (595, "No route to host", (Retry, Why.NODE_UNREACHABLE), (Retry, Why.NODE_UNREACHABLE)),
    (595, "Connection refused", (Retry, Why.NODE_UNREACHABLE), (Retry, Why.NODE_UNREACHABLE)),
    (596, "Connection timed out", (Retry, Why.TIMED_OUT), (Ambiguous, Why.ANSWER_LOST)),
    (599, "Too many redirections", (Retry, Why.TIMED_OUT), (Ambiguous, Why.ANSWER_LOST)),
    (502, "Bad Gateway", (Retry, Why.TIMED_OUT), (Ambiguous, Why.ANSWER_LOST)),
    (200, "not a PVE", (Retry, Why.PVE_ERROR), (Ambiguous, Why.PVE_ERROR)),
    (302, "redirected", (Retry, Why.PVE_ERROR), (Ambiguous, Why.PVE_ERROR)),
    (None, "timed out", (Retry, Why.TIMED_OUT), (Ambiguous, Why.ANSWER_LOST)),
]


@pytest.mark.parametrize(("status", "reason", "read", "change"), BY_STATUS)
def test_what_a_status_means(
    status: int | None, reason: str, read: tuple[object, Why], change: tuple[object, Why]
) -> None:
    failure = HttpFailure(status=status, reason=reason, endpoint="pve1:8006")
    for method, expected in (("GET", read), ("POST", change), ("PUT", change), ("DELETE", change)):
        meant = translate(failure, method=method, path=PATH)
        assert (type(meant), meant.why) == expected
        assert meant.message.startswith(f"{method} {PATH}: ")
        assert reason in meant.message


def test_what_was_certainly_not_delivered_may_be_sent_again() -> None:
    for method in ("GET", "POST"):
        meant = translate(
            HttpFailure(status=None, reason="Connection refused", delivered=False), method=method, path=PATH
        )
        assert (type(meant), meant.why) == (Retry, Why.UNREACHABLE)
        meant = translate(HttpFailure(status=None, reason="x", delivered=False, tls=True), method=method, path=PATH)
        assert (type(meant), meant.why) == (Retry, Why.TLS_FAILED)


def test_all_lines_of_a_message_are_told() -> None:
    failure = HttpFailure(status=500, reason="create ha rule failed: 400 Rule 'a' is invalid.", message="one\ntwo\n")
    assert translate(failure, method="POST", path="/x").message == "POST /x: 500 one; two"


@given(
    failure=st.builds(
        HttpFailure,
        status=st.none() | st.integers(100, 999),
        reason=st.text(max_size=60) | st.sampled_from([text for text, _, _ in SAID_WITH_500]),
        message=st.text(max_size=60),
        errors=st.dictionaries(st.text(max_size=8), st.text(max_size=30), max_size=3),
        delivered=st.booleans(),
        tls=st.booleans(),
    )
)
def test_an_answer_lost_to_a_change_is_never_an_invitation_to_send_it_again(failure: HttpFailure) -> None:
    assert type(translate(failure, method="GET", path="/x")) is not Ambiguous
    lost = failure.status is None or failure.status < 400 or failure.status in (408, 502, 503, 504, 596, 597, 598, 599)
    if failure.delivered and lost:
        assert type(translate(failure, method="POST", path="/x")) is Ambiguous
