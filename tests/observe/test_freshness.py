"""What is due, how old it is, and that a failure is not asked about in a hurry."""

from controller.observe.freshness import PERIODS, RETRY_SECONDS, Freshness, Part


def test_everything_is_due_at_first_and_unread() -> None:
    fresh = Freshness()
    assert all(fresh.due(part, 0.0) for part in Part)
    assert set(fresh.ages(0.0).values()) == {None}
    assert fresh.stale(0.0) == tuple(Part)


def test_a_part_is_due_again_after_its_period() -> None:
    fresh = Freshness()
    for part in Part:
        fresh.note(part, 100.0, ok=True)
        assert fresh.due(part, 100.0 + PERIODS[part])
        assert not PERIODS[part] or not fresh.due(part, 99.9 + PERIODS[part])


def test_a_failure_keeps_the_age_and_is_tried_again_sooner() -> None:
    fresh = Freshness()
    fresh.note(Part.RIGHTS, 0.0, ok=True)
    fresh.note(Part.RIGHTS, 600.0, ok=False)
    assert not fresh.due(Part.RIGHTS, 600.0 + RETRY_SECONDS - 1)
    assert fresh.due(Part.RIGHTS, 600.0 + RETRY_SECONDS)
    assert fresh.ages(630.0)[Part.RIGHTS] == 630.0


def test_stale_is_what_should_have_been_read_by_now() -> None:
    fresh = Freshness()
    for part in Part:
        fresh.note(part, 0.0, ok=True)
    assert fresh.stale(60.0) == ()
    assert fresh.stale(61.0) == (Part.CLUSTER, Part.HA)
    assert fresh.stale(700.0) == tuple(Part)
