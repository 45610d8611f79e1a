"""The heart: pure planners. Specs, what is seen and what is remembered go in; a plan with a word about every guest comes out.

Called by `loop` and `rehearse`. No I/O, clock, randomness, thread or log in this room: equal input, equal plan.
"""

from controller.decide.explain import command_line
from controller.decide.pipeline import decide

__all__ = ["command_line", "decide"]
