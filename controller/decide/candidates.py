"""Answers `drover explain`: which nodes could take a guest, which not and why, and what the plan chose. Pure.

Called when somebody asks, by `app` for the daemon's HTTP server and by `cli`; planning does not need it.
"""

from functools import cached_property

from controller.decide.explain import why_not
from controller.decide.replication.wanted import synced
from controller.decide.scene import Scene
from controller.decide.scene import scene as gather
from controller.decide.stage import Stage, stages
from controller.decide.words import size
from controller.model.explanation import Candidate, Explanation, Fitness
from controller.model.ids import NodeName, Vmid
from controller.model.memory import Memory
from controller.model.observed import Guest, Observed
from controller.model.plan import Blocked, Move, Plan, Waiting
from controller.specs import Specs


class Explainer:
    """Explains the guests of one plan, made from the same specs, look and memory. Gathers once, however many are asked about."""

    def __init__(self, specs: Specs, seen: Observed, memory: Memory, plan: Plan) -> None:
        self._specs, self._seen, self._memory, self._plan = specs, seen, memory, plan

    def explain(self, vmid: Vmid) -> Explanation:
        """Everything about one guest. Raises KeyError when it was not seen."""
        guest = self._seen.guests[vmid]
        word = self._words.get(vmid)
        move = word if isinstance(word, Move) else word.move if isinstance(word, Waiting) else None
        target = move.target if move is not None else None
        flight = self._memory.flights.get(vmid)
        if flight is not None:
            target = flight.target
        moving = self._bytes(vmid, target)
        return Explanation(
            vmid=vmid,
            name=guest.name,
            node=guest.node,
            candidates=self._candidates(guest, target),
            rules=tuple(ref for ref, vmids in sorted(self._plan.matched.items()) if vmid in vmids),
            target=target,
            why=flight.why if flight is not None else word.why if word is not None else None,
            message=word.message if word is not None else "",
            cause=flight.cause if flight is not None else word.cause if word is not None else None,
            waits=isinstance(word, Waiting),
            move_bytes=moving,
            seconds=self._seconds(guest, target) if target is not None else None,
        )

    @cached_property
    def _words(self) -> dict[Vmid, Move | Waiting | Blocked]:
        plan = self._plan
        words: list[Move | Waiting | Blocked] = [*plan.moves, *plan.waiting, *plan.blocked]
        return {word.vmid: word for word in words}

    @cached_property
    def _scene(self) -> Scene:
        return gather(self._specs, self._seen, self._memory)

    @cached_property
    def _later(self) -> Stage:
        """The cluster when the plan is done."""
        _, later = stages(self._scene)
        for move in self._plan.all_moves:
            later.leave(move.vmid, move.source)
            later.arrive(move.vmid, move.target)
        return later

    def _candidates(self, guest: Guest, target: NodeName | None) -> tuple[Candidate, ...]:
        later = self._later
        where = target or guest.node
        later.leave(guest.vmid, where)  # judge every node as if it were nowhere yet
        found = tuple(self._candidate(guest, node, target, later) for node in sorted(self._seen.nodes))
        later.arrive(guest.vmid, where)
        return found

    def _candidate(self, guest: Guest, node: NodeName, target: NodeName | None, later: Stage) -> Candidate:
        if node == guest.node:
            return Candidate(node, Fitness.HERE, self._here(guest))
        obstacle = why_not(self._scene, later, guest, node)
        if node == target:
            return Candidate(node, Fitness.CHOSEN, self._numbers(guest, node, later))
        if obstacle is not None:
            return Candidate(node, Fitness.RULED_OUT, obstacle)
        return Candidate(node, Fitness.POSSIBLE, self._numbers(guest, node, later))

    def _here(self, guest: Guest) -> str:
        """What is to be said of the node where it is: it may be one that it has to leave."""
        reason = self._scene.shut.get(guest.node)
        fence = self._scene.wanted.fences.get(guest.vmid)
        if reason is None and fence is not None and guest.node not in fence.nodes:
            reason = f"is ruled out by {next(str(rule.ref) for rule in fence.rules if guest.node not in rule.nodes)}"
        return f"is where it is, and {reason}" if reason else "is where it is"

    def _numbers(self, guest: Guest, node: NodeName, later: Stage) -> str:
        free, need = later.room.free(node), self._scene.needs.get(guest.vmid) or 0
        if free is None:
            return "could take it"
        said = f"has {size(max(0, free))} free when the plan is done, {size(max(0, free - need))} with it"
        cargo = self._scene.cargo(guest.vmid)
        if node in cargo.replicas:
            return f"{said}; {self._replica(guest, node)}"
        copied = cargo.bytes_to(node)
        return f"{said}; {size(copied)} of volumes would be copied" if copied else said

    def _replica(self, guest: Guest, node: NodeName) -> str:
        job = next(job for job in self._scene.jobs[guest.vmid] if job.target == node and not job.removing)
        if synced(job, guest, self._seen):
            return "has a replica: only what changed since would be copied"
        return f"job {job.id} has made no replica there yet"

    def _bytes(self, vmid: Vmid, target: NodeName | None) -> int:
        copied = self._scene.cargo(vmid).bytes_to(target) if target is not None else 0
        return (self._scene.needs.get(vmid) or 0) + copied

    def _seconds(self, guest: Guest, target: NodeName) -> float | None:
        takes = self._scene.estimate(guest, target)
        return takes.seconds if takes.rate.known and takes.converges else None
