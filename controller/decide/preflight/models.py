"""What QEMU's CPU models need of a processor, as far as Linux shows it. Used by `preflight.cpu`.

From QEMU's own definitions (qemu: target/i386/cpu.c) and PVE's (qemu-server: PVE/QemuServer/CPUConfig.pm). A flag that Linux
hides or names otherwise does no harm: what the source does not show either is not asked of the target.
"""

import re
from collections.abc import Mapping
from typing import Final

_TSX: Final = frozenset({"hle", "rtm"})
_TABLE: Final = """
kvm64
qemu64
x86-64-v2       : pni ssse3 sse4_1 sse4_2 popcnt
x86-64-v2-AES   x86-64-v2 : aes
x86-64-v3       x86-64-v2-AES : avx avx2 bmi1 bmi2 f16c fma abm movbe xsave
x86-64-v4       x86-64-v3 : avx512f avx512bw avx512cd avx512dq avx512vl
Conroe          : pni ssse3 lahf_lm
Penryn          Conroe : cx16 sse4_1
Nehalem         Penryn : sse4_2 popcnt
Westmere        Nehalem : aes pclmulqdq
SandyBridge     Westmere : avx xsave xsaveopt x2apic rdtscp tsc_deadline_timer
IvyBridge       SandyBridge : f16c rdrand erms fsgsbase smep
Haswell-noTSX   IvyBridge : avx2 bmi1 bmi2 fma movbe abm invpcid pcid
Haswell         Haswell-noTSX : hle rtm
Broadwell-noTSX Haswell-noTSX : adx rdseed smap 3dnowprefetch
Broadwell       Broadwell-noTSX : hle rtm
Skylake-Client-noTSX     Broadwell-noTSX : xsavec xgetbv1
Skylake-Client           Skylake-Client-noTSX : hle rtm
Skylake-Server-noTSX     Skylake-Client-noTSX : avx512f avx512dq avx512bw avx512cd avx512vl clwb pdpe1gb
Skylake-Server           Skylake-Server-noTSX : hle rtm
Cascadelake-Server-noTSX Skylake-Server-noTSX : avx512_vnni
Cascadelake-Server       Cascadelake-Server-noTSX : hle rtm
Cooperlake               Cascadelake-Server : avx512_bf16
Icelake-Server-noTSX     Cascadelake-Server-noTSX : avx512vbmi avx512_vbmi2 avx512_bitalg avx512_vpopcntdq gfni vaes vpclmulqdq umip la57 wbnoinvd
Icelake-Server           Icelake-Server-noTSX : hle rtm
SapphireRapids           Icelake-Server-noTSX : amx_bf16 amx_tile amx_int8 avx_vnni avx512_bf16 avx512_fp16 avx512ifma serialize fsrm sha_ni rdpid
GraniteRapids            SapphireRapids : amx_fp16
Opteron_G1      : pni
Opteron_G2      Opteron_G1 : cx16 lahf_lm rdtscp
Opteron_G3      Opteron_G2 : popcnt abm sse4a misalignsse
Opteron_G4      Opteron_G3 : ssse3 sse4_1 sse4_2 aes pclmulqdq avx xsave fma4 xop
Opteron_G5      Opteron_G4 : f16c fma tbm
EPYC            x86-64-v3 : pclmulqdq rdrand rdseed adx smap smep fsgsbase clflushopt sha_ni sse4a misalignsse 3dnowprefetch xsaveopt xsavec xgetbv1 rdtscp pdpe1gb lahf_lm
EPYC-Rome       EPYC : clwb umip rdpid wbnoinvd
EPYC-Milan      EPYC-Rome : erms fsrm pcid invpcid pku
EPYC-Genoa      EPYC-Milan : vaes vpclmulqdq avx512f avx512bw avx512cd avx512dq avx512vl avx512ifma avx512vbmi avx512_vbmi2 avx512_vnni avx512_bitalg avx512_vpopcntdq avx512_bf16 gfni la57
EPYC-Turin      EPYC-Genoa : avx_vnni movdiri movdir64b
"""  # noqa: E501 - one model per line
_REVISION: Final = re.compile(r"-(?P<word>IBRS|IBPB|v\d+)")
_ALIASES: Final = {"sse3": "pni", "lzcnt": "abm", "pclmulqdq": "pclmul", "sse4_a": "sse4a"}


def normal(flag: str) -> str:
    """One name for a flag: QEMU writes `sse4.1` and `md-clear`, Linux `sse4_1` and `md_clear`."""
    name = flag.lower().replace(".", "_").replace("-", "_")
    return _ALIASES.get(name, name)


def flags_of(model: str) -> frozenset[str] | None:
    """What a model of QEMU needs beyond what every x86-64 has, by Linux' names; None for one that is not known here.

    Later revisions of a model differ from the first by single flags: those that some of them gave up are not demanded.
    """
    if model in _NEEDS:
        return _NEEDS[model]
    words = {found["word"] for found in _REVISION.finditer(model)}
    base = _NEEDS.get(_REVISION.sub("", model))
    if base is None or not words:
        return None
    more = {word.lower() for word in words & {"IBRS", "IBPB"}}
    return (base - _TSX if words - {"IBRS", "IBPB"} else base) | more


def vendor_of(model: str) -> str:
    """Whose processors a model is of, as `/proc/cpuinfo` says it; "" for those of no vendor."""
    if model in {"kvm64", "qemu64"} or model.startswith("x86-64-"):
        return ""
    return "AuthenticAMD" if model.startswith(("EPYC", "Opteron", "phenom", "athlon")) else "GenuineIntel"


def _read(table: str) -> Mapping[str, frozenset[str]]:
    """Every model has what its base has, and more."""
    found: dict[str, frozenset[str]] = {}
    for line in table.strip().splitlines():
        head, _, flags = line.partition(":")
        name, *bases = head.split()
        found[name] = frozenset(flags.split()).union(*(found[base] for base in bases))
    return found


_NEEDS: Final = _read(_TABLE)
