"""PveCluster: how to reach a cluster, and how far the controller may go.

Read by `app` (endpoints, credentials), `observe`, `decide` and `act`.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from controller.model import cron
from controller.model.ids import ClusterName
from controller.specs.base import (
    Count,
    LabelKey,
    MiB,
    MiBps,
    Model,
    Percent,
    Raw,
    Rule,
    Seconds,
    Text,
    Word,
    says,
)
from controller.specs.common import (
    MAINTENANCE_LABEL,
    ApprovalMode,
    ClusterRef,
    Column,
    GuestSelector,
    Kind,
    Listed,
    TagSelector,
)
from controller.specs.nodemaintenance import MaintenanceTemplate

Endpoint = Annotated[
    str,
    Field(
        max_length=300,
        pattern=r"^https://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$",
        json_schema_extra=says("https://HOST:PORT, such as https://pve1.example.org:8006"),
    ),
]
Fingerprint = Annotated[
    str,
    Field(
        max_length=95,
        pattern="^([0-9a-fA-F]{64}|([0-9a-fA-F]{2}:){31}[0-9a-fA-F]{2})$",
        json_schema_extra=says(
            "the SHA-256 fingerprint of the certificate: 64 hexadecimal digits, colons between pairs are fine"
        ),
    ),
]
Ratio = Annotated[float, Field(ge=0.1, le=100)]


class Mode(StrEnum):
    """How far the controller may go."""

    OBSERVE = "Observe"
    PLAN = "Plan"
    ENFORCE = "Enforce"


class MemoryBasis(StrEnum):
    """What a guest's memory is counted as."""

    CONFIGURED = "Configured"
    USED = "Used"


class Resource(StrEnum):
    """What balancing evens out."""

    MEMORY = "Memory"
    CPU = "Cpu"


class Coexistence(StrEnum):
    """How Drover treats guests that PVE HA manages."""

    DEFER = "Defer"
    COORDINATE = "Coordinate"
    IGNORE = "Ignore"


class WindowKind(StrEnum):
    """What a window does."""

    ALLOW = "Allow"
    DENY = "Deny"


class Severity(StrEnum):
    """How much a notification matters."""

    INFO = "Info"
    WARNING = "Warning"
    CRITICAL = "Critical"


class Auth(Model):
    """Which credentials to use; what they are is defined on the machine."""

    credentials_ref: Word
    """Name of credentials in the machine's settings, which bind them to endpoints and fingerprint."""


class Tls(Model):
    """How the certificate of the endpoints is checked; by default against the machine's authorities."""

    ca_file: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Path to a file of certificate authorities, such as PVE's /etc/pve/pve-root-ca.pem."""
    fingerprint_sha256: Fingerprint | None = None
    """Accept exactly this certificate."""
    insecure_skip_verify: bool = False
    """Accept any certificate; raises condition InsecureTransport."""

    checks: ClassVar[tuple[Rule, ...]] = (
        Rule(
            lambda raw: not (raw.get("insecureSkipVerify") and ("caFile" in raw or "fingerprintSha256" in raw)),
            "!(has(self.insecureSkipVerify) && self.insecureSkipVerify && (has(self.caFile) || has(self.fingerprintSha256)))",
            "skipping verification contradicts caFile and fingerprintSha256",
            "insecureSkipVerify: true alone, or without it caFile or fingerprintSha256",
            ("insecureSkipVerify",),
            (("insecureSkipVerify",),),
        ),
    )


class Limits(Model):
    """How many moves at once, and how many voluntary ones over time."""

    max_migrations: Count = 0
    """Moves at once in the cluster; 0: computed."""
    max_outbound_per_node: Count = 0
    """Moves at once away from a node; 0: computed."""
    max_inbound_per_node: Count = 0
    """Moves at once to a node; 0: computed."""
    max_moves_per_hour: Count = 60
    """Voluntary moves in any hour."""
    max_moves_per_guest_per_day: Count = 3
    """Voluntary moves of a guest in any 24 hours."""


class Network(Model):
    """What the migration network carries."""

    link_mibps: MiBps = 0
    """MiB/s of a node's link, unless its PveNode says otherwise; 0: learned from finished migrations."""
    share_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """Percent of the link that moves together should fill: no more of them start than that takes. It slows nobody down; what
    one move takes at most is `bandwidthLimitMiBps` of its MigrationPolicy."""
    stream_mibps: MiBps = 0
    """MiB/s that one migration reaches: one TCP stream, and over ssh one core; 0: learned."""


class Capacity(Model):
    """How full a node may be."""

    reserve_memory_percent: Annotated[int, Field(ge=0, le=99)] = 10
    """Percent of a node's memory that is kept free."""
    reserve_memory_mib: MiB = 0
    """MiB of a node's memory that are kept free, if that is more."""
    memory_basis: MemoryBasis = MemoryBasis.CONFIGURED
    """Count a guest's configured memory, or what it uses."""
    memory_overcommit_ratio: Ratio = 1.0
    """Memory of guests for each byte of the node's."""
    cpu_overcommit_ratio: Ratio = 4.0
    """vCPUs of guests for each of the node's threads."""
    tolerate_node_failures: Count = 0
    """Nodes that may fail after the plan with all guests still finding room."""


