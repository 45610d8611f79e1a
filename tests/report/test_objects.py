"""Which kind people mean."""

import pytest

from controller.report.objects import ALSO, kind_of
from controller.report.views import VIEWS, view_of
from controller.specs import KINDS


@pytest.mark.parametrize("word", [*ALSO, *VIEWS, *(word for _, words in VIEWS.values() for word in words)])
def test_a_word_means_one_thing(word: str) -> None:
    names = {kind.lower() for kind in KINDS} | {kind.plural for kind in KINDS.values()}
    names |= {short for kind in KINDS.values() for short in kind.short_names}
    assert word not in names
    assert (kind_of(word) is None) != (view_of(word) is None)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("cluster", "clusters", "pvec"), "PveCluster"),
        (("node", "Nodes", "pven"), "PveNode"),
        (("maintenance", "maintenances", "nm"), "NodeMaintenance"),
        (("placement", "placements", "pp"), "PlacementPolicy"),
    ],
)
def test_everyday_words_are_understood(words: tuple[str, ...], kind: str) -> None:
    assert {kind_of(word) for word in words} == {kind}
