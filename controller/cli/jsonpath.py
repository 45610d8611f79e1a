"""The few forms of JSONPath that printer columns use: `.spec.mode` and `.status.conditions[?(@.type=="Ready")].status`.

Used by `cli.get`.
"""

import re

_STEP = re.compile(r"\.(?P<name>[A-Za-z0-9_-]+)(?:\[\?\(@\.(?P<key>[A-Za-z0-9_]+)==\"(?P<value>[^\"]*)\"\)\])?")


def value_at(data: object, path: str) -> object:
    """The value at `path`; None where there is none. Raises ValueError for a form that is not known."""
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise ValueError(f"not a path of a printer column: {path}")
        data = data.get(step["name"]) if isinstance(data, dict) else None
        if step["key"] is not None:
            rows = data if isinstance(data, list) else []
            data = next((row for row in rows if isinstance(row, dict) and row.get(step["key"]) == step["value"]), None)
        position = step.end()
    return data
