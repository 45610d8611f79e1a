"""Writes `controller/simulator/schema-<version>.json`: the facts of PVE's API schema that the simulator checks requests by.

Run by a person (`python -m tests.contract.schema_from_apidoc DIR`, DIR holding `apidoc-<version>.json.gz`) when a new PVE
release is added; `test_schema_data.py` proves that what is committed is what this writes.
"""

import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VERSIONS = ("8.4", "9.2")
PACKAGE = Path(__file__).resolve().parents[2] / "controller" / "simulator"

# What a controller, its demo and the recorded calls can ask for. Everything else is 501 in the simulator.
SERVED = re.compile(
    r"""/
    | /version
    | /access(/(ticket|permissions|users|users/\{userid\}(/token(/\{tokenid\})?)?|roles(/\{roleid\})?|acl|domains(/\{realm\})?
              |groups(/\{groupid\})?))?
    | /pools(/\{poolid\})?
    | /storage(/\{storage\})?
    | /cluster
    | /cluster/(status|resources|tasks|options|nextid|log|backup)
    | /cluster/config(/(join|nodes|nodes/\{node\}|qdevice))?
    | /cluster/backup-info/not-backed-up
    | /cluster/replication(/\{id\})?
    | /cluster/ha(/.*)?
    | /cluster/bulk-action(/.*)?
    | /cluster/mapping(/(pci|usb|dir)(/\{id\})?)?
    | /cluster/jobs/schedule-analyze
    | /cluster/sdn/(zones|vnets)
    | /cluster/firewall/options
    | /cluster/metrics/export
    | /cluster/qemu/(cpu-flags|custom-cpu-models)
    | /nodes
    | /nodes/\{node\}
    | /nodes/\{node\}/(status|version|config|time|network|services|dns|subscription|rrddata|vzdump|report)
    | /nodes/\{node\}/(migrateall|startall|stopall|suspendall|wakeonlan)
    | /nodes/\{node\}/tasks(/\{upid\}(/(log|status))?)?
    | /nodes/\{node\}/replication(/\{id\}(/(log|status|schedule_now))?)?
    | /nodes/\{node\}/hardware(/(pci|usb))?
    | /nodes/\{node\}/apt/versions
    | /nodes/\{node\}/capabilities(/qemu(/(cpu|cpu-flags|machines|migration))?)?
    | /nodes/\{node\}/storage
    | /nodes/\{node\}/storage/\{storage\}(/(status|rrddata|content(/\{volume\})?))?
    | /nodes/\{node\}/(qemu|lxc)
    | /nodes/\{node\}/(qemu|lxc)/\{vmid\}(/(config|pending|migrate|clone|template|feature|rrddata|snapshot(/\{snapname\})?))?
    | /nodes/\{node\}/(qemu|lxc)/\{vmid\}/status(/(current|start|stop|shutdown|reboot|reset|suspend|resume))?
    | /nodes/\{node\}/qemu/\{vmid\}/(move_disk|resize|unlink)
    | /nodes/\{node\}/lxc/\{vmid\}/(move_volume|resize)
    | /nodes/\{node\}/qemu/\{vmid\}/monitor
    | /nodes/\{node\}/qemu/\{vmid\}/agent(/(ping|network-get-interfaces|info))?
    """,
    re.VERBOSE,
)
# Official name of a constraint -> ours.
CONSTRAINTS = {
    "enum": "enum",
    "minimum": "min",
    "maximum": "max",
    "minLength": "shortest",
    "maxLength": "longest",
    "pattern": "pattern",
    "requires": "requires",
    "default_key": "first",
    "alias": "alias",
    "keyAlias": "names",
}


