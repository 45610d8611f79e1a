"""Replication as policy: which jobs there shall be, what has to be done for that, and how those that are there stand. Pure.

`plan` is called by `decide.pipeline`, `reports` by `loop.tick`, `verify` by `decide.pipeline` as a second opinion.
"""

from controller.decide.replication.health import reports
from controller.decide.replication.jobs import plan
from controller.decide.replication.verify import verify

__all__ = ["plan", "reports", "verify"]
