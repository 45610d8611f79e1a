"""A bare copy of the repository: a cache that may be thrown away at any time.

Used by `source`. Knows what the server's branch or tag is now, fetches it, and how two commits are related.
"""

import asyncio
import shutil
from dataclasses import dataclass
from enum import Enum

from controller.model.errors import DroverError, Rejected
from controller.model.reasons import Why
from controller.settings import GitSettings
from controller.sources.git.command import Git

CANDIDATE, APPLIED = "refs/drover/candidate", "refs/drover/applied"
_MANY_PACKS = 40


@dataclass(frozen=True, slots=True)
class Remote:
    """What the server calls `ref`: the full name, and the object it leads to (a tag object for an annotated tag)."""

    name: str
    oid: str

    @property
    def is_tag(self) -> bool:
        """Whether it is a tag, which is not expected to move."""
        return self.name.startswith("refs/tags/")


class Kinship(Enum):
    """What a new commit is to the one in force."""

    FIRST = "the first one"
    SAME = "the same"
    FOLLOWS = "follows it"
    REWOUND = "is older than it"
    REWRITTEN = "has another history since a common ancestor"
    UNRELATED = "has nothing in common with it"


class Mirror:
    """The bare repository of one source."""

    def __init__(self, git: Git, settings: GitSettings) -> None:
        self._git = git
        self._settings = settings

    async def remote(self) -> Remote:
        """Ask the server what the branch or tag is. Raises DroverError: no such name, no commit at all, not reachable."""
        await self._ensure()
        ref = self._settings.ref
        names = [ref] if ref == "HEAD" or ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
        found = await self._list(*names)
        if len(found) == 1:
            return found[0]
        if found:
            text = f"{ref!r} is a branch and a tag; write {' or '.join(one.name for one in found)}"
            raise Rejected(Why.REF_MISSING, text)
        if not await self._list():
            raise Rejected(Why.REPOSITORY_EMPTY, f"{self._settings.url} has no branch and no tag")
        raise Rejected(Why.REF_MISSING, f"{self._settings.url} has no branch and no tag {ref!r}; was it deleted?")

    async def _list(self, *names: str) -> list[Remote]:
        ran = await self._git.ask("ls-remote", "--quiet", "--", self._settings.url, *names)
        rows = [line.split("\t") for line in ran.text.splitlines()]
        listed = [Remote(name, oid) for oid, name in rows if not name.endswith("^{}")]
        # ls-remote takes names as the ends of paths: `main` is `refs/heads/x/refs/heads/main`, too.
        return [one for one in listed if not names or one.name in names]

    async def fetch(self, remote: Remote) -> tuple[str, str]:
        """Bring it here; the object that the name leads to, and its commit. Raises DroverError."""
        depth = (f"--depth={self._settings.depth}",) if self._settings.depth else ()
        quiet = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force")
        await self._git.ask("fetch", *quiet, *depth, "--", self._settings.url, f"+{remote.name}:{CANDIDATE}")
        ran = await self._git.run("rev-parse", "--verify", "--quiet", f"{CANDIDATE}^{{commit}}", codes=(0, 1, 128))
        if ran.code:
            raise Rejected(Why.REF_MISSING, f"{remote.name} leads to no commit")
        oid = (await self._git.run("rev-parse", "--verify", CANDIDATE)).text
        return oid, ran.text

    async def kinship(self, base: str | None, tip: str) -> Kinship:
        """What `tip` is to `base`, which may be a commit that is not here any more."""
        if base is None or base == tip:
            return Kinship.FIRST if base is None else Kinship.SAME
        if (await self._git.run("cat-file", "-e", f"{base}^{{commit}}", codes=(0, 1, 128))).code:
            return Kinship.UNRELATED
        follows = not (await self._git.run("merge-base", "--is-ancestor", base, tip, codes=(0, 1))).code
        if follows or self._settings.depth:  # with a depth the history between them was not fetched: nobody can tell
            return Kinship.FOLLOWS
        if not (await self._git.run("merge-base", "--is-ancestor", tip, base, codes=(0, 1))).code:
            return Kinship.REWOUND
        common = await self._git.run("merge-base", base, tip, codes=(0, 1))
        return Kinship.UNRELATED if common.code else Kinship.REWRITTEN

    async def remember(self, commit: str) -> None:
        """Hold on to the commit in force, whatever becomes of its branch; pack what many fetches have brought."""
        await self._git.run("update-ref", APPLIED, commit)
        if len(await asyncio.to_thread(lambda: list(self._git.mirror.glob("objects/pack/*.pack")))) > _MANY_PACKS:
            await self._git.run("repack", "-a", "-d", "-q")

    async def has(self, commit: str) -> bool:
        """Whether a commit is here."""
        return not (await self._git.run("cat-file", "-e", f"{commit}^{{commit}}", codes=(0, 1, 128))).code

    async def throw_away(self) -> None:
        """Begin anew with the next fetch: what is here can't be used."""
        await asyncio.to_thread(shutil.rmtree, self._git.mirror, ignore_errors=True)

    def _tidy(self) -> None:
        """Remove what fetches that were cut off have left: each as large as a fetch may be."""
        for left in (*self._git.mirror.glob("objects/pack/tmp_*"), *self._git.mirror.glob("*.lock")):
            left.unlink(missing_ok=True)

    async def _ensure(self) -> None:
        await asyncio.to_thread(self._git.prepare)
        await asyncio.to_thread(self._tidy)
        if await asyncio.to_thread((self._git.mirror / "HEAD").exists):
            return
        await self.throw_away()
        try:
            await self._git.run("init", "--quiet", "--bare", "--template=", str(self._git.mirror))
        except DroverError:
            await self.throw_away()
            raise
