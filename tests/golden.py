"""Golden files: what is made is compared with what people have read. `--accept` writes them anew."""

from pathlib import Path


def held(golden: Path, told: str, *, accept: bool) -> None:
    """Fail unless `told` is what the golden file says; a missing one fails, too."""
    if accept:
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(told, encoding="utf-8")
        return
    assert golden.exists(), f"{golden.name} is missing: write it with `pytest --accept`, read it, and commit it"
    assert told == golden.read_text(encoding="utf-8")
