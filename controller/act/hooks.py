"""Hooks: commands and webhooks of the machine's settings, while ticks go on. Intent on disk before the start, result after.

`Hooks` belongs to `loop.cluster_loop`, is fed by `loop.tick`; `MachineHooks` is chosen by `app`, another one by `rehearse`.
A hook whose result is not known, because Drover ended meanwhile, is run again: hooks have to be idempotent.
"""

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from controller.act import webhook
from controller.act.webhook import WebhookFailed
from controller.clock import Clock
from controller.model.errors import DroverError
from controller.model.event import Event, EventType
from controller.model.ids import ClusterName
from controller.model.turn import HookCall, HookRun
from controller.report.events import Told
from controller.report.store import Store
from controller.settings import Hook

OUTPUT_BYTES = 4000
"""How much of the end of what a hook says is kept."""
_REAP_SECONDS = 5.0
_HANDED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSH_AUTH_SOCK")
"""The only variables of Drover's own environment that a hook gets: the others may hold secrets."""


@dataclass(frozen=True, slots=True)
class HookResult:
    """How a hook ended. exit_code: None when it was ended or could not be started, then `output` says why."""

    exit_code: int | None
    output: str


class HookRunner(Protocol):
    """Runs one hook to its end."""

    def __call__(
        self, name: str, environment: Mapping[str, str], begun: str, note: Callable[[str], None]
    ) -> Awaitable[HookResult]:
        """Raise nothing but CancelledError, after having ended what was begun and can be ended.

        begun: what an earlier attempt has told `note` of where the work goes on without us, "" if nothing.
        """
        ...


class MachineHooks:
    """A `HookRunner` for the hooks of the machine's settings. `hide` gives what they say without the machine's secrets."""

    def __init__(self, hooks: Mapping[str, Hook], clock: Clock, *, hide: Callable[[str], str] = str) -> None:
        self._hooks = hooks
        self._hide = hide
        self._clock = clock

    async def __call__(
        self, name: str, environment: Mapping[str, str], begun: str, note: Callable[[str], None]
    ) -> HookResult:
        """See `HookRunner`."""
        result = await self._run(name, environment, begun, note)
        return replace(result, output=self._hide(result.output))

    async def _run(
        self, name: str, environment: Mapping[str, str], begun: str, note: Callable[[str], None]
    ) -> HookResult:
        hook = self._hooks.get(name)
        if hook is None:
            return HookResult(None, f"the settings define no hook {name!r}")
        if hook.webhook is None:
            return await _command(hook, environment)
        values = {key.removeprefix("DROVER_").lower(): value for key, value in environment.items()}
        try:
            async with asyncio.timeout(hook.timeout_seconds):
                said = await webhook.call(hook.webhook, values, clock=self._clock, begun=begun, note=note)
        except TimeoutError:
            return HookResult(None, f"was not over after its {hook.timeout_seconds:g} s; what it began may go on")
        except WebhookFailed as failed:
            return HookResult(None, str(failed))
        return HookResult(0, said)


async def _command(hook: Hook, environment: Mapping[str, str]) -> HookResult:
    """Without a shell, in a process group of its own."""
    inherited = {key: os.environ[key] for key in _HANDED_ON if key in os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            *hook.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**inherited, **environment},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return HookResult(None, f"{hook.argv[0]} can't be run: {error}")
    kept = bytearray()
    try:
        async with asyncio.timeout(hook.timeout_seconds):
            await _listen(process, kept)
            code = await process.wait()
    except TimeoutError:
        text = f"took longer than its {hook.timeout_seconds:g} s and was ended"
        return HookResult(
            None, "\n".join(filter(None, (_said(kept), text)))
        )  # the last lines are what people are shown
    finally:
        _end(process.pid)
        with contextlib.suppress(TimeoutError):  # what has left the group may hold on to its output
            async with asyncio.timeout(_REAP_SECONDS):
                await process.wait()
    return HookResult(code, _said(kept))


async def _listen(process: asyncio.subprocess.Process, kept: bytearray) -> None:
    assert process.stdout is not None
    while chunk := await process.stdout.read(4096):
        kept.extend(chunk)
        del kept[:-OUTPUT_BYTES]


