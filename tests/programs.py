"""Finds the programs that tests drive and that no Python package holds: prometheus, promtool, kubectl, chromium, gpg, ssh-keygen.

Called by the tests that start one. `requirements/debian.sh` fetches them when the project sets itself up.
"""

import os
import shutil
from pathlib import Path

import pytest

UNPACKED = Path(__file__).resolve().parents[1] / ".venv" / "debian" / "usr" / "bin"


def program(name: str) -> str:
    """The path of a program; without it the test is skipped on a machine of a person, and fails where CI runs."""
    found = shutil.which(name) or shutil.which(name, path=str(UNPACKED))
    if found:
        return found
    sentence = f"{name} is not installed (make setup tells why it could not be fetched)"
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)
