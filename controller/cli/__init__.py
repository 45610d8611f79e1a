"""The command line: verbs that parse and print, and decide nothing. `main` is the console script `drover`.

One module per verb, imported when the verb is used; `frame` has what they share.
"""

from controller.cli.frame import drover


def main() -> None:
    """Run the verb that the arguments name, and exit with its code; wrong usage exits 64."""
    drover()


__all__ = ["drover", "main"]