class CircuitBreaker(Model):
    """When to stop starting moves because they keep failing."""

    failures: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    """Failed moves that open it."""
    window_seconds: Annotated[int, Field(ge=1, le=31_536_000)] = 600
    """Seconds in which they have to happen."""
    open_seconds: Annotated[int, Field(ge=1, le=31_536_000)] = 900
    """Seconds for which nothing is started then."""


class Safety(Model):
    """What stops the controller."""

    max_unavailable_nodes: Count = 1
    """Nodes that may be in maintenance or offline at once for a drain to go on."""
    keep_quorum_margin: Count = 0
    """Nodes above quorum that have to be left when the drained ones are switched off; 0: nobody counts them."""
    max_stale_seconds: Annotated[int, Field(ge=1, le=31_536_000)] = 60
    """Seconds after which what was seen of the cluster is too old to act upon."""
    circuit_breaker: CircuitBreaker = Field(default_factory=CircuitBreaker)
    """When to stop because moves keep failing."""


class Hysteresis(Model):
    """What keeps voluntary moves from going back and forth."""

    stabilization_seconds: Seconds = 300
    """Seconds that a reason has to last."""
    min_improvement_percent: Percent = 10
    """Percent that a move has to improve things by."""
    cooldown_seconds: Seconds = 1800
    """Seconds before a guest is moved voluntarily again."""


class Drift(Model):
    """How to treat what people change by hand."""

    hold_off_seconds: Seconds = 3600
    """Seconds for which a guest stays where somebody moved it; then only a Must that corrects moves it. Drains do at any time."""


class Balance(Model):
    """Even out the nodes; never while one drains."""

    resource: Resource = Resource.MEMORY
    """What to even out."""
    tolerance_percent: Percent = 10
    """Percent that nodes may differ by."""
    suspend: bool = False
    """Start no moves for balance."""


class Ha(Model):
    """How to live with PVE HA."""

    coexistence: Coexistence = Coexistence.DEFER
    """Defer: move HA guests only to evacuate. Coordinate: write placement as HA rules. Ignore: treat them like any guest."""


class Maintenance(Model):
    """What implies maintenance, and what it means then."""

    label_key: LabelKey = MAINTENANCE_LABEL
    """Label of a PveNode that puts it in maintenance: "true", "evacuate", "cordon" or "false"."""
    follow_ha_maintenance: bool = True
    """A node in PVE HA's maintenance mode counts as labelled."""
    template: MaintenanceTemplate = Field(default_factory=MaintenanceTemplate)
    """How nodes in implied maintenance are evacuated."""
    ha_maintenance_hook: Word | None = None
    """Name of a hook in the machine's settings that switches PVE HA's maintenance mode of a node that is emptied."""
    drained_hook: Word | None = None
    """Name of a hook in the machine's settings to run when a node of a rolling maintenance is drained."""


def _cron() -> str:
    months, days = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC", "SUN|MON|TUE|WED|THU|FRI|SAT"
    fields = (
        "[0-5]?[0-9]",
        "[01]?[0-9]|2[0-3]",
        "0?[1-9]|[12][0-9]|3[01]",
        f"0?[1-9]|1[0-2]|{months}",
        f"[0-7]|{days}",
    )
    parts = []
    for one in fields:
        item = f"(\\*|({one})(-({one}))?)(/[1-9][0-9]?)?"
        parts.append(f"{item}(,{item})*")
    return "^" + " ".join(parts) + "$"


def _is_a_schedule(text: str) -> str:
    """More exact than the pattern: it says where the fault is, and knows days that never come."""
    try:
        cron.parse(text)
    except cron.CronError as error:
        raise PydanticCustomError("said", "{said}", {"said": f"is no schedule: {error}"}) from None
    return text


class Window(Model):
    """A time in which moves may (Allow) or may not (Deny) run."""

    name: Word
    """What MigrationPolicies call it."""
    kind: WindowKind
    """Deny beats Allow; once an Allow exists, it is closed outside of them."""
    schedule: Annotated[
        str,
        Field(
            max_length=256,
            json_schema_extra={
                "pattern": _cron(),
                "x-allowed": "five cron fields: minute hour day month weekday, such as '0 22 * * MON-FRI'",
            },
        ),
        AfterValidator(_is_a_schedule),
    ]
    """When it opens, in cron's five fields."""
    duration_seconds: Annotated[int, Field(ge=60, le=604_800)]
    """Seconds it stays open."""
    time_zone: Annotated[
        str,
        Field(
            max_length=64,
            pattern="^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$",
            json_schema_extra=says("a time zone such as Europe/Vienna"),
        ),
    ] = "UTC"
    """Time zone of the schedule."""


