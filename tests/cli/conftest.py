"""The fixtures of `tests.cli.daemon`, for every file here."""

from tests.cli.daemon import daemon, said

__all__ = ["daemon", "said"]
