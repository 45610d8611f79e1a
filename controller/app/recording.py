"""Reads a cluster once and writes it down, scrubbed: `drover record`. Called by `cli`."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.app.connection import connect
from controller.clock import SystemClock
from controller.model.errors import DroverError
from controller.model.ids import ClusterName
from controller.model.reasons import Why
from controller.pve.recorder import Recorder, Survey
from controller.pve.scrub import Scrubber
from controller.settings import Settings
from controller.sources import Held, merge
from controller.sources.folder import FolderSource


@dataclass(frozen=True, slots=True)
class Recording:
    """What was read of a cluster. refused: paths that could not be read, with the HTTP status, None without an answer."""

    nodes: int
    guests: int
    calls: int
    refused: Mapping[str, int | None]


def record(
    settings: Settings,
    cluster: str,
    folder: Path,
    *,
    path: Path | None = None,
    keep_names: bool = False,
    calls_per_second: float = 10.0,
    progress: Callable[[int, int], None] = lambda _done, _known: None,
) -> Recording:
    """Read all of a cluster that a simulation needs and write it, scrubbed, into `folder`, which is made.

    path: a folder of manifests, else the one of the settings. Raises DroverError, and OSError when the folder can't be written.
    """
    held = merge(Held.empty(), FolderSource(path or settings.source).read_now())
    spec = held.specs.clusters.get(ClusterName(cluster))
    if spec is None:
        known = ", ".join(sorted(held.specs.clusters)) or "none"
        raise DroverError(
            Why.NOT_FOUND, f"there is no PveCluster {cluster!r} in {path or settings.source} (known: {known})"
        )
    folder.mkdir(parents=True)
    clock = SystemClock()
    connection = connect(spec, settings, clock)
    recorder = Recorder(connection.transport, folder, Scrubber(keep_names=keep_names))
    survey = Survey(recorder, pause=lambda: clock.sleep(1 / calls_per_second), progress=progress)
    try:
        asyncio.run(survey.run())
    finally:
        connection.close()
    return Recording(survey.nodes, survey.guests, recorder.calls, survey.refused)
