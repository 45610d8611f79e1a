"""Who may do what: the rules of pve-access-control."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.simulator.access import Access, Auth, Token, User, only_root
from controller.simulator.api import ApiError
from controller.simulator.roles import builtin

NOW = 1_795_000_000.0


class Desk:
    """An Access with a clock that a test moves and pools that it fills."""

    def __init__(self, version: str = "9.2") -> None:
        self.now = NOW
        self.pools: dict[str, tuple[set[int], set[str]]] = {}
        self.access = Access(version, lambda: self.now, lambda: self.pools)
        self.access.users["ann@pve"] = User("secret12", tokens={"full": Token("s1", privsep=False), "sep": Token("s2")})

    def may(self, who: str, path: str, privilege: str) -> bool:
        return privilege in self.access.effective(who, path)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refused(desk: Desk, header: str = "", cookie: str = "", csrf: str = "", method: str = "GET") -> str:
    with pytest.raises(ApiError) as caught:
        desk.access.authenticate(header, cookie, csrf, method)
    answer = caught.value.response()
    assert (answer.status, answer.body, answer.delay) == (401, None, 3.0)
    return answer.reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "No ticket"),
        ("Bearer ann@pve!full=s1", "No ticket"),
        ("PVEAPIToken=ann@pve!full=wrong", "Authentication failed!"),
        ("PVEAPIToken=ann@pve!nosuch=s1", "Authentication failed!"),
        ("PVEAPIToken=bob@pve!full=s1", "Authentication failed!"),
        ("PVEAPIToken=garbage", "Authentication failed!"),
    ],
)
def test_a_bad_credential_is_401_without_a_body_after_three_seconds(desk: Desk, header: str, reason: str) -> None:
    assert refused(desk, header) == reason


@pytest.mark.parametrize(
    "header", ["PVEAPIToken=ann@pve!full=s1", "PVEAPIToken ann@pve!full=s1", "PVEAPIToken=ann%40pve%21full=s1"]
)
def test_a_token_is_known_by_its_secret(desk: Desk, header: str) -> None:
    assert desk.access.authenticate(header, "", "", "POST") == Auth("ann@pve!full", "ann@pve", "full")


def test_an_expired_token_and_a_disabled_user_are_401(desk: Desk) -> None:
    header = "PVEAPIToken=ann@pve!full=s1"
    desk.access.users["ann@pve"].tokens["full"].expire = int(NOW)
    assert refused(desk, header) == "Authentication failed!"
    desk.access.users["ann@pve"].tokens["full"].expire = int(NOW) + 1
    assert desk.access.authenticate(header, "", "", "GET").token == "full"
    desk.access.users["ann@pve"].enable = False
    assert refused(desk, header) == "Authentication failed!"


def test_a_ticket_lasts_two_hours_and_needs_its_csrf_token_to_write(desk: Desk) -> None:
    ticket = desk.access.login("ann@pve", "secret12")
    csrf = desk.access.csrf_for("ann@pve")
    assert desk.access.authenticate("", ticket, "", "GET").full == "ann@pve"
    assert refused(desk, cookie=ticket, method="POST") == "Permission denied - invalid csrf token"
    assert desk.access.authenticate("", ticket, csrf, "POST").full == "ann@pve"
    desk.now += 7199
    assert desk.access.authenticate(f"PVEAuthCookie={ticket}", "", "", "GET").full == "ann@pve"
    desk.now += 1
    assert refused(desk, cookie=ticket) == "Authentication failed!"


def test_a_stale_cookie_shadows_a_good_token(desk: Desk) -> None:
    assert refused(desk, "PVEAPIToken=ann@pve!full=s1", cookie="PVE:ann@pve:00000000::00") == "Authentication failed!"


def test_a_ticket_renews_itself_and_a_wrong_password_is_a_401_with_a_body(desk: Desk) -> None:
    ticket = desk.access.login("ann@pve", "secret12")
    assert desk.access.login("ann@pve", ticket)
    for name, password in (("ann@pve", "wrong"), ("bob@pve", "x"), ("root@pam", ticket), ("ann", "secret12")):
        with pytest.raises(ApiError, match="authentication failure") as caught:
            desk.access.login(name, password)
        assert caught.value.response().body == {"data": None, "message": "authentication failure\n"}


def test_rights_come_down_the_path_and_deeper_entries_replace_them(desk: Desk) -> None:
    desk.access.grant("/", "user", "ann@pve", "PVEAuditor")
    assert desk.may("ann@pve", "/vms/100", "VM.Audit")
    desk.access.grant("/vms/100", "user", "ann@pve", "PVEVMUser")
    assert not desk.may("ann@pve", "/vms/100", "Sys.Audit")
    assert desk.may("ann@pve", "/vms/100", "VM.PowerMgmt")
    desk.access.revoke("/vms/100", "user", "ann@pve", "PVEVMUser")
    assert desk.may("ann@pve", "/vms/100", "Sys.Audit")


def test_an_entry_that_does_not_propagate_counts_only_where_it_is(desk: Desk) -> None:
    desk.access.grant("/nodes", "user", "ann@pve", "PVEAuditor", propagate=False)
    assert desk.access.effective("ann@pve", "/nodes")["Sys.Audit"] == 0
    assert not desk.may("ann@pve", "/nodes/pve1", "Sys.Audit")


def test_no_access_wins_where_it_is_set(desk: Desk) -> None:
    desk.access.grant("/", "user", "ann@pve", "Administrator")
    desk.access.grant("/vms/100", "user", "ann@pve", "NoAccess")
    assert desk.access.effective("ann@pve", "/vms/100") == {}
    assert desk.may("ann@pve", "/vms/101", "VM.Migrate")


def test_an_entry_for_the_user_beats_those_of_groups(desk: Desk) -> None:
    desk.access.users["ann@pve"].groups = {"ops"}
    desk.access.grant("/vms", "group", "ops", "PVEVMAdmin")
    assert desk.may("ann@pve", "/vms/100", "VM.Migrate")
    desk.access.grant("/vms", "user", "ann@pve", "PVEAuditor")
    assert not desk.may("ann@pve", "/vms/100", "VM.Migrate")


def test_a_separated_token_has_what_both_it_and_its_user_were_given(desk: Desk) -> None:
    desk.access.grant("/", "user", "ann@pve", "PVEAuditor")
    assert desk.access.permissions("ann@pve!sep") == {}
    desk.access.grant("/vms/100", "token", "ann@pve!sep", "PVEVMAdmin")
    assert desk.access.permissions("ann@pve!sep") == {"/vms/100": {"VM.Audit": 1, "VM.GuestAgent.Audit": 1}}
    assert desk.access.effective("ann@pve!full", "/vms/100") == desk.access.effective("ann@pve", "/vms/100")


def test_a_role_on_a_pool_counts_for_its_guests(desk: Desk) -> None:
    desk.pools["prod"] = ({100}, {"fast"})
    desk.access.grant("/pool/prod", "user", "ann@pve", "PVEVMAdmin")
    assert desk.may("ann@pve", "/vms/100", "VM.Migrate")
    assert not desk.may("ann@pve", "/vms/101", "VM.Migrate")
    assert set(desk.access.permissions("ann@pve")) == {"/pool/prod", "/vms/100", "/storage/fast"}


def test_a_refusal_names_path_and_privilege(desk: Desk) -> None:
    auth = Auth("ann@pve", "ann@pve")
    for path, privileges, any_of, text in (
        ("/vms/100", ("VM.Migrate",), False, "(/vms/100, VM.Migrate)"),
        ("/vms/100", ("VM.Config.Disk", "VM.Config.CPU"), True, "(/vms/100, VM.Config.Disk|VM.Config.CPU)"),
        ("/nodes/pve_1!", ("Sys.Audit",), False, "(, Sys.Audit)"),
    ):
        with pytest.raises(ApiError) as caught:
            desk.access.check(auth, path, *privileges, any_of=any_of)
        assert caught.value.reason == f"Permission check failed {text}"


def test_only_roots_own_ticket_is_root(desk: Desk) -> None:
    desk.access.users["root@pam"].tokens["t"] = Token("s", privsep=False)
    root, token = Auth("root@pam", "root@pam"), Auth("root@pam!t", "root@pam", "t")
    only_root(root, {"force": 1}, "force")
    only_root(token, {"target": "pve1"}, "force")
    with pytest.raises(ApiError) as caught:
        only_root(token, {"force": 1, "migration_type": "insecure"}, "force", "migration_type", "migration_network")
    assert caught.value.errors == dict.fromkeys(("force", "migration_type"), "Only root may use this option.")
    desk.access.check_call(root, ["root"], {})
    with pytest.raises(ApiError, match=r"user != root@pam"):
        desk.access.check_call(token, ["root"], {})
    desk.access.check(token, "/", "Sys.Modify")


def test_expressions_of_the_schema_are_judged(desk: Desk) -> None:
    auth = Auth("ann@pve", "ann@pve")
    desk.access.grant("/vms/100", "user", "ann@pve", "PVEVMUser")
    either = [
        "or",
        ["perm", "/vms/{vmid}", ["VM.Allocate"]],
        ["perm", "/pool/{pool}", ["VM.Allocate"], "require_param", "pool"],
    ]
    desk.access.check_call(auth, ["perm", "/vms/{vmid}", ["VM.Migrate", "VM.Audit"], "any", 1], {"vmid": 100})
    desk.access.check_call(auth, ["userid-param", "self"], {"userid": "ann@pve"})
    with pytest.raises(ApiError, match=r"^403 Permission check failed$"):
        desk.access.check_call(auth, either, {"vmid": 100})
    with pytest.raises(ApiError, match=r"Permissions\.Modify\|VM\.Allocate"):
        desk.access.check_call(auth, ["perm-modify", "{path}"], {"path": "/vms/100"})


def test_roles_know_the_privileges_of_their_release() -> None:
    assert "VM.Monitor" in builtin("8.4")["PVEVMAdmin"]
    assert "VM.Monitor" not in builtin("9.2")["Administrator"]
    assert {"VM.Replicate", "VM.GuestAgent.Audit"} <= builtin("9.0")["PVEVMAdmin"]
    assert builtin("9.2")["Administrator"] - builtin("9.2")["PVEAdmin"] == {
        "Mapping.Modify", "Permissions.Modify", "Realm.Allocate", "Sys.AccessNetwork", "Sys.Incoming", "Sys.Modify",
        "Sys.PowerMgmt",
    }  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["/", "/vms", "/vms/100", "/nodes", "/pool/prod"]),
            st.sampled_from([("user", "ann@pve"), ("token", "ann@pve!sep"), ("group", "ops")]),
            st.sampled_from(["PVEAuditor", "PVEVMAdmin", "NoAccess", "Administrator"]),
            st.booleans(),
        ),
        max_size=8,
    ),
    st.sampled_from(["/", "/vms/100", "/vms/101", "/nodes/pve1"]),
)
def test_a_token_never_has_more_than_its_user(entries: list[tuple[str, tuple[str, str], str, bool]], path: str) -> None:
    desk = Desk()
    desk.pools["prod"] = ({100}, set())
    desk.access.users["ann@pve"].groups = {"ops"}
    for where, (kind, name), role, propagate in entries:
        desk.access.grant(where, kind, name, role, propagate=propagate)
    user = desk.access.effective("ann@pve", path)
    assert set(desk.access.effective("ann@pve!sep", path)) <= set(user)
    assert desk.access.effective("ann@pve!full", path) == user
