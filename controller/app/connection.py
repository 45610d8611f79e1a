"""How a cluster is reached: the credential that the machine's settings bind to it, and a counted connection.

Used by the modules of this package.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from controller.clock import Clock
from controller.loop.cluster_loop import Connection
from controller.model.errors import DroverError
from controller.model.reasons import Why
from controller.model.view import Finding
from controller.pve.discreet import Discreet
from controller.pve.metered import Call, Metered
from controller.pve.proxmoxer_transport import ProxmoxerTransport, TlsOptions, TokenAuth
from controller.pve.ticket import TicketAuth
from controller.report.log import Redactor
from controller.settings import Credential, Hook, Settings
from controller.specs import PveCluster


def connect(
    spec: PveCluster, settings: Settings, clock: Clock, on_call: Callable[[Call], None] = lambda _: None
) -> Connection:
    """A counted connection to the cluster of `spec`. Raises DroverError(NO_CREDENTIALS)."""
    credential = credential_for(spec, settings.credentials)
    tls = spec.spec.tls
    transport = ProxmoxerTransport(
        spec.spec.endpoints,
        _auth(credential, clock),
        TlsOptions(
            ca_file=Path(tls.ca_file) if tls.ca_file else None,
            fingerprint_sha256=credential.fingerprint_sha256 or tls.fingerprint_sha256 or None,
            insecure=tls.insecure_skip_verify,
        ),
    )
    return Connection(
        Metered(Discreet(transport, Redactor(settings.secrets).known), on_call, monotonic=clock.monotonic),
        credential.login,
        transport.close,
    )


def _auth(credential: Credential, clock: Clock) -> TokenAuth | TicketAuth:
    secret = credential.secret.reveal()
    if credential.is_token:
        return TokenAuth(credential.login, secret)
    return TicketAuth(credential.login, secret, clock.monotonic)


def credential_for(spec: PveCluster, credentials: Mapping[str, Credential]) -> Credential:
    """The credential that `spec` names, if the machine's settings let it be sent to these endpoints. Raises DroverError."""
    name = spec.spec.auth.credentials_ref
    credential = credentials.get(name)
    if credential is None:
        known = ", ".join(sorted(credentials)) or "none"
        raise DroverError(Why.NO_CREDENTIALS, f"the settings define no credential {name!r} (defined: {known})")
    foreign = [endpoint for endpoint in spec.spec.endpoints if endpoint.rstrip("/") not in _normal(credential)]
    if foreign:
        text = f"the settings bind credential {name!r} to other endpoints; {', '.join(foreign)} is not among them"
        raise DroverError(Why.NO_CREDENTIALS, text)
    pinned, asked = credential.fingerprint_sha256, spec.spec.tls.fingerprint_sha256
    if pinned and asked and pinned.lower() != asked.lower():
        raise DroverError(Why.NO_CREDENTIALS, f"the settings bind credential {name!r} to another fingerprint")
    return credential


def missing_hooks(spec: PveCluster, hooks: Mapping[str, Hook]) -> Finding | None:
    """Why nothing may be started in a cluster that counts on hooks which the machine's settings do not define."""
    named = (spec.spec.maintenance.ha_maintenance_hook, spec.spec.maintenance.drained_hook)
    missing = sorted({name for name in named if name is not None and name not in hooks})
    if not missing:
        return None
    known = ", ".join(sorted(hooks)) or "none"
    return Finding(False, Why.NO_HOOK, f"the settings define no hook {', '.join(missing)} (defined: {known})")


def _normal(credential: Credential) -> frozenset[str]:
    return frozenset(endpoint.rstrip("/") for endpoint in credential.endpoints)
