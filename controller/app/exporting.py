"""Looks at a cluster once and writes manifests for it as it is: `drover export`. Called by `cli`."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from controller.app.connection import connect
from controller.clock import SystemClock
from controller.decide.export import Export, Value, export
from controller.model.errors import DroverError
from controller.model.ids import ClusterName
from controller.model.observed import Observed
from controller.model.reasons import Why
from controller.observe.cluster import Observer
from controller.pve.client import PveClient
from controller.settings import Settings
from controller.sources import Held, merge
from controller.sources.folder import FolderSource
from controller.specs import API_VERSION, PveCluster


@dataclass(frozen=True, slots=True)
class Exported:
    """Manifests of a cluster as it is; `lacking`: rights of the token, without which rows may be missing."""

    export: Export
    seen: Observed
    lacking: tuple[str, ...]
    missing_rights: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """How a cluster is reached that no manifest tells of yet. credential: "" = the only one of the settings."""

    credential: str = ""
    ca_file: str = ""
    fingerprint_sha256: str = ""


def export_once(settings: Settings, name: str, path: Path | None, reach: Reach) -> Exported:
    """Look at a cluster once and write down what is in force there. Raises DroverError.

    path: a folder that has its PveCluster; None: it is reached as `reach` says.
    """
    if path is None:
        spec = _cluster_of(settings, ClusterName(name), reach)
    else:
        held = merge(Held.empty(), FolderSource(path).read_now())
        if name not in held.specs.clusters:
            known = ", ".join(sorted(held.specs.clusters)) or "none"
            raise DroverError(Why.NOT_FOUND, f"there is no PveCluster {name!r} in {path} (known: {known})")
        spec = held.specs.clusters[name]
    return asyncio.run(_export(settings, spec))


def _cluster_of(settings: Settings, name: ClusterName, reach: Reach) -> PveCluster:
    known = ", ".join(sorted(settings.credentials)) or "none"
    if not reach.credential and len(settings.credentials) != 1:
        raise DroverError(Why.NO_CREDENTIALS, f"say with --credential which one to use (defined: {known})")
    chosen = reach.credential or next(iter(settings.credentials))
    if chosen not in settings.credentials:
        raise DroverError(Why.NO_CREDENTIALS, f"the settings define no credential {chosen!r} (defined: {known})")
    tls = {"caFile": reach.ca_file, "fingerprintSha256": reach.fingerprint_sha256}
    spec = {
        "endpoints": list(settings.credentials[chosen].endpoints),
        "auth": {"credentialsRef": chosen},
        "tls": {key: value for key, value in tls.items() if value},
    }
    raw = {"apiVersion": API_VERSION, "kind": "PveCluster", "metadata": {"name": name}, "spec": spec}
    try:
        return PveCluster.model_validate(raw)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise DroverError(Why.NO_CREDENTIALS, f"no PveCluster can be made of it: {said}") from None


async def _export(settings: Settings, spec: PveCluster) -> Exported:
    clock, name = SystemClock(), ClusterName(spec.metadata.name)
    connection = connect(spec, settings, clock)
    observer = Observer(PveClient(connection.transport), cluster=name, clock=clock, token_id=connection.token_id)
    try:
        seen = await observer.look_closely()
    finally:
        connection.close()
    reached: dict[str, Value] = spec.spec.model_dump(
        mode="json", by_alias=True, include={"endpoints", "auth", "tls"}, exclude_defaults=True
    )
    return Exported(
        export(seen, reached), seen, tuple(str(missing) for missing in observer.missing), observer.missing_rights
    )