def _end(group: int) -> None:
    """End whatever is left of a hook: what it left behind in the background, too."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _said(kept: bytearray) -> str:
    text = bytes(kept).decode(errors="replace")
    return "".join(c for c in text if c.isprintable() or c == "\n").strip()


class Hooks:
    """The hooks of one cluster: started when asked for, at most one at a time under a key."""

    def __init__(
        self, cluster: ClusterName, store: Store, run: HookRunner, clock: Clock, ended: Callable[[], None]
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._run = run
        self._clock = clock
        self._ended = ended
        self._told: list[Event] = []  # of hooks that have ended
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unwritten: dict[str, HookRun] = {}  # results that the disk has refused

    def tend(self, wanted: Iterable[HookCall], *, start: bool) -> tuple[Event, ...]:
        """Start those that do not run and have not ended, if `start`; what happened since the last call.

        Raises Retry(STORE_FAILED): then the rest is not started.
        """
        for key, run in list(self._unwritten.items()):
            self._store.note_hook(run)
            del self._unwritten[key]
        calls = {call.key: call for call in wanted}
        self._give_up(calls)
        told, self._told = self._told, []
        for call in calls.values() if start else ():
            known = self._store.memory().hooks.get(call.key)
            same = known is not None and known.call.occasion == call.occasion
            if call.key in self._tasks or (same and known is not None and known.over):
                continue
            attempt = known.attempt + 1 if same and known is not None else 1
            begun = known.begun if same and known is not None else ""
            run = HookRun(call, attempt, self._clock.wall(), begun=begun)
            self._store.note_hook(run)
            self._tasks[call.key] = asyncio.create_task(self._carry_out(run), name=f"hook {call.key}")
            told.append(self._event(run, EventType.NORMAL, Told.HOOK_STARTED))
        return tuple(told)

    def _give_up(self, wanted: Mapping[str, HookCall]) -> None:
        """What ran when Drover ended, and nobody asks for any more, will never have a result."""
        for key, run in self._store.memory().hooks.items():
            if not run.over and key not in self._tasks and key not in wanted:
                text = "Drover ended while it ran, and nobody asks for it any more"
                self._store.note_hook(replace(run, ended_at=self._clock.wall(), output=text))

    async def close(self) -> None:
        """End what runs: it is run again when Drover starts again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, run: HookRun) -> None:
        call = run.call
        result = await self._run(
            call.hook,
            {
                "DROVER_CLUSTER": self._cluster,
                "DROVER_NODE": call.node,
                "DROVER_MAINTENANCE": call.maintenance.name,
                "DROVER_ACTION": call.action,
                "DROVER_ATTEMPT": str(run.attempt),
                "DROVER_RUN": f"{call.key}@{call.occasion:.0f}",
            },
            run.begun,
            functools.partial(self._note, run),
        )
        over = replace(run, ended_at=self._clock.wall(), exit_code=result.exit_code, output=result.output)
        try:
            self._store.note_hook(over)
        except DroverError:
            self._unwritten[call.key] = over
        del self._tasks[call.key]
        self._told.append(self._of_end(over))
        self._ended()

    def _note(self, run: HookRun, begun: str) -> None:
        with contextlib.suppress(DroverError):  # after a restart it is then begun anew, as if nothing had been noted
            self._store.note_hook(replace(run, begun=begun))

    def _of_end(self, run: HookRun) -> Event:
        if run.succeeded:
            return self._event(run, EventType.NORMAL, Told.HOOK_SUCCEEDED)
        code = f"exit code {run.exit_code}" if run.exit_code is not None else "it failed"
        said = run.output.splitlines()
        return self._event(run, EventType.WARNING, Told.HOOK_FAILED, f": {'; '.join([code, *said[-3:]])}")

    def _event(self, run: HookRun, type_: EventType, told: Told, text: str = "") -> Event:
        call, now = run.call, self._clock.wall()
        what = f"hook {call.hook} ({call.action}) for {call.node}, attempt {run.attempt}{text}"
        return Event(type_, told, call.maintenance, what, now, now)
