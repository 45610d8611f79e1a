"""What could be written for every field: for editors, `drover explain-field` and the reference page. A test reads each of them.

Used by `schema` and by `report.reference`. What words and defaults of a field already show is not repeated here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

_WRITTEN: Mapping[str, Json] = MappingProxyType(
    {
        # Names and text
        "name": "lab",
        "clusterRef": {"name": "lab"},
        "comment": "asked for by the database team",
        "endpoints": ["https://pve1.example.org:8006", "https://pve2.example.org:8006"],
        "credentialsRef": "lab",
        "caFile": "/etc/drover/pve-root-ca.pem",
        "fingerprintSha256": "9f2c" * 16,
        "labelKey": "drover.dev/maintenance",
        "reason": "new firmware",
        "haMaintenanceHook": "ha-maintenance",
        "drainedHook": "reboot-node",
        "schedule": "0 22 * * 1-5",
        "ReplicationPolicy.spec.schedule": "mon..fri 22:30",
        "timeZone": "Europe/Vienna",
        "sink": "on-call",
        "nodeName": "pve2",
        "notBefore": "2026-12-01T22:00:00Z",
        "topologyKey": "topology.drover.dev/rack",
        "antiAffinityTopologyKey": "topology.drover.dev/rack",
        "targetStorage": {"local-zfs": "tank"},
        # Guests and nodes
        "vmids": [101, 102],
        "names": ["web-*"],
        "pools": ["production"],
        "types": ["qemu"],
        "nodes": ["pve1", "pve2"],
        "all": ["production", "web"],
        "any": ["web"],
        "none": ["unmanaged"],
        "tags": {"any": ["web"]},
        "guestSelector": {"tags": {"any": ["web"]}},
        "managedGuests": {"tags": {"none": ["unmanaged"]}},
        "nodeSelector": {"matchLabels": {"topology.drover.dev/rack": "a"}},
        "matchLabels": {"topology.drover.dev/rack": "a"},
        "matchExpressions": [{"key": "topology.drover.dev/rack", "operator": "In", "values": ["a", "b"]}],
        "key": "topology.drover.dev/rack",
        "operator": "In",
        "values": ["a", "b"],
        # Numbers whose default means that there is none, or that it is found out
        "maxMigrations": 4,
        "maxOutboundPerNode": 2,
        "maxInboundPerNode": 2,
        "maxInbound": 2,
        "maxOutbound": 2,
        "linkMiBps": 1100,
        "streamMiBps": 400,
        "reserveMemoryMiB": 4096,
        "tolerateNodeFailures": 1,
        "keepQuorumMargin": 1,
        "durationSeconds": 21600,
        "deadlineSeconds": 7200,
        "order": -10,
        "memoryMiB": 8192,
        "cpus": 2,
        "priority": 100,
        "weight": 50,
        "maxUnavailable": "25%",
        "bandwidthLimitMiBps": 200,
        "replicas": 2,
        "rateMBps": 100,
        # Mappings and lists of mappings
        "auth": {"credentialsRef": "lab"},
        "tls": {"caFile": "/etc/drover/pve-root-ca.pem"},
        "template": {"deadlineSeconds": 7200},
        "rules": [{"guestSelector": {"tags": {"any": ["batch"]}}, "behavior": "Shutdown", "order": -10}],
        "PveCluster.spec.windows": [
            {
                "name": "nights",
                "kind": "Allow",
                "schedule": "0 22 * * *",
                "durationSeconds": 21600,
                "timeZone": "Europe/Vienna",
            }
        ],
        "windows": ["nights"],
        "notifications": [{"sink": "on-call"}],
        "nodeAffinity": {"nodes": ["pve1", "pve2"]},
        "nodeAntiAffinity": {"nodeSelector": {"matchLabels": {"topology.drover.dev/rack": "a"}}},
        "keepTogether": {"topologyKey": "topology.drover.dev/rack"},
        "keepApart": {"topologyKey": "topology.drover.dev/rack", "maxPerDomain": 2},
        "spread": {"topologyKey": "topology.drover.dev/rack", "maxSkew": 1},
        "targets": {"replicas": 1, "antiAffinityTopologyKey": "topology.drover.dev/rack"},
        "annotations": {"drover.dev/approved-digest": "7012f1962e95"},
        "labels": {"topology.drover.dev/rack": "a"},
        "uid": "",
        "generation": 0,
    }
)


def example(path: tuple[str, ...], node: Mapping[str, Json]) -> Json:
    """What could stand in the field at `path` (kind, spec, …) with this schema; never only its default, where another fits."""
    for written in (".".join(path), path[-1]):
        if written in _WRITTEN:
            return _WRITTEN[written]
    default = node.get("default")
    match node:
        case {"enum": list(words)}:
            return next((word for word in words if word != default), words[0])
        case {"type": "boolean"}:
            return default is not True
        case {"type": "array", "items": dict(items)}:
            return [example(path, items)]
        case {"properties": dict(fields)}:
            return {key: example((*path, key), below) for key, below in fields.items() if isinstance(below, dict)}
    return default if default is not None else node.get("minimum")
