"""What is wrong with a manifest, for people: where, which field, what is wrong, what would be right.

Raised by `reading`, collected by `sources`, printed by `drover validate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from controller.model.ids import ObjectRef
from controller.yamlpos import Position


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    position: Position
    field: str
    """Dotted path such as `spec.limits.maxMigrations`; empty when it is about the document or file as a whole."""
    message: str
    allowed: str = ""
    ref: ObjectRef | None = None
    """The object it is about, if that can be told."""

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        allowed = f"; allowed: {self.allowed}" if self.allowed else ""
        return f"{self.position}: {field}{self.message}{allowed}"


class InvalidError(Exception):
    """A document that is no valid object; all its problems, in the order of the text."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def dotted(path: Sequence[str | int]) -> str:
    """Write a path as people do: `spec.rules[0].order`, `metadata.labels[drover.dev/maintenance]`."""
    text = ""
    for step in path:
        if isinstance(step, int) or not step.isidentifier():
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text
