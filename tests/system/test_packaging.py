"""pip and colcon, copied and linked: all four installs import the same package and hold the same nodes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
NODES = ("robot_node", "controller_node", "logger_node", "offline_node")
# Run in the installed package: where it comes from, what its data files are, what it leaves alone.
PROBE = """
import importlib.util, json, sys
import dara_ros, dara_ros.hardware, dara_ros.policies, dara_ros.sim
heavy = sorted({"rclpy", "torch", "pybullet"} & set(sys.modules))
from dara_ros.hardware.spec import load_robot, robot_names
from dara_ros.sim.world import WORLDS
print(json.dumps({
    "file": dara_ros.__file__,
    "heavy": heavy,
    "robots": [load_robot(name).name for name in robot_names()],
    "worlds": sorted(path.stem for path in WORLDS.glob("*.yaml")),
    "stray": [name for name in ("hardware", "policies", "sim") if importlib.util.find_spec(name)],
}))
"""


@dataclass(frozen=True)
class Installed:
    """An install of the package: its prefix, how to run Python in it, and whether files are links."""

    prefix: Path
    python: Path
    environment: dict[str, str]
    source: Path  # where dara_ros is imported from, or a parent of it


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that git tracks, or would."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.split("\0"):
        source, target = ROOT / name, tmp_path / "tree" / name
        if name and os.path.lexists(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return tmp_path / "tree"


def run(*command: object, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """The command's standard output; the test fails with all that it said where it fails."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pip_install(tree: Path, *flags: str) -> Installed:
    """Install into a fresh virtual environment which finds the requirements in that of the tests."""
    prefix = tree.parent / "venv"
    venv.create(prefix, with_pip=False, symlinks=True)
    site = prefix / SITE
    (site / "requirements.pth").write_text(next(p for p in sys.path if p.endswith("site-packages")) + "\n")
    python = prefix / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q")
    run(*pip, "--no-deps", "--no-build-isolation", "--no-index", *flags, ".", cwd=tree)
    return Installed(prefix, python, dict(os.environ), tree if flags else site)


def colcon_build(tree: Path, *flags: str) -> Installed:
    """Build and install with colcon."""
    pytest.importorskip("colcon_ros", reason="colcon is not installed (the extra [test] brings it)")
    run(sys.executable, "-m", "colcon", "build", *flags, cwd=tree)
    prefix = tree / "install" / "dara_ros"
    shown = run("bash", "-c", ". install/setup.bash && echo $PYTHONPATH", cwd=tree).strip()
    environment = os.environ | {"PYTHONPATH": shown}
    return Installed(prefix, Path(sys.executable), environment, tree / "build" if flags else prefix)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("install", "flags"),
    [
        pytest.param(pip_install, [], id="pip"),
        pytest.param(pip_install, ["-e"], id="pip-editable"),
        pytest.param(colcon_build, [], id="colcon"),
        pytest.param(colcon_build, ["--symlink-install"], id="colcon-symlink"),
    ],
)
def test_install_imports_and_has_the_layout_of_a_ros_package(
    install: Callable[..., Installed], flags: list[str], tree: Path, tmp_path: Path
) -> None:
    installed = install(tree, *flags)

    found = json.loads(run(installed.python, "-c", PROBE, cwd=tmp_path, environment=installed.environment))
    assert Path(found["file"]).is_relative_to(installed.source)
    assert found["heavy"] == []
    assert found["robots"] == ["a1", "go1", "go2"]
    assert {"flat", "obstructive"} <= set(found["worlds"])
    assert found["stray"] == []

    for node in NODES:
        assert os.access(installed.prefix / "lib" / "dara_ros" / node, os.X_OK)
    for name in ("ament_index/resource_index/packages/dara_ros", "dara_ros/package.xml"):
        assert (installed.prefix / "share" / name).exists()
    for launch_file in (ROOT / "launch").glob("*.launch.py"):
        assert (installed.prefix / "share" / "dara_ros" / "launch" / launch_file.name).exists()

    dara = next(p for p in installed.prefix.glob("**/dara") if p.is_file())
    assert "collect" in run(dara, "--help", cwd=tmp_path, environment=installed.environment)
