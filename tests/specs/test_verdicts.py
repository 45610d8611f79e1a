"""Pydantic and the generated CRDs (schema, list types, CEL) say the same about one corpus of documents."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import cel
import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import yamlpos
from controller.specs import KINDS, InvalidError, parse
from controller.specs.base import Model, Rule, models_in
from controller.specs.crd import definition
from controller.specs.schema import Json, of_kind
from tests.specs.apiserver import refusals

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Case:
    kind: str
    why: str
    verdict: str
    given: Json
    says: tuple[str, ...]


def cases() -> list[Case]:
    found = []
    for file in sorted(CORPUS.glob("*.yaml")):
        [document] = yamlpos.parse(file.read_text(), file.name)
        entries = document.value
        assert isinstance(entries, list)
        for entry in entries:
            match entry:
                case {"why": str(why), "verdict": str(verdict), "object": dict(given), **rest}:
                    says = rest.get("says", [])
                    assert isinstance(says, list)
                    kind = next(kind for kind in KINDS if kind.lower() == file.stem)
                    found.append(Case(kind, why, verdict, _plain(given), tuple(str(line) for line in says)))
                case _:
                    raise AssertionError(f"{file.name}: {entry}")
    return found


def _plain(value: yamlpos.Value) -> Json:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


CASES = cases()
DEFINITIONS = {name: definition(kind) for name, kind in KINDS.items()}
FOR_EDITORS = {name: jsonschema.Draft7Validator(of_kind(kind)) for name, kind in KINDS.items()}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.why}")


def our_problems(case: Case) -> list[str]:
    text = yaml.safe_dump(case.given).replace("'5': c", "5: c")  # JSON cannot write the key that is a number
    [document] = yamlpos.parse(text, "file")
    try:
        parse(document)
    except InvalidError as error:
        for problem in error.problems:
            assert str(problem) == f"{problem.position}: {str(problem).split(': ', 1)[1]}"
        return sorted(str(problem).split(": ", 1)[1] for problem in error.problems)
    return []


@every_case
def test_what_is_wrong_is_said_in_our_words_all_at_once(case: Case) -> None:
    assert our_problems(case) == sorted(case.says)
    assert bool(case.says) == (case.verdict != "valid")


@every_case
def test_an_api_server_gives_the_same_verdict(case: Case) -> None:
    found = refusals(DEFINITIONS[case.kind], copy.deepcopy(case.given))
    assert bool(found) == (case.verdict == "invalid"), found


@every_case
def test_an_editor_accepts_what_is_valid(case: Case) -> None:
    if case.verdict == "valid":
        assert not list(FOR_EDITORS[case.kind].iter_errors(case.given))


def test_the_corpus_breaks_every_rule() -> None:
    text = "\n".join(line for case in CASES for line in case.says)
    for model, rule in RULES:
        assert f"{rule.message}; allowed: {rule.allowed}" in text, f"{model.__name__}: {rule.message}"


def every_model() -> list[type[Model]]:
    found: dict[type[Model], None] = {}
    todo: list[type[Model]] = list(KINDS.values())
    while todo:
        model = todo.pop()
        if model not in found:
            found[model] = None
            todo += [inner for info in model.model_fields.values() for inner in models_in(info.annotation)]
    return list(found)


RULES = [(model, rule) for model in every_model() for rule in model.checks]
WORDS: dict[str, st.SearchStrategy[Json]] = {
    "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    "insecureSkipVerify": st.booleans(),
    "enforcement": st.sampled_from(["Must", "Should"]),
    "onDeadline": st.sampled_from(["Hold", "ShutdownRemaining"]),
    "localDisks": st.sampled_from(["ReplicateFirst", "Copy", "Forbid"]),
    "localDisksFallback": st.sampled_from(["Block", "Copy"]),
    "windows": st.lists(st.builds(lambda name: {"name": name}, st.sampled_from(["a", "b", "c"])), max_size=3),
    "guestSelector": st.sampled_from([{}, {"nodes": ["a"]}, {"vmids": [100]}]),
    "spec": st.sampled_from([{}, {"clusterRef": {}}, {"clusterRef": {"name": "a"}}, {"clusterRef": {"name": "b"}}]),
    "metadata": st.sampled_from([{"name": "a"}, {"name": "default"}]),
}
ALWAYS = ("operator", "spec", "metadata", "guestSelector")


def a_mapping_of(model: type[Model]) -> st.SearchStrategy[dict[str, Json]]:
    fields = [info.alias or name for name, info in model.model_fields.items()]
    values: dict[str, st.SearchStrategy[Json]] = {field: WORDS.get(field, st.integers(0, 3)) for field in fields}
    needed = {field: values.pop(field) for field in fields if field in ALWAYS}
    return st.fixed_dictionaries(needed, optional=values)


@pytest.mark.parametrize(
    ("model", "rule"), RULES, ids=lambda one: one.message if isinstance(one, Rule) else one.__name__
)
@settings(max_examples=40)
@given(data=st.data())
def test_a_rule_and_its_cel_agree_on_every_mapping(model: type[Model], rule: Rule, data: st.DataObject) -> None:
    if not rule.cel:
        return
    raw = data.draw(a_mapping_of(model))
    plain = json.loads(json.dumps(raw))
    assert rule.holds(plain) == cel.evaluate(rule.cel, {"self": plain})
