"""Checks of the processor that a running VM was started with. Listed in `preflight.CHECKS`.

A named model is started with `enforce`: QEMU on the target refuses what its node can't do. `host` is not checked by anybody:
the guest silently loses features and may crash (qemu-server: PVE/QemuServer/CPUConfig.pm).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from controller.decide.preflight.finding import Finding, Look, check, fail, unchecked, warn
from controller.decide.preflight.models import flags_of, normal, vendor_of
from controller.model.facts import Setup, Topic
from controller.model.ids import NodeName
from controller.model.observed import Cpu
from controller.model.reasons import Why

_DEFAULT: Final = "kvm64"
_OWN: Final = frozenset({"host", "max"})
_CUSTOM: Final = "custom-"
_BY_HAND: Final = re.compile(r"(?:^|\s)-cpu\s+(?P<model>[^\s,]+)(?P<rest>\S*)")
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the guest was started with. name: as the config says it; model: of QEMU, "" when nobody tells."""

    name: str
    model: str
    flags: frozenset[str]  # on top of the model's


@check(Why.CPU_INCOMPATIBLE, Why.NOT_CHECKED)
def processor_can_run_it(look: Look) -> tuple[Finding, ...]:
    """The CPU type of the config that runs: a change that waits for a cold start does not count (qemu-server: PVE/API2/Qemu.pm).

    `host` and `max` need the same processor, named models their flags, custom ones those of the model they are made of. By
    PVE's own list of who supports what, which exists since 9.2, else by the flags that both nodes show.
    """
    setup = look.facts.setup
    if setup is None or not look.live or look.fresh.target is None:
        return ()
    here = look.fresh.source.cpu if look.fresh.source is not None else None
    there = look.fresh.target.cpu
    if here is not None and there is not None and here.architecture != there.architecture:
        text = f"{look.move.source} is {here.architecture}, {look.move.target} is {there.architecture}"
        return fail(Why.CPU_INCOMPATIBLE, f"{text}: no guest runs on both")
    wanted = _wanted(look, setup)
    if wanted.model in _OWN:
        return _the_nodes_own(look, wanted, here, there)
    needed = flags_of(wanted.model)
    if needed is not None and (here is None or there is None or _same_vendor(wanted, here, there)):
        return _flags(look, wanted, needed | {normal(flag) for flag in wanted.flags}, here, there)
    return _of_a_vendor(look, wanted, here, there)


def _wanted(look: Look, setup: Setup) -> _Wanted:
    """QEMU takes the last `-cpu` of its command line, and what `args` says comes last."""
    by_hand = _BY_HAND.search(setup.pins.get("args", ""))
    if by_hand is not None:
        more = frozenset(word[1:] for word in by_hand["rest"].split(",") if word.startswith("+"))
        return _Wanted(f"{by_hand['model']} of its args", by_hand["model"], more)
    name = setup.cpu or _DEFAULT
    if not name.startswith(_CUSTOM):
        return _Wanted(name, name, setup.cpu_flags)
    custom = (look.facts.custom_models or {}).get(name)
    if custom is None:
        return _Wanted(name, "", setup.cpu_flags)
    return _Wanted(f"{name} ({custom.model})", custom.model, setup.cpu_flags | custom.flags)


def _same_vendor(wanted: _Wanted, here: Cpu, there: Cpu) -> bool:
    """Whether flags alone decide: models of no vendor, and nodes of one vendor."""
    return here.vendor == there.vendor or not vendor_of(wanted.model)


def _the_nodes_own(look: Look, wanted: _Wanted, here: Cpu | None, there: Cpu | None) -> tuple[Finding, ...]:
    if here is None or there is None:
        return unchecked(look, Topic.CPU, f"whether CPU type {wanted.name} means the same on {look.move.target}")
    if _kind(here) != _kind(there):
        text = (
            f"CPU type {wanted.name} means {here.model} on {look.move.source} and {there.model} on {look.move.target}"
        )
        return fail(Why.CPU_INCOMPATIBLE, text)
    missing = _lacking(here.flags, here, there)
    if missing:
        text = f"{look.move.target} lacks {_listed(missing)}, which CPU type {wanted.name} shows the guest"
        return fail(Why.CPU_INCOMPATIBLE, text)
    return ()


def _flags(
    look: Look, wanted: _Wanted, needed: frozenset[str], here: Cpu | None, there: Cpu | None
) -> tuple[Finding, ...]:
    missing = _listed_as_missing(look, needed)
    if missing is None:
        if here is None or there is None:
            return unchecked(look, Topic.CPU, f"whether {look.move.target} supports CPU type {wanted.name}")
        missing = _lacking(needed, here, there)
    if not missing:
        return ()
    text = f"{look.move.target} lacks {_listed(missing)}, which CPU type {wanted.name} needs"
    return fail(Why.CPU_INCOMPATIBLE, text)


def _listed_as_missing(look: Look, needed: Collection[str]) -> set[str] | None:
    """By PVE's own list; None where there is none, or where the target has told nothing yet."""
    known, target = look.facts.cpu_flags, look.move.target
    if known is None or not any(target in nodes for nodes in known.values()):
        return None
    supported: dict[str, frozenset[NodeName]] = {normal(flag): nodes for flag, nodes in known.items()}
    return {flag for flag in map(normal, needed) if flag in supported and target not in supported[flag]}


def _of_a_vendor(look: Look, wanted: _Wanted, here: Cpu | None, there: Cpu | None) -> tuple[Finding, ...]:
    """A model whose needs nobody lists, or a vendor's model between processors of two vendors."""
    if here is None or there is None:
        return unchecked(look, Topic.CPU, f"whether {look.move.target} supports CPU type {wanted.name}")
    if wanted.model and here.vendor != there.vendor and there.vendor != vendor_of(wanted.model):
        text = f"CPU type {wanted.name} runs on {there.model} of {look.move.target}, another vendor's"
        return fail(Why.CPU_INCOMPATIBLE, text)
    missing = _lacking(here.flags, here, there)
    if not missing and here.vendor == there.vendor:
        return ()
    reason = f"{look.move.target} lacks {_listed(missing)}" if missing else "the nodes have processors of two vendors"
    return warn(Why.NOT_CHECKED, f"not checked whether {look.move.target} supports CPU type {wanted.name}: {reason}")


def _lacking(needed: frozenset[str], here: Cpu, there: Cpu) -> set[str]:
    """Flags that the target lacks. One that the source does not show either has another name in Linux, for there it runs."""
    flags, shown = {normal(flag) for flag in there.flags}, {normal(flag) for flag in here.flags}
    return {flag for flag in map(normal, needed) if flag not in flags and flag in shown}


def _kind(cpu: Cpu) -> tuple[str, str, str]:
    return cpu.vendor, cpu.family, cpu.model


def _listed(flags: set[str]) -> str:
    names = sorted(flags)
    return (
        ", ".join(names)
        if len(names) <= _SHOWN
        else f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more flags"
    )
