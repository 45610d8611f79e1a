"""The normal form of an API answer: which keys, of which types, and the words that matter.

Used on both sides of the contract: `recordings` turns what a real cluster said into it (that is what `facts/` holds) and
`replay` turns the simulator's answers into it. What depends on the moment or the machine (times, process ids, sizes, addresses,
digests) keeps only its type.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

_WORDS = """
    active affinity allowed-nodes allowed_nodes armed-state blocking-ha-resources bridge cause cdrom checks
    cmd comigrated-resources comment content crm_state delete dependent-ha-resources description disable
    drivename enable enabled errors exitstatus fail_count failback format guest ha-managed hastate id
    is_attached is_cloudinit is_tpmstate is_unused is_vmstate job jobnum key local local_resources lock
    managed mapped-resources max_relocate max_restart message mode name network-type node nodes
    not_allowed_nodes online order path plugintype poolid privsep propagate qmpstatus quorate rate realm
    reason referenced_in_pending release remove_job replicate request_state requested-node resource_mode
    resources role roleid rule running schedule severity shared sid source state status storage strict tags
    target template tokenid type ugid unavailable-resources unavailable_storages user userid vmid vmtype volid
"""
Normal = str | list[Any] | dict[str, Any]

WORDS = frozenset(_WORDS.split())
"""Keys whose values are compared; under any other key only the type is."""

IDENTITIES = (
    ("upid",), ("sid", "type"), ("id", "type"), ("volid",), ("ugid", "path", "roleid"), ("roleid",), ("tokenid",), ("userid",),
    ("realm",), ("poolid",), ("rule",), ("storage", "node"), ("storage",), ("key",), ("iface",), ("vmid",), ("node",), ("name",),
    ("subdir",), ("id",), ("method", "path"), ("reason",),
)  # fmt: skip
"""What tells rows of a list apart; the first that every row has."""

_MASKS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"UPID:[A-Za-z0-9-]+(:[0-9A-F]{8,9}){3}:([a-z-]+):([^: ]*):([^: ]+):", r"UPID:\2:\3:\4:"),
        (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\b", "<time>"),
        (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\b", "<time>"),
        (r"__replicate_([\d-]+)_\d+__", r"__replicate_\1_<time>__"),
        (r"\.conf\.tmp\.\d+", ".conf.tmp.<pid>"),
        (r"(failed to get address info for: \S+:) .*", r"\1 <resolver>"),
        (r"\b\d{1,3}(\.\d{1,3}){3}(/\d+)?\b", "<ip>"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>"),
        (r"\b[0-9a-f]{40}\b", "<digest>"),
        (r"([0-9A-F]{2}:){5,}[0-9A-F]{2}", "<mac>"),
        (r"\bctime=\d+", "ctime=<time>"),
        (r"creation-qemu=[\d.]+", "creation-qemu=<version>"),
        (r"\(duration [\d:]+\)", "(duration <time>)"),
        (r"-- pvesr (\S+) \S+ .*", r"-- pvesr \1 <arguments>"),
        (r"# /usr/bin/ssh .*?root@<ip> ", "# /usr/bin/ssh root@<ip> "),
        (r"'/usr/bin/ssh .*?root@<ip> ", "'/usr/bin/ssh root@<ip> "),
        (r"(pvesr set-state \d+).*", r"\1 <state>"),
        (r"\bsince \d+|\b\d{10}\b", "<epoch>"),
    )
)
_LINE_MASKS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"\b\d+(\.\d+)? (B|KiB|MiB|GiB|TiB|bytes)(/s)?", "<size>"),
        (r"\b\d+(\.\d+)? ?([KMG]i?B|[kMG]?B)(/s)?", "<size>"),
        (r"\bin \d[\dhms ]*s\b", "in <time>"),
        (r"\(\d+\.\d+%\)", "(<percent>)"),
        (r"\b\d+(\.\d+)? ?(ms|s|seconds)\b", "<time>"),
        (r"\b(drive|mirror)-(?=\w+\d: )", "mirror-"),
        (r"^\d+\+\d+ records", "<n> records"),
        (r"running => [1-9]\d*", "running => <pid>"),
        (r"estimated size is \S+", "estimated size is <size>"),
        (r"\bpid \d+|\bPID \d+", "pid <pid>"),
    )
)
_REPEATED = re.compile(
    r"/bin/sh. failed|Architecture detection|Falling back to amd64|pct set VMID|actively synced mode|transferred|migration active"
    r"|xbzrle|records (in|out)|copied|TIME .* SENT"
)


def wording(text: str) -> str:
    """A sentence of PVE without what differs from run to run."""
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text


def log_line(text: str) -> str:
    """A line of a task log, sizes and durations masked as well."""
    text = wording(text)
    for pattern, mask in _LINE_MASKS:
        text = pattern.sub(mask, text)
    return text


def log_lines(rows: list[dict[str, Any]]) -> list[str]:
    """A log without its progress lines, whose number is a matter of speed, and without what comes from stand-ins
    (QEMU 7.2, a container template with nothing in it)."""
    lines = [log_line(row["t"]) for row in rows]
    return [line for line in lines if not _REPEATED.search(line)]


def body(path: str, document: Any) -> Normal:
    """The normal form of a whole JSON document that was answered for `path`."""
    if not isinstance(document, dict):
        return "none" if document is None else type(document).__name__
    return {key: _member(path, key, value) for key, value in sorted(document.items())}


def _member(path: str, key: str, value: Any) -> Normal:
    if key == "data" and value is not None:
        for pattern, form in SPECIAL:
            if pattern.fullmatch(path):
                return form(value)
        return _value("", value)
    if key == "errors" and isinstance(value, dict):
        return {name: "=" + wording(text) for name, text in sorted(value.items())}
    return _value(key, value)


def _value(key: str, value: Any) -> Normal:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return {name: _value(name, inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return _list(key, value)
    if key in WORDS:
        text = ",".join(sorted(value.split(","))) if key == "content" else value
        return ("=" if isinstance(value, str) else "#") + wording(str(text))
    return "number" if isinstance(value, int | float) else "text"


def _list(key: str, values: list[Any]) -> Normal:
    if not values or not all(isinstance(value, dict) for value in values):
        return sorted(str(_value(key, value)) for value in values)
    identity = next((names for names in IDENTITIES if all(all(n in row for n in names) for row in values)), None)
    if identity is None:
        return kinds(values)
    return {" ".join(wording(str(row[name])) for name in identity): _value(key, row) for row in values}


def kinds(values: list[Any]) -> Normal:
    """For lists that show history: which forms of row there are, not how many."""
    forms: set[str] = set()
    for value in values:
        if isinstance(value, dict):
            forms.add(" ".join(f"{name}:{_type(inner)}" for name, inner in sorted(value.items())))
        else:
            forms.add(_type(value))
    return sorted(forms)


def _type(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def _log(value: Any) -> Normal:
    return log_lines(value) if isinstance(value, list) else _value("", value)


def _properties(value: Any) -> Normal:
    """A guest's or node's configuration: keys and types, with the values of those that people write."""
    if not isinstance(value, dict):
        return _value("", value)
    free = {"digest", "vmgenid", "smbios1", "meta"}
    return {
        name: _value("", inner) if name in free else ("#" if isinstance(inner, int) else "=") + wording(str(inner))
        for name, inner in sorted(value.items())
    }


_OF_MODIFIED_QEMU = ("running-machine", "running-qemu", "proxmox-support", "blockstat", "diskread", "diskwrite")
"""Keys of a running machine that the recordings lack, because a plain QEMU refused the query behind them."""


def _machine(value: Any) -> Normal:
    if isinstance(value, dict):
        value = {key: inner for key, inner in value.items() if key not in _OF_MODIFIED_QEMU}
    return _value("", value)


def _node(value: Any) -> Normal:
    """A node's status is that of a machine: kernel and boot mode are nobody's promise."""
    if isinstance(value, dict):
        value = {key: "" if key in ("boot-info", "current-kernel") else inner for key, inner in value.items()}
    return _value("", value)


def _cluster_tasks(value: Any) -> Normal:
    """Rows of the broadcast; `saved` is 1, "1" or "0" by its age in seconds."""
    return kinds([{**row, "saved": None} for row in value])


def _manager(value: Any) -> Normal:
    """The HA manager's status, results by service: their ids are random."""
    for lrm in value.get("lrm_status", {}).values():
        lrm["results"] = {result["sid"]: result for result in lrm["results"].values()}
    return _value("", value)


