"""Every file that the models generate, by its path in the repository.

Written by `drover schema --write`; a test compares them with what is on disk.
"""

from collections.abc import Mapping

from controller.specs import crd, schema


def generated() -> Mapping[str, str]:
    """Return text by path: the CRDs and the JSON Schemas for editors."""
    return {f"crds/{name}": text for name, text in crd.generate().items()} | {
        f"crds/json-schema/{name}": text for name, text in schema.generate().items()
    }
