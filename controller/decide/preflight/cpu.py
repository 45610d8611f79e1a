"""Checks of the processor that a running VM was started with. Listed in `preflight.CHECKS`.

A named model is started with `enforce`: QEMU on the target refuses what its node can't do. `host` is not checked by anybody:
the guest silently loses features and may crash (qemu-server: PVE/QemuServer/CPUConfig.pm).
"""

from typing import Final

from controller.decide.preflight.finding import Finding, Look, check, fail, unchecked, warn
from controller.model.facts import Topic
from controller.model.observed import Cpu
from controller.model.reasons import Why

_DEFAULT: Final = "kvm64"
_OWN: Final = frozenset({"host", "max"})
_V2: Final = frozenset({"popcnt", "pni", "sse4_1", "sse4_2", "ssse3"})
_V3: Final = _V2 | {"aes", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
_MODELS: Final = {
    "kvm64": frozenset[str](),
    "qemu64": frozenset[str](),
    "x86-64-v2": _V2,
    "x86-64-v2-AES": _V2 | {"aes"},
    "x86-64-v3": _V3,
    "x86-64-v4": _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
"""What the models of no vendor need beyond what every x86-64 has, by Linux' names (qemu-server: PVE/QemuServer/CPUConfig.pm)."""
_ALIASES: Final = {"sse3": "pni", "lzcnt": "abm", "pclmulqdq": "pclmul", "sse4_a": "sse4a"}
_AMD: Final = ("EPYC", "Opteron", "phenom", "athlon")


def normal(flag: str) -> str:
    """One name for a flag: QEMU writes `sse4.1` and `md-clear`, Linux `sse4_1` and `md_clear`."""
    name = flag.lower().replace(".", "_").replace("-", "_")
    return _ALIASES.get(name, name)


@check(Why.CPU_INCOMPATIBLE, Why.NOT_CHECKED)
def processor_can_run_it(look: Look) -> tuple[Finding, ...]:
    """Flags of the config that runs: a change that waits for a cold start does not count (qemu-server: PVE/API2/Qemu.pm)."""
    setup = look.facts.setup
    if setup is None or not look.live or look.fresh.target is None:
        return ()
    here = look.fresh.source.cpu if look.fresh.source is not None else None
    there = look.fresh.target.cpu
    model = setup.cpu or _DEFAULT
    if model in _OWN:
        return _the_nodes_own(look, model, here, there)
    if model in _MODELS:
        return _flags(look, model, _MODELS[model] | {normal(flag) for flag in setup.cpu_flags}, here, there)
    return _of_a_vendor(look, model, here, there)


def _the_nodes_own(look: Look, model: str, here: Cpu | None, there: Cpu | None) -> tuple[Finding, ...]:
    if here is None or there is None:
        return unchecked(look, Topic.CPU, f"whether CPU type {model} means the same on {look.move.target}")
    if _kind(here) != _kind(there):
        text = f"CPU type {model} means {here.model} on {look.move.source} and {there.model} on {look.move.target}"
        return fail(Why.CPU_INCOMPATIBLE, text)
    missing = _lacking(here.flags, here, there)
    if missing:
        return fail(
            Why.CPU_INCOMPATIBLE, f"{look.move.target} lacks {_listed(missing)}, which CPU type {model} shows the guest"
        )
    return ()


def _flags(look: Look, model: str, needed: frozenset[str], here: Cpu | None, there: Cpu | None) -> tuple[Finding, ...]:
    target, known = look.move.target, look.facts.cpu_flags
    if known is not None:
        supported = {normal(flag): nodes for flag, nodes in known.items()}
        missing = {flag for flag in needed if flag in supported and target not in supported[flag]}
    elif there is not None:
        missing = _lacking(needed, here, there)
    else:
        return unchecked(look, Topic.CPU, f"whether {target} supports CPU type {model}")
    return (
        fail(Why.CPU_INCOMPATIBLE, f"{target} lacks {_listed(missing)}, which CPU type {model} needs")
        if missing
        else ()
    )


def _of_a_vendor(look: Look, model: str, here: Cpu | None, there: Cpu | None) -> tuple[Finding, ...]:
    """A model of one vendor, or a custom one: what it needs is not listed anywhere that the API shows."""
    if here is None or there is None:
        return unchecked(look, Topic.CPU, f"whether {look.move.target} supports CPU type {model}")
    if not model.startswith("custom-") and here.vendor != there.vendor:
        wanted = "AuthenticAMD" if model.startswith(_AMD) else "GenuineIntel"
        if there.vendor != wanted:
            return fail(
                Why.CPU_INCOMPATIBLE, f"CPU type {model} runs on {there.model} of {look.move.target}, another vendor's"
            )
    missing = _lacking(here.flags, here, there)
    if not missing and here.vendor == there.vendor:
        return ()
    reason = f"{look.move.target} lacks {_listed(missing)}" if missing else "the nodes have processors of two vendors"
    return warn(Why.NOT_CHECKED, f"not checked whether {look.move.target} supports CPU type {model}: {reason}")


def _lacking(needed: frozenset[str], here: Cpu | None, there: Cpu) -> set[str]:
    """Flags that the target lacks. One that the source does not show either has another name in Linux, for there it runs."""
    flags, shown = {normal(flag) for flag in there.flags}, {normal(flag) for flag in here.flags} if here else None
    return {flag for flag in map(normal, needed) if flag not in flags and (shown is None or flag in shown)}


def _kind(cpu: Cpu) -> tuple[str, str, str]:
    return cpu.vendor, cpu.family, cpu.model


def _listed(flags: set[str]) -> str:
    names = sorted(flags)
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:5])} and {len(names) - 5} more flags"
