"""What is committed still says what the recordings and the official API schema say.

Collected only where they lie beside the checkout; see `conftest`.
"""

from pathlib import Path

import pytest

from tests.contract import recordings, schema_from_apidoc


def test_the_facts_are_those_of_the_recordings(reference: Path) -> None:
    told = [recordings.line(call) for call in recordings.read(reference / "recorded")]
    assert told == [recordings.line(call) for call in recordings.load()]


@pytest.mark.parametrize("version", schema_from_apidoc.VERSIONS)
def test_the_schema_is_the_official_one(reference: Path, version: str) -> None:
    written = schema_from_apidoc.written(schema_from_apidoc.facts(schema_from_apidoc.read(reference, version), version))
    assert written == (schema_from_apidoc.PACKAGE / f"schema-{version}.json").read_text(encoding="utf-8")
