"""The README's code blocks: every command parses, what it names is there, and the Python runs."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()

Dara = Callable[..., tuple[int, str, str]]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(program: str) -> list[list[str]]:
    lines = (line for block in blocks("bash") for line in block.splitlines())
    words = (shlex.split(line, comments=True) for line in lines)
    return [line for line in words if line and Path(line[0]).name == program]


@pytest.mark.parametrize("line", commands("dara"), ids=" ".join)
def test_dara_commands_parse(dara: Dara, line: list[str]) -> None:
    """With --help at its end a command does not run, but an unknown command or option is refused."""
    status, _, err = dara(*line[1:], "--help")
    assert status == 0, err


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [line[1] for line in commands("make")]
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_launch_files_and_their_arguments_exist() -> None:
    for _, verb, package, *more in commands("ros2"):
        if verb != "launch":
            continue
        launch, *arguments = more
        text = (ROOT / "launch" / launch).read_text()
        assert package == "dara_ros"
        assert all(f'argument("{argument.split(":=")[0]}"' in text for argument in arguments)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_python_runs(
    source: Path, policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = source.parent
    if policy.parent != folder:
        shutil.copy(policy, folder)
    monkeypatch.chdir(folder)
    (block,) = blocks("python")
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out == "a1 80 (4, 55)\nzero (4, 12)\n"


def test_page_on_own_data_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "own_data.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in block.splitlines() if line and "import" not in line]) <= 20
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "own_data.md", "exec"), {})
    assert capsys.readouterr().out == "cart/policy.onnx: bcq, eta 0.1, 600 steps (3, 1)\n"
