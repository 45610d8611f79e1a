import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller import yamlpos

TEXT = """# a comment
kind: Thing
spec:
  mode: no
  ports: [022, 0o17, 0x1f]
  link:
    name: x
  empty:
shared: &s
  deep: true
again: *s
"""


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("12:30:00", "12:30:00"),
        ("2026-11-23", "2026-11-23"),
        ("022", 22),
        ("0o17", 15),
        ("0x1f", 31),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("+3", 3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("! 5", "5"),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(written: str, value: yamlpos.Value) -> None:
    [document] = yamlpos.parse(f"a: {written}\n", "f")
    assert isinstance(document.value, dict)
    assert (type(document.value["a"]), document.value["a"]) == (type(value), value)


@pytest.mark.parametrize(
    ("path", "place", "place_of_key"),
    [
        ((), "2:1", "2:1"),
        (("kind",), "2:7", "2:1"),
        (("spec", "mode"), "4:9", "4:3"),
        (("spec", "ports", 1), "5:16", "5:16"),
        (("spec", "link"), "6:3", "6:3"),  # a mapping is found at its key
        (("spec", "link", "missing"), "6:3", "6:3"),
        (("spec", "ports", 7), "5:3", "5:3"),
        (("spec", "empty"), "8:3", "8:3"),
        (("again",), "11:1", "11:1"),
        (("again", "deep"), "10:9", "10:3"),
        (("nowhere", "at", 0, "all"), "2:1", "2:1"),
    ],
)
def test_every_part_knows_its_place(path: tuple[str | int, ...], place: str, place_of_key: str) -> None:
    [document] = yamlpos.parse(TEXT, "f.yaml")
    assert str(document.position(path)) == f"f.yaml:{place}"
    assert str(document.position(path, of_key=True)) == f"f.yaml:{place_of_key}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3:1: duplicate key 'a'; the first one is at f:1:1"),
        ("a: [\n", "f:2:1: not readable as YAML"),
        ("\ta: 1\n", "f:1:1: not readable as YAML"),
        ("é: \x01\n", "f:1:4: not readable as YAML: control characters"),
        ("a: \ud800\n", "f:1:4: the text is not valid Unicode"),
        ("a: !secret 1\n", "f:1:4: unknown tag !secret"),
        ("a: !!python/object:os.system {}\n", "f:1:4: unknown tag !!python/object:os.system"),
        ("a: !!int x\n", "f:1:4: 'x' is not a valid int"),
        ("a: " + "9" * 5000, "f:1:4: '999"),
        ("x: &x {a: 1}\ny: {<<: *x}\n", "f:2:5: merge keys"),
        ("? [1]\n: 2\n", "f:1:3: a key has to be text or a whole number"),
        ("true: 2\n", "f:1:1: a key has to be text or a whole number"),
        ("a: *b\n", "f:1:4: alias *b has no anchor &b"),
        ("a: &a [*a]\n", "f:1:8: alias *a is inside of what it repeats"),
        ("[" * 300_000, "f:1:65: nested more than 64 levels deep"),
        ("a: &a 1\nb: [" + "*a, " * 1001 + "]", "more than 1000 aliases"),
        ("a: 1\n---\nb: 1\n--- {", "f:5:1: not readable as YAML"),
    ],
)
def test_what_is_not_read_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(yamlpos.YamlError) as refused:
        yamlpos.parse(text, "f")
    assert message in str(refused.value)


def test_a_bomb_of_aliases_is_refused_before_it_is_written_out() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    with pytest.raises(yamlpos.YamlError, match="more than 500000 values"):
        yamlpos.parse("\n".join(lines), "f")


def test_documents_before_an_error_of_syntax_and_beside_a_broken_one_are_kept() -> None:
    stream = yamlpos.read("a: 1\n---\nb: 1\nb: 2\n---\nc: 1\n---\n{", "f")
    assert [document.value for document in stream.documents] == [{"a": 1}, {"b": 1}, {"c": 1}]
    assert [len(document.errors) for document in stream.documents] == [0, 1, 0]
    assert stream.error is not None


def test_empty_documents_are_left_out() -> None:
    assert yamlpos.parse("# nothing\n---\n---\na: 1\n---\n", "f")[0].value == {"a": 1}
    assert yamlpos.parse("", "f") == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text().filter(lambda k: k != "<<"), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON.filter(lambda v: v is not None))
def test_what_is_dumped_is_read_back(value: yamlpos.Value) -> None:
    text = yaml.dump(value, Dumper=yaml.SafeDumper, default_style='"', allow_unicode=False)
    assert yamlpos.parse(text, "f")[0].value == value


@given(st.text(alphabet="ab:-[]{}&*!'\"\n #,|>%@`~?<1\t\x00\ufeff", max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    stream = yamlpos.read(text, "f")
    for problem in [stream.error, *(e for d in stream.documents for e in d.errors)]:
        assert problem is None or (problem.position.line >= 1 and problem.position.column >= 1)
