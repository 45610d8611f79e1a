"""Tells the forge how a commit fares: pending, success or failure with a sentence, beside the commit where its author looks.

Run by `app` beside the loops, which never wait for it; what was told last is kept on disk, so that a restart repeats nothing.
Success means: the revision is in force, everything in it was accepted, and every cluster was looked at and planned for since. How
far the guests are from where they should be is in the sentence.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

import structlog

from controller import outgoing
from controller.clock import Clock
from controller.model.condition import Status
from controller.model.ids import ClusterName
from controller.report.board import Board, Published, SourceState
from controller.report.metrics import Metrics
from controller.report.metrics.source import ToldResult
from controller.report.units import count_of
from controller.settings import CommitStatusSettings, Secret

LOOK_SECONDS = 5.0
"""The least between two looks at the board."""
REWORD_SECONDS = 60.0
"""How often the sentence may change while the state stays."""
LONGEST_PAUSE_SECONDS = 900.0
_SENTENCE = 140  # what GitHub takes


class State(StrEnum):
    """How a commit fares."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Word:
    """What is said of one commit."""

    commit: str
    state: State
    sentence: str


def word(source: SourceState, clusters: Mapping[ClusterName, Published]) -> Word | None:
    """What there is to say now; None before the repository was looked at."""
    view = source.view
    if view is None or view.finding is None or view.attempted is None:
        return None
    if view.refused:
        return Word(
            view.attempted.commit, State.FAILURE, f"Not put in force: {view.finding.why}. {view.finding.message}"
        )
    if view.applied is None:
        return None
    state, sentence = _of_source(source) or _of_clusters(source, clusters, view.applied_at or 0.0)
    return Word(view.applied.commit, state, sentence)


def _of_source(source: SourceState) -> tuple[State, str] | None:
    """What the revision itself lacks; None when all of it is in force."""
    if source.awaiting:
        return State.PENDING, f"Deletions wait for a person: drover confirm {source.awaiting}"
    if source.problems or not source.complete:
        first = str(source.problems[0]) if source.problems else "the manifests can't be read completely"
        more = f" (and {len(source.problems) - 1} more)" if len(source.problems) > 1 else ""
        return State.FAILURE, f"Not all of it is in force: {first}{more}"
    return None if source.specs.clusters else (State.FAILURE, "It holds no PveCluster")


def _of_clusters(source: SourceState, clusters: Mapping[ClusterName, Published], since: float) -> tuple[State, str]:
    names = [ClusterName(name) for name in sorted(source.specs.clusters)]
    if said := next(filter(None, (_wait(name, clusters.get(name), source, since) for name in names)), None):
        return State.PENDING, said
    shown = [clusters[name] for name in names]
    if refused := _not_accepted(shown):
        return State.FAILURE, refused
    return State.SUCCESS, f"In force; {_distance(shown)}"


def _wait(name: str, shown: Published | None, source: SourceState, since: float) -> str:
    """What a cluster still owes to the revision; "" when it was looked at and planned for."""
    if shown is None or shown.specs is not source.specs:
        return f"In force; cluster {name} has not been looked at yet"
    view = shown.view
    if not view.connected.ok:
        return f"In force; cluster {name} can't be looked at: {view.connected.why}"
    if view.seen is None or view.seen.at < since:
        return f"In force; cluster {name} has not been looked at since"
    if view.plan is not None and view.plan.at < since:
        return f"In force; cluster {name} has not been planned for since"
    return ""


def _not_accepted(clusters: list[Published]) -> str:
    for shown in clusters:
        for ref, status in sorted(shown.statuses.items()):
            condition = status.condition("Accepted")
            if condition is not None and condition.status is Status.FALSE:
                return f"{ref} is not accepted: {condition.reason}: {condition.message}"
    return ""


