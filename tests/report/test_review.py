"""The comment below a merge request: short when nothing changes, bounded when all does, and nobody's words are markup."""

import re
from dataclasses import replace

from controller.decide import decide
from controller.model.ids import ClusterName
from controller.model.plan import Plan
from controller.report import review
from controller.specs import Specs
from tests.decide.build import NAME, apart, guest, in_maintenance, maintenance, memory, node, seen, specs

SEEN = seen([node(f"pve{n}", 64) for n in (1, 2, 3)], [guest(101, "pve1"), guest(102, "pve1"), guest(103, "pve2")])


def planned(wanted: Specs) -> Plan:
    return decide(wanted, SEEN, memory())


def comment(subject: review.Subject, **frame: object) -> str:
    return review.markdown([subject], review.Frame(**frame))  # type: ignore[arg-type]  # what each test is about


def test_nothing_to_do_is_short() -> None:
    plan = planned(specs())
    text = comment(review.Subject(NAME, plan, plan, plan, SEEN, specs()))
    assert text.splitlines()[:2] == [review.MARKER, "### Drover, cluster default: nothing to do"]
    assert len(text) < 300


def test_moves_of_the_change_come_first_and_others_say_so() -> None:
    after = planned(specs(apart("web", 101, 102), in_maintenance("pve2")))
    others = tuple(move for move in after.moves if move.vmid != 103)
    before = replace(after, moves=others, waiting=tuple(w for w in after.waiting if w.vmid != 103))
    assert before.all_moves
    text = comment(review.Subject(NAME, before, after, None, SEEN, specs()))
    rows = [line for line in text.splitlines() if line.startswith("| VM")]
    assert ["103" in rows[0], "also without this change" in rows[-1]] == [True, True]
    assert "2 moves" in text.splitlines()[1]
    assert "1 of them because of this change" in text.splitlines()[1]


def test_rules_are_counted_before_after_and_at_the_end() -> None:
    before, after = planned(specs()), planned(specs(apart("web", 101, 102)))
    text = comment(review.Subject(NAME, before, after, replace(after, violations=()), SEEN, specs()))
    assert "| PlacementPolicy/web | not there | 2 guests | holds |" in text


def test_approval_names_digest_and_both_ways() -> None:
    after = planned(specs(maintenance("firmware", "pve2", approval="Manual")))
    text = comment(review.Subject(NAME, None, after, None, SEEN, specs()))
    assert f"`{after.approvals[0].digest}` waits for approval" in text
    assert "drover.dev/approved-digest" in text


def test_an_old_look_is_warned_about() -> None:
    text = comment(review.Subject(NAME, None, planned(specs()), None, SEEN, specs()), age_seconds=7200.0)
    assert "> **Warning:** The look at the cluster is 2h" in text


def test_a_comment_is_never_too_long_and_says_how_much_is_left_out() -> None:
    many = seen(
        [node("pve1", 9000, cpus=900), node("pve2", 9000, cpus=900)], [guest(100 + n, "pve1", 1) for n in range(1, 900)]
    )
    plan = decide(specs(in_maintenance("pve1")), many, memory())
    assert len(plan.all_moves) == 899
    text = comment(review.Subject(NAME, None, plan, None, many, specs()))
    assert len(text.encode()) <= 65_536
    shown = sum(line.startswith("| VM") for line in text.splitlines())
    assert f"… and {899 - shown} more" in text
    assert shown >= 100
    worst = comment(
        review.Subject(NAME, None, plan, None, many, specs()), problems=tuple(f"{n} {'x' * 900}" for n in range(900))
    )
    assert len(worst.encode()) <= 65_536


def test_words_of_others_are_no_markup() -> None:
    plan = planned(specs(in_maintenance("pve2")))
    nasty = "[x](https://evil.example) <img src=x> @everyone #1 | `a` **b**\n# c"
    moves = tuple(replace(move, name=nasty, message=nasty) for move in plan.moves)
    text = comment(review.Subject(ClusterName("default"), None, replace(plan, moves=moves), None, SEEN, specs()))
    left = re.sub(r"\\.", "", text)
    for markup in ("](", "<img", "@everyone", "#1", "\n# c", "`a`", "**b**", "https://"):
        assert markup not in left, markup
    [row] = [line for line in text.splitlines() if line.startswith("| VM")]
    assert row.replace("\\|", "").count("|") == 6
