"""What `drover plan` plans when it is asked about revisions, or about a cluster that was looked at before. Used by `cli.plan`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from controller import app
from controller.model.errors import DroverError
from controller.rehearse import whatif
from controller.report import review
from controller.settings import Settings
from controller.sources import Held, Snapshot
from controller.sources.at_revision import find, read
from controller.sources.folder import FolderSource


@dataclass(frozen=True, slots=True)
class Question:
    """What is compared. path: a folder; below `repo` when a revision is read, "" for all of it."""

    path: Path | None
    against: tuple[str, ...]
    before: str | None
    after: str | None
    repo: Path
    cluster: str | None


def answer(question: Question, settings: Settings, *, settle: bool) -> tuple[list[whatif.Comparison], review.Frame]:
    """The plans, and what holds for all of them. Raises ClickException for what can't be read."""
    try:
        before = _side(question.before, question) if question.before is not None else None
        after = _side(question.after, question) if question.after is not None else _folder_of(question, settings)
        was, will = whatif.both(before[1] if before is not None else None, after[1])
        looks = whatif.looks(question.against, settings, was if was is not None else will, question.cluster)
        looks += _new(looks, will, question, settings)
    except DroverError as error:
        raise click.ClickException(error.message) from error
    now = app.system_clock().wall()
    times = [look.at for look in looks if look.at is not None]
    frame = review.Frame(
        revisions=" → ".join(side[0] for side in (before, after) if side is not None and side[0]),
        problems=tuple(dict.fromkeys(str(problem) for problem in will.problems)),
        taken_at=min(times, default=None),
        age_seconds=whatif.old(looks, now),
    )
    return [whatif.compare(look, was, will, settle=settle) for look in looks], frame


def subject(one: whatif.Comparison) -> review.Subject:
    """One cluster for the comment."""
    explainer = one.after.explainer() if one.after.error is None else None
    plan = one.after.plan
    told = (
        [explainer.explain(move.vmid) for move in plan.all_moves] if explainer is not None and plan is not None else []
    )
    error = one.after.error
    return review.Subject(
        cluster=one.after.cluster,
        before=one.before.plan if one.before is not None else None,
        after=plan,
        settled=one.settled,
        seen=one.after.seen,
        specs=one.after.specs,
        seconds={each.vmid: each.seconds for each in told if each.seconds is not None},
        error=f"{error.why}: {error.message}" if error is not None else "",
        lacking=one.after.lacking,
    )


def _new(looks: Sequence[whatif.Look], will: Held, question: Question, settings: Settings) -> list[whatif.Look]:
    """Looks at clusters that the second revision adds."""
    known = {look.result.cluster for look in looks}
    fresh = [name for name in will.specs.clusters if name not in known and question.cluster in (None, name)]
    against = tuple(word for word in question.against if word == whatif.LIVE or Path(word).suffix == ".json")
    return [look for name in fresh for look in whatif.looks(against, settings, will, name)]


def _side(word: str, question: Question) -> tuple[str, Snapshot]:
    """A revision or a folder, by the name that people know it by, and as it would be read."""
    if Path(word).is_dir():
        return word, _folder(Path(word))
    revision = find(question.repo, word)
    return str(revision), read(question.repo, revision, _below(question))


def _folder_of(question: Question, settings: Settings) -> tuple[str, Snapshot]:
    """What lies in the work tree, when no revision is named."""
    return "", _folder(question.path or settings.source)


def _below(question: Question) -> str:
    return question.path.as_posix().strip("/") if question.path is not None and str(question.path) != "." else ""


def _folder(path: Path) -> Snapshot:
    return FolderSource(path, watch=False, in_thread=False).read_now()