class Prune(Model):
    """What may vanish from the source without asking."""

    max_deletes_percent: Percent = 30
    """Percent of the objects (counted from four up, without NodeMaintenances); more wait for `drover confirm`."""
    empty_source_allowed: bool = False
    """Take an empty folder at its word."""


class Notification(Model):
    """Where to send word of what happens."""

    sink: Word
    """Name of a sink in the machine's settings."""
    min_severity: Severity = Severity.WARNING
    """The least that is sent."""


def _names_are_unique(raw: Raw) -> bool:
    windows = raw.get("windows", [])
    names = [window.get("name") for window in windows if isinstance(window, dict)] if isinstance(windows, list) else []
    return len(names) == len({str(name) for name in names})


class PveClusterSpec(Model):
    """Spec of a PveCluster."""

    cluster_ref: ClusterRef | None = None
    """Only its own name; other kinds refer to a PveCluster with it."""
    suspend: bool = False
    """Start nothing new in this cluster; what runs is left to finish."""
    comment: Text = ""
    """For people."""
    endpoints: Annotated[Listed[Endpoint], Field(max_length=64)]
    """Nodes to talk to; one is used until it fails, one with quorum is preferred."""
    auth: Auth
    """Which credentials to use."""
    tls: Tls = Field(default_factory=Tls)
    """How certificates are checked."""
    mode: Mode = Mode.PLAN
    """Observe: look only. Plan: compute and show. Enforce: act."""
    approval: ApprovalMode = ApprovalMode.AUTOMATIC
    """Manual: no guest is moved or shut down, and no rule of PVE HA is written, before people have approved exactly that."""
    managed_guests: GuestSelector = Field(default_factory=lambda: GuestSelector(tags=TagSelector(none=("unmanaged",))))
    """Guests that may be moved; all others are load. By default all without the tag `unmanaged`."""
    limits: Limits = Field(default_factory=Limits)
    """How many moves."""
    network: Network = Field(default_factory=Network)
    """What the migration network carries."""
    capacity: Capacity = Field(default_factory=Capacity)
    """How full a node may be."""
    safety: Safety = Field(default_factory=Safety)
    """What stops the controller."""
    hysteresis: Hysteresis = Field(default_factory=Hysteresis)
    """What keeps voluntary moves from going back and forth."""
    drift: Drift = Field(default_factory=Drift)
    """How to treat what people change by hand."""
    balance: Balance | None = None
    """Even out the nodes; off unless given."""
    ha: Ha = Field(default_factory=Ha)
    """How to live with PVE HA."""
    maintenance: Maintenance = Field(default_factory=Maintenance)
    """What implies maintenance."""
    windows: Annotated[
        tuple[Window, ...],
        Field(
            max_length=64, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = ()
    """When moves may start; one starts only if it is estimated to end before the window closes."""
    prune: Prune = Field(default_factory=Prune)
    """What may vanish without asking."""
    notifications: Annotated[tuple[Notification, ...], Field(max_length=64)] = ()
    """Where to send word."""

    checks: ClassVar[tuple[Rule, ...]] = (
        Rule(
            _names_are_unique,
            "!has(self.windows) || self.windows.all(a, self.windows.exists_one(b, b.name == a.name))",
            "two windows have the same name",
            "a different name for each window",
            ("windows",),
        ),
    )


def _refers_to_itself(raw: Raw) -> bool:
    spec, metadata = raw.get("spec"), raw.get("metadata")
    reference = spec.get("clusterRef") if isinstance(spec, dict) else None
    if not isinstance(reference, dict) or not isinstance(metadata, dict):
        return True
    return reference.get("name", "default") == metadata.get("name")


class PveCluster(Kind):
    """A Proxmox VE cluster: how to reach it, and how far the controller may go."""

    kind: Literal["PveCluster"] = "PveCluster"
    spec: PveClusterSpec

    plural: ClassVar[str] = "pveclusters"
    short_names: ClassVar[tuple[str, ...]] = ("pvec",)
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Mode", type="string", path=".spec.mode"),
        Column(name="Ready", type="string", path='.status.conditions[?(@.type=="Ready")].status'),
        Column(name="Armed", type="string", path='.status.conditions[?(@.type=="Armed")].reason'),
        Column(name="Age", type="date", path=".metadata.creationTimestamp"),
    )
    checks: ClassVar[tuple[Rule, ...]] = (
        Rule(
            _refers_to_itself,
            "!has(self.spec.clusterRef) || (has(self.spec.clusterRef.name) ? self.spec.clusterRef.name : 'default')"
            " == self.metadata.name",
            "a PveCluster belongs to itself",
            "its own metadata.name, or no clusterRef",
            ("spec", "clusterRef"),
            (("spec", "clusterRef"),),
        ),
    )

    @property
    def cluster(self) -> ClusterName:
        """Its own name."""
        return ClusterName(self.metadata.name)
