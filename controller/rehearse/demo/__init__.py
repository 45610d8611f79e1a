"""The demo: the real daemon on a simulated cluster behind real HTTPS, in front of people. Called by `drover demo`."""

from controller.rehearse.demo.script import Demo, run

__all__ = ["Demo", "run"]