def nodes_of(tree: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every path of an apidoc tree with its methods."""
    for node in tree:
        yield node["path"], node.get("info") or {}
        yield from nodes_of(node.get("children") or [])


def parameter(official: dict[str, Any]) -> dict[str, Any]:
    """One parameter in our own form: its type and what bounds it, without prose."""
    ours: dict[str, Any] = {"type": official["type"]} if official.get("type", "string") != "string" else {}
    if official.get("optional"):
        ours["optional"] = 1
    for theirs, name in CONSTRAINTS.items():
        if theirs in official:
            ours[name] = _number(official[theirs]) if name in ("min", "max") else official[theirs]
    form = official.get("format")
    if isinstance(form, dict):
        ours["parts"] = {part: parameter(spec) for part, spec in sorted(form.items())}
    elif form:
        ours["format"] = form
    if official.get("type") == "array":
        ours["items"] = parameter(official.get("items") or {})
    return ours


def _number(official: float | str) -> float | str:
    """Some bounds are numbers written as text."""
    return int(official) if isinstance(official, str) and official.isdigit() else official


def parameters(official: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain parameters of a method, and those that depend on one of them (`{"by": name, "kinds": {value: parameters}}`)."""
    if "allOf" not in official:
        return {name: parameter(spec) for name, spec in sorted((official.get("properties") or {}).items())}, {}
    plain: dict[str, Any] = {}
    depends: dict[str, Any] = {}
    for part in official["allOf"]:
        if "oneOf" in part:
            plain[part["type-property"]] = parameter(part["type-property-schema"])
            depends = {
                "by": part["type-property"],
                "kinds": {kind["instance-type"]: parameters(kind)[0] for kind in part["oneOf"]},
            }
        else:
            plain.update(parameters(part)[0])
    return plain, depends


def facts(tree: list[dict[str, Any]], version: str) -> dict[str, Any]:
    """The whole data file. Equal parameters are written once, under `parameters`, and referred to by their index."""
    known: dict[str, int] = {}

    def index(spec: dict[str, Any]) -> int:
        return known.setdefault(json.dumps(spec, sort_keys=True), len(known))

    methods: dict[str, Any] = {}
    for path, info in nodes_of(tree):
        if not SERVED.fullmatch(path):
            continue
        for verb, official in sorted(info.items()):
            plain, depends = parameters(official.get("parameters") or {})
            entry: dict[str, Any] = {"parameters": {name: index(spec) for name, spec in plain.items()}}
            if depends:
                entry["depends"] = {
                    "by": depends["by"],
                    "kinds": {k: {name: index(spec) for name, spec in v.items()} for k, v in depends["kinds"].items()},
                }
            permissions = official.get("permissions")
            if permissions is None:
                entry["check"] = ["root"]
            elif permissions.get("user") == "world":
                entry["world"] = 1
            elif "check" in permissions and "user" not in permissions:
                entry["check"] = permissions["check"]
            for flag in ("protected", "proxyto"):
                if official.get(flag):
                    entry[flag] = official[flag]
            if not official.get("allowtoken", 1):
                entry["ticket_only"] = 1
            methods[f"{verb} {path}"] = entry
    return {"version": version, "methods": methods, "parameters": [json.loads(text) for text in known]}


def written(data: dict[str, Any]) -> str:
    """JSON with one line per method and per parameter, so that a new release gives a readable difference."""

    def line(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)

    methods = ",\n".join(f"{json.dumps(name)}:{line(entry)}" for name, entry in sorted(data["methods"].items()))
    kinds = ",\n".join(line(spec) for spec in data["parameters"])
    return f'{{"version":{json.dumps(data["version"])},\n"methods":{{\n{methods}\n}},\n"parameters":[\n{kinds}\n]}}\n'


def read(directory: Path, version: str) -> list[dict[str, Any]]:
    """The official schema as Proxmox publishes it, from `apidoc-<version>.json.gz`."""
    tree: list[dict[str, Any]] = json.loads(gzip.decompress((directory / f"apidoc-{version}.json.gz").read_bytes()))
    return tree


def main(directory: str) -> None:
    """Write both files into the package."""
    for version in VERSIONS:
        text = written(facts(read(Path(directory), version), version))
        (PACKAGE / f"schema-{version}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
