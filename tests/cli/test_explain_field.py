"""`drover explain-field`, as people type it."""

import pytest
from click.testing import CliRunner

from controller.cli import drover
from controller.specs import KINDS


def said(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(drover, ["explain-field", *words])
    return done.exit_code, done.output


def test_a_mapping_names_its_fields_and_an_example() -> None:
    assert said("PlacementPolicy.spec.keepApart") == (
        0,
        """\
FIELD  PlacementPolicy.spec.keepApart  <mapping>

  Not too many in one domain.
  Example: keepApart: {topologyKey: topology.drover.dev/rack, maxPerDomain: 2}

FIELDS
  topologyKey <string>
      Label of PveNodes whose values are the domains; by default each node is one.
  maxPerDomain <integer>
      Guests of the group that a domain may hold.
""",
    )


def test_a_word_says_what_is_allowed_and_the_default() -> None:
    code, text = said("nm.spec.onDeadline")
    assert code == 0
    assert [line.strip() for line in text.splitlines()[-3:]] == [
        "Allowed: Hold, ShutdownRemaining",
        "Default: Hold",
        "Example: onDeadline: ShutdownRemaining",
    ]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("pp.spec.keepAppart", "did you mean keepApart?"),
        ("PlacementPolicy.sepc", "did you mean spec?"),
        ("PlacmentPolicy", "did you mean PlacementPolicy"),
        ("xyz", "There are PveCluster, "),
        ("pp.spec.priority.high", "holds no fields"),
    ],
)
def test_an_unknown_field_names_the_nearest(path: str, says: str) -> None:
    code, text = said(path)
    assert (code, says in text, text.count("\n")) == (1, True, 1), text


@pytest.mark.parametrize("kind", list(KINDS))
def test_everything_below_can_be_listed_and_explained(kind: str) -> None:
    code, text = said(kind, "--recursive")
    assert code == 0
    lines = text.splitlines()
    assert len(lines) > 15
    above: list[str] = []
    for line in lines:
        depth = (len(line) - len(line.lstrip())) // 2
        above = [*above[:depth], line.split()[0]]
    assert said(".".join([kind, *above]))[0] == 0


def test_entries_of_lists_are_explained_like_mappings() -> None:
    assert said("PveCluster.spec.windows[].kind")[0] == 0
    assert "required" in said("PveCluster.spec.windows")[1]
