"""What the machine's settings allow: where a secret may go, and which hooks there are."""

import pytest

from controller import app
from controller.model.errors import DroverError
from controller.model.reasons import Why
from controller.settings import Credential, Hook, Secret
from controller.specs import PveCluster

ENDPOINT = "https://pve1.example:8006"
LAB = Credential("lab", "drover@pve!main", Secret("secret"), (ENDPOINT,))
PINNED = Credential("lab", "drover@pve!main", Secret("secret"), (ENDPOINT,), "AA:BB")


def cluster(**spec: object) -> PveCluster:
    given = {"endpoints": [ENDPOINT], "auth": {"credentialsRef": "lab"}, **spec}
    return PveCluster.model_validate({"metadata": {"name": "default"}, "spec": given})


def test_a_credential_goes_to_the_endpoints_it_is_bound_to() -> None:
    assert app.credential_for(cluster(), {"lab": LAB}) is LAB
    slashed = Credential("lab", LAB.login, LAB.secret, (f"{ENDPOINT}/",))
    assert app.credential_for(cluster(), {"lab": slashed}) is slashed


@pytest.mark.parametrize(
    ("spec", "credentials", "words"),
    [
        ({}, {}, "define no credential 'lab' (defined: none)"),
        ({"endpoints": ["https://evil.example:8006"]}, {"lab": LAB}, "https://evil.example:8006 is not among them"),
        ({"endpoints": [ENDPOINT, "https://evil.example:8006"]}, {"lab": LAB}, "is not among them"),
        ({"tls": {"fingerprintSha256": ":".join(["CC"] * 32)}}, {"lab": PINNED}, "to another fingerprint"),
    ],
)
def test_git_does_not_choose_where_a_secret_goes(
    spec: dict[str, object], credentials: dict[str, Credential], words: str
) -> None:
    with pytest.raises(DroverError) as refused:
        app.credential_for(cluster(**spec), credentials)
    assert refused.value.why is Why.NO_CREDENTIALS
    assert words in refused.value.message


def test_a_hook_that_is_named_but_not_defined_keeps_drover_from_acting() -> None:
    spec = cluster(maintenance={"drainedHook": "patch"})
    assert app.missing_hooks(spec, {"patch": Hook("patch", ("true",))}) is None
    assert app.missing_hooks(cluster(), {}) is None
    found = app.missing_hooks(spec, {"reboot": Hook("reboot", ("true",))})
    assert found is not None
    assert (found.ok, found.why) == (False, Why.NO_HOOK)
    assert "no hook patch (defined: reboot)" in found.message
