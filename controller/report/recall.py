"""What the rows of the state file mean: one adapter per noun, and all of them read back as one `Memory`.

Used by the rooms of the store (`report.store*`) inside their transactions.
"""

import json
import sqlite3
from dataclasses import replace
from typing import TypeVar

from pydantic import TypeAdapter

from controller.model.approval import Approved
from controller.model.drift import MovedByHand
from controller.model.ids import NodeName, Vmid
from controller.model.memory import (
    Backoff,
    Begun,
    Ejected,
    Flight,
    GuestRate,
    Halted,
    LinkRate,
    Memory,
    Origin,
    Refusal,
)
from controller.model.override import Override
from controller.model.replication import AskedSync, RefusedJob, ReplicationMemory, TemporaryJob
from controller.model.turn import HookRun, Turn
from controller.report import statefile

_T = TypeVar("_T")
FLIGHT = TypeAdapter(Flight)
ORIGIN = TypeAdapter(Origin)
BACKOFF = TypeAdapter(Backoff)
EJECTED = TypeAdapter(Ejected)
TEMPORARY = TypeAdapter(TemporaryJob)
REFUSED = TypeAdapter(RefusedJob)
REFUSAL = TypeAdapter(Refusal)
RATE = TypeAdapter(GuestRate)
LINK = TypeAdapter(LinkRate)
ASKED = TypeAdapter(AskedSync)
OVERRIDE = TypeAdapter(Override)
HALTED = TypeAdapter(Halted)
BEGUN = TypeAdapter(Begun)
TURN = TypeAdapter(Turn)
HOOK = TypeAdapter(HookRun)
APPROVED = TypeAdapter(Approved)
MOVED = TypeAdapter(MovedByHand)


OVERRIDES = "overrides"
APPROVALS = "approvals"
HALTS = "halted"
BEGINNINGS = "begun"
TURNS = "turns"
HOOKS = "hooks"
MOVES_BY_HAND = "moved-by-hand"
DIFFERING = "differing"
"""The topics of the table `notes`."""


def text(adapter: TypeAdapter[_T], value: _T) -> str:
    """The body of a row."""
    return adapter.dump_json(value).decode()


def memory(database: sqlite3.Connection) -> Memory:
    """Everything the file remembers, as one value. Raises ValidationError for a row nobody can read."""
    flights = (
        replace(FLIGHT.validate_json(body), id=number)
        for number, body in database.execute("SELECT id, body FROM flights ORDER BY id")
    )
    origins = (ORIGIN.validate_json(body) for (body,) in database.execute("SELECT body FROM origins ORDER BY vmid"))
    backoffs = (BACKOFF.validate_json(body) for (body,) in database.execute("SELECT body FROM backoffs ORDER BY vmid"))
    media = (EJECTED.validate_json(body) for _, body in statefile.rows(database, "media"))
    refusals: dict[Vmid, dict[NodeName, Refusal]] = {}
    for body in statefile.refusals(database):
        refusal = REFUSAL.validate_json(body)
        refusals.setdefault(refusal.identity.vmid, {})[refusal.target] = refusal
    rates = (RATE.validate_json(body) for _, body in statefile.rows(database, "rates"))
    overrides = (OVERRIDE.validate_json(body) for body in statefile.notes(database, OVERRIDES))
    halts = (HALTED.validate_json(body) for body in statefile.notes(database, HALTS))
    by_hand = (MOVED.validate_json(body) for body in statefile.notes(database, MOVES_BY_HAND))
    differing = [json.loads(body) for body in statefile.notes(database, DIFFERING)]
    turns = (TURN.validate_json(body) for body in statefile.notes(database, TURNS))
    hooks = (HOOK.validate_json(body) for body in statefile.notes(database, HOOKS))
    approvals = (APPROVED.validate_json(body) for body in statefile.notes(database, APPROVALS))
    beginnings = (BEGUN.validate_json(body) for body in statefile.notes(database, BEGINNINGS))
    return Memory(
        flights={flight.vmid: flight for flight in flights},
        origins={origin.identity.vmid: origin for origin in origins},
        backoffs={backoff.identity.vmid: backoff for backoff in backoffs},
        refusals=refusals,
        rates={rate.identity.vmid: rate for rate in rates},
        links={NodeName(node): LINK.validate_json(body) for node, body in statefile.rows(database, "links")},
        media={ejected.identity.vmid: ejected for ejected in media},
        replication=_replication(database),
        approvals={approved.gate: approved for approved in approvals},
        overrides={override.node: override for override in overrides},
        halted={halted.identity.vmid: halted for halted in halts},
        begun={begun.node: begun for begun in beginnings},
        turns={turn.key: turn for turn in turns},
        hooks={run.call.key: run for run in hooks},
        moved_by_hand={moved.identity.vmid: moved for moved in by_hand},
        differing={name: float(since) for name, since in differing},
    )


def _replication(database: sqlite3.Connection) -> ReplicationMemory:
    sections = ("temporary", "refused", "asked", "told", "policy", "gone")
    temporary, refused, asked, told, policies, gone = (dict(statefile.replication(database, each)) for each in sections)
    return ReplicationMemory(
        temporary={key: TEMPORARY.validate_json(body) for key, body in temporary.items()},
        refused={key: REFUSED.validate_json(body) for key, body in refused.items()},
        asked={key: ASKED.validate_json(body) for key, body in asked.items()},
        told=told,
        policies=policies,
        gone_since={NodeName(node): float(since) for node, since in gone.items()},
    )
