"""The contracts of import-linter in pyproject.toml hold, and each of them notices when it is broken."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import grimp
import pytest
from importlinter import configuration
from importlinter.application.use_cases import read_user_options
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.layers import LayersContract
from importlinter.domain.contract import Contract

ROOT = Path(__file__).parents[2]
configuration.configure()
OPTIONS = read_user_options(config_filename=str(ROOT / "pyproject.toml"))
CONTRACTS = {options["id"]: options for options in OPTIONS.contracts_options}
CLASSES: dict[str, type[Contract]] = {"layers": LayersContract, "forbidden": ForbiddenContract}

PLANTED = [
    ("layers", "controller.model.plan", "controller.specs.common"),
    ("layers", "controller.decide.capacity", "controller.report.units"),
    ("layers", "controller.observe.cluster", "controller.act.execute"),
    ("layers", "controller.app", "controller.rehearse.virtual_time"),
    ("layers", "controller.loop.tick", "controller.simulator.world"),
    ("layers", "controller.no_such_room", "controller.model"),
    ("pure", "controller.decide.capacity", "random"),
    ("pure", "controller.decide.capacity", "controller.pve.client"),
    ("pure", "controller.specs.common", "pathlib"),
    ("pure", "controller.model.plan", "time"),
    ("pure", "controller.model.plan", "controller.clock"),
    ("nouns", "controller.model.plan", "pydantic"),
    ("simulator", "controller.simulator.world", "controller.model.ids"),
    ("simulator", "controller.simulator.world", "controller.pve.decode"),
    ("one-wire", "controller.cli", "requests"),
    ("one-wire", "controller.pve.client", "proxmoxer"),
    ("wire-without-wishes", "controller.pve.client", "controller.specs.common"),
    ("seam", "controller.act.execute", "controller.pve.proxmoxer_transport"),
]


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("controller", include_external_packages=True, cache_dir=None)


def keeps(contract: str, graph: grimp.ImportGraph) -> bool:
    options = CONTRACTS[contract]
    checker = CLASSES[options["type"]](options["name"], OPTIONS.session_options, options)
    return checker.check(graph, verbose=False).kept


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_contract_is_kept(contract: str) -> None:
    assert keeps(contract, deepcopy(imports())), f"see: lint-imports --contract {contract}"


@pytest.mark.parametrize(("contract", "importer", "imported"), PLANTED)
def test_a_planted_import_is_noticed(contract: str, importer: str, imported: str) -> None:
    graph = deepcopy(imports())
    for module in (importer, imported):
        if module not in graph.modules:
            graph.add_module(module, is_squashed=not module.startswith("controller."))
    graph.add_import(importer=importer, imported=imported)
    assert not keeps(contract, graph)


def test_every_contract_has_been_seen_to_break() -> None:
    assert {contract for contract, _, _ in PLANTED} == set(CONTRACTS)
