"""Restrictions that wait to be acted upon are told apart from wishes that wait."""

import pytest

from controller.specs import KINDS, unheeded

CLUSTER = {"endpoints": ["https://pve1:8006"], "auth": {"credentialsRef": "lab"}}
WINDOW = {"name": "nights", "kind": "Allow", "schedule": "0 22 * * *", "durationSeconds": 3600}
SKIP = {"guestSelector": {"vmids": [100]}, "behavior": "Skip"}


@pytest.mark.parametrize(
    ("kind", "spec", "fields"),
    [
        ("PveCluster", CLUSTER, ()),
        ("PveCluster", {**CLUSTER, "windows": [WINDOW]}, ()),
        ("PveCluster", {**CLUSTER, "balance": {"resource": "Memory"}}, ()),
        ("NodeMaintenance", {"nodeName": "pve2", "rules": [SKIP]}, ()),
        ("NodeMaintenance", {"nodeName": "pve2", "defaultBehavior": "Skip"}, ()),
        ("NodeMaintenance", {"nodeName": "pve2", "notBefore": "2026-05-01T00:00:00Z"}, ()),
        ("MigrationPolicy", {"guestSelector": {}, "windows": ["nights"]}, ()),
        ("MigrationPolicy", {"guestSelector": {}, "control": "Monitor"}, ()),
    ],
)
def test_a_restriction_is_named_and_a_wish_is_not(kind: str, spec: dict[str, object], fields: tuple[str, ...]) -> None:
    made = KINDS[kind].model_validate(
        {"kind": kind, "apiVersion": "drover.dev/v1alpha1", "metadata": {"name": "x"}, "spec": spec}
    )
    assert unheeded(made.spec) == fields
