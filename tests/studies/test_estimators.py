"""What tells delta r is trained once, and left for other trials."""

from __future__ import annotations

from pathlib import Path

from dara_ros.studies.estimators import shared_estimator


def used(shared: Path, run: Path, trained: str, usable: str) -> str:
    """What a training has in the end that can use `usable` alone and else makes `trained`."""
    own = run / "delta_r.pt"
    with shared_estimator(shared, run):
        if not own.exists() or own.read_text() != usable:
            own.write_text(trained)
        found = own.read_text()
    assert not own.exists()
    return found


def test_the_first_leaves_it_and_the_second_finds_it(tmp_path: Path) -> None:
    shared = tmp_path / "delta_r" / "cell.pt"
    assert used(shared, tmp_path / "one", "new", "new") == "new"
    assert used(shared, tmp_path / "two", "never", "new") == "new"
    assert shared.read_text() == "new"


def test_what_cannot_be_used_is_replaced(tmp_path: Path) -> None:
    shared = tmp_path / "cell.pt"
    shared.write_text("old")
    assert used(shared, tmp_path / "one", "new", "new") == "new"
    assert shared.read_text() == "new"
