"""Short ways to write manifests."""

from pathlib import Path

HEAD = "apiVersion: drover.dev/v1alpha1\n"


def obj(kind: str, name: str, spec: str = "{}", labels: str = "{}") -> str:
    return f"{HEAD}kind: {kind}\nmetadata: {{name: {name}, labels: {labels}}}\nspec: {spec}\n"


def cluster(name: str = "default", more: str = "") -> str:
    spec = f'{{endpoints: ["https://a:8006"], auth: {{credentialsRef: a}}{", " + more if more else ""}}}'
    return obj("PveCluster", name, spec)


def node(name: str, label: str | None = None, spec: str = "{}") -> str:
    return obj("PveNode", name, spec, "{}" if label is None else f'{{drover.dev/maintenance: "{label}"}}')


def apart(name: str, spec: str = "{guestSelector: {}, keepApart: {}}") -> str:
    return obj("PlacementPolicy", name, spec)


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
