"""Wires the real parts together: settings -> transport -> loop. The only place that builds long-lived objects.

Called by `cli` and by `rehearse.demo`; one module per purpose.
"""

from controller.app.connection import connect, credential_for, missing_hooks
from controller.app.exporting import Exported, Reach, export_once
from controller.app.planning import PlanResult, explained, look_once, plan_once, planned
from controller.app.preflight import PreflightResult, Question, answer, preflight_once
from controller.app.recording import Recording, record
from controller.app.serving import SHUTDOWN_SECONDS, explain_guest, remembered, rooms, run, serve, source_of
from controller.app.trying import system_clock, try_sink

__all__ = [
    "SHUTDOWN_SECONDS",
    "Exported",
    "PlanResult",
    "PreflightResult",
    "Question",
    "Reach",
    "Recording",
    "answer",
    "connect",
    "credential_for",
    "explain_guest",
    "explained",
    "export_once",
    "look_once",
    "missing_hooks",
    "plan_once",
    "planned",
    "preflight_once",
    "record",
    "remembered",
    "rooms",
    "run",
    "serve",
    "source_of",
    "system_clock",
    "try_sink",
]
