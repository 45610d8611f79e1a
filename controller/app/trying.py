"""What verbs need of the machine beside a cluster: its clock, and a message to one sink. Called by `cli`."""

from controller.clock import Clock, SystemClock
from controller.model.errors import DroverError
from controller.model.event import Event, EventType
from controller.model.ids import ClusterName, ObjectRef
from controller.model.notice import Gravity, Notice
from controller.model.reasons import Why
from controller.outgoing import Answer
from controller.report import sinks
from controller.settings import Settings


async def try_sink(settings: Settings, name: str, gravity: Gravity) -> Answer:
    """Send a message to a sink of the settings, once. Raises DroverError(NO_SINK) and SettingsError."""
    if name not in settings.sinks:
        known = ", ".join(sorted(settings.sinks)) or "none"
        raise DroverError(Why.NO_SINK, f"the settings define no sink {name!r} (defined: {known})")
    at = SystemClock().wall()
    event = Event(EventType.NORMAL, "Test", ObjectRef("Sink", name), "a message to try this sink", at, at)
    notice = Notice("", f"test-{at:.6f}", name, ClusterName("none"), gravity, event, at)
    sender = sinks.sender(settings.sinks[name])
    try:
        return await sender.send(notice, at=at)
    finally:
        sender.close()


def system_clock() -> Clock:
    """The machine's own clock, for verbs that have to wait."""
    return SystemClock()
