"""Checks of how long the move is going to take. Listed in `preflight.CHECKS`."""

from controller.decide.preflight.disks import copied
from controller.decide.preflight.finding import Finding, Level, Look, check, warn
from controller.decide.words import size
from controller.model.reasons import Why

_GIB = 1 << 30
_MIB = 1 << 20
_LEAST_SECONDS = 60


def speed_mib_s(look: Look) -> int | None:
    """MiB/s that the move may use: the narrowest of its own limit, one stream and its share of the link; None: unknown.

    One QEMU migration is one TCP stream (qemu-server: PVE/QemuMigrate.pm).
    """
    network = look.cluster.spec.network
    links = [look.specs.node(name) for name in (look.move.source, look.move.target)]
    widths = [(link.spec.link_mibps if link is not None else 0) or network.link_mibps for link in links]
    shares = [width * network.share_percent // 100 for width in widths]
    known = [value for value in (look.move.options.bandwidth_limit_mib_s, network.stream_mibps, *shares) if value]
    return min(known, default=None)


@check(Why.TOO_SLOW, Why.NOT_CHECKED)
def duration_is_within_the_policy(look: Look) -> tuple[Finding, ...]:
    """Once over everything that has to be sent; how fast the guest changes its memory PVE does not tell beforehand."""
    allowed = look.policy.completion_timeout_seconds_per_gib
    if look.guest is None or not look.live or not look.size or not allowed:
        return ()
    total = look.size + sum(disk.size_bytes or 0 for disk in copied(look))
    speed = speed_mib_s(look)
    if speed is None:
        text = f"not estimated how long {size(total)} take: no bandwidth is set (`network.linkMiBps`, `network.streamMiBps`)"
        return (Finding(Level.OK, Why.NOT_CHECKED, text),)
    seconds, most = total / _MIB / speed, max(_LEAST_SECONDS, allowed * total / _GIB)
    text = f"{size(total)} at {speed} MiB/s take {seconds:.0f} s or more; the policy allows {most:.0f} s"
    return warn(Why.TOO_SLOW, text) if seconds > most else (Finding(Level.OK, Why.AS_EXPECTED, text),)
