"""Options and guards of the whole suite: `--accept` for golden files, and no silent skip.

Read by pytest. A test that skips without a reason listed here makes the run fail, because a suite that skips proves nothing.
"""

from collections.abc import Iterator

import pytest

EXPECTED_SKIPS = (
    "the recordings of a real cluster are not beside this checkout",
    *(
        f"{program} is not installed"
        for program in (
            "systemd-analyze",
            "prometheus",
            "promtool",
            "kubectl",
            "chromium",
            "gpg",
            "ssh-keygen",
            "docker",
        )
    ),
)
"""Reasons to skip that depend on the machine and not on us; a reason has to begin with one of these."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept", action="store_true", help="write golden files anew instead of comparing; review the diff"
    )


@pytest.fixture
def accept(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew."""
    return bool(request.config.getoption("--accept"))


class SkipGuard:
    """Collects the skips that nobody announced."""

    def __init__(self) -> None:
        self.unexpected: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        *_, reason = report.longrepr if isinstance(report.longrepr, tuple) else (str(report.longrepr),)
        reason = str(reason).removeprefix("Skipped: ")
        if not reason.startswith(EXPECTED_SKIPS):
            self.unexpected.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self.unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.unexpected:
            terminalreporter.section("unexpected skips: the run has failed", red=True)
            for line in self.unexpected:
                terminalreporter.line(line)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipGuard(), "skip-guard")
