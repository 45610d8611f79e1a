"""What can go wrong, sorted by what to do next. Raised by `pve` and `report.store`; handled by `act`, `observe` and `loop`."""

from controller.model.reasons import Why


class DroverError(Exception):
    """Base. `why` is the reason for conditions and metrics; the text is a sentence for people."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why
        self.message = message


class Retry(DroverError):  # noqa: N818 - the classes are named after what to do next
    """Try again later, with back-off: time-outs, unreachable nodes, no quorum, a lock request that timed out."""


class Ambiguous(DroverError):  # noqa: N818 - ditto
    """Sent, but no answer: it may have happened. Observe; never send it again unobserved."""


class Busy(DroverError):  # noqa: N818 - ditto
    """Locked by something legitimate: wait for it; not counted as a failure."""


class Denied(DroverError):  # noqa: N818 - ditto
    """The credentials do not allow this (401, 403, root only): no until somebody grants it."""


class Rejected(DroverError):  # noqa: N818 - ditto
    """No until somebody changes something: wrong parameters, not implemented, not possible."""


class Stale(DroverError):  # noqa: N818 - ditto
    """What was planned on has changed: drop the plan, look again at once."""
