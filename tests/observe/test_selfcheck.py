"""Missing rights are named, and the printed lines grant exactly them."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from controller.observe.selfcheck import Extra, check, extras_of, pveum_lines
from controller.sources import validate

ALL = {"Sys.Audit": True, "VM.Audit": True, "VM.Migrate": True, "Datastore.Audit": True, "Pool.Audit": True}
EVERYWHERE: Mapping[str, Mapping[str, bool]] = dict.fromkeys(["/", "/nodes", "/vms", "/storage", "/pool"], ALL)


def test_a_token_with_the_role_misses_nothing() -> None:
    assert check(EVERYWHERE, version=(9, 2)) == check(EVERYWHERE, version=(8, 4)) == ()
    assert pveum_lines("a@pve!b", (), (9,)) == ()


def test_a_token_without_rights_misses_everything_and_is_told_what_stays_hidden() -> None:
    missing = check({}, version=())
    assert {(item.privilege, item.path) for item in missing} == {
        ("Sys.Audit", "/"), ("Sys.Audit", "/nodes"), ("VM.Audit", "/vms"), ("VM.Migrate", "/vms"),
        ("Datastore.Audit", "/storage"), ("Pool.Audit", "/pool"),
    }  # fmt: skip
    assert {item.privilege for item in missing if item.hides} == {
        "Sys.Audit",
        "VM.Audit",
        "Datastore.Audit",
        "Pool.Audit",
    }
    assert all("incomplete" in str(item) for item in missing if item.hides)


@pytest.mark.parametrize("path", ["/", "/nodes", "/vms", "/storage", "/pool"])
def test_a_right_that_does_not_reach_below_its_path_is_missing(path: str) -> None:
    permissions = {**EVERYWHERE, path: dict.fromkeys(ALL, False)}
    assert {item.path for item in check(permissions, version=(9, 2))} == {path}


def test_rights_on_single_guests_are_no_rights_on_guests() -> None:
    missing = check({"/vms/102": ALL}, version=(9, 2))
    assert ("VM.Audit", "/vms") in {(item.privilege, item.path) for item in missing}


def test_a_special_acl_that_hides_a_guest_is_found_and_one_that_only_protects_it_is_not() -> None:
    permissions = {**EVERYWHERE, "/vms/105": {"VM.Console": True}, "/vms/106": {"VM.Audit": True}}
    assert [(item.privilege, item.path) for item in check(permissions, version=(9, 2))] == [("VM.Audit", "/vms/105")]


def test_the_lines_grant_the_role_to_user_and_token() -> None:
    lines = pveum_lines("bot@pve!drover", check({}, version=(9, 2)), (9, 2))
    privileges = (
        "Sys.Audit,VM.Audit,VM.Migrate,Datastore.Audit,Pool.Audit,Mapping.Audit,SDN.Audit,VM.Config.CDROM,VM.Replicate"
    )
    modify = f"pveum role modify DroverController --append 1 --privs '{privileges}'"
    assert lines == (
        f"pveum role add DroverController --privs '{privileges}' || {modify}",
        "pveum acl modify / --users 'bot@pve' --roles DroverController",
        "pveum acl modify / --tokens 'bot@pve!drover' --roles DroverController",
    )


@pytest.mark.parametrize("version", [(8, 4), (7, 4), ()])
def test_a_privilege_that_this_version_does_not_know_is_left_out(version: tuple[int, ...]) -> None:
    assert "VM.Replicate" not in pveum_lines("a@pve!b", check({}, version=version), version)[0]


def test_the_right_to_shut_guests_down_is_given_only_to_who_asks_for_it() -> None:
    missing = check({}, version=(9, 2))
    assert "VM.PowerMgmt" not in pveum_lines("a@pve!b", missing, (9, 2))[0]
    assert "VM.PowerMgmt" in pveum_lines("a@pve!b", missing, (9, 2), [Extra.SHUTDOWN])[0]
    assert "VM.PowerMgmt" not in {item.privilege for item in missing}, "nothing else needs it"


def test_a_path_with_an_acl_of_its_own_gets_its_own_lines_and_root_needs_none() -> None:
    missing = check({**EVERYWHERE, "/vms/105": {}}, version=(9, 2))
    assert pveum_lines("root@pam!t", missing, (9, 2))[1:] == (
        "pveum acl modify /vms/105 --tokens 'root@pam!t' --roles DroverController",
    )
    assert "USER@REALM!TOKEN" in pveum_lines("", missing, (9, 2))[-1]


def test_the_right_to_write_rules_of_pve_ha_is_missed_only_where_it_is_needed() -> None:
    [missing] = check(EVERYWHERE, version=(9, 2), ha_rules=True)
    assert (missing.privilege, missing.path, missing.hides) == ("Sys.Console", "/", False)
    assert "Sys.Console" in pveum_lines("a@pve!b", [missing], (9, 2), [Extra.HA_RULES])[0]
    assert "Sys.Console" not in pveum_lines("a@pve!b", [missing], (9, 2))[0]


@pytest.mark.parametrize(
    ("kind", "spec", "extra", "on_9", "on_8"),
    [
        ("ReplicationPolicy", {"guestSelector": {}, "targets": {"replicas": 1}}, Extra.REPLICATION,
         {"VM.Replicate"}, {"Datastore.Allocate"}),
        ("NodeMaintenance", {"nodeName": "pve1", "defaultBehavior": "Shutdown"}, Extra.SHUTDOWN,
         {"VM.PowerMgmt"}, {"VM.PowerMgmt"}),
        ("NodeMaintenance", {"nodeName": "pve1", "deadlineSeconds": 60, "onDeadline": "ShutdownRemaining"}, Extra.SHUTDOWN,
         {"VM.PowerMgmt"}, {"VM.PowerMgmt"}),
        ("MigrationPolicy", {"guestSelector": {}, "localDisks": "Forbid", "verify": {"guestAgentPing": True}},
         Extra.GUEST_AGENT, {"VM.GuestAgent.Audit"}, {"VM.Monitor"}),
        ("MigrationPolicy", {"guestSelector": {}, "localDisks": "Forbid", "control": "Monitor"}, Extra.MONITOR,
         {"Sys.Modify"}, {"Sys.Modify", "VM.Monitor"}),
    ],
)  # fmt: skip
def test_what_manifests_ask_for_is_granted_with_the_names_of_the_version(
    tmp_path: Path, *, kind: str, spec: object, extra: Extra, on_9: set[str], on_8: set[str]
) -> None:
    written = {"apiVersion": "drover.dev/v1alpha1", "kind": kind, "metadata": {"name": "m"}, "spec": spec}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(written))
    report = validate(tmp_path)
    assert [str(ref) for ref in (r.ref for r in report.specs)] == [f"{kind}/m"], report.problems
    assert extras_of(report.specs) == {extra}
    for version, wanted in (((9,), on_9), ((8,), on_8)):
        plain, more = (pveum_lines("a@pve!b", check({}, version=version), version, e)[0] for e in ((), [extra]))
        assert set(re.findall(r"[A-Z]\w+\.\w+(?:\.\w+)?", more)) >= wanted
        assert wanted - {"VM.Replicate"} <= set(re.findall(r"[\w.]+", more)) - set(re.findall(r"[\w.]+", plain))
