"""Why: the one closed list of reasons. It feeds conditions, events, metrics and the documentation.

Every member carries what it means, how it is found, and what a person can do about it: `docs/reasons.md` is written from it,
and `tests/house` holds it complete.
"""

from enum import StrEnum
from typing import Self


class Why(StrEnum):
    """A reason. The value is the CamelCase word in conditions and metric labels."""

    meaning: str
    found: str
    remedy: str

    def __new__(cls, value: str, meaning: str, found: str, remedy: str) -> Self:
        """Keep the sentences beside the word: what it means, how it is found, what to do ("" when there is nothing to do)."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.found = found
        member.remedy = remedy
        return member

    # Why a guest has to move
    NODE_MAINTENANCE = (
        "NodeMaintenance",
        "Its node is in maintenance and has to be empty.",
        "A NodeMaintenance with mode Evacuate, a node label or PVE HA's maintenance is in force for the node it is on.",
        "",
    )
    NODE_AFFINITY = (
        "NodeAffinity",
        "A PlacementPolicy wants it on other nodes.",
        "A `nodeAffinity` rule that is in force and matches the guest does not match its node.",
        "",
    )
    NODE_ANTI_AFFINITY = (
        "NodeAntiAffinity",
        "A PlacementPolicy keeps it off this node.",
        "A `nodeAntiAffinity` rule that is in force and matches the guest matches its node.",
        "",
    )
    KEEP_APART = (
        "KeepApart",
        "Too many guests of a group share one node or failure domain.",
        "More guests of a `keepApart` rule than it allows are counted on one node, or in one topology domain.",
        "",
    )
    KEEP_TOGETHER = (
        "KeepTogether",
        "Guests that belong together are on several nodes or failure domains.",
        "The guests of a `keepTogether` rule are counted in more than one topology domain.",
        "",
    )
    SPREAD = (
        "Spread",
        "A group is spread less evenly than its policy allows.",
        "The fullest domain of a `spread` rule has more guests above the emptiest that accepts guests than `maxSkew`.",
        "",
    )
    RETURN_HOME = (
        "ReturnHome",
        "Maintenance is over: it goes back to where it came from.",
        "The guest's origin was remembered when it was drained, and that node takes guests again.",
        "",
    )

    MAKES_ROOM = (
        "MakesRoom",
        "It need not move itself, but a guest that has to move finds a place in no other way.",
        "The solver found no arrangement with fewer moves; the sentence names the guest that room is made for.",
        "",
    )

    STEPS_ASIDE = (
        "StepsAside",
        "Guests that have to move wait for each other's place: it goes to another node first, so that one of them can move.",
        "No order of the moves that are needed is possible without it; the sentence names the guest it makes way for.",
        "",
    )

    BALANCE = (
        "Balance",
        "Nodes are filled unevenly, and the PveCluster asks for balance.",
        "The fullest and the emptiest open node differ by more than `balance.tolerancePercent`.",
        "",
    )

    # Why a move waits
    STABILIZING = (
        "Stabilizing",
        "A voluntary move waits until its reason has lasted for `hysteresis.stabilizationSeconds`.",
        "The plans of that time all wanted voluntary moves; it begins anew when Drover restarts.",
        "Nothing: it starts when the reason lasts.",
    )
    MOVED_BY_HAND = (
        "MovedByHand",
        "Somebody moved the guest by hand a short while ago, and that is respected for `drift.holdOffSeconds`.",
        "The guest is on another node than at the look before, and neither Drover nor PVE HA has moved it.",
        "Nothing, or a policy that wants it there; after that time only a Must that corrects moves it.",
    )
    TOO_MANY_MOVES = (
        "TooManyMoves",
        "As many voluntary moves as `limits.maxMovesPerHour` allows were made within an hour.",
        "The remembered ends of voluntary moves of the last hour, and those in flight.",
        "Nothing: it starts when the hour is over.",
    )
    SLOT_TAKEN = (
        "SlotTaken",
        "As many moves as the limits allow are under way.",
        "The moves in flight are counted against `limits` of the PveCluster.",
        "Nothing: it starts when a slot is free.",
    )
    WAITING_FOR_ROOM = (
        "WaitingForRoom",
        "The target has room only after another guest has left.",
        "The ledger of memory: the target's limit minus who is there, who is on the way there, and who is still leaving.",
        "Nothing: it starts when there is room.",
    )
    WAITING_FOR_PARTNER = (
        "WaitingForPartner",
        "A guest that it is kept together with can't leave yet.",
        "A `keepTogether` rule holds for both, and the plan has another wait for the other one: leaving alone would split them.",
        "Nothing, if the other one waits; if it is blocked, see why.",
    )
    BACKING_OFF = (
        "BackingOff",
        "Its last move failed; Drover waits longer after every failure.",
        "The failures of the guest are remembered in the state file with the time of the next attempt.",
        "Look at the failure in `drover describe guest`.",
    )
    GUEST_LOCKED = (
        "GuestLocked",
        "PVE holds a lock on it (backup, snapshot, another migration).",
        "`lock` in the guest's config and in PVE's list of guests, read again right before a move.",
        "Wait for the job that holds the lock; if none runs, an administrator may `qm unlock` it.",
    )
    GUEST_MOVING = (
        "GuestMoving",
        "Somebody else is moving it.",
        "A migration task of the guest that Drover did not start runs, or its lock is `migrate`.",
        "Nothing: Drover looks again when that is over.",
    )
    REPLICATION_RUNNING = (
        "ReplicationRunning",
        "One of its replication jobs runs at this moment and holds the guest.",
        "`/nodes/{node}/replication` on the guest's node shows a job of it with a process.",
        "Nothing: it starts when the job is done.",
    )
    FIRST_SYNC = (
        "FirstSync",
        "Its local disks are copied to the target by a replication job before it moves.",
        "It has disks on local ZFS, its MigrationPolicy says `localDisks: ReplicateFirst`, and no job has copied them there yet.",
        "Nothing: it moves when its disks are there. `drover describe` shows how far the copy is.",
    )
    LAST_SYNC = (
        "LastSync",
        "Its disks are on the target; what has changed since is sent once more, so that little is left for the move itself.",
        "The last run of the job to the target took long, or is older than the policy calls fresh.",
        "Nothing: it moves when the rest is small.",
    )
    WINDOW_CLOSED = (
        "WindowClosed",
        "No change window is open, so nothing is started; what runs is left to finish.",
        "The windows of the PveCluster, and those that the guest's MigrationPolicy names, at the moment of the last look.",
        "Nothing: it starts when a window opens.",
    )
    WINDOW_TOO_SHORT = (
        "WindowTooShort",
        "The move would not be over when the change window closes.",
        "The estimated duration of the move, by size and learned rates, against the end of the window.",
        "Nothing if a later window is long enough; else make one longer, or let the move be faster.",
    )
    AWAITING_APPROVAL = (
        "AwaitingApproval",
        "The object that wants it, or the whole cluster, says `approval: Manual`, and nobody has approved this plan yet.",
        "The digest of what the object wants, against what was approved in the repository or with `drover approve`.",
        "Read `drover plan`; then `drover approve DIGEST`, or commit the digest as annotation `drover.dev/approved-digest`.",
    )
    DRAIN_FIRST = (
        "DrainFirst",
        "A node is being drained; that comes first.",
        "The move is voluntary or a return, and a node of the cluster is being drained.",
        "Nothing: it starts after the drain.",
    )
    NOT_OBSERVED_YET = (
        "NotObservedYet",
        "A move of it was requested and its end has not been observed.",
        "The state file holds an intent for the guest whose end nobody has observed.",
        "Nothing: Drover looks again.",
    )

    # Why it is blocked
    NO_TARGET_FITS = (
        "NoTargetFits",
        "No allowed node has room for it.",
        "Every allowed node was tried against the ledger of memory; the sentence names the nearest miss.",
        "Free memory, add a node, or relax a policy.",
    )
    CAPACITY_INSUFFICIENT = (
        "CapacityInsufficient",
        "The cluster would no longer bear the failure of as many nodes as it should.",
        "For any `capacity.tolerateNodeFailures` nodes, all that runs on them has to find room on the others.",
        "Add memory or a node, stop guests, or lower `capacity.tolerateNodeFailures`.",
    )
    NO_NODE_ALLOWED = (
        "NoNodeAllowed",
        "The policies together allow no node.",
        "Every node is forbidden by a policy, by maintenance or by PVE; the sentence names which by which.",
        "Change one of the named policies.",
    )
    SIZE_UNKNOWN = (
        "SizeUnknown",
        "PVE reports no memory size for it.",
        "`maxmem` of the guest, or of the node, is absent from PVE's answer.",
        "Check pvestatd on its node.",
    )
    NODE_OFFLINE = (
        "NodeOffline",
        "Its node is offline.",
        "PVE's list of nodes, and the cluster's membership, call the node offline or do not name it.",
        "Bring the node back, or let PVE HA recover the guest.",
    )
    ALREADY_THERE = (
        "AlreadyThere",
        "It is on that node already.",
        "Source and target of the move have the same name.",
        "Name another node.",
    )
    TARGET_OFFLINE = (
        "TargetOffline",
        "The target node is offline or its state is unknown.",
        "The status of the target is read right before the move.",
        "Bring the node back.",
    )
    TARGET_IN_MAINTENANCE = (
        "TargetInMaintenance",
        "The target node is in maintenance or being fenced.",
        "NodeMaintenance, label, cordon and PVE HA's node state of the target, read right before the move.",
        "End the maintenance of the target.",
    )
    NOT_ALLOWED_BY_PVE = (
        "NotAllowedByPve",
        "PVE's own check refuses the target.",
        "`GET migrate` of the guest on its node: `not_allowed_nodes` names the target.",
        "See the finding; `qm migrate` would refuse as well.",
    )
    LOCAL_DISK = (
        "LocalDisk",
        "A disk is on local storage, so more than RAM would have to move.",
        "PVE's own verdict (of containers: the storages) names a volume on storage that is not shared.",
        "Put the disk on shared storage or allow copying in a MigrationPolicy.",
    )
    LOCAL_MEDIA = (
        "LocalMedia",
        "A CD drive holds an ISO from local storage, or the physical drive.",
        "PVE's own verdict lists an ISO of local storage, or the physical drive, among the local disks.",
        "Eject the medium.",
    )
    LOCAL_RESOURCE = (
        "LocalResource",
        "It uses a device of its node (PCI, USB, serial, parallel, virtiofs).",
        "PVE's own verdict (`local_resources`, mapped devices without live migration), of containers the mount points.",
        "Detach the device or use a resource mapping that can migrate live.",
    )
    NOT_A_REPLICATION_TARGET = (
        "NotAReplicationTarget",
        "It is replicated, but not to this target; PVE refuses a live move there.",
        "The guest's replication jobs in the cluster, without those marked for removal, against the target.",
        "Move it to a replication target or remove the job.",
    )
    REPLICATION_FAILING = (
        "ReplicationFailing",
        "Its replication to the target fails, so more than the last changes would have to move.",
        "`fail_count` of the job in `/nodes/{node}/replication` on the guest's node; three in a row count as broken.",
        "See the job's log on the guest's node.",
    )
    NOT_REPLICABLE = (
        "NotReplicable",
        "A local volume of the guest can't be replicated, so PVE refuses the job.",
        "A volume in its config is neither on ZFS nor shared, and does not say `replicate=0`.",
        "Move the volume to ZFS or shared storage, set `replicate=0` on it, or for a move `localDisksFallback: Copy`.",
    )
    STORAGE_MISSING = (
        "StorageMissing",
        "The target has no storage of the name that a disk needs.",
        "The target's own list of storages, read right before the move, has no enabled one of the name.",
        "Make the storage available on the target, or map it with `targetStorage` in a MigrationPolicy.",
    )
    STORAGE_OFFLINE = (
        "StorageOffline",
        "A storage that it needs is not available on the target at this moment.",
        "The target's own list of storages calls it not active.",
        "Look at the storage on the target: `pvesm status`.",
    )
    STORAGE_CONTENT = (
        "StorageContent",
        "The storage on the target does not take this kind of volume.",
        "The content types of the storage in the target's own list.",
        "Add `images` (VMs) or `rootdir` (containers) to the storage's content, or use another one.",
    )
    STORAGE_TYPE = (
        "StorageType",
        "PVE can't copy volumes from this type of storage.",
        "The type of the source's storage, for disks that would be copied.",
        "Move the disk to another storage first.",
    )
    NO_SPACE = (
        "NoSpace",
        "The target's storage has less space than the disks that would be copied.",
        "The sizes of the disks that would be copied, together, against what the target's storage has free.",
        "Free space, or map the storage with `targetStorage` in a MigrationPolicy.",
    )
    LOCAL_SNAPSHOT = (
        "LocalSnapshot",
        "A disk that would be copied has snapshots, which can't be copied this way.",
        "PVE's own verdict says that a local disk is part of a snapshot.",
        "Delete the snapshots, or replicate the disk to the target; Drover never deletes a snapshot.",
    )
    LINKED_CLONE = (
        "LinkedClone",
        "A disk is a linked clone: its base stays behind.",
        "The volume's name begins with that of a base volume, or the config of another guest names a clone of it.",
        "Make it a full clone, or move its base to shared storage.",
    )
    FOREIGN_VOLUME = (
        "ForeignVolume",
        "A disk that would be copied belongs to another guest, which PVE refuses to move.",
        "The number in the volume's name is not that of the guest.",
        "Give the disk to the guest: `qm disk reassign`, or put it on shared storage.",
    )
    NETWORK_MISSING = (
        "NetworkMissing",
        "The target lacks a bridge or VNet that a network device is plugged into.",
        "The bridges and VNets of both nodes against every network device of the guest.",
        "Create the bridge on the target, or apply the SDN configuration there.",
    )
    CPU_INCOMPATIBLE = (
        "CpuIncompatible",
        "The target's processor lacks what the guest was started with.",
        "The CPU type that runs against the target's processor: vendor, family, model and flags.",
        "Choose a CPU type that every node supports, such as `x86-64-v2-AES`, and start the guest anew.",
    )
    TOO_FEW_CPUS = (
        "TooFewCpus",
        "It has more vCPUs than the target has threads, which PVE refuses to start.",
        "Sockets times cores of the guest's config against the target's threads.",
        "Give it fewer vCPUs or move it to a larger node.",
    )
    CPU_OVERCOMMITTED = (
        "CpuOvercommitted",
        "The target would have more vCPUs than `capacity.cpuOvercommitRatio` allows.",
        "The vCPUs of all that runs on the target, and the guest's, against its threads.",
        "Move it to another node.",
    )
    MACHINE_UNKNOWN = (
        "MachineUnknown",
        "The target's QEMU does not know the machine version that runs.",
        "The machine that runs (`running-machine`) against the list that the target's QEMU knows.",
        "Upgrade the target; guests move live only from old to new.",
    )
    TARGET_OLDER = (
        "TargetOlder",
        "The target runs older software than the source; PVE supports moves from old to new.",
        "The PVE versions of both nodes.",
        "Upgrade the target first.",
    )
    PINNED_TO_HARDWARE = (
        "PinnedToHardware",
        "Its config binds it to the node's processors or memory (affinity, NUMA, hugepages, args).",
        "`affinity`, `numaN` with host nodes, `hugepages` and `args` of the config that runs, against the target.",
        "Check that the target has the same, or take the setting away.",
    )
    HA_WOULD_UNDO = (
        "HaWouldUndo",
        "A rule of PVE HA, or failback, would take it off the target again at once.",
        "The guest's HA rules (before PVE 9 its group), `failback`, and which of the preferred nodes are in service.",
        "Change the HA rule, set `failback 0`, or put the node into HA maintenance.",
    )
    HA_MOVES_ALONG = (
        "HaMovesAlong",
        "A positive affinity of PVE HA moves other guests along with it.",
        "A resource affinity rule of PVE HA that is positive and names the guest and others.",
        "Check that the target has room for all of them.",
    )
    TOO_SLOW = (
        "TooSlow",
        "At the speed that it may use, the move would take longer than its MigrationPolicy allows.",
        "Memory and disks to send, divided by the narrowest of bandwidth limit, stream and share of the link.",
        "Raise `bandwidthLimitMiBps` or `completionTimeoutSecondsPerGiB`.",
    )
    NOT_CONVERGING = (
        "NotConverging",
        "It changed its memory faster than it can be sent when it was moved before.",
        "The rate at which it changed memory, learned from the logs of its moves, against the rate of one stream.",
        "Move it at a quieter time, give the move more bandwidth, or raise `maxDowntimeMilliseconds`.",
    )
    CHANGE_PENDING = (
        "ChangePending",
        "Its config was changed, but the change waits for a cold start; what runs is what counts.",
        "`pending` of the guest's config on its node.",
        "Nothing, or shut it down and start it.",
    )
    NOT_CHECKED = (
        "NotChecked",
        "A fact that decides about the move could not be read, so nobody knows.",
        "A call failed, gave no answer in time, or left out the fact; the message says which.",
        "See the message for what is missing.",
    )
    CONTAINER_NEEDS_RESTART = (
        "ContainerNeedsRestart",
        "A running container can only be moved by a restart, and the policy does not allow it.",
        "The container runs, and the maintenance that wants the move does not say `containers: Restart`.",
        "Set `containers: Restart` in the NodeMaintenance.",
    )
    IS_TEMPLATE = (
        "IsTemplate",
        "It is a template; templates stay unless asked.",
        "`template` in PVE's list of guests.",
        "Set `includeTemplates: true`.",
    )
    LIVE_NOT_POSSIBLE = (
        "LiveNotPossible",
        "The policy demands a live migration and this guest can't be migrated live.",
        "The MigrationPolicy that wins for the guest says `method: Live`, and it is a running container.",
        "Set `method: LiveIfPossible`.",
    )
    OFFLINE_ONLY = (
        "OfflineOnly",
        "The policy moves it only while it is stopped, and Drover does not stop it.",
        "The MigrationPolicy that wins for the guest says `method: Offline`, and it runs.",
        "Shut it down, or set `method: LiveIfPossible`.",
    )
    UNMANAGED = (
        "Unmanaged",
        "Drover does not manage it and never moves it.",
        "The guest does not match `managedGuests` of the PveCluster (by default: it has the tag `unmanaged`).",
        "Move it by hand or widen `managedGuests`.",
    )
    HA_MANAGED = (
        "HaManaged",
        "PVE HA manages it; Drover leaves its placement to HA outside a drain.",
        "The guest is a resource of PVE HA, and the move is no drain.",
        "Use a PVE HA rule.",
    )
    HA_BALANCES = (
        "HaBalances",
        "PVE HA balances its guests itself, so Drover makes no voluntary moves of them: the two would undo each other's.",
        "The datacenter option `crs` has `ha-auto-rebalance=1`; read every ten minutes while HA has resources.",
        "Switch one of the two off: `ha-auto-rebalance` of PVE, or `balance` of the PveCluster.",
    )
    HA_UNSETTLED = (
        "HaUnsettled",
        "PVE HA is moving, recovering or fencing it.",
        "The HA state of the guest is neither started nor stopped.",
        "Wait until HA has settled it.",
    )
    SUSPENDED = (
        "Suspended",
        "The object that wants this is suspended.",
        "`suspend: true` in the object.",
        "Set `suspend: false`.",
    )
    RETRY_LIMIT = (
        "RetryLimit",
        "It failed as often as the policy allows.",
        "The failures in the state file have reached `retry.limit` of the MigrationPolicy.",
        "Mend the cause, then change the policy or the guest to start anew.",
    )
    GUEST_STUCK = (
        "GuestStuck",
        "An earlier move left a lock or a changed run state behind.",
        "The last move ended as stuck, and what was found then is still so.",
        "Look at the guest on both nodes; Drover never unlocks.",
    )
    IDENTITY_CHANGED = (
        "IdentityChanged",
        "The VMID belongs to another guest now.",
        "The birth (`ctime` of `meta`) in the guest's config is another one than remembered.",
        "Nothing: what was remembered is forgotten.",
    )

    # Why a call or a move failed
    GUEST_MOVED = (
        "GuestMoved",
        "The guest is no longer where the plan saw it.",
        "The guest's config is looked for on the planned source right before the move.",
        "Nothing: Drover plans anew.",
    )
    GUEST_GONE = (
        "GuestGone",
        "The guest no longer exists.",
        "No node of the cluster holds a config of the guest, half a minute long.",
        "",
    )
    STATE_CHANGED = (
        "StateChanged",
        "It was started, stopped or paused since the plan was made.",
        "The run state that was read right before the move is not the planned one.",
        "Nothing: Drover plans anew.",
    )
    MIGRATION_ABORTED = (
        "MigrationAborted",
        "PVE gave the migration up before anything was sent; the guest is untouched.",
        "The task failed and its log shows no copying; the guest was then seen on its source as before.",
        "See the error from the task log.",
    )
    MIGRATION_FAILED = (
        "MigrationFailed",
        "The migration broke off; the guest runs on its source.",
        "The task failed while its log showed copying; the guest was then seen on its source as before.",
        "See the error from the task log.",
    )
    TASK_LOST = (
        "TaskLost",
        "PVE's task ended without a result (killed, or its node restarted).",
        "The task's status is `unexpected status`, or the task is gone from its node; the guest was then looked at.",
        "Check the guest and its lock.",
    )
    DOWNTIME_EXCEEDED = (
        "DowntimeExceeded",
        "The guest would have stood still longer than its MigrationPolicy allows, so Drover stopped the move.",
        "The task's log: the expected downtime against `maxDowntimeMilliseconds`.",
        "Move it while it is quieter, give it more bandwidth, or raise `maxDowntimeMilliseconds`.",
    )
    STALLED = (
        "Stalled",
        "What was left to send had not become less for `stallTimeoutSeconds`, so Drover stopped the move.",
        "The task's log: what is left to send, over time.",
        "Look at the network between both nodes, or move the guest while it is quieter.",
    )
    TIMED_OUT_MOVING = (
        "TimedOutMoving",
        "The move took longer than its MigrationPolicy allows, so Drover stopped it.",
        "The time since the move began, against `completionTimeoutSecondsPerGiB` times what there is to send.",
        "Give it more bandwidth, or raise `completionTimeoutSecondsPerGiB`.",
    )
    ABORT_NOT_PERMITTED = (
        "AbortNotPermitted",
        "The move should be stopped, but its task belongs to somebody else (under PVE HA to root@pam): it goes on.",
        "PVE answered 403 to the request to stop the task.",
        "Stop the task by hand, or give the token Sys.Modify on the node.",
    )
    MONITOR_NOT_PERMITTED = (
        "MonitorNotPermitted",
        "A MigrationPolicy says `control: Monitor`, but the token may not speak to QEMU's monitor: task logs have to do.",
        "PVE answered 403 to a command of the monitor, which is tried again every ten minutes.",
        "Give the token Sys.Modify on / (before PVE 9 also VM.Monitor), or say `control: TaskLog`.",
    )
    NOT_SUBMITTED = (
        "NotSubmitted",
        "The request never reached PVE.",
        "The connection failed before the request was sent, or no task appeared within half a minute after it.",
        "",
    )
    ANSWER_LOST = (
        "AnswerLost",
        "The request was sent, but no answer came.",
        "The connection broke, or time ran out, after the request was sent; it is never sent twice.",
        "Nothing: Drover observes what became of it.",
    )
    LOCK_LEFT_BEHIND = (
        "LockLeftBehind",
        "The task is gone but its lock is still on the guest.",
        "The lock `migrate`, and no task for ten minutes; sooner when the node was booted since, or the guest does not run.",
        "Check that no task runs, then `qm unlock`. Drover never does.",
    )
    NOT_RUNNING_AFTERWARDS = (
        "NotRunningAfterwards",
        "The guest arrived, but does not run as before.",
        "It ran before the move, and its node says half a minute after the move's end that it does not.",
        "Look at its console, then resume or start it. A container whose restart broke off is started by Drover.",
    )
    RECOVERED_BY_HA = (
        "RecoveredByHa",
        "Its node went offline during the move, and PVE HA started it on another one.",
        "The source is offline, and the guest, which PVE HA manages, was seen on a node that was not the target.",
        "Look at what became of the node.",
    )
    TARGET_MISMATCH = (
        "TargetMismatch",
        "It ended up on a node that was not the target.",
        "After the task the guest's config is on a node that is neither source nor target.",
        "",
    )

    # What is done with replication jobs
    REPLICATE_FIRST = (
        "ReplicateFirst",
        "A move needs the disks of the guest on its target, so a replication job is made for it.",
        "The guest has to move, has disks on local ZFS, and no job leads to its target.",
        "",
    )
    MOVE_OVER = (
        "MoveOver",
        "A replication job was made for one move, which is over or no longer wanted, so it goes with its copy.",
        "The job's comment says that Drover made it for a move, and the plan has no such move any more.",
        "",
    )
    JOB_EXISTS = (
        "JobExists",
        "There is a replication job of this number, or one of this guest to this target, already.",
        "PVE refuses to make a second one.",
        "Nothing: Drover looks again.",
    )
    NOT_OURS = (
        "NotOurs",
        "The replication job or HA rule is somebody else's: its comment does not say that Drover manages it.",
        "The comment is read again right before a job or rule is changed or removed.",
        "Nothing, or let a ReplicationPolicy with `adoptExisting` take it over.",
    )

    # Cluster and connection
    CONNECTED = (
        "Connected",
        "The API answers.",
        "The last look at the cluster was answered.",
        "",
    )
    UNREACHABLE = (
        "Unreachable",
        "No endpoint answers.",
        "Every endpoint was tried: refused, no route, or no name.",
        "Check the endpoints and the network.",
    )
    NODE_UNREACHABLE = (
        "NodeUnreachable",
        "The API answers, but can't reach one of the nodes.",
        "PVE's proxy answers 595 to 599 for a call about the node.",
        "Check the node, its network and its pveproxy and pvedaemon services.",
    )
    TIMED_OUT = (
        "TimedOut",
        "The API did not answer in time.",
        "No answer in the time that the machine's settings give a call, or PVE's own 596.",
        "Check the load of the node and its storages.",
    )
    AUTH_FAILED = (
        "AuthFailed",
        "The API token is not accepted.",
        "PVE answers 401.",
        "Check token id and secret in the machine's settings.",
    )
    TLS_FAILED = (
        "TLSFailed",
        "The server's certificate is not the expected one.",
        "The handshake fails against the CA file or the fingerprint.",
        "Check `tls.caFile` or `tls.fingerprintSha256`.",
    )
    PERMISSION_MISSING = (
        "PermissionMissing",
        "The token lacks rights, so parts of the cluster stay invisible or unchangeable.",
        "PVE answers 403, or `/access/permissions` of the token lacks a privilege.",
        "Run the `pveum` lines that `drover rights` prints; with `--manifests` they have all that your manifests ask for.",
    )
    WRONG_CLUSTER = (
        "WrongCluster",
        "The endpoints lead to another cluster than the one first seen under this name, or to one that has two names.",
        "The cluster's name in `/cluster/status` is not the one pinned in the state file.",
        "Check the endpoints; to accept another cluster remove the state file.",
    )
    NO_CREDENTIALS = (
        "NoCredentials",
        "The machine's settings define no such credential, or bind it to other endpoints.",
        "`credentialsRef` is looked up in the machine's settings, and the endpoints are compared.",
        "Define it in the settings file.",
    )
    NO_SINK = (
        "NoSink",
        "The PveCluster names a sink for notifications that the machine's settings do not define.",
        "The sink's name is looked up in the machine's settings.",
        "Define it under `[sinks]` in the settings file, or take its name out of `notifications`.",
    )
    NOT_DELIVERED = (
        "NotDelivered",
        "A sink did not take the last message; it is kept and sent again.",
        "The sink's answer, or its silence.",
        "Read the message, mend the sink or its settings, and try it: `drover notify test SINK`.",
    )
    NO_QUORUM = (
        "NoQuorum",
        "The node that answers is not in the quorate part of the cluster.",
        "`quorate` in `/cluster/status`.",
        "Bring nodes back until the cluster is quorate.",
    )
    QUORATE = (
        "Quorate",
        "The cluster is quorate.",
        "`quorate` in `/cluster/status`.",
        "",
    )
    STALE = (
        "Stale",
        "The last complete look at the cluster is too old.",
        "The age of the last look by Drover's own clock, or a fact that was needed and could not be read.",
        "See the condition Connected.",
    )
    FRESH = (
        "Fresh",
        "The last look at the cluster is recent.",
        "The age of the last look by Drover's own clock.",
        "",
    )
    PVE_ERROR = (
        "PveError",
        "PVE answered with an error that Drover does not know.",
        "PVE answers 500 with a message that is not in the table of known ones.",
        "See the message.",
    )
    BAD_REQUEST = (
        "BadRequest",
        "PVE does not accept a parameter.",
        "PVE answers 400 and names the parameter.",
        "Report this: it is a fault of Drover.",
    )
    NOT_SUPPORTED = (
        "NotSupported",
        "This PVE version does not have the call.",
        "PVE answers 501, or 400 to a parameter that its schema does not know.",
        "",
    )
    NOT_FOUND = (
        "NotFound",
        "What was asked for does not exist.",
        "PVE answers 404, or that a config or task does not exist.",
        "",
    )
    BUSY = (
        "Busy",
        "A lock in PVE is held by somebody else.",
        "PVE answers that it can't lock a file, or that its lock request timed out.",
        "Nothing: Drover tries again.",
    )

    # Whether Drover may act
    ARMED = (
        "Armed",
        "Drover may start moves.",
        "None of the reasons below holds.",
        "",
    )
    MODE_OBSERVE = (
        "ModeObserve",
        "`mode: Observe`: Drover only looks.",
        "`mode` of the PveCluster.",
        "Set `mode: Enforce`.",
    )
    MODE_PLAN = (
        "ModePlan",
        "`mode: Plan`: Drover computes and shows, but starts nothing.",
        "`mode` of the PveCluster.",
        "Set `mode: Enforce`.",
    )
    HA_FENCING = (
        "HaFencing",
        "PVE HA is fencing a node or recovering its guests; nothing new is started meanwhile.",
        "The HA manager's status shows a node in `fence`, or a guest that is being fenced or recovered.",
        "Nothing: Drover goes on when HA has settled it.",
    )
    WITHDRAWN = (
        "Withdrawn",
        "What asked for the move was taken back before it started, or while it ran and `onCancel: AbortRunning` has it stopped.",
        "The manifests, and what was ordered by hand, are read again right before the request and while moves run.",
        "",
    )
    NO_HOOK = (
        "NoHook",
        "The PveCluster names a hook that the machine's settings do not define.",
        "The hook's name is looked up in the machine's settings.",
        "Define it under `[hooks]` in the settings file, or take its name out of the PveCluster.",
    )
    NOT_LEADER = (
        "NotLeader",
        "Another Drover process holds the state file.",
        "The lock on the state file is taken.",
        "Stop the other process.",
    )
    APPROVED = (
        "Approved",
        "People have approved exactly what is wanted, or nothing is wanted that has to be approved.",
        "The digest of what the object wants, against what was approved in the repository or with `drover approve`.",
        "`drover approve --withdraw DIGEST`, or the annotation taken out of the repository, ends it; what runs is left to finish.",
    )
    OVERRIDDEN = (
        "Overridden",
        "An administrator ordered it with `drover drain` or `drover uncordon`.",
        "The order came over the control socket and is kept in the state file.",
        "`drover uncordon NODE` ends a drain; a change of the node in the repository ends both.",
    )
    OVERRIDE_LAPSED = (
        "OverrideLapsed",
        "The repository says something new about the node, which ends what was ordered by hand.",
        "The node's label or its NodeMaintenances are not what they were when the order was given.",
        "",
    )
    STORE_FAILED = (
        "StoreFailed",
        "The state file can't be written, so nothing new is started.",
        "Writing, or forcing to disk, failed.",
        "Free disk space; check the file's owner.",
    )
    PLAN_UNSAFE = (
        "PlanUnsafe",
        "The independent check found a broken promise in the plan; nothing of it is done.",
        "A second, independent calculation goes over every plan before anything of it is started.",
        "Report this: it is a fault of Drover.",
    )
    BREAKER_OPEN = (
        "BreakerOpen",
        "Moves of several guests failed one after the other, so nothing is started for a while.",
        "The last attempts in the state file against `safety.circuitBreaker` of the PveCluster.",
        "See the failures in `drover get migrations`; what they have in common is the fault.",
    )
    PLANNER_OVERRAN = (
        "PlannerOverran",
        "Planning took too long; the tick's plan was discarded.",
        "The time of planning by Drover's own clock.",
        "",
    )
    LEAVES_LATER = (
        "LeavesLater",
        "Guests of a lower `order` leave the node first.",
        "The maintenance's `rules` give it a higher order than another guest that is still on the node.",
        "Nothing: it leaves when they have left, or are blocked.",
    )
    SHUTTING_DOWN = (
        "ShuttingDown",
        "It is shut down because the maintenance says so.",
        "A rule, the default behaviour or the deadline of the maintenance says Shutdown, and it still runs.",
        "Nothing: it is never stopped by force.",
    )
    DID_NOT_SHUT_DOWN = (
        "DidNotShutDown",
        "It was asked to shut down and still runs.",
        "It is still seen running five minutes after it was asked.",
        "Shut it down from inside, or stop it yourself.",
    )
    STARTING_AGAIN = (
        "StartingAgain",
        "It was shut down only for the maintenance and is started again.",
        "Drover remembers that it has shut the guest down, and the reason is over.",
        "Nothing: it runs soon.",
    )
    DID_NOT_START = (
        "DidNotStart",
        "It was asked to start again after a maintenance and does not run.",
        "It is still not seen running two minutes after it was asked.",
        "Look at the guest's start task in PVE, then start it yourself.",
    )
    DEADLINE_EXCEEDED = (
        "DeadlineExceeded",
        "The evacuation has taken longer than `deadlineSeconds`.",
        "The time since the evacuation began, as the state file remembers it.",
        "Raise `deadlineSeconds`, or shut the remaining guests down yourself.",
    )
    ROLLING = (
        "Rolling",
        "A rolling maintenance goes over its nodes; some are not done yet.",
        "A node is drained, serviced, waited for and refilled before the next one begins.",
        "",
    )
    ROLLING_DONE = (
        "RollingDone",
        "Every node of a rolling maintenance is serviced and has its guests back.",
        "Every node that `nodeSelector` means was taken through all phases in this generation of the object.",
        "",
    )
    ROLLING_STOPPED = (
        "RollingStopped",
        "A node of a rolling maintenance failed; no further one is begun.",
        "Its hook failed, it did not come back, or its guests can't come home.",
        "Mend the node. Then `drover uncordon NODE` counts it as serviced; a change of the object services it again.",
    )
    TOO_MANY_UNAVAILABLE = (
        "TooManyUnavailable",
        "More nodes would be out of service than `safety` allows.",
        "Nodes that are offline or drained are counted against maxUnavailableNodes and keepQuorumMargin before another drain.",
        "End another maintenance first or raise the limit.",
    )

    # Specs and maintenance
    ACCEPTED = (
        "Accepted",
        "The object is valid and acted upon.",
        "The object was read and checked without an error.",
        "",
    )
    INVALID = (
        "Invalid",
        "The newest version of the object is invalid; the last good one stays in force.",
        "Reading or checking the newest version failed; file, line and field are in the message.",
        "Mend the named field.",
    )
    UNKNOWN_NODE = (
        "UnknownNode",
        "No node of the cluster has this name.",
        "The name is looked up among the nodes of the cluster.",
        "Check the name in the manifest; PVE's names are case sensitive.",
    )
    NODE_SETS_DISJOINT = (
        "NodeSetsDisjoint",
        "Policies allow a guest, or guests that are kept together, no node in common.",
        "The nodes that the Musts about nodes allow to a guest, and to those it is kept together with, are intersected.",
        "Name a node that all of them allow, or narrow one of the guestSelectors.",
    )
    CONTRADICTORY_AFFINITY = (
        "ContradictoryAffinity",
        "The same guests have to be together and apart.",
        "More guests are tied to one domain by `keepTogether`, also through others, than `keepApart` allows there.",
        "Take the guests out of one of the guestSelectors, or raise `maxPerDomain`.",
    )
    TOO_FEW_DOMAINS = (
        "TooFewDomains",
        "A group needs more nodes or failure domains than there are for it.",
        "Not all guests of the group find a seat in the domains that they may use, however they are seated.",
        "Label more domains, take guests out of the group, or raise `maxPerDomain` or `maxSkew`.",
    )
    CAPACITY_IMPOSSIBLE = (
        "CapacityImpossible",
        "Guests need more memory than the nodes have that policies leave to them.",
        "The memory of guests that are tied to some nodes, or together, is more than guests may use there; so it is not now.",
        "Allow more nodes, take guests out of the policy, or give the nodes more memory.",
    )
    CONFLICTS_WITH_HA_RULE = (
        "ConflictsWithHARule",
        "The policy and a rule of PVE HA can't both hold.",
        "No placement satisfies the policy together with the rules of PVE HA over the same guests.",
        "Change the rule of PVE HA, or the policy.",
    )
    HA_RULE_IMPOSSIBLE = (
        "HaRuleImpossible",
        "PVE HA has no rule that says what the policy says, or takes it only in part.",
        "Under `ha.coexistence: Coordinate`, what PVE HA's rules can express and what it takes beside the other rules.",
        "Write the policy so that PVE HA can keep it, or change the other rule; drains keep to it all the same.",
    )
    HA_RULE_DIFFERS = (
        "HaRuleDiffers",
        "A rule of PVE HA that Drover writes is not as its policy says.",
        "The rule in /cluster/ha/rules and what the policy asks of it differ.",
        "",
    )
    HA_RULE_OFF = (
        "HaRuleOff",
        "Drover's own rule is in PVE HA, but HA does not follow it.",
        "The rule in `/cluster/ha/rules` is disabled or has errors.",
        "Switch the rule on again, or mend what PVE says of it; removed, it is written anew.",
    )
    COMPLIANT = (
        "Compliant",
        "Every matched guest is where the policy wants it.",
        "Every matched guest is compared with the policy at every look.",
        "",
    )
    VIOLATED = (
        "Violated",
        "Some guests are not where the policy wants them.",
        "Every matched guest is compared with the policy at every look.",
        "",
    )
    PROGRESSING = (
        "Progressing",
        "Guests are on their way.",
        "Moves for the object are under way or planned.",
        "",
    )
    DRAINING = (
        "Draining",
        "Guests are leaving the node.",
        "Guests that have to leave are still on the node.",
        "",
    )
    DRAINED = (
        "Drained",
        "No guest that has to leave is on the node: it is safe to service.",
        "The node was seen without a guest that has to leave, and nothing is on its way there.",
        "",
    )
    CORDONED = (
        "Cordoned",
        "The node accepts nothing new.",
        "The maintenance says `mode: Cordon`, or the PveNode `unschedulable: true`.",
        "",
    )
    DRAIN_BLOCKED = (
        "DrainBlocked",
        "Guests that have to leave can't.",
        "The plan has a guest on the node that has to leave and is blocked.",
        "See the blocked guests and their reasons.",
    )
    IN_SERVICE = (
        "InService",
        "The node is in service.",
        "No maintenance and no cordon is in force for the node.",
        "",
    )
    VANISHED_FILE = (
        "VanishedFile",
        "The PveNode's file is gone; its last maintenance label stays in force.",
        "The PveNode was in the manifests and is in them no more.",
        "Put the file back, with the label you want.",
    )
    AS_EXPECTED = (
        "AsExpected",
        "Nothing to report.",
        "Nothing else was found.",
        "",
    )

    # Replication
    REPLICA_WANTED = (
        "ReplicaWanted",
        "A ReplicationPolicy wants a replica there, and no job makes one.",
        "None of the guest's replication jobs leads to a target that the policy names or that was chosen for it.",
        "",
    )
    JOB_DIFFERS = (
        "JobDiffers",
        "A replication job is not as its policy says.",
        "Schedule, rate, comment or whether it is disabled differ between /cluster/replication and the policy.",
        "",
    )
    JOB_NOT_WANTED = (
        "JobNotWanted",
        "A replication job of Drover is wanted by no policy any more.",
        "Its policy is gone, no longer matches the guest, or has other targets that are in sync.",
        "",
    )
    JOB_ORPHANED = (
        "JobOrphaned",
        "A replication job of Drover belongs to no policy, and none says that it may be removed.",
        "Its policy is gone or no longer matches the guest, with `deletionPolicy: Orphan` or without one that is remembered.",
        "Remove the job in PVE, or write a policy that matches the guest.",
    )
    TARGET_GONE = (
        "TargetGone",
        "The target of a replication job has been gone for long: another is chosen.",
        "The node is offline, or no member any more, for `retargetAfterSeconds`, and is in no maintenance.",
        "Bring the node back, or wait for the first sync to the new target.",
    )
    TARGET_LEFT = (
        "TargetLeft",
        "The target of a replication job is no node of the cluster any more.",
        "The job's target is looked up among the nodes of the cluster.",
        "Let the policy name other nodes, or wait for `retargetAfterSeconds`; a job of your own you remove in PVE.",
    )
    FOREIGN_JOB = (
        "ForeignJob",
        "A replication job that is not Drover's leads to a wanted target; PVE allows one per guest and target.",
        "/cluster/replication has a job to the target whose comment does not say `managed by drover`.",
        "Set `adoptExisting: true`, or remove the job in PVE.",
    )
    NOTHING_TO_REPLICATE = (
        "NothingToReplicate",
        "The guest has no volume on local ZFS.",
        "Every volume in its config is shared, a CD, a cloud-init drive, or says `replicate=0`.",
        "",
    )
    NO_REPLICA_TARGET = (
        "NoReplicaTarget",
        "No node can take a replica of the guest.",
        "Every node is named with what keeps it from being chosen.",
        "Change the policy's targets, or what is said of the nodes.",
    )
    IN_SYNC = (
        "InSync",
        "Every wanted replica is there and young enough.",
        "Each job's last sync is younger than `maxLagSeconds`, or no run has been due since.",
        "",
    )
    NOT_SYNCED_YET = (
        "NotSyncedYet",
        "A replica has not been made for the first time yet.",
        "The job's node says `last_sync: 0`, or has not been asked yet.",
        "Nothing: the first run copies everything and may take long.",
    )
    LAG_EXCEEDED = (
        "LagExceeded",
        "A replica is older than its policy allows.",
        "The last sync began more than `maxLagSeconds` ago by the node's clock, and a run has been due since.",
        "See what the job says; give it more room in time with a longer schedule or a higher rate.",
    )
    JOBS_FAILING = (
        "JobsFailing",
        "Runs of a replication job fail.",
        "The job's node counts failures since the last run that succeeded.",
        "See the message of the job, and its log on the node of the guest.",
    )
    NO_COMMON_BASE = (
        "NoCommonBase",
        "The volume on the target and the guest's own have no snapshot in common.",
        "The job's error says `No common base snapshot`.",
        "Remove the volume of that name from the target, once nobody needs it; the next run then copies all of it.",
    )
    TRANSFER_FAILED = (
        "TransferFailed",
        "The copy broke off on its way to the target.",
        "The job's error is that of `pvesm export`.",
        "Read the job's log: most often the target's pool is full, or the connection broke.",
    )
    SSH_FAILED = (
        "SshFailed",
        "The guest's node can't talk to the target over ssh.",
        "The job's error is that of ssh, while the target is online.",
        "Try `ssh root@TARGET` from the guest's node; `pvecm updatecerts` mends keys.",
    )
    DATASET_BUSY = (
        "DatasetBusy",
        "ZFS says that the dataset is in use.",
        "The job's error says `dataset is busy`.",
        "End what uses the dataset on the target, such as a mount or another `zfs` command.",
    )
    CLOCK_WENT_BACK = (
        "ClockWentBack",
        "The last sync lies in the future of the node's clock.",
        "The job's error says `start time before last sync`.",
        "Set the clocks of the nodes right (chrony), then remove and re-make the job if it does not recover.",
    )
    JOB_DISABLED = (
        "JobDisabled",
        "The job is disabled.",
        "/cluster/replication says `disable`.",
        "Set `enabled: true` in the policy, or enable the job in PVE.",
    )

    # The Git source
    REVISION_APPLIED = (
        "RevisionApplied",
        "The newest revision of the repository is in force.",
        "The branch or tag was asked for, and its commit is the one that is in force.",
        "",
    )
    HISTORY_REWRITTEN = (
        "HistoryRewritten",
        (
            "The branch or tag leads to a commit that does not follow the "
            "one in force: a force-push, a rewind, or an unrelated history."
        ),
        "The commit in force is not among the ancestors of the new one (`git merge-base --is-ancestor`).",
        (
            "With `verify` nothing changes until somebody says `drover confirm "
            "COMMIT`; without it the commit is in force: see who pushed it."
        ),
    )
    TAG_MOVED = (
        "TagMoved",
        "The tag names another commit than before, and that one is in force now.",
        "The tag's commit is compared with the one in force.",
        "Nothing if you moved it; otherwise see who did.",
    )
    SOURCE_UNREACHABLE = (
        "SourceUnreachable",
        "The repository's server can't be reached; the last good revision stays in force.",
        "git could not connect, the connection broke, or it took longer than `timeoutSeconds`.",
        "Look at the network and the server. Drover tries again, ever more slowly, and goes on without it meanwhile.",
    )
    SOURCE_AUTH_FAILED = (
        "SourceAuthFailed",
        "The repository's server refuses the token or key.",
        "The server answered 401 or 403, or ssh was denied.",
        "Renew `tokenFile`, or register the public half of `sshKeyFile` with the right to read.",
    )
    SOURCE_NOT_TRUSTED = (
        "SourceNotTrusted",
        "The repository's server does not prove who it is.",
        "Its certificate or its host key does not match `caFile` or `knownHostsFile`.",
        "Compare the key with what its administrator tells you, then put it into `knownHostsFile` or its authority into `caFile`.",
    )
    REPOSITORY_NOT_FOUND = (
        "RepositoryNotFound",
        "There is no such repository, or the token may not see it.",
        "The server said so.",
        "Check `url`, and what the token may read.",
    )
    REPOSITORY_EMPTY = (
        "RepositoryEmpty",
        "The repository has no commit.",
        "The server lists no branch and no tag.",
        "Push the manifests; until then what was in force stays.",
    )
    REF_MISSING = (
        "RefMissing",
        "The branch or tag is gone, ambiguous, or leads to no commit.",
        "The name is looked up among the server's branches and tags.",
        "Push it again, or name another as `ref` in the settings.",
    )
    PATH_MISSING = (
        "PathMissing",
        "The revision has nothing at the configured path.",
        "The path is looked up in the commit.",
        "Put the folder back, or change `path` in the settings.",
    )
    NOT_SIGNED = (
        "NotSigned",
        "A commit or tag that has to be signed is not.",
        "`verify` is set, and git found no signature in a commit since the last one in force, or in the tag.",
        "Sign it and push again (`git commit -S`, `git rebase --exec 'git commit --amend --no-edit -S'`, `git tag -s`).",
    )
    BAD_SIGNATURE = (
        "BadSignature",
        "A signature does not belong to its commit or tag: something was changed after signing.",
        "git verified the signature against the content and says bad.",
        "Take it for an attack until you know better: find out who pushed the commit.",
    )
    SIGNER_NOT_TRUSTED = (
        "SignerNotTrusted",
        "A commit or tag is signed with a key that is not among the trusted ones, or not usable any more (expired, revoked).",
        "The key is looked up in `gpgKeyringFile` or `sshAllowedSignersFile`, and what they say of its validity counts.",
        "Add the key if you trust its owner; renew what has expired; have a revoked key's commits signed anew.",
    )
    REVISION_TOO_LARGE = (
        "RevisionTooLarge",
        "The fetch or the manifests of the revision are larger than allowed.",
        "Sizes and numbers are compared with `maxFetchMiB`, `maxTreeMiB`, `maxFiles` before anything is written.",
        "Take what does not belong there out of the repository, name a `path`, or raise the limit.",
    )
    UNSAFE_TREE = (
        "UnsafeTree",
        (
            "The revision holds something that must not be checked out: a link "
            "that leaves the tree, a path or an object that git calls broken."
        ),
        "Every entry is checked before the revision is put in force, and git checks every object it receives.",
        "Remove the named entry.",
    )
    GIT_FAILED = (
        "GitFailed",
        "git could not be run, or failed in a way that has no word of its own.",
        "The exit code of git; its words are in the message.",
        "Look at the message: most often git is not installed, or the state directory's disk is full.",
    )
