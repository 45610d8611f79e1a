"""PVE's named formats (`pve-vmid`, `pve-tag-list`, ...): is a text one, and PVE's sentence if not.

Called by `simulator.schema`. Formats that no handler of the simulator depends on are accepted as they come.
"""

import ipaddress
import re
from collections.abc import Callable

from controller.simulator import calendar, roles

_SPLIT = re.compile(r"[,;\s\0]+")


def split_list(text: str) -> list[str]:
    """PVE's lists: separated by comma, semicolon, blank or NUL (pve-common: PVE/Tools.pm split_list)."""
    return [entry for entry in _SPLIT.split(text.strip()) if entry]


def _like(pattern: str, sentence: str, *, flags: re.RegexFlag = re.NOFLAG) -> Callable[[str, str], str]:
    compiled = re.compile(pattern, flags)

    def check(text: str, _version: str) -> str:
        return "" if compiled.fullmatch(text) else sentence.format(text) + "\n"

    return check


def _privilege(text: str, version: str) -> str:
    return "" if text in roles.privileges(version) else f"invalid privilege '{text}'\n"


def _calendar_event(text: str, _version: str) -> str:
    try:
        calendar.parse(text)
    except ValueError as error:
        return f"invalid calendar event '{text}' - {error}\n\n"
    return ""


def _user(text: str, _version: str) -> str:
    if len(text) < 3:
        return f"user name '{text}' is too short\n"
    if len(text) > 64:
        return f"user name '{text}' is too long ({len(text)} > 64)\n"
    if not re.fullmatch(r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+", text):
        return f"value '{text}' does not look like a valid user name\n"
    return ""


def _network(text: str, _version: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "value does not look like a valid CIDR network\n"
    return "" if "/" in text else "value does not look like a valid CIDR network\n"


def _storage_pair(text: str, _version: str) -> str:
    source, colon, target = text.partition(":")
    for name in (source, target) if colon and ":" not in target else (text,):
        if text != "1" and not _STORAGE.fullmatch(name):
            return f"entry '{text}' contains invalid ID - storage ID '{name}' contains illegal characters\n\n\n"
    return ""


_STORAGE = re.compile(r"[a-z][a-z0-9._-]*[a-z0-9]", re.IGNORECASE)
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
_FORMATS: dict[str, Callable[[str, str], str]] = {
    "pve-vmid": _like(r"[1-9][0-9]{2,8}", "value does not look like a valid VM ID"),
    "pve-node": _like(_LABEL, "value does not look like a valid node name"),
    "pve-configid": _like(r"[a-z][a-z0-9_-]+", "invalid configuration ID '{}'", flags=re.IGNORECASE),
    "pve-storage-id": _like(_STORAGE.pattern, "storage ID '{}' contains illegal characters", flags=re.IGNORECASE),
    "pve-tag": _like(r"[a-z0-9_][a-z0-9_+.-]*", "invalid characters in tag", flags=re.IGNORECASE),
    "pve-replication-job-id": _like(r"[1-9][0-9]{2,8}-\d{1,9}", "invalid replication job id '{}'"),
    "pve-priv": _privilege,
    "pve-roleid": _like(r"[A-Za-z0-9._-]+", "role name '{}' contains invalid characters"),
    "pve-userid": _user,
    "pve-tokenid": _like(r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+![A-Za-z][A-Za-z0-9.\-_]+",
                         "value '{}' does not look like a valid token ID"),
    "pve-poolid": _like(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2}", "pool name '{}' contains invalid characters"),
    "pve-task-status-type": _like(r"ok|error|warning|unknown", "invalid status '{}'", flags=re.IGNORECASE),
    "pve-calendar-event": _calendar_event,
    "dns-name": _like(rf"{_LABEL}(\.{_LABEL})*", "value does not look like a valid DNS name"),
    "pve-ha-resource-id": _like(r"[A-Za-z]+:[^\s,]+", "value '{}' does not look like a valid HA resource ID"),
    "pve-ha-resource-or-vm-id": _like(r"[A-Za-z]+:\S+|[1-9][0-9]{2,8}",
                                      "value '{}' does not look like a valid HA resource ID or VM ID"),
    "CIDR": _network,
    "storage-pair": _storage_pair,
}  # fmt: skip


def objection(name: str, text: str, version: str) -> str:
    """PVE's sentence against `text` as format `name`, with its final newline; "" when there is none."""
    if name in _FORMATS:
        return _FORMATS[name](text, version)
    if name.endswith("-list") and (check := _FORMATS.get(name.removesuffix("-list"))):
        return next((sentence for entry in split_list(text) if (sentence := check(entry, version))), "")
    if name.endswith("-opt") and text == "":
        return ""
    return ""
