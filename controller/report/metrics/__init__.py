"""Prometheus metrics, one module per subject. Every series of a closed enum is there from the first scrape, at zero.

`registry.Metrics` is fed by the loop after each tick; `scrape.Scrape` is what `report.http` serves.
"""

from controller.report.metrics.registry import PASSING, Metrics
from controller.report.metrics.scrape import Scrape

__all__ = ["PASSING", "Metrics", "Scrape"]
