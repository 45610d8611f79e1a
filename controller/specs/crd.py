"""CustomResourceDefinitions of the kinds, from their models.

Used by `drover schema`, which writes `crds/`, and by the test that holds what is on disk fresh. The schemas are structural: no
references, nothing closed (an API server prunes what is unknown), a bound on every length so that the CEL rules stay cheap.
"""

from collections.abc import Mapping

import yaml

from controller.specs import schema
from controller.specs.base import Model, Rule, models_in
from controller.specs.common import GROUP, VERSION, Kind
from controller.specs.kinds import KINDS
from controller.specs.schema import Json, Node
from controller.specs.status import STATUS

_HEADER = "# Generated from the models by `drover schema`; not to be edited by hand.\n"


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out instead of as anchors and aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def generate() -> Mapping[str, str]:
    """Return the YAML of each definition by file name."""
    return {
        f"{GROUP}_{kind.plural}.yaml": _HEADER
        + yaml.dump(definition(kind), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
        for kind in KINDS.values()
    }


def definition(kind: type[Kind]) -> Node:
    """Return the CustomResourceDefinition of one kind."""
    word = kind.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": word,
                "listKind": f"{word}List",
                "plural": kind.plural,
                "singular": word.lower(),
                "shortNames": list(kind.short_names),
                "categories": ["drover"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": column.name, "type": column.type, "jsonPath": column.path} for column in kind.columns
                    ],
                    "schema": {"openAPIV3Schema": _root(kind)},
                }
            ],
        },
    }


def _root(kind: type[Kind]) -> Node:
    described = schema.described(kind, schema.plain(kind))
    properties = described["properties"]
    assert isinstance(properties, dict)
    spec = kind.model_fields["spec"]
    [spec_model] = models_in(spec.annotation)
    status_model = STATUS[kind.__name__]
    status = schema.described(status_model, schema.plain(status_model))
    text: Node = {"type": "string"}
    node: Node = {
        "type": "object",
        "description": " ".join((kind.__doc__ or "").split()),
        "required": ["spec"] if spec.is_required() else [],
        "properties": {
            "apiVersion": text,
            "kind": text,
            "metadata": {"type": "object"},
            "spec": _structural(properties["spec"], spec_model),
            "status": _structural(status, status_model),
        },
    }
    return _with_rules(schema.without(node, "required") if not node["required"] else node, kind)


_DROPPED = (
    "additionalProperties",
    "propertyNames",
    "uniqueItems",
    "anyOf",
    "properties",
    "items",
    "default",
    "enum",
    "x-allowed",
)


def _structural(given: Json, model: type[Model] | None = None) -> Node:
    """Rewrite a JSON Schema so that an API server takes it."""
    assert isinstance(given, dict)
    node = schema.without(given, *_DROPPED)
    match given:
        case {"anyOf": [{"type": "integer"} as number, {"type": "string"} as text]}:
            node["x-kubernetes-int-or-string"] = True
            for part in (number, text):
                assert isinstance(part, dict)
                node |= schema.without(part, "type")
        case {"properties": dict(fields)}:
            inner = _models_by_key(model)
            node["properties"] = {key: _structural(below, inner.get(key)) for key, below in fields.items()}
        case {"additionalProperties": dict(below)}:
            node["additionalProperties"] = _structural(below)
        case {"items": dict(below)}:
            node["items"] = _structural(below, model)
        case {"enum": list(words)}:
            node |= {"type": "string", "enum": words}
    default = given.get("default")
    if default not in (None, "", [], {}):
        node["default"] = default
    return _with_rules(node, model) if model is not None and node.get("type") == "object" else node


def _models_by_key(model: type[Model] | None) -> Mapping[str, type[Model] | None]:
    if model is None:
        return {}
    return {info.alias or name: next(models_in(info.annotation), None) for name, info in model.model_fields.items()}


def _with_rules(node: Node, model: type[Model]) -> Node:
    rules: list[Json] = [_validation(rule) for rule in model.checks if rule.cel]
    return {**node, "x-kubernetes-validations": rules} if rules else node


def _validation(rule: Rule) -> Node:
    said: Node = {"rule": rule.cel, "message": f"{rule.message}; allowed: {rule.allowed}"}
    return {**said, "fieldPath": "." + ".".join(str(step) for step in rule.field)} if rule.field else said
