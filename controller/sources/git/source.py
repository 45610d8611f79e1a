"""The Git source: asks the server now and then, and puts a new revision in force whole, or says why not.

Built by `app`, read by `loop.daemon`. Below its folder: `mirror.git`, `trees/COMMIT-…` with the manifests of a revision, and
`current`, a link to the tree in force. Moving that link is the one step that puts a revision in force; the tree holds its record,
so that a restart without the server goes on with it.
"""

import asyncio
import hashlib
import json
import math
import os
import random
from collections.abc import Coroutine, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import structlog

from controller.clock import Clock
from controller.model.errors import DroverError, Rejected
from controller.model.reasons import Why
from controller.model.revision import SHORT, Revision, SourceView
from controller.model.view import Finding
from controller.settings import GitSettings
from controller.sources.base import Snapshot
from controller.sources.folder import FolderSource
from controller.sources.git import tree
from controller.sources.git.command import Git
from controller.sources.git.mirror import Kinship, Mirror, Remote
from controller.sources.git.signatures import Signatures
from controller.specs import Problem
from controller.yamlpos import Position

RECORD = ".drover.json"
LONGEST_PAUSE_SECONDS = 900.0
"""The most that back-off makes of the interval while the server can't be reached."""
SPACING_SECONDS = 5.0
"""The least between two questions, however often somebody wakes us."""
_JITTER = 0.15
_NEVER = -math.inf


class GitSource:
    """A repository. `folder` is its own, below the state directory."""

    def __init__(self, settings: GitSettings, folder: Path, clock: Clock) -> None:
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._git = Git(settings, folder)
        self._mirror = Mirror(self._git, settings)
        self._signatures = Signatures(self._git, settings.verify)
        current = folder / "current"
        self._reader = FolderSource(current / settings.path, watch=False, shown_below=current)
        self._wake = asyncio.Event()
        self._begun = False
        self._confirmed = ""
        self._seen = ""  # what the server's name led to when the revision in force was taken from it
        self._asked_at = _NEVER  # monotonic
        self._state = SourceView(settings.url, settings.ref, settings.path)
        self._log = structlog.get_logger()

    @property
    def name(self) -> str:
        """The repository and what is taken from it."""
        return " ".join(filter(None, (self._settings.url, self._settings.ref, self._settings.path)))

    @property
    def view(self) -> SourceView:
        """How it stands."""
        return self._state

    def look_now(self) -> None:
        """Ask the server soon."""
        self._wake.set()

    def confirm(self, revision: str) -> bool:
        """Let a rewritten history be put in force; False when that revision is not the one waiting."""
        if not revision or self._state.awaiting != revision[:SHORT] or self._state.attempted is None:
            return False
        if not self._state.attempted.commit.startswith(revision):
            return False
        self._confirmed = self._state.attempted.commit
        self._asked_at = _NEVER
        self._wake.set()
        return True

    async def read(self) -> Snapshot:
        """Ask the server, but for the first time when a revision is in force already; then read what is in force."""
        if self._begun or not self._recall():
            await self._attempt()
        self._begun = True
        applied = self._state.applied
        if applied is None:
            finding = self._state.finding
            told = finding.message if finding is not None else "nothing fetched yet"
            problem = Problem(Position(self._settings.url, 1, 1), "", told, finding.why.remedy if finding else "")
            return Snapshot("unread-git", complete=False, objects=(), problems=(problem,))
        snapshot = await asyncio.to_thread(self._reader.read_now)
        if not snapshot.complete:
            return snapshot
        return replace(snapshot, revision=applied.short)

    async def wait_change(self) -> None:
        """Return when it is time to ask again: after the interval, sooner when woken, later while nobody answers."""
        if self._asked_at == _NEVER:
            return
        await _woken_or_after(self._wake, self._clock.sleep(self._pause()))
        self._wake.clear()
        left = SPACING_SECONDS - (self._clock.monotonic() - self._asked_at)
        if left > 0:
            await self._clock.sleep(left)

    def _pause(self) -> float:
        every = self._settings.interval_seconds
        longest = max(every, LONGEST_PAUSE_SECONDS)
        return float(
            min(every * 2 ** min(self._state.failures, 20), longest) * random.uniform(1 - _JITTER, 1 + _JITTER)
        )

    async def _attempt(self) -> None:
        """One try; how it ended is in the view, and nothing is raised but what nobody foresaw."""
        self._asked_at = self._clock.monotonic()
        before = self._state
        try:
            finding = await self._follow()
            failures = 0
        except (DroverError, OSError) as error:
            why, told = (error.why, error.message) if isinstance(error, DroverError) else (Why.GIT_FAILED, str(error))
            answered = why not in (Why.SOURCE_UNREACHABLE, Why.SOURCE_NOT_TRUSTED, Why.GIT_FAILED)
            failures = 0 if answered else before.failures + 1
            stays = f"commit {self._state.applied.short} stays" if self._state.applied is not None else "nothing is"
            finding = Finding(False, why, f"{told}; {stays} in force")
            if why is Why.GIT_FAILED and failures > 1:
                await self._mirror.throw_away()
        contact = self._clock.wall() if not failures else before.contact_at
        self._state = replace(self._state, finding=finding, failures=failures, contact_at=contact)
        if before.finding is None or (before.finding.why, before.attempted) != (finding.why, self._state.attempted):
            write = self._log.info if finding.ok else self._log.warning
            write(finding.message, source=self._settings.url, reason=finding.why)

    async def _follow(self) -> Finding:
        """Bring the revision in force up to what the server says. Raises DroverError, OSError."""
        remote = await self._mirror.remote()
        applied = self._state.applied
        settled = applied is not None and (applied.verified or not self._signatures.wanted)
        if settled and remote.oid == self._seen and self._state.finding is not None and self._state.finding.ok:
            return self._state.finding
        oid, commit = await self._mirror.fetch(remote)
        await asyncio.to_thread(self._signatures.prepare, self._clock.wall())
        self._state = replace(self._state, attempted=await self._signatures.commit(commit))
        base = applied.commit if applied is not None and settled else None
        kinship = await self._mirror.kinship(applied.commit if applied is not None else None, commit)
        rewritten = kinship in (Kinship.REWOUND, Kinship.REWRITTEN, Kinship.UNRELATED)
        if kinship is Kinship.UNRELATED:
            base = base if base is not None and await self._mirror.has(base) else None
        if remote.is_tag:
            await self._signatures.judge_tag(remote.name.removeprefix("refs/tags/"), oid)
        revision = await self._signatures.judge(base, commit)
        self._state = replace(self._state, attempted=revision)
        if rewritten and self._signatures.wanted and self._confirmed != commit:
            assert applied is not None
            text = f"{remote.name} was rewritten: commit {revision} {kinship.value} ({applied.short})"
            raise Rejected(Why.HISTORY_REWRITTEN, f"{text}; `drover confirm {revision.short}` puts it in force")
        if kinship is not Kinship.SAME or applied != revision:
            await self._put_in_force(revision)
        self._seen, self._confirmed = oid, ""
        return _told(remote, applied, revision, kinship)

    async def _put_in_force(self, revision: Revision) -> None:
        settings, now = self._settings, self._clock.wall()
        wanted = await tree.entries(self._git, revision.commit, settings)
        found = await tree.contents(self._git, wanted)
        place = self._folder / "trees" / f"{revision.commit}-{_fingerprint(settings, revision)}"
        record = json.dumps({"revision": asdict(revision), "appliedAt": now, "source": _identity(settings)})
        await asyncio.to_thread(_install, place, wanted, found, path=settings.path, record=record)
        self._state = replace(self._state, applied=revision, applied_at=now)
        await self._mirror.remember(revision.commit)

    def _recall(self) -> bool:
        """Whether a revision is in force from before; none is when the settings name another repository or place by now."""
        try:
            record = json.loads((self._folder / "current" / RECORD).read_text(encoding="utf-8"))
            known = bool(record["source"] == _identity(self._settings))
            if known:
                revision = Revision(**record["revision"])
                self._state = replace(
                    self._state, applied=revision, attempted=revision, applied_at=float(record["appliedAt"])
                )
        except (OSError, ValueError, KeyError, TypeError):
            return False  # as if there had been nothing: the next attempt writes it anew
        return known


