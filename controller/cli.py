"""Placeholder until controller/cli/ is there."""


def main() -> None: ...
