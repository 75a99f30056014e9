"""Throws spoilt input at what reads input from elsewhere: files, packets, messages.

    python -m tests.fuzz.fuzzing all --seconds 600 --seed 1

Every case is either accepted, and then usable, or refused in one line. Nothing else: no other exception, no
crash of a C library, no memory beyond a bound, no long wait. A case that does otherwise is printed, with the
file that holds it and the seed that makes it again. Exit status 1 then; a crash or SIGALRM ends the process.
"""

from __future__ import annotations

import argparse
import faulthandler
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dara_ros.errors import UserError
from dara_ros.hardware.unitree.wire import BadPacket

LONGEST_CASE = 20  # s; the machine may be slow
MEMORY = 6 * 2**30  # bytes of address space: onnxruntime and torch alone take some
REFUSALS = (UserError, BadPacket)


@dataclass(frozen=True)
class Target:
    """Something that reads input.

    Attributes:
        spoil: a spoilt input for a random generator; the same for the same state of it.
        use: reads it, from a file in which it lies; raises one of REFUSALS where it does not like it.
    """

    spoil: Callable[[np.random.Generator], bytes]
    use: Callable[[Path], None]


def spoil_bytes(rng: np.random.Generator, content: bytes, most: int = 8) -> bytes:
    """`content` with some of its bytes changed, cut out, doubled, or its end missing."""
    spoilt = bytearray(content)
    for _ in range(rng.integers(1, most + 1)):
        if not spoilt:
            break
        place, length = int(rng.integers(len(spoilt))), int(rng.integers(1, 33))
        match rng.integers(8):
            case 0 | 1 | 2:
                spoilt[place] ^= 1 << int(rng.integers(8))
            case 3:
                spoilt[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
            case 4:
                value = (0, 2**31, 2**32 - 1, 2**63, 2**64 - 1)[rng.integers(5)]
                spoilt[place : place + 8] = value.to_bytes(8, "little")[: len(spoilt) - place]
            case 5:
                del spoilt[place : place + length]
            case 6:
                spoilt[place:place] = spoilt[place : place + length]
            case _ if rng.random() < 0.3:
                del spoilt[place:]
    return bytes(spoilt)


def run(name: str, target: Target, folder: Path, seed: int, cases: int, seconds: float) -> tuple[int, int]:
    """Try cases one after the other; returns how many were accepted, and how many failed."""
    accepted = failed = 0
    end = time.monotonic() + seconds
    path = folder / f"{name}.case"
    for case in range(cases):
        if time.monotonic() > end:
            break
        path.write_bytes(target.spoil(np.random.default_rng((seed, case))))
        signal.alarm(LONGEST_CASE)
        try:
            target.use(path)
            accepted += 1
        except REFUSALS as refusal:
            if "\n" in str(refusal) or not str(refusal):
                failed += 1
                print(f"{name} seed {seed} case {case}: refused, but not in one line: {refusal!r}")
        except Exception:
            failed += 1
            kept = path.rename(folder / f"{name}-{seed}-{case}")
            print(f"{name} seed {seed} case {case} (kept as {kept})\n{traceback.format_exc(limit=-4)}")
        finally:
            signal.alarm(0)
    print(f"{name}: {case + 1} cases, {accepted} accepted, {failed} failed", flush=True)
    return accepted, failed


def main() -> int:
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=60.0, help="in all")
    parser.add_argument("--folder", type=Path, help="for the cases; one that fails is kept there")
    given = parser.parse_args()
    faulthandler.enable()
    warnings.simplefilter("ignore")  # of overflows: numbers are meant to be absurd
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    folder = given.folder or Path(tempfile.mkdtemp(prefix="dara-fuzz-"))
    folder.mkdir(exist_ok=True)
    names = list(TARGETS) if given.target == "all" else [given.target]
    shares = [
        run(name, TARGETS[name](folder), folder, given.seed, given.cases, given.seconds / len(names))
        for name in names
    ]
    return 1 if any(failed for _, failed in shares) else 0


if __name__ == "__main__":
    sys.exit(main())
