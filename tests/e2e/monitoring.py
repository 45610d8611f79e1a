"""A real Prometheus on loopback that scrapes one address. Used by the end-to-end test of the dashboards."""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.e2e.lab import free_port
from tests.programs import program

SCRAPE_SECONDS = 0.5


class Prometheus:
    """Scrapes twice a second, so that a test need not wait for history."""

    def __init__(self, folder: Path, target: str) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        config = {
            "global": {"scrape_interval": f"{int(SCRAPE_SECONDS * 1000)}ms", "scrape_timeout": "500ms"},
            "scrape_configs": [{"job_name": "drover", "static_configs": [{"targets": [target]}]}],
        }
        file = folder / "prometheus.yaml"
        file.write_text(json.dumps(config))
        self._log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def ask(self, path: str, **params: object) -> Any:
        """The data of an answer of its API. Raises AssertionError with what it says is wrong; OSError while it starts."""
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(params)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{params}: {error.read().decode()}") from error

    def has(self, query: str) -> bool:
        """Whether a query has an answer; False while it starts."""
        try:
            return bool(self.ask("query", query=query)["result"])
        except (OSError, AssertionError):
            return False

    def values(self, query: str, seconds: float) -> list[float]:
        """Every number that a query had in the last seconds, NaN left out."""
        now = time.time()
        found = self.ask("query_range", query=query, start=now - seconds, end=now, step=0.5)["result"]
        numbers = [float(number) for series in found for _, number in series["values"]]
        return [number for number in numbers if number == number]  # noqa: PLR0124 - NaN is what does not equal itself

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
        self._log.close()