def _told(remote: Remote, applied: Revision | None, revision: Revision, kinship: Kinship) -> Finding:
    signed = f", signed by {revision.signer}" if revision.verified else ""
    if kinship in (Kinship.SAME, Kinship.FIRST) or applied is None:
        return Finding(True, Why.REVISION_APPLIED, f"commit {revision}{signed} is in force")
    if remote.is_tag:
        text = f"{remote.name} was moved from commit {applied.short} to {revision}{signed}, which {kinship.value} and is in force"
        return Finding(True, Why.TAG_MOVED, text)
    if kinship is not Kinship.FOLLOWS:
        text = (
            f"{remote.name} was rewritten: commit {revision}{signed} is in force and {kinship.value} ({applied.short})"
        )
        return Finding(True, Why.HISTORY_REWRITTEN, text)
    return Finding(True, Why.REVISION_APPLIED, f"commit {revision}{signed} is in force")


def _identity(settings: GitSettings) -> Mapping[str, str]:
    return {"url": settings.url, "path": settings.path}


def _fingerprint(settings: GitSettings, revision: Revision) -> str:
    """Tells trees of the same commit apart: another path, another signer."""
    return hashlib.sha256(f"{settings.path}\0{revision.key}".encode()).hexdigest()[:8]


def _install(place: Path, wanted: list[tree.Entry], found: list[bytes], *, path: str, record: str) -> None:
    """Write a tree beside the one in force and let `current` lead to it, in one step that no crash can halve."""
    trees = place.parent
    current = trees.parent / "current"
    before = Path(os.path.realpath(current)) if current.is_symlink() else None
    tree.discard(trees, [before] if before is not None else [])
    if before != place:
        fresh = trees / "new"
        tree.write(fresh, wanted, found, path)
        (fresh / RECORD).write_text(record, encoding="utf-8")
        with (fresh / RECORD).open("rb") as file:
            os.fsync(file.fileno())
        tree.sync(fresh)
        fresh.rename(place)
        tree.sync(trees)
    link = trees.parent / "current.new"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("trees") / place.name)
    link.replace(current)
    tree.sync(trees.parent)


async def _woken_or_after(wake: asyncio.Event, pause: Coroutine[None, None, None]) -> None:
    """Return when `wake` is set or `pause` is over."""
    waiting = [asyncio.ensure_future(wake.wait()), asyncio.ensure_future(pause)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
