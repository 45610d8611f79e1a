"""The command line: verbs that parse and print, and decide nothing. `main` is the console script `drover`.

One module per verb, imported when the verb is used; `frame` has what they share.
"""

import sys
from io import TextIOWrapper

from controller.cli.frame import drover


def main() -> None:
    """Run the verb that the arguments name, and exit with its code; wrong usage exits 64."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without block characters is no reason to stop
    drover()


__all__ = ["drover", "main"]
