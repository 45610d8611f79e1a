"""Where a rolling maintenance stands: its condition RolledOut and the status of each of its nodes. Pure.

Called by `report.conditions`.
"""

from controller.model.ids import ObjectRef
from controller.model.reasons import Why
from controller.model.turn import Turn, TurnState
from controller.model.view import ClusterView
from controller.report.statement import Statement, say
from controller.report.units import count_of, timestamp


def statement(ref: ObjectRef, view: ClusterView) -> Statement:
    """RolledOut: how many nodes are done, who is under way, and after a failure how to go on."""
    turns = _turns(ref, view)
    done = [turn for turn in turns if turn.state is TurnState.DONE]
    if not turns:
        return say("RolledOut", False, Why.ROLLING, "no node of the cluster is selected, or its time has not come")
    if len(done) == len(turns):
        return say(
            "RolledOut",
            True,
            Why.ROLLING_DONE,
            "the only node is done" if len(turns) == 1 else f"all of {len(turns)} nodes are done",
        )
    text = f"{len(done)} of {count_of(len(turns), 'node')} done"
    if failed := [turn for turn in turns if turn.failure]:
        first = failed[0]
        on = (
            f"no further node is begun; when {first.node} is fine, `drover uncordon {first.node}` counts it as serviced,"
            " and a change of the object services it again"
        )
        return say("RolledOut", False, Why.ROLLING_STOPPED, f"{text}; {first.node}: {first.failure}; {on}")
    under_way = [f"{turn.node} {turn.state}" for turn in turns if turn.state not in (TurnState.DONE, TurnState.PENDING)]
    return say("RolledOut", False, Why.ROLLING, f"{text}; {', '.join(under_way) or 'the next one has not begun'}")


def fields(ref: ObjectRef, view: ClusterView) -> dict[str, object]:
    """The status fields nodeCounts and nodes."""
    turns = _turns(ref, view)
    states = [turn.state for turn in turns]
    return {
        "nodeCounts": {
            "total": len(turns),
            "done": states.count(TurnState.DONE),
            "failed": states.count(TurnState.FAILED),
        },
        "nodes": [_node(turn) for turn in turns],
    }


def _turns(ref: ObjectRef, view: ClusterView) -> list[Turn]:
    return sorted((t for t in view.memory.turns.values() if t.maintenance == ref), key=lambda t: t.node)


def _node(turn: Turn) -> dict[str, object]:
    found: dict[str, object] = {"node": turn.node, "phase": str(turn.state)}
    if turn.failure:
        found["message"] = turn.failure
    if turn.since:
        found["since"] = timestamp(turn.since)
    return found