def _distance(clusters: list[Published]) -> str:
    """How far everything is from where it should be."""
    plans = [shown.view.plan for shown in clusters if shown.view.plan is not None]
    moves = sum(len(plan.all_moves) for plan in plans) + sum(len(shown.view.memory.flights) for shown in clusters)
    blocked = Counter(str(stop.why) for plan in plans for stop in plan.blocked)
    said = [f"{count_of(moves, 'move')} to go"] if moves else []
    if blocked:
        said.append(f"{count_of(blocked.total(), 'guest')} blocked ({', '.join(sorted(blocked))})")
    held = sorted({str(shown.view.armed.why) for shown in clusters if not shown.view.armed.ok})
    if held and (moves or len(plans) < len(clusters)):
        said.append(f"nothing is started: {', '.join(held)}")
    return ", ".join(said) or "everything is where it should be"


class CommitStatus:
    """Keeps one forge up to date. `file` remembers what it was told last."""

    def __init__(
        self, settings: CommitStatusSettings, file: Path, board: Board, clock: Clock, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._file = file
        self._board = board
        self._clock = clock
        self._metrics = metrics
        self._told = _read(file)
        self._told_at = 0.0
        self._not_before = 0.0
        self._failures = 0
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.tell()
            await self._clock.sleep(LOOK_SECONDS)

    async def tell(self) -> None:
        """Tell what is new, if anything is and the forge may be asked again."""
        now, news = self._clock.monotonic(), word(self._board.source, self._board.clusters)
        if news is None or now < self._not_before:
            return
        news = replace(news, sentence=_short(news.sentence))
        told = self._told
        same = told is not None and (told.commit, told.state) == (news.commit, news.state)
        if same and (told == news or now - self._told_at < REWORD_SECONDS):
            return
        await self._post(news, now)

    async def _post(self, news: Word, now: float) -> None:
        target = self._settings.target
        path, body = _request(self._settings, news)
        answer = await outgoing.post(replace(target, url=Secret(target.url.reveal().rstrip("/") + path)), body)
        # GitLab says 400 to a state that it has already: there is nothing more to tell it.
        known = isinstance(answer, outgoing.Refused) and answer.status == 400 and self._settings.kind == "gitlab"
        if isinstance(answer, outgoing.Ok) or known:
            self._told, self._told_at, self._failures = news, now, 0
            self._metrics.commit_status(ToldResult.TOLD)
            await asyncio.to_thread(_write, self._file, news)
            return
        self._failures += 1
        refused = isinstance(answer, outgoing.Refused)
        pause = LONGEST_PAUSE_SECONDS if refused else min(LOOK_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
        asked = answer.after_seconds if isinstance(answer, outgoing.Later) else None
        self._not_before = now + max(pause, asked or 0.0)
        self._metrics.commit_status(ToldResult.REFUSED if refused else ToldResult.LATER)
        self._log.warning(
            "commit status not told", commit=news.commit, error=answer.message, again_in_seconds=round(pause)
        )


def _request(settings: CommitStatusSettings, news: Word) -> tuple[str, Mapping[str, str]]:
    """Path and body of the one request, as the forge wants it."""
    link = {"target_url": settings.page_url} if settings.page_url else {}
    if settings.kind == "gitlab":
        state = "failed" if news.state is State.FAILURE else str(news.state)
        path = f"/projects/{quote(settings.repository, safe='')}/statuses/{news.commit}"
        return path, {"state": state, "description": news.sentence, "name": settings.context, **link}
    path = f"/repos/{settings.repository}/statuses/{news.commit}"
    return path, {"state": str(news.state), "description": news.sentence, "context": settings.context, **link}


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= _SENTENCE else sentence[: _SENTENCE - 1] + "…"


def _read(file: Path) -> Word | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return Word(str(data["commit"]), State(data["state"]), str(data["sentence"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is told once more than needed


def _write(file: Path, news: Word) -> None:
    fresh = file.with_suffix(".new")
    try:
        fresh.write_text(json.dumps(asdict(news)), encoding="utf-8")
        fresh.replace(file)
    except OSError as error:
        structlog.get_logger().warning("state not written", file=str(file), error=str(error))
