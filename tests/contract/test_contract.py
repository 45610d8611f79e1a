"""The simulator answers what a real Proxmox VE 9.2 cluster answered, call by call, in the order of the recordings.

The facts are in `facts/` (status, reason, keys, types and wording, in our own form); what is allowed to differ is in
`exceptions.yaml`.
"""

import pytest

from tests.contract.recordings import ORDER
from tests.contract.replay import EXCEPTIONS, Verdict, by_group

BAR = 0.95
GROUPS = sorted({part.partition(":")[0] for part in ORDER})


@pytest.mark.parametrize("group", GROUPS)
def test_answers_are_those_of_a_real_cluster(group: str, verdicts: list[Verdict]) -> None:
    rows = by_group(verdicts)[group]
    different = {v.call.id: (v.call.name, v.differences[:5]) for v in rows if not v.equal and not v.purpose}
    assert not different
    assert sum(verdict.equal for verdict in rows) / len(rows) >= BAR


def test_every_recorded_call_is_compared(verdicts: list[Verdict]) -> None:
    assert len(verdicts) == 1184


def test_what_is_said_to_differ_does_differ(verdicts: list[Verdict]) -> None:
    different = {verdict.call.id for verdict in verdicts if not verdict.equal}
    assert {call for call, reason in EXCEPTIONS.items() if not reason.startswith("by chance")} <= different
    assert all(len(reason) > 10 for reason in EXCEPTIONS.values())
