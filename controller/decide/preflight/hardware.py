"""Checks of what binds a running VM to processors, NUMA nodes and pages of its node. Listed in `preflight.CHECKS`.

PVE passes all of it to the target as it is written, and looks there only when the guest starts: the move then fails
(qemu-server: PVE/QemuServer/Memory.pm, PVE/QemuServer.pm). Its API shows neither hugepages nor NUMA nodes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from controller.decide.preflight.finding import Finding, Level, Look, check, fail, warn
from controller.decide.words import size
from controller.model.observed import Cpu, Node
from controller.model.reasons import Why

_PINNED: Final = Why.PINNED_TO_HARDWARE
_PASSED_THROUGH: Final = re.compile(r"\b(?:vfio-pci|usb-host|ivshmem-\w+|vhost-scsi\S*)")
_PAGES: Final[Mapping[str, int]] = {"2": 2 << 20, "1024": 1 << 30}
_HUGE: Final = "pdpe1gb"
"""Linux' flag for pages of 1 GiB."""


@check(Why.PINNED_TO_HARDWARE)
def not_bound_to_hardware(look: Look) -> tuple[Finding, ...]:
    """`affinity`, `numaN` with host nodes, `hugepages` and `args` of the config that runs, against what the target shows.

    Where the API does not tell, a person has to look, and the finding says at what.
    """
    setup, target = look.facts.setup, look.fresh.target
    if setup is None or target is None or not look.live:
        return ()
    return tuple(found for key, value in setup.pins.items() for found in _judge(key)(look, key, value, target))


def _judge(key: str) -> Callable[[Look, str, str, Node], tuple[Finding, ...]]:
    return _numa if key.startswith("numa") else {"affinity": _affinity, "hugepages": _hugepages}.get(key, _args)


def _affinity(look: Look, _key: str, value: str, target: Node) -> tuple[Finding, ...]:
    beyond = [number for number in _numbers(value, ",") if target.cpus is not None and number >= target.cpus]
    if beyond:
        text = f"its affinity {value} names processors that {target.name} does not have ({target.cpus} threads)"
        return fail(_PINNED, text, "Change the affinity, or move it to a node with as many threads.")
    source = look.fresh.source
    if source is not None and _layout(source) is not None and _layout(source) == _layout(target):
        text = f"its affinity {value} means the same on {target.name}: both have {_shown(target)}"
        return (Finding(Level.OK, _PINNED, text),)
    here = _shown(source) if source is not None else "other ones"
    text = f"its affinity {value} was chosen for {here}, and {target.name} has {_shown(target)}"
    return warn(_PINNED, text, f"See `lscpu -e` on {target.name}, whether these are the right processors there too.")


def _numa(look: Look, key: str, value: str, target: Node) -> tuple[Finding, ...]:
    """Every socket with memory is at least one NUMA node; that there are more shows nowhere."""
    nodes = value.partition("hostnodes=")[2].partition(",")[0]
    highest = max(_numbers(nodes, ";"), default=0)
    sockets = target.cpu.sockets if target.cpu is not None else 1
    if highest < sockets:
        text = f"{look.named} binds {key} to NUMA node {nodes}, and {target.name} has {sockets} of them or more"
        return (Finding(Level.OK, _PINNED, text),)
    text = (
        f"{look.named} binds {key} to NUMA node {nodes}; whether {target.name} ({_shown(target)}) has it,"
        " PVE's API does not show"
    )
    return warn(_PINNED, text, f"See `lscpu | grep NUMA` on {target.name}: without it the guest does not start there.")


def _hugepages(look: Look, _key: str, value: str, target: Node) -> tuple[Finding, ...]:
    source = look.fresh.source
    if value == "1024" and source is not None and _has(source.cpu, _HUGE) and _lacks(target.cpu, _HUGE):
        text = f"{look.named} needs hugepages of 1 GiB, which the processor of {target.name} does not have ({_HUGE})"
        return fail(_PINNED, text, "Set `hugepages: 2`, and start the guest anew.")
    page = _PAGES.get(value)
    memory = look.size or 0
    pages = f"{-(-memory // page)} hugepages of {size(page)}" if page is not None else f"hugepages for {size(memory)}"
    text = f"{look.named} needs {pages} on {target.name}; how many are free there, PVE's API does not show"
    return warn(
        _PINNED, text, f"See `grep Huge /proc/meminfo` on {target.name}: without them the guest does not start there."
    )


def _args(look: Look, key: str, value: str, target: Node) -> tuple[Finding, ...]:
    if device := _PASSED_THROUGH.search(value):
        text = f"{look.named} has {key} with {device[0]}, a device of {look.move.source}, which QEMU does not move live"
        return fail(_PINNED, text, "Shut it down before the move, or use a resource mapping that can migrate live.")
    text = f"{look.named} has {key} that PVE passes to QEMU as they are: {value}"
    return warn(_PINNED, text, f"Check that every file and device in them is on {target.name} too.")


def _numbers(listed: str, separator: str) -> Iterator[int]:
    """The highest number of every part of a list such as `0-3,8`."""
    for part in listed.split(separator):
        last = part.rpartition("-")[2].strip()
        if last.isdecimal():
            yield int(last)


def _layout(node: Node) -> tuple[str, int, int | None] | None:
    return (node.cpu.model, node.cpu.sockets, node.cpus) if node.cpu is not None else None


def _shown(node: Node) -> str:
    if node.cpu is None:
        return f"{node.cpus} threads"
    sockets = f"{node.cpu.sockets} x " if node.cpu.sockets > 1 else ""
    return f"{sockets}{node.cpu.model}, {node.cpus} threads"


def _has(cpu: Cpu | None, flag: str) -> bool:
    return cpu is not None and flag in cpu.flags


def _lacks(cpu: Cpu | None, flag: str) -> bool:
    return cpu is not None and flag not in cpu.flags
