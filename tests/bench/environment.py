"""Environments of their own for programs that Drover must not depend on. Used by `clients` and `placement`."""

import subprocess
import sys
from pathlib import Path


def install(home: Path, lock: Path) -> None:
    """Make the environment what the lock says. Raises CalledProcessError."""
    uv = Path(sys.executable).with_name("uv")
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([uv, "venv", "-q", home], check=True)
    sync: list[str | Path] = [uv, "pip", "sync", "-q", "--python", python, "--require-hashes", lock]
    if subprocess.run(sync, check=False, stderr=subprocess.DEVNULL).returncode:
        pip: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
        ]  # knows its own index and certificates
        subprocess.run([*pip, "install", "-q", "--require-hashes", "-r", lock], check=True)
