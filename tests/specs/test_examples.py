"""Every field has a description and an example, and every example is one that Drover takes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter, create_model

from controller.specs import KINDS
from controller.specs.base import Model, models_in
from controller.specs.examples import example
from controller.specs.schema import described, of_kind, plain


def fields(model: type[Model], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[Model], str]]:
    for name, info in model.model_fields.items():
        here = (*path, str(info.alias or name))
        yield here, model, name
        for inner in models_in(info.annotation):
            yield from fields(inner, here)


ALL = [
    (".".join(path), path, model, name)
    for kind in KINDS.values()
    for spec in models_in(kind.model_fields["spec"].annotation)
    for path, model, name in fields(spec, (kind.__name__, "spec"))
]


def test_every_example_is_taken() -> None:
    wrong = []
    for label, path, model, name in ALL:
        info = model.model_fields[name]
        alias = str(info.alias or name)
        node = described(model, plain(model))["properties"]
        assert isinstance(node, dict)
        below: Any = node[alias]
        alone = create_model("alone", __config__=None, **{alias: (info.annotation, info)})  # type: ignore[call-overload]  # a field by name
        try:
            TypeAdapter(alone).validate_json(json.dumps({alias: example(path, below)}))
        except ValueError as error:
            wrong.append(f"{label}: {error}")
    assert not wrong, "\n".join(wrong[:5])


@pytest.mark.parametrize("kind", list(KINDS))
def test_editors_get_a_description_and_an_example_for_every_field(kind: str) -> None:
    def lacking(node: dict[str, Any], path: str) -> Iterator[str]:
        for key, below in node.get("items", node).get("properties", {}).items():
            here = f"{path}.{key}"
            if not below.get("description"):
                yield f"{here}: description"
            if "examples" not in below and key not in ("uid", "generation"):
                yield f"{here}: example"
            yield from lacking(below, here)

    whole: dict[str, Any] = dict(of_kind(KINDS[kind]))
    assert not [*lacking(whole["properties"]["metadata"], "metadata"), *lacking(whole["properties"]["spec"], "spec")]
