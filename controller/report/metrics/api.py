"""Metrics of requests to the API of PVE. Owned by `Metrics`; fed by the transport of each cluster."""

from controller.model.ids import ClusterName
from controller.pve.metered import Call, CallOutcome
from controller.report.metrics.families import Families, trace
from controller.report.metrics.words import METHODS


class ApiMetrics:
    """How PVE answers."""

    def __init__(self, families: Families) -> None:
        self._requests = families.counter(
            "drover_api_requests_total",
            "Requests to the API of PVE by how they ended: retry is an unanswered read, ambiguous a lost answer to a change (look"
            " at the network), denied a right that the token lacks (`drover rights`).",
            "method",
            "result",
        )
        self._seconds = families.histogram(
            "drover_api_request_seconds",
            "Duration of requests to the API of PVE; slow ones usually mean a hanging storage or an overloaded node.",
            (0.005, 0.02, 0.1, 0.5, 1, 3, 10, 30),
            "method",
        )

    def add_cluster(self, cluster: ClusterName) -> None:
        """Give birth to every series of a cluster."""
        for method in METHODS:
            self._seconds.labels(cluster, method)
            for outcome in CallOutcome:
                self._requests.labels(cluster, method, outcome)

    def count(self, cluster: ClusterName, call: Call) -> None:
        """Take in one finished call."""
        self._requests.labels(cluster, call.method, call.outcome).inc()
        self._seconds.labels(cluster, call.method).observe(call.seconds, trace("path", call.path))
