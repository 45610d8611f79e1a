"""Which revision of the manifests is in force, which one was tried last, and who vouches for them.

Made by `sources.git`; shown by `report`, told to forges by `report.commit_status`.
"""

from dataclasses import dataclass

from controller.model.reasons import Why
from controller.model.view import Finding

SHORT = 12
"""Characters of a commit's id that people get to see."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One commit. at: when it was committed, epoch seconds by its committer's clock. Names and subject are other people's text."""

    commit: str
    author: str
    email: str
    at: float
    subject: str
    signer: str = ""
    """Who signed, as the trusted keys name them; "" when no signature was asked for or none is good."""
    key: str = ""
    """Fingerprint of the key."""

    @property
    def short(self) -> str:
        """The beginning of its id."""
        return self.commit[:SHORT]

    @property
    def verified(self) -> bool:
        """Whether a trusted key signed it."""
        return bool(self.key)

    def __str__(self) -> str:
        return f"{self.short} by {self.author} ({self.subject})"


@dataclass(frozen=True, slots=True)
class SourceView:
    """How a repository stands."""

    url: str
    ref: str
    path: str
    applied: Revision | None = None
    """In force; None before the first one."""
    applied_at: float | None = None
    """When it was put in force, epoch seconds."""
    attempted: Revision | None = None
    """The newest one that was looked at; the one in force, or one that was refused."""
    finding: Finding | None = None
    """How the last attempt ended; None before the first one of this process."""
    contact_at: float | None = None
    """When the server last answered, epoch seconds."""
    failures: int = 0
    """Attempts in a row that did not reach the server."""

    @property
    def refused(self) -> bool:
        """Whether a revision is held off."""
        return self.finding is not None and not self.finding.ok and self.finding.why in REFUSALS

    @property
    def awaiting(self) -> str:
        """The commit that waits for `drover confirm`, "" for none."""
        rewritten = self.refused and self.finding is not None and self.finding.why is Why.HISTORY_REWRITTEN
        return self.attempted.short if rewritten and self.attempted is not None else ""


REFUSALS = (
    Why.HISTORY_REWRITTEN,
    Why.PATH_MISSING,
    Why.NOT_SIGNED,
    Why.BAD_SIGNATURE,
    Why.SIGNER_NOT_TRUSTED,
    Why.REVISION_TOO_LARGE,
    Why.UNSAFE_TREE,
)
"""Why a revision is not put in force."""
OUTCOMES = (
    Why.REVISION_APPLIED,
    Why.TAG_MOVED,
    *REFUSALS,
    Why.SOURCE_UNREACHABLE,
    Why.SOURCE_AUTH_FAILED,
    Why.SOURCE_NOT_TRUSTED,
    Why.REPOSITORY_NOT_FOUND,
    Why.REPOSITORY_EMPTY,
    Why.REF_MISSING,
    Why.GIT_FAILED,
)
"""How an attempt can end."""
