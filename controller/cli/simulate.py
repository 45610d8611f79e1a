"""`drover simulate`: a simulated Proxmox VE cluster behind real HTTPS, for anybody's client."""

import asyncio
import signal
from pathlib import Path

import click

from controller.cli.table import emit, paint
from controller.rehearse.serving import Serving, serve
from controller.report.units import count_of
from controller.simulator import http
from controller.simulator.seed import ClusterFile, ClusterFileError, load
from controller.simulator.world import World


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8006,
    show_default=True,
    help="Of the first node; 0 takes free ones.",
)
@click.option(
    "--speed", type=click.FloatRange(0.1, 1000), default=1.0, show_default=True, help="Times as fast as life."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything that is random.")
@click.option("--tls", type=click.Path(file_okay=False, path_type=Path), help="Folder that keeps the certificates.")
def command(*, file: Path, host: str, port: int, speed: float, seed: int, tls: Path | None) -> None:
    """Serve the simulated cluster of FILE until Ctrl-C, each node on a port of its own."""
    try:
        cluster = load(file)
    except ClusterFileError as error:
        raise click.ClickException(str(error)) from error
    try:
        asyncio.run(_serve(cluster, Serving(host, port, speed, seed, tls)))
    except OSError as error:
        raise click.ClickException(f"can't listen on {host}, ports from {port}: {error.strerror or error}") from error


async def _serve(file: ClusterFile, how: Serving) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(file, how, stop, ready=lambda world, server: emit(_opening(world, server, how.speed)))


def _opening(world: World, server: http.Server, speed: float) -> list[str]:
    size = f"{count_of(len(server.endpoints), 'node')}, {count_of(len(world.guests), 'guest')}, time runs {speed:g} times as fast"
    rows = [
        (f"  {node}", endpoint, paint(f"SHA-256 {server.fingerprints[node]}", "soft"))
        for node, endpoint in zip(server.fingerprints, server.endpoints, strict=True)
    ]
    return [
        f"{paint(f'Simulated cluster {world.name}', 'bold')}: {size}",
        *("  ".join(row) for row in rows),
        f"  certificate authority: {server.ca_file}",
        "Ctrl-C ends it.",
    ]
