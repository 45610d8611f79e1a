"""Where should everything be, and in which order does it get there? Pure arithmetic over bins and items.

Called by the planner (`decide`) only. `problem` has the nouns; nodes, guests and rules have become integers before they come here.
"""

from controller.decide.solve.solver import solve

__all__ = ["solve"]
