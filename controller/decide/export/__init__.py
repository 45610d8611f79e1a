"""Manifests for a cluster as it is: what its rules, tags and replication jobs say today, in Drover's words.

`export` is called by `app` for `drover export`. Its promise: who applies what it returns to the same cluster moves no guest and
changes no job.
"""

from controller.decide.export.document import Document, Export, Value
from controller.decide.export.manifests import export

__all__ = ["Document", "Export", "Value", "export"]
