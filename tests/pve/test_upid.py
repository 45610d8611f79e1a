"""Task ids: every shape PVE makes, and nothing else."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.pve.upid import UpidError, UpidParts, parse

SHAPES = [
    ("UPID:pve2:0000025F:000881C0:6B038F4F:qmigrate:161:root@pam!test:", "pve2", "qmigrate", "161", "root@pam!test"),
    ("UPID:pve2:000001C4:00086A8B:6B038F14:migrateall::root@pam!test:", "pve2", "migrateall", "", "root@pam!test"),
    (
        "UPID:Node-1:00000105:100031373:6B038168:qmmove:100-scsi0>101-scsi1:bot@pve:",
        "Node-1",
        "qmmove",
        "100-scsi0>101-scsi1",
        "bot@pve",
    ),
]


@pytest.mark.parametrize(("text", "node", "kind", "target", "user"), SHAPES)
def test_a_task_id_tells_node_type_target_and_user(text: str, node: str, kind: str, target: str, user: str) -> None:
    parts = parse(text)
    assert (parts.upid, parts.node, parts.type, parts.target_id, parts.user) == (text, node, kind, target, user)


def test_numbers_are_hexadecimal() -> None:
    parts = parse(SHAPES[0][0])
    assert (parts.pid, parts.pstart, parts.start) == (0x25F, 0x881C0, 0x6B038F4F)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OK",
        "UPID:pve2:0000025F:000881C0:6B038F4F:qmigrate:161:root@pam",
        "UPID:pve2:25F:000881C0:6B038F4F:qmigrate:161:root@pam:",
        "UPID:pve2:0000025F:000881C0:6B038F4F:qm igrate:161:root@pam:",
        "UPID:pve2:0000025F:000881C0:6B038F4F:qmigrate:161:root@pam:\n",
        "UPID:pve/2:0000025F:000881C0:6B038F4F:qmigrate:161:root@pam:",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UpidError):
        parse(text)


@given(st.text())
def test_no_text_crashes_it(text: str) -> None:
    with suppress(UpidError):
        assert isinstance(parse(text), UpidParts)
