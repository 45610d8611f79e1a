"""Where specs come from: folders now, repositories and API servers later. Read whole, never half believed.

Used by `loop.daemon` (reading, merging) and the command line (validating).
"""

from controller.sources.base import Snapshot, Source
from controller.sources.merge import Held, merge
from controller.sources.validate import Report, validate
from controller.specs import Problem

__all__ = ["Held", "Problem", "Report", "Snapshot", "Source", "merge", "validate"]
