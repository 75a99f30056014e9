"""Keys on a terminal, and their absence elsewhere."""

from __future__ import annotations

import io
import os
import termios
from pathlib import Path

import pytest

from dara_ros.keys import pressed_keys


def test_keys_come_without_enter_and_the_terminal_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, terminal = os.openpty()
    with os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        before = termios.tcgetattr(stdin)
        with pressed_keys() as keys:
            assert keys() == ""
            os.write(keyboard, b"pd")
            assert keys() == "pd"
            assert keys() == ""
        assert termios.tcgetattr(stdin) == before
    os.close(keyboard)


@pytest.mark.parametrize("stdin", [None, io.StringIO("p")])
def test_no_terminal_no_keys(monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO | None) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    with pressed_keys() as keys:
        assert keys() == ""


def test_a_file_is_no_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("p")
    with open(tmp_path / "keys") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pressed_keys() as keys:
            assert keys() == ""
