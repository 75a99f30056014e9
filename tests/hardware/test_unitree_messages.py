"""When the Go2's messages are built, and when not. That they work is what the driver's tests show."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

from dara_ros.hardware.unitree.messages import build


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the packages that would be built."""
    names: list[str] = []
    monkeypatch.setattr(build, "_build", lambda package, site: names.append(package))
    monkeypatch.setattr(build, "_missing", lambda: "")
    return names


def package_in(folder: Path, mark: str | None) -> None:
    (folder / "unitree_go").mkdir(parents=True)
    (folder / "unitree_go" / "__init__.py").touch()
    if mark is not None:
        (folder / "unitree_go" / build.MARK).write_text(mark)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where packages are installed; nothing is there, nor anywhere else."""
    monkeypatch.setattr("sys.path", [str(tmp_path / "workspace"), str(tmp_path / "site")])
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "site"))
    monkeypatch.setattr(build, "PACKAGES", ("unitree_go",))
    monkeypatch.delitem(build.sys.modules, "unitree_go", raising=False)
    return tmp_path / "site"


def test_what_is_not_there_is_built(site: Path, built: list[str]) -> None:
    assert build.main() == 0
    assert built == ["unitree_go"]


def test_what_a_workspace_provides_is_left_alone(site: Path, built: list[str]) -> None:
    package_in(site.parent / "workspace", mark=None)
    assert build.main() == 0
    assert built == []


def test_what_was_built_is_built_again_when_a_definition_changes(site: Path, built: list[str]) -> None:
    package_in(site, mark=build._hash("unitree_go"))
    assert build.main() == 0
    assert built == []
    (site / "unitree_go" / build.MARK).write_text("of an older definition")
    assert build.main() == 0
    assert built == ["unitree_go"]


def test_what_is_missing_is_one_line_with_its_remedy(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None if "unitree" in name else name)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build.main() == 2
    assert capsys.readouterr().err == "unitree messages are not built: no gcc: apt-get install g++\n"
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    assert build.main() == 2
    assert "build Unitree's unitree_ros2 with colcon" in capsys.readouterr().err
