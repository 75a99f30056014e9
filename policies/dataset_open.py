"""Open a data set file for reading, whatever state it was left in.

HDF5 refuses a file that its writer did not close (the superblock's flags still say "open for writing") and
one that was cut off. Its own way around the first, SWMR reading, retries for minutes on a damaged block. So
such files are read through `_Whole`, a view whose superblock says what is true of the file now. Metadata
blocks carry checksums: what is damaged fails at once, and never reads as data.

A file may come from anywhere. `plain_dataset` lets through numbers that lie in the file itself, and no more
of them than its size explains: nothing is unpickled, no other file is read, no small file fills the memory.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py

from ..errors import UserError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# HDF5 File Format Specification 3.0, II.A, superblock version 2 and 3 with 8-byte offsets: signature,
# version, two sizes, consistency flags; base, extension, end of file and root address; then the checksum.
_SUPERBLOCK = struct.Struct("<8s4B4Q")
_HEAPS_WITHIN = 2**16  # bytes of the file's beginning

NUMBERS = "biuf"  # kinds of NumPy types: boolean, integers, floats
LARGEST_CHUNK = 256 * 2**20  # bytes; HDF5 unpacks a chunk in memory. Ours have a few hundred kB
LARGEST_ROW = 64 * 2**10  # bytes of one row of one column
LARGEST_RATIO = 1100  # bytes for one byte of the file: deflate reaches 1032


def open_file(path: Path) -> h5py.File:
    """Open an HDF5 file read-only: closed, still being written, left by a killed writer, or cut off.

    A live writer may be in the middle of a block, so that reading fails now and succeeds a moment later.

    Raises:
        UserError: it is missing, no HDF5 file, or damaged beyond reading.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such file: check the name, or make it with `dara collect` or `dara record`"
        )
    with open(path, "rb") as file:
        head = file.read(_HEAPS_WITHIN)
    if not head.startswith(_SIGNATURE):
        raise UserError(f"{path}: not an HDF5 file: give a file made by dara_ros")
    with damage_named(path):
        _check_heaps(head)
        head = head[: _SUPERBLOCK.size + 4]
        return h5py.File(path, "r") if _is_closed_and_whole(head, path) else h5py.File(_Whole(path), "r")


def _check_heaps(head: bytes) -> None:
    """Raise ValueError where HDF5 would walk on for ever.

    Strings in attributes lie in heaps that no checksum guards, and HDF5 2.0 goes from object to object by
    their sizes, also where one says 0. Ours lie in the first few kB. See the format's specification, III.E.
    """
    heap = head.find(b"GCOL")
    while 0 <= heap <= len(head) - 16:
        end = min(heap + struct.unpack_from("<Q", head, heap + 8)[0], len(head))
        place = heap + 16
        while place + 16 <= end:
            number, size = struct.unpack_from("<H6xQ", head, place)
            place += (whole := size if number == 0 else 16 + -(-size // 8) * 8)
            if whole < 16 or place > heap + 2**32:
                raise ValueError("a heap of strings does not end")
        heap = head.find(b"GCOL", heap + 4)


@contextlib.contextmanager
def damage_named(path: Path, remedy: str = "take a copy that is whole") -> Iterator[None]:
    """Turn what HDF5 says of a damaged file into one line that a user can act on."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # h5py's own depend on where the damage is, down to AttributeError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged ({reason}): {remedy}, or record it anew") from error


def plain_dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """The dataset `name` (group/name) of an open file, if it can be trusted.

    Raises:
        UserError: it is missing, holds no numbers, lies in another file, or declares more than it can hold.
    """
    group = name.rpartition("/")[0]
    for link in (group, name):
        if link and not isinstance(file.get(link, getlink=True), h5py.HardLink):
            raise UserError(f"{path}: damaged, it lacks {link!r}: collect or record it anew")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or dataset.dtype.kind not in NUMBERS:
        raise UserError(f"{path}: column {name} holds no numbers: collect or record it anew")
    if dataset.is_virtual or dataset.external:
        raise UserError(f"{path}: column {name} lies in another file: give a file that holds its rows itself")
    item = dataset.dtype.itemsize
    row, chunk = item * math.prod(dataset.shape[1:]), item * math.prod(dataset.chunks or ())
    if (
        row > LARGEST_ROW
        or chunk > LARGEST_CHUNK
        or item * dataset.size > LARGEST_RATIO * path.stat().st_size
    ):
        raise UserError(
            f"{path}: column {name} declares {dataset.shape} numbers, more than a file of this size can hold "
            "or a row may have: take a copy that is whole, or record it anew"
        )
    return dataset


def _is_closed_and_whole(head: bytes, path: Path) -> bool:
    """Whether HDF5 itself would open the file; true as well of formats that we never write."""
    if len(head) < _SUPERBLOCK.size + 4 or head[8] not in (2, 3) or head[9] != 8:
        return True
    *_, flags, _, _, end, _ = _SUPERBLOCK.unpack_from(head)
    return flags == 0 and path.stat().st_size >= end


class _Whole(io.RawIOBase):
    """A read-only view of a file: marked closed, and zeros where its end was cut off."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (lives as long as the view)
        *start, flags, base, extension, end, root = _SUPERBLOCK.unpack(self._file.read(_SUPERBLOCK.size))
        self._size = max(end, os.fstat(self._file.fileno()).st_size)
        superblock = _SUPERBLOCK.pack(*start, 0, base, extension, self._size, root)
        self._head = superblock + struct.pack("<I", lookup3(superblock))
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        got = os.preadv(self._file.fileno(), (view,), self._position)
        view[got:] = bytes(len(view) - got)
        if self._position < len(self._head):
            part = self._head[self._position : self._position + len(view)]
            view[: len(part)] = part
        self._position += len(view)
        return len(view)

    def close(self) -> None:
        self._file.close()
        super().close()


def lookup3(data: bytes) -> int:
    """Bob Jenkins' lookup3 hash, `hashlittle` with initval 0: the checksum of HDF5's metadata blocks."""
    a = b = c = (0xDEADBEEF + len(data)) & 0xFFFFFFFF
    rounds = max(0, -(-len(data) // 12) - 1)
    words = struct.unpack("<" + "3I" * (rounds + 1), data.ljust(12 * (rounds + 1), b"\0"))
    for i in range(0, 3 * rounds, 3):
        a, b, c = _mix(a + words[i], b + words[i + 1], c + words[i + 2])
    if not data:
        return c
    a, b, c = a + words[-3], b + words[-2], c + words[-1]
    return _final(a, b, c)


def _rotate(value: int, bits: int) -> int:
    value &= 0xFFFFFFFF
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = (a - c) & 0xFFFFFFFF ^ _rotate(c, bits)
        a, b, c = b, c + b, a  # the next line of the published macro has the roles moved on by one
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, bits)) & 0xFFFFFFFF
        a, b, c = b, c, a
    return b & 0xFFFFFFFF
