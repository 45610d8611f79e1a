"""The wires between nodes: streams of bytes that share links fairly.

Used by migrations, disk copies and replication. Every node has one full-duplex link; a stream uses the source's way out and
the target's way in, and may have a ceiling of its own (ssh, bwlimit). Rates are max-min fair: no stream can get more without
taking from one that has less.
"""

from collections.abc import Callable

from controller.simulator.engine import Engine, Signal, Timer

_EPSILON = 1e-6
_TINY = 0.5  # bytes: less than that is done
_GRAIN = 1e-6  # seconds: epoch times as floats are no finer than a quarter of it


class Flow:
    """One stream. `done` fires with True when all bytes are there, or with False when the stream broke."""

    __slots__ = ("cap", "done", "dst", "owner", "rate", "sent", "size", "src")

    def __init__(self, src: str, dst: str, size: float, cap: float, owner: object) -> None:
        self.src = src
        self.dst = dst
        self.size = size
        self.cap = cap
        self.owner = owner
        self.sent = 0.0
        self.rate = 0.0
        self.done = Signal()

    @property
    def remaining(self) -> float:
        """Bytes to go, as of the network's last settlement."""
        return max(0.0, self.size - self.sent)


class Network:
    """All streams of a cluster. Rates in bytes per second."""

    def __init__(self, engine: Engine, links: dict[str, float]) -> None:
        self._engine = engine
        self.links = links
        self.flows: list[Flow] = []
        self.moved = 0.0
        """Bytes carried since the start."""
        self._settled_at = engine.now
        self._timer: Timer | None = None

    def start(self, src: str, dst: str, size: float, cap: float = float("inf"), owner: object = None) -> Flow:
        """Begin to send `size` bytes from node to node, never faster than `cap`; `owner` can end all of its own."""
        flow = Flow(src, dst, max(size, 0.0), cap, owner)
        self._change(lambda: self.flows.append(flow))
        return flow

    def stop(self, flow: Flow) -> None:
        """End a stream early; `done` does not fire."""
        if flow in self.flows:
            self._change(lambda: self.flows.remove(flow))

    def release(self, owner: object) -> None:
        """End all streams of a process that is gone."""
        if any(flow.owner is owner for flow in self.flows):
            self._change(lambda: self.flows.__setitem__(slice(None), [f for f in self.flows if f.owner is not owner]))

    def relink(self, node: str, rate: float) -> None:
        """Change a node's link."""
        self._change(lambda: self.links.__setitem__(node, rate))

    def recap(self, flow: Flow, cap: float) -> None:
        """Change a stream's own ceiling."""
        self._change(lambda: setattr(flow, "cap", cap))

    def cut(self, broken: Callable[[Flow], bool]) -> None:
        """Break the streams that `broken` picks: their `done` fires with False."""
        victims = [flow for flow in self.flows if broken(flow)]
        if not victims:
            return
        self._change(lambda: self.flows.__setitem__(slice(None), [f for f in self.flows if f not in victims]))
        for flow in victims:
            flow.done.fire(False)

    def settle(self) -> None:
        """Bring every stream's `sent` up to now."""
        seconds = self._engine.now - self._settled_at
        self._settled_at = self._engine.now
        if seconds <= 0:
            return
        for flow in self.flows:
            step = min(flow.rate * seconds, flow.remaining)
            flow.sent += step
            self.moved += step

    def sent(self, flow: Flow) -> float:
        """Bytes of a stream that have been sent by now; cheaper than settling all of them."""
        return flow.sent + min(flow.rate * (self._engine.now - self._settled_at), flow.remaining)

    def _change(self, action: Callable[[], None]) -> None:
        self.settle()
        action()
        self._reschedule()

    def _reschedule(self) -> None:
        fair_share(self.flows, self.links)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        soonest = min((flow.remaining / flow.rate for flow in self.flows if flow.rate > 0), default=None)
        if soonest is not None:
            self._timer = self._engine.after(soonest, self._complete)

    def _complete(self) -> None:
        self.settle()
        finished = [flow for flow in self.flows if flow.remaining <= _TINY + flow.rate * _GRAIN]
        for flow in finished:
            flow.sent = flow.size
        self.flows = [flow for flow in self.flows if flow not in finished]
        self._reschedule()
        for flow in finished:
            flow.done.fire(True)


def fair_share(flows: list[Flow], links: dict[str, float]) -> None:
    """Set every flow's `rate`: fill all equally until a link or a ceiling is full, freeze those, go on with the rest."""
    room: dict[tuple[str, bool], float] = {}
    users: dict[tuple[str, bool], int] = {}
    for flow in flows:
        for port in ((flow.src, True), (flow.dst, False)):
            room.setdefault(port, links[port[0]])
            users[port] = users.get(port, 0) + 1
    waiting = list(flows)
    level = 0.0
    while waiting:
        rise = min(room[port] / count for port, count in users.items() if count)
        rise = max(0.0, min(rise, min(flow.cap for flow in waiting) - level))
        level += rise
        for port, count in users.items():
            room[port] -= rise * count
        full = {port for port, count in users.items() if count and room[port] <= _EPSILON * links[port[0]]}
        still: list[Flow] = []
        for flow in waiting:
            ports = ((flow.src, True), (flow.dst, False))
            if flow.cap <= level * (1 + _EPSILON) or ports[0] in full or ports[1] in full:
                flow.rate = level
                for port in ports:
                    users[port] -= 1
            else:
                still.append(flow)
        waiting = still
