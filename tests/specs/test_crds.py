"""The generated files: fresh on disk, structural, and valid for Kubernetes' own schema of CustomResourceDefinitions."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from controller.specs import KINDS
from controller.specs.crd import definition
from controller.specs.generated import generated
from controller.specs.schema import Json, Node, of_kind
from controller.specs.status import STATUS
from tests.specs.apiserver import root_schema, structural_faults

ROOT = Path(__file__).parents[2]
GENERATED = generated()
MANIFESTS = sorted(file for file in (ROOT / "manifests").rglob("*.yaml") if file.name != "kustomization.yaml")


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_what_is_on_disk_is_what_the_models_generate(name: str) -> None:
    assert (ROOT / name).read_text() == GENERATED[name], "run `drover schema --write .`"


def test_nothing_else_is_in_the_folder_of_generated_files() -> None:
    found = {str(file.relative_to(ROOT)) for file in (ROOT / "crds").rglob("*") if file.is_file()}
    assert found == set(GENERATED)


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_structural(kind: str) -> None:
    assert list(structural_faults(root_schema(definition(KINDS[kind])))) == []


@pytest.mark.parametrize("version", ["1.28", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_takes_the_definition(kind: str, version: str) -> None:
    text = GENERATED[f"crds/drover.dev_{KINDS[kind].plural}.yaml"]
    kubernetes_validate.validate(yaml.safe_load(text), version, strict=True)


FAULTS: dict[str, Node] = {
    "a reference": {"$ref": "#/x"},
    "null": {"type": "string", "maxLength": 1, "nullable": True, "anyOf": []},
    "closed": {"type": "object", "additionalProperties": False},
    "both": {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}, "maxProperties": 1},
    "no type": {"properties": {}},
    "text without end": {"type": "string"},
    "a list without end": {"type": "array", "items": {"type": "integer"}},
    "a map without end": {"type": "object", "additionalProperties": {"type": "integer"}},
    "an array of nothing": {"type": "array", "maxItems": 1},
    "a set of objects": {"type": "array", "maxItems": 1, "items": {"type": "object"}, "x-kubernetes-list-type": "set"},
    "a key that may be missing": {
        "type": "array",
        "maxItems": 1,
        "items": {"type": "object"},
        "x-kubernetes-list-map-keys": ["name"],
    },
    "something required that is not there": {"type": "object", "properties": {}, "required": ["a"]},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_checker_of_structure_finds_a_planted_fault(fault: str) -> None:
    planted: Node = {"type": "object", "properties": {"spec": FAULTS[fault]}}
    assert list(structural_faults(planted))


@pytest.mark.parametrize("kind", KINDS)
def test_the_validator_finds_a_planted_fault(kind: str) -> None:
    broken: dict[str, Json] = copy.deepcopy(definition(KINDS[kind]))
    root_schema(broken)["openAPIV3Schemaa"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def fields(schema: Json, path: str = "") -> Iterator[tuple[str, Node]]:
    match schema:
        case {"properties": dict(properties)}:
            for key, below in properties.items():
                assert isinstance(below, dict)
                yield f"{path}.{key}", below
                yield from fields(below, f"{path}.{key}")
        case {"items": dict(items)}:
            yield from fields(items, f"{path}[]")


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_says_what_it_is(kind: str) -> None:
    schema = root_schema(definition(KINDS[kind]))
    assert [path for path, node in fields(schema) if path.count(".") > 1 and not node.get("description")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_short_names_columns_and_a_status(kind: str) -> None:
    model = KINDS[kind]
    assert model.short_names
    assert model.columns
    schema = dict(fields(root_schema(definition(model))))
    assert ".status.conditions" in schema
    for column in model.columns:
        path = column.path.split("[")[0].split("?")[0]
        assert path in schema or path == ".metadata.creationTimestamp", column.path


def test_short_names_are_unique() -> None:
    short = [name for kind in KINDS.values() for name in (*kind.short_names, kind.plural)]
    assert len(set(short)) == len(short)


def test_a_status_beyond_the_common_one_belongs_to_a_kind() -> None:
    assert set(STATUS) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_for_editors_is_one(kind: str) -> None:
    jsonschema.Draft7Validator.check_schema(of_kind(KINDS[kind]))


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_example_fits_the_schema_for_editors(file: Path) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        schema = json.loads(GENERATED[f"crds/json-schema/{document['kind'].lower()}.json"])
        assert [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(document)] == []
