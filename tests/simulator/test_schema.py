"""What PVE's own parameter checks refuse, in its words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.simulator.api import ApiError
from controller.simulator.schema import MISSING, UNKNOWN, schema_for

CREATE = ("POST", "/nodes/pve1/qemu")
MIGRATE = ("POST", "/nodes/pve1/qemu/100/migrate")


def not_in(value: str, allowed: str) -> str:
    return f"value '{value}' does not have a value in the enumeration '{allowed}'"


def refusal(call: tuple[str, str], params: dict[str, object], version: str = "9.2") -> dict[str, str]:
    schema = schema_for(version)
    method, in_path = schema.find(*call)
    try:
        schema.validate(method, {**in_path, **params})
    except ApiError as error:
        return error.errors or {"_": str(error)}
    return {}


def accepted(call: tuple[str, str], params: dict[str, object]) -> dict[str, object]:
    schema = schema_for("9.2")
    method, in_path = schema.find(*call)
    return schema.validate(method, {**in_path, **params})


@pytest.mark.parametrize(
    ("call", "params", "name", "text"),
    [
        (MIGRATE, {}, "target", MISSING),
        (MIGRATE, {"target": "pve2", "foo": "1"}, "foo", UNKNOWN),
        (MIGRATE, {"target": "pve2", "online": "True"}, "online", "type check ('boolean') failed - got 'True'"),
        (MIGRATE, {"target": "pve2", "bwlimit": "-1"}, "bwlimit", "value must have a minimum value of 0"),
        (MIGRATE, {"target": "pve2", "bwlimit": " 5"}, "bwlimit", "type check ('integer') failed - got ' 5'"),
        (CREATE, {"vmid": "5"}, "vmid", "invalid format - value does not look like a valid VM ID\n"),
        (CREATE, {"vmid": "100", "name": "bad_name!"}, "name", "invalid format - value does not look like a valid DNS name\n"),
        (CREATE, {"vmid": "100", "tags": "a;-x"}, "tags", "invalid format - invalid characters in tag\n"),
        (CREATE, {"vmid": "100", "scsi31": "local:1"}, "scsi31", UNKNOWN),
        (
            CREATE,
            {"vmid": "100", "memory": "lots"},
            "memory",
            "invalid format - format error\nmemory.current: type check ('integer') failed - got 'lots'\n",
        ),
        (
            ("PUT", "/cluster/options"),
            {"crs": "ha=nosuch"},
            "crs",
            f"invalid format - format error\ncrs.ha: {not_in('nosuch', 'basic, static, dynamic')}\n",
        ),
        (
            ("POST", "/access/roles"),
            {"roleid": "Bad", "privs": "VM.Monitor"},
            "privs",
            "invalid format - invalid privilege 'VM.Monitor'\n",
        ),
        (
            ("POST", "/cluster/replication"),
            {"id": "100-0", "type": "local", "target": "pve2", "schedule": "nope"},
            "schedule",
            "invalid format - invalid calendar event 'nope' - unable to parse calendar event\n\n",
        ),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named_in_the_words_of_pve(
    call: tuple[str, str], params: dict[str, object], name: str, text: str
) -> None:
    assert refusal(call, params) == {name: text}


def test_all_wrong_parameters_are_named_at_once() -> None:
    errors = refusal(MIGRATE, {"online": "yes", "foo": "1", "bwlimit": "x"})
    assert set(errors) == {"target", "online", "foo", "bwlimit"}


def test_parameters_that_depend_on_a_type_are_unknown_without_it() -> None:
    assert refusal(("PUT", "/cluster/ha/rules/r1"), {"comment": "x"}) == {"type": MISSING, "comment": UNKNOWN}
    assert refusal(("PUT", "/cluster/ha/rules/r1"), {"type": "node-affinity", "comment": "x"}) == {}


def test_a_repeated_key_is_checked_entry_by_entry() -> None:
    call = ("POST", "/cluster/bulk-action/guest/migrate")
    assert accepted(call, {"vms": ["100", "101"], "target": "pve2"})["vms"] == [100, 101]
    assert refusal(call, {"vms": "100,101", "target": "pve2"}) == {
        "vms[0]": "type check ('integer') failed - got '100,101'"
    }


def test_values_arrive_converted() -> None:
    params = accepted(MIGRATE, {"target": "pve2", "online": True, "bwlimit": "100"})
    assert params == {"node": "pve1", "vmid": 100, "target": "pve2", "online": 1, "bwlimit": 100}


def test_what_a_release_does_not_have_is_not_implemented() -> None:
    for version, verb, path in (
        ("9.2", "GET", "/nosuch"),
        ("9.2", "DELETE", "/version"),
        ("8.4", "GET", "/cluster/ha/rules"),
    ):
        with pytest.raises(ApiError, match="not implemented") as caught:
            schema_for(version).find(verb, path)
        assert caught.value.status == 501
    assert refusal(MIGRATE, {"target": "pve2", "with-conntrack-state": "1"}, "8.4") == {"with-conntrack-state": UNKNOWN}
    assert refusal(MIGRATE, {"target": "pve2", "with-conntrack-state": "1"}, "9.2") == {}


def test_a_volume_in_a_path_may_hold_slashes() -> None:
    method, params = schema_for("9.2").find("GET", "/nodes/pve1/storage/shared/content/shared:102/vm-102-disk-0.raw")
    assert params["volume"] == "shared:102/vm-102-disk-0.raw"
    assert method.check is None or method.proxyto == "node"


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.text(max_size=12), st.integers(), st.booleans()), max_size=5))
def test_any_parameters_are_accepted_or_refused_but_never_a_crash(params: dict[str, object]) -> None:
    errors = refusal(CREATE, params)
    known = schema_for("9.2").find(*CREATE)[0].parameters
    assert set(errors) <= {*params, *known}  # what is missing is named too: `force` wants `archive`
    json.dumps(errors)
