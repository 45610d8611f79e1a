"""Drover's manifests and Kubernetes' tools: kubectl builds the examples, and what Flux and Argo CD bring into a volume is read."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from controller.sources.base import Snapshot
from controller.sources.folder import FolderSource
from tests.programs import program
from tests.sources.writing import cluster, node, write

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "manifests").iterdir() if path.is_dir())
DOCS = (ROOT / "docs" / "gitops.md").read_text(encoding="utf-8")
SNIPPETS = [yaml.safe_load_all(text) for text in re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)]
DOCUMENTS = [document for snippet in SNIPPETS for document in snippet]
GENERATOR = {
    "apiVersion": "kustomize.config.k8s.io/v1beta1",
    "kind": "Kustomization",
    "generatorOptions": {"disableNameSuffixHash": True},
    "configMapGenerator": [
        {"name": "drover-manifests", "files": ["cluster.yaml", "nodes.yaml", "policies.yaml"]},
    ],
}


def built(folder: Path) -> str:
    done = subprocess.run(
        [program("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(folder: Path) -> Snapshot:
    snapshot = FolderSource(folder, watch=False).read_now()
    assert snapshot.complete
    assert not snapshot.problems
    return snapshot


def said(snapshot: Snapshot) -> dict[str, dict[str, object]]:
    return {str(one.ref): one.model_dump(include={"metadata", "spec"}) for one in snapshot.objects}


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_kubectl_kustomize_builds_says_what_the_folder_says(example: str, tmp_path: Path) -> None:
    folder = ROOT / "manifests" / example
    write(tmp_path, built=built(folder))
    assert said(read(tmp_path)) == said(read(folder))


def test_only_what_is_for_kustomize_is_passed_over(tmp_path: Path) -> None:
    header = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
    write(tmp_path, a=cluster(), kustomization=f"{header}resources: [a.yaml]\n---\n{node('n1')}")
    assert said(read(tmp_path)).keys() == {"PveCluster/default", "PveNode/n1"}
    write(tmp_path, b="apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n")
    [problem] = FolderSource(tmp_path, watch=False).read_now().problems
    assert problem.position.file.endswith("b.yaml")


def test_the_configmap_that_the_docs_let_flux_and_argo_cd_make_is_read_where_it_is_mounted(tmp_path: Path) -> None:
    assert GENERATOR in DOCUMENTS
    for file in (ROOT / "manifests" / "homelab").glob("*.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(GENERATOR))
    made = yaml.safe_load(built(tmp_path))
    assert (made["kind"], made["metadata"]["name"]) == ("ConfigMap", "drover-manifests")
    mount = tmp_path / "mount"
    (mount / "..2026").mkdir(parents=True)
    (mount / "..data").symlink_to("..2026")
    for name, text in made["data"].items():
        (mount / "..2026" / name).write_text(text)
        (mount / name).symlink_to(f"..data/{name}")
    assert said(read(mount)) == said(read(ROOT / "manifests" / "homelab"))


def test_the_docs_show_flux_argo_cd_git_sync_and_plain_git() -> None:
    kinds = {document["kind"] for document in DOCUMENTS if "kind" in document}
    assert {"GitRepository", "Kustomization", "Application", "Deployment"} <= kinds
    assert "git -C /srv/cluster pull" in DOCS
    [pod] = [document["spec"]["template"]["spec"] for document in DOCUMENTS if document["kind"] == "Deployment"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]} == volumes
