"""Drover: keeps Proxmox VE clusters the way a Git repository says.

Read `controller.loop.tick` first; the README has the picture of the house.
"""

__version__ = "0.1.0"
