"""`make bench`: what Drover costs in requests, CPU seconds, memory and time to react, printed as counts and ratios.

Never part of the tests: the figures depend on the machine. The bounds beside them are the ones the project promises.
"""

import sys
import time

from controller.report import log
from controller.settings import LogSettings
from tests.bench import (
    clients,
    endtoend,
    evacuation,
    latency,
    localdisks,
    memory,
    page,
    placement,
    planner,
    replication,
    requests,
    scrape,
    simulator,
)

PARTS = {
    "requests": requests,
    "planner": planner,
    "evacuation": evacuation,
    "placement": placement,
    "endtoend": endtoend,
    "latency": latency,
    "memory": memory,
    "scrape": scrape,
    "simulator": simulator,
    "clients": clients,
    "localdisks": localdisks,
    "replication": replication,
    "page": page,
}


def main() -> None:
    """Run the parts named on the command line, or all."""
    log.configure(LogSettings(level="error"), stream=sys.stderr, wall=time.time)
    for name in sys.argv[1:] or PARTS:
        PARTS[name].main()


if __name__ == "__main__":
    main()
