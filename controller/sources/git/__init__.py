"""A Git repository as the source: fetched, verified, checked out whole, and then read like a folder.

`source` is what `app` builds; `command` runs git, `mirror` fetches, `signatures` verifies, `tree` checks out.
"""

from controller.sources.git.source import GitSource

__all__ = ["GitSource"]
