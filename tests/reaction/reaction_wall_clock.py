"""A wall clock that leaps on demand, for processes that are started with its environment."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).resolve().with_name("reaction_wall_clock.c")


class Unavailable(Exception):  # noqa: N818 (says what happened)
    """This machine cannot do it; the one line says why."""


class WallClock:
    """Built in `folder`, where the machine has a C compiler.

    Attributes:
        environment: of the processes whose wall clock it is; empty where there is no compiler.
    """

    def __init__(self, folder: Path) -> None:
        self.environment: dict[str, str] = {}
        self._ahead = 0  # ns
        self._file = folder / "wall_clock"
        self._file.write_bytes(struct.pack("<q", 0))
        compiler = shutil.which("cc")
        if compiler is not None:
            library = folder / "wall_clock.so"
            arguments = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
            subprocess.run(arguments, check=True, timeout=60.0)
            self.environment = {"LD_PRELOAD": str(library), "DARA_WALL_CLOCK": str(self._file)}

    def leap(self, seconds: int) -> None:
        """Leap ahead by so much, or back.

        Raises:
            Unavailable: there is no compiler.
        """
        if not self.environment:
            raise Unavailable("no C compiler (cc) to make the wall clock leap with")
        self._ahead += seconds * 10**9
        with open(self._file, "r+b") as file:  # in place: the processes have mapped it
            file.write(struct.pack("<q", self._ahead))