def _pending(value: Any) -> Normal:
    if not isinstance(value, list):
        return _value("", value)
    free = {"digest", "vmgenid", "smbios1", "meta"}
    return {
        str(row["key"]): _properties(row) if row["key"] not in free else dict.fromkeys(sorted(row), "text")
        for row in value
    }


SPECIAL: tuple[tuple[re.Pattern[str], Callable[[Any], Normal]], ...] = tuple(
    (re.compile(pattern), form)
    for pattern, form in (
        (r"/nodes/[^/]+/tasks/[^/]+/log", _log),
        (r"/nodes/[^/]+/replication/[^/]+/log", _log),
        (r"/cluster/tasks", _cluster_tasks),
        (r"/nodes/[^/]+/tasks|/cluster/log|/cluster/jobs/schedule-analyze", kinds),
        (r".*/rrddata|/nodes/[^/]+/services|/nodes/[^/]+/network|/nodes/[^/]+/hardware/.*", kinds),
        (r"/nodes/[^/]+/capabilities/qemu/cpu", kinds),
        (r"/nodes/[^/]+/qemu/\d+/status/current", _machine),
        (r"/nodes/[^/]+/status", _node),
        (r"/cluster/ha/status/manager_status", _manager),
        (r"/nodes/[^/]+/(qemu|lxc)/\d+/config", _properties),
        (r"/nodes/[^/]+/(qemu|lxc)/\d+/pending", _pending),
    )
)


def differences(expected: Any, actual: Any, where: str = "") -> list[str]:
    """What is not the same in two normal forms, one line each."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        lines: list[str] = []
        for key in sorted({*expected, *actual}):
            place = f"{where}.{key}" if where else key
            if key not in actual:
                lines.append(f"{place}: missing, expected {expected[key]}")
            elif key not in expected:
                lines.append(f"{place}: unexpected {actual[key]}")
            else:
                lines += differences(expected[key], actual[key], place)
        return lines
    if isinstance(expected, list) and isinstance(actual, list) and expected != actual:
        lost = [entry for entry in expected if entry not in actual]
        found = [entry for entry in actual if entry not in expected]
        return [f"{where}: lacks {lost}, has {found}" if lost or found else f"{where}: another order or number"]
    return [] if expected == actual else [f"{where}: expected {expected}, got {actual}"]
