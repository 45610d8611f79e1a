"""The guard in tests/conftest.py works: a skip that nobody announced fails the run."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

ANNOUNCED = "import pytest\ndef test_it(): pytest.skip('systemd-analyze is not installed here')\ndef test_other(): pass"
UNEXPECTED = {
    "a call": "import pytest\ndef test_it(): pytest.skip('not today')",
    "a mark": "import pytest\n@pytest.mark.skipif(True, reason='never')\ndef test_it(): pass\ndef test_other(): pass",
    "a module": "import pytest\npytest.importorskip('no_such_module')\ndef test_it(): pass",
}


def run(folder: Path, *bodies: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    for number, body in enumerate(bodies):
        (folder / f"test_{number}.py").write_text(body)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", str(folder)]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_an_announced_skip_passes(tmp_path: Path) -> None:
    done = run(tmp_path, ANNOUNCED)
    assert done.returncode == 0, done.stdout


def test_an_unexpected_skip_of_any_kind_fails_the_run_and_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, *UNEXPECTED.values())
    _, _, summary = done.stdout.partition("unexpected skips: the run has failed")
    assert done.returncode == 1, done.stdout
    assert [f"test_{number}.py" in summary for number in range(len(UNEXPECTED))] == [True] * len(UNEXPECTED)
