"""Why: the one closed list of reasons. It feeds conditions, events, metrics and the documentation.

Every member carries what it means and what a person can do about it; `tests/model` holds the list complete.
"""

from enum import StrEnum
from typing import Self


class Why(StrEnum):
    """A reason. The value is the CamelCase word in conditions and metric labels."""

    meaning: str
    remedy: str

    def __new__(cls, value: str, meaning: str, remedy: str = "") -> Self:
        """Keep the two sentences beside the word."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.remedy = remedy
        return member

    # Why a guest has to move
    NODE_MAINTENANCE = "NodeMaintenance", "Its node is in maintenance and has to be empty."
    NODE_AFFINITY = "NodeAffinity", "A PlacementPolicy wants it on other nodes."
    NODE_ANTI_AFFINITY = "NodeAntiAffinity", "A PlacementPolicy keeps it off this node."
    KEEP_APART = "KeepApart", "Too many guests of a group share one node or failure domain."
    RETURN_HOME = "ReturnHome", "Maintenance is over: it goes back to where it came from."

    # Why a move waits
    SLOT_TAKEN = (
        "SlotTaken",
        "As many moves as the limits allow are under way.",
        "Nothing: it starts when a slot is free.",
    )
    WAITING_FOR_ROOM = (
        "WaitingForRoom",
        "The target has room only after another guest has left.",
        "Nothing: it starts when there is room.",
    )
    BACKING_OFF = (
        "BackingOff",
        "Its last move failed; Drover waits longer after every failure.",
        "Look at the failure in `drover describe guest`.",
    )
    GUEST_LOCKED = (
        "GuestLocked",
        "PVE holds a lock on it (backup, snapshot, another migration).",
        "Wait for the job that holds the lock; if none runs, an administrator may `qm unlock` it.",
    )
    GUEST_MOVING = "GuestMoving", "Somebody else is moving it.", "Nothing: Drover looks again when that is over."
    REPLICATION_RUNNING = (
        "ReplicationRunning",
        "One of its replication jobs runs at this moment and holds the guest.",
        "Nothing: it starts when the job is done.",
    )
    DRAIN_FIRST = "DrainFirst", "A node is being drained; that comes first.", "Nothing: it starts after the drain."
    NOT_OBSERVED_YET = (
        "NotObservedYet",
        "A move of it was requested and its end has not been observed.",
        "Nothing: Drover looks again.",
    )

    # Why it is blocked
    NO_TARGET_FITS = "NoTargetFits", "No allowed node has room for it.", "Free memory, add a node, or relax a policy."
    NO_NODE_ALLOWED = "NoNodeAllowed", "The policies together allow no node.", "Change one of the named policies."
    SIZE_UNKNOWN = "SizeUnknown", "PVE reports no memory size for it.", "Check pvestatd on its node."
    NODE_OFFLINE = "NodeOffline", "Its node is offline.", "Bring the node back, or let PVE HA recover the guest."
    TARGET_OFFLINE = "TargetOffline", "The target node is offline or its state is unknown.", "Bring the node back."
    TARGET_IN_MAINTENANCE = (
        "TargetInMaintenance",
        "The target node is in maintenance or being fenced.",
        "End the maintenance of the target.",
    )
    NOT_ALLOWED_BY_PVE = (
        "NotAllowedByPve",
        "PVE's own check refuses the target.",
        "See the finding; `qm migrate` would refuse as well.",
    )
    LOCAL_DISK = (
        "LocalDisk",
        "A disk is on local storage, so more than RAM would have to move.",
        "Put the disk on shared storage or allow copying in a MigrationPolicy.",
    )
    LOCAL_MEDIA = (
        "LocalMedia",
        "A CD drive holds an ISO from local storage, or the physical drive.",
        "Eject the medium.",
    )
    LOCAL_RESOURCE = (
        "LocalResource",
        "It uses a device of its node (PCI, USB, serial, parallel, virtiofs).",
        "Detach the device or use a resource mapping that can migrate live.",
    )
    NOT_A_REPLICATION_TARGET = (
        "NotAReplicationTarget",
        "It is replicated, but not to this target; PVE refuses a live move there.",
        "Move it to a replication target or remove the job.",
    )
    REPLICATION_FAILING = (
        "ReplicationFailing",
        "Its replication to the target fails, so more than the last changes would have to move.",
        "See the job's log on the guest's node.",
    )
    STORAGE_MISSING = (
        "StorageMissing",
        "The target has no storage of the name that a disk needs.",
        "Make the storage available on the target, or map it with `targetStorage` in a MigrationPolicy.",
    )
    STORAGE_OFFLINE = (
        "StorageOffline",
        "A storage that it needs is not available on the target at this moment.",
        "Look at the storage on the target: `pvesm status`.",
    )
    STORAGE_CONTENT = (
        "StorageContent",
        "The storage on the target does not take this kind of volume.",
        "Add `images` (VMs) or `rootdir` (containers) to the storage's content, or use another one.",
    )
    STORAGE_TYPE = (
        "StorageType",
        "PVE can't copy volumes from this type of storage.",
        "Move the disk to another storage first.",
    )
    NO_SPACE = (
        "NoSpace",
        "The target's storage has less space than the disks that would be copied.",
        "Free space, or map the storage with `targetStorage` in a MigrationPolicy.",
    )
    LOCAL_SNAPSHOT = (
        "LocalSnapshot",
        "A disk that would be copied has snapshots, which can't be copied this way.",
        "Delete the snapshots, or replicate the disk to the target; Drover never deletes a snapshot.",
    )
    LINKED_CLONE = (
        "LinkedClone",
        "A disk is a linked clone: its base stays behind.",
        "Make it a full clone, or move its base to shared storage.",
    )
    NETWORK_MISSING = (
        "NetworkMissing",
        "The target lacks a bridge or VNet that a network device is plugged into.",
        "Create the bridge on the target, or apply the SDN configuration there.",
    )
    CPU_INCOMPATIBLE = (
        "CpuIncompatible",
        "The target's processor lacks what the guest was started with.",
        "Choose a CPU type that every node supports, such as `x86-64-v2-AES`, and start the guest anew.",
    )
    TOO_FEW_CPUS = (
        "TooFewCpus",
        "It has more vCPUs than the target has threads, which PVE refuses to start.",
        "Give it fewer vCPUs or move it to a larger node.",
    )
    CPU_OVERCOMMITTED = (
        "CpuOvercommitted",
        "The target would have more vCPUs than `capacity.cpuOvercommitRatio` allows.",
        "Move it to another node.",
    )
    MACHINE_UNKNOWN = (
        "MachineUnknown",
        "The target's QEMU does not know the machine version that runs.",
        "Upgrade the target; guests move live only from old to new.",
    )
    TARGET_OLDER = (
        "TargetOlder",
        "The target runs older software than the source; PVE supports moves from old to new.",
        "Upgrade the target first.",
    )
    PINNED_TO_HARDWARE = (
        "PinnedToHardware",
        "Its config binds it to the node's processors or memory (affinity, NUMA, hugepages, args).",
        "Check that the target has the same, or take the setting away.",
    )
    HA_WOULD_UNDO = (
        "HaWouldUndo",
        "A rule of PVE HA, or failback, would take it off the target again at once.",
        "Change the HA rule, set `failback 0`, or put the node into HA maintenance.",
    )
    HA_MOVES_ALONG = (
        "HaMovesAlong",
        "A positive affinity of PVE HA moves other guests along with it.",
        "Check that the target has room for all of them.",
    )
    TOO_SLOW = (
        "TooSlow",
        "At the speed that it may use, the move would take longer than its MigrationPolicy allows.",
        "Raise `bandwidthLimitMiBps` or `completionTimeoutSecondsPerGiB`.",
    )
    CHANGE_PENDING = (
        "ChangePending",
        "Its config was changed, but the change waits for a cold start; what runs is what counts.",
        "Nothing, or shut it down and start it.",
    )
    NOT_CHECKED = (
        "NotChecked",
        "A fact that decides about the move could not be read, so nobody knows.",
        "See the message for what is missing.",
    )
    CONTAINER_NEEDS_RESTART = (
        "ContainerNeedsRestart",
        "A running container can only be moved by a restart, and the policy does not allow it.",
        "Set `containers: Restart` in the NodeMaintenance.",
    )
    IS_TEMPLATE = "IsTemplate", "It is a template; templates stay unless asked.", "Set `includeTemplates: true`."
    LIVE_NOT_POSSIBLE = (
        "LiveNotPossible",
        "The policy demands a live migration and this guest can't be migrated live.",
        "Set `method: LiveIfPossible`.",
    )
    OFFLINE_ONLY = (
        "OfflineOnly",
        "The policy moves it only while it is stopped, and Drover does not stop it.",
        "Shut it down, or set `method: LiveIfPossible`.",
    )
    UNMANAGED = (
        "Unmanaged",
        "Drover does not manage it and never moves it.",
        "Move it by hand or widen `managedGuests`.",
    )
    HA_MANAGED = (
        "HaManaged",
        "PVE HA manages it; Drover leaves its placement to HA outside a drain.",
        "Use a PVE HA rule.",
    )
    HA_UNSETTLED = "HaUnsettled", "PVE HA is moving, recovering or fencing it.", "Wait until HA has settled it."
    SUSPENDED = "Suspended", "The object that wants this is suspended.", "Set `suspend: false`."
    RETRY_LIMIT = (
        "RetryLimit",
        "It failed as often as the policy allows.",
        "Mend the cause, then change the policy or the guest to start anew.",
    )
    GUEST_STUCK = (
        "GuestStuck",
        "An earlier move left a lock or a changed run state behind.",
        "Look at the guest on both nodes; Drover never unlocks.",
    )
    IDENTITY_CHANGED = (
        "IdentityChanged",
        "The VMID belongs to another guest now.",
        "Nothing: what was remembered is forgotten.",
    )

    # Why a call or a move failed
    GUEST_MOVED = "GuestMoved", "The guest is no longer where the plan saw it."
    GUEST_GONE = "GuestGone", "The guest no longer exists."
    STATE_CHANGED = "StateChanged", "It was started, stopped or paused since the plan was made."
    MIGRATION_ABORTED = (
        "MigrationAborted",
        "PVE gave the migration up before anything was sent; the guest is untouched.",
        "See the error from the task log.",
    )
    MIGRATION_FAILED = (
        "MigrationFailed",
        "The migration broke off; the guest runs on its source.",
        "See the error from the task log.",
    )
    TASK_LOST = (
        "TaskLost",
        "PVE's task ended without a result (killed, or its node restarted).",
        "Check the guest and its lock.",
    )
    DOWNTIME_EXCEEDED = (
        "DowntimeExceeded",
        "The guest would have stood still longer than its MigrationPolicy allows, so Drover stopped the move.",
        "Move it while it is quieter, give it more bandwidth, or raise `maxDowntimeMilliseconds`.",
    )
    STALLED = (
        "Stalled",
        "What was left to send had not become less for `stallTimeoutSeconds`, so Drover stopped the move.",
        "Look at the network between both nodes, or move the guest while it is quieter.",
    )
    TIMED_OUT_MOVING = (
        "TimedOutMoving",
        "The move took longer than its MigrationPolicy allows, so Drover stopped it.",
        "Give it more bandwidth, or raise `completionTimeoutSecondsPerGiB`.",
    )
    ABORT_NOT_PERMITTED = (
        "AbortNotPermitted",
        "The move should be stopped, but its task belongs to somebody else (under PVE HA to root@pam): it goes on.",
        "Stop the task by hand, or give the token Sys.Modify on the node.",
    )
    NOT_SUBMITTED = "NotSubmitted", "The request never reached PVE."
    ANSWER_LOST = (
        "AnswerLost",
        "The request was sent, but no answer came.",
        "Nothing: Drover observes what became of it.",
    )
    LOCK_LEFT_BEHIND = (
        "LockLeftBehind",
        "The task is gone but its lock is still on the guest.",
        "Check that no task runs, then `qm unlock`. Drover never does.",
    )
    NOT_RUNNING_AFTERWARDS = (
        "NotRunningAfterwards",
        "The guest arrived, but does not run as before.",
        "Look at its console, then resume or start it.",
    )
    TARGET_MISMATCH = "TargetMismatch", "It ended up on a node that was not the target."

    # Cluster and connection
    CONNECTED = "Connected", "The API answers."
    UNREACHABLE = "Unreachable", "No endpoint answers.", "Check the endpoints and the network."
    NODE_UNREACHABLE = (
        "NodeUnreachable",
        "The API answers, but can't reach one of the nodes.",
        "Check the node, its network and its pveproxy and pvedaemon services.",
    )
    TIMED_OUT = "TimedOut", "The API did not answer in time.", "Check the load of the node and its storages."
    AUTH_FAILED = "AuthFailed", "The API token is not accepted.", "Check token id and secret in the machine's settings."
    TLS_FAILED = (
        "TLSFailed",
        "The server's certificate is not the expected one.",
        "Check `tls.caFile` or `tls.fingerprintSha256`.",
    )
    PERMISSION_MISSING = (
        "PermissionMissing",
        "The token lacks rights, so parts of the cluster stay invisible or unchangeable.",
        "Run the printed `pveum` lines.",
    )
    WRONG_CLUSTER = (
        "WrongCluster",
        "The endpoints lead to another cluster than the one first seen under this name, or to one that has two names.",
        "Check the endpoints; to accept another cluster remove the state file.",
    )
    NO_CREDENTIALS = (
        "NoCredentials",
        "The machine's settings define no such credential, or bind it to other endpoints.",
        "Define it in the settings file.",
    )
    NO_QUORUM = (
        "NoQuorum",
        "The node that answers is not in the quorate part of the cluster.",
        "Bring nodes back until the cluster is quorate.",
    )
    QUORATE = "Quorate", "The cluster is quorate."
    STALE = "Stale", "The last complete look at the cluster is too old.", "See the condition Connected."
    FRESH = "Fresh", "The last look at the cluster is recent."
    PVE_ERROR = "PveError", "PVE answered with an error that Drover does not know.", "See the message."
    BAD_REQUEST = "BadRequest", "PVE does not accept a parameter.", "Report this: it is a fault of Drover."
    NOT_SUPPORTED = "NotSupported", "This PVE version does not have the call."
    NOT_FOUND = "NotFound", "What was asked for does not exist."
    BUSY = "Busy", "A lock in PVE is held by somebody else.", "Nothing: Drover tries again."

    # Whether Drover may act
    ARMED = "Armed", "Drover may start moves."
    MODE_OBSERVE = "ModeObserve", "`mode: Observe`: Drover only looks.", "Set `mode: Enforce`."
    MODE_PLAN = "ModePlan", "`mode: Plan`: Drover computes and shows, but starts nothing.", "Set `mode: Enforce`."
    HA_FENCING = (
        "HaFencing",
        "PVE HA is fencing a node or recovering its guests; nothing new is started meanwhile.",
        "Nothing: Drover goes on when HA has settled it.",
    )
    WITHDRAWN = "Withdrawn", "What asked for the move was taken back before it started."
    NO_HOOK = (
        "NoHook",
        "The PveCluster names a hook that the machine's settings do not define.",
        "Define it under `[hooks]` in the settings file, or take its name out of the PveCluster.",
    )
    NOT_LEADER = "NotLeader", "Another Drover process holds the state file.", "Stop the other process."
    STORE_FAILED = (
        "StoreFailed",
        "The state file can't be written, so nothing new is started.",
        "Free disk space; check the file's owner.",
    )
    PLAN_UNSAFE = (
        "PlanUnsafe",
        "The independent check found a broken promise in the plan; nothing of it is done.",
        "Report this: it is a fault of Drover.",
    )
    BREAKER_OPEN = (
        "BreakerOpen",
        "Moves of several guests failed one after the other, so nothing is started for a while.",
        "See the failures in `drover get migrations`; what they have in common is the fault.",
    )
    PLANNER_OVERRAN = "PlannerOverran", "Planning took too long; the tick's plan was discarded."
    TOO_MANY_UNAVAILABLE = (
        "TooManyUnavailable",
        "More nodes than `safety.maxUnavailableNodes` would be out of service.",
        "End another maintenance first or raise the limit.",
    )

    # Specs and maintenance
    ACCEPTED = "Accepted", "The object is valid and acted upon."
    NOT_YET_ACTED_UPON = (
        "NotYetActedUpon",
        "The object uses fields that this version accepts but does not act upon.",
        "See the named fields.",
    )
    INVALID = (
        "Invalid",
        "The newest version of the object is invalid; the last good one stays in force.",
        "Mend the named field.",
    )
    UNKNOWN_NODE = (
        "UnknownNode",
        "No node of the cluster has this name.",
        "Check `nodeName`; PVE's names are case sensitive.",
    )
    COMPLIANT = "Compliant", "Every matched guest is where the policy wants it."
    VIOLATED = "Violated", "Some guests are not where the policy wants them."
    PROGRESSING = "Progressing", "Guests are on their way."
    DRAINING = "Draining", "Guests are leaving the node."
    DRAINED = "Drained", "No guest that has to leave is on the node: it is safe to service."
    CORDONED = "Cordoned", "The node accepts nothing new."
    DRAIN_BLOCKED = "DrainBlocked", "Guests that have to leave can't.", "See the blocked guests and their reasons."
    IN_SERVICE = "InService", "The node is in service."
    VANISHED_FILE = (
        "VanishedFile",
        "The PveNode's file is gone; its last maintenance label stays in force.",
        "Put the file back, with the label you want.",
    )
    AS_EXPECTED = "AsExpected", "Nothing to report."
