"""Record transitions for hours: into one file after the other, through full disks and folders that vanish.

    recorder = Recorder("walk.h5", info, roll_bytes=10**9)
    recorder.append(transition, begins=True)
    recorder.flush_if_due()  # from a timer

walk.h5 is followed by walk_0001.h5 and so on; `DataSet(["walk.h5", "walk_0001.h5"])` reads them as one. A
file appears under its name with its first rows in it (until then it is hidden, .walk.h5.part), so every file
that is there opens, whenever the process was killed.

A power cut is another matter: what the kernel has not written yet is lost, 30 s of it or so, and the newest
file may be torn (`recover` saves what is whole). Files that are closed were brought to the disk, so rolling
over by time bounds what a power cut can take. To do so with every flush would hold up the node: several
milliseconds on a good disk (`dara bench filters`), and far more on a robot's SD card.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .dataset_format import DataSetInfo, Transition
from .dataset_layout import CHUNK_ROWS, StorageError
from .dataset_writer import DataSetWriter

RETRY_INTERVAL = 1.0  # s between two attempts on a disk that takes nothing
PATIENCE = 1.25  # a file that is due to roll over waits for an episode's end up to so many times its limit


@dataclass(eq=False)
class _Row:
    transition: Transition
    begins: bool  # an episode


class Recorder:
    """Writes rows to a file within ``flush_interval``, or keeps the newest in memory until it can.

    A file rolls over between two episodes, once it is over a limit. An episode that goes on until the file is
    a quarter over is cut: its last row there is a timeout, and it goes on as a new episode in the next file.
    The same where the disk fails in the middle of one: the rows that wait go into a new file.

    Args:
        path: the first file; the next ones have _0001 and so on before the suffix.
        info: the header of every file.
        flush_interval: s; what a SIGKILL can cost, where `flush_if_due` is called that often.
        roll_bytes: size after which a new file begins; 0: none does.
        roll_seconds: age after which a new file begins; 0: none does.
        keep_rows: how many rows memory holds while the disk takes none; then the oldest are dropped.
        clock: monotonic s.

    Attributes:
        rows_in_episode: of the newest episode, refused ones too.
        rows: recorded, whether in a file by now or not; not those discarded, dropped or refused.
        episodes: begun, and not discarded.
        dropped: rows that memory had no room for.
        refused: rows that were not finite, or not like the others; `refusal` says why the last one was.
        files: those that hold rows, the newest last.
        problem: one line on why the disk takes nothing at the moment; empty: it does.

    Raises:
        UserError: the file exists.
        StorageError: it cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        info: DataSetInfo,
        flush_interval: float = 0.1,
        roll_bytes: float = 0,
        roll_seconds: float = 0,
        keep_rows: int = 15_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = Path(path)
        self.rows = self.episodes = self.rows_in_episode = self.dropped = self.refused = 0
        self.refusal = self.problem = ""
        self.files: list[Path] = []
        self._info = info
        self._flush_interval = flush_interval
        self._roll_bytes, self._roll_seconds = roll_bytes or math.inf, roll_seconds or math.inf
        self._keep_rows = keep_rows
        self._clock = clock
        self._waiting: deque[_Row] = deque()  # appended, and in no file yet
        self._cut = True  # the next row begins an episode
        self._number = 0  # of the newest file
        self._episode_start = 0  # row of that file at which the newest episode begins
        self._begun_in: Path | None = None  # the file that holds that episode's first part, if it was cut
        self._shown_at = 0.0
        self._lost = 0  # rows that the next flush tells the file of
        self._last_flush = self._retry_at = -math.inf
        if self.path.exists():
            raise UserError(f"{path}: exists already: choose another name")
        self._writer: DataSetWriter | None = self._open()

    @property
    def waiting(self) -> int:
        """Rows in memory only."""
        return len(self._waiting)

    def append(self, transition: Transition, begins: bool = False) -> None:
        """Record one row; ``begins``: it is an episode's first. Whatever the disk does, this returns."""
        begins = begins or self._cut
        self._cut = False
        self._waiting.append(_Row(transition, begins))
        self.rows += 1
        self.episodes += begins
        self.rows_in_episode = 1 if begins else self.rows_in_episode + 1
        self.flush_if_due()
        if len(self._waiting) > self._keep_rows:
            self.flush()
            while len(self._waiting) > self._keep_rows:
                self._drop_oldest()

    def end_episode(self) -> None:
        """The next row begins an episode."""
        self._cut = True

    def add_lost(self, rows: int) -> None:
        """Have the file say that so many rows were lost on their way here."""
        self._lost += rows

    def discard_episode(self) -> tuple[int, Path | None]:
        """Drop the newest episode, also one that is over; doing so twice drops no second one.

        Returns:
            the number of rows dropped, and the older file in which the episode's first part stays, if it was
            cut (see the class).

        Raises:
            StorageError: the file cannot be written; rows of the episode stay in it.
        """
        discarded = 0
        self._cut = True
        while self._waiting:
            row = self._waiting.pop()
            discarded += 1
            self.rows -= 1
            if row.begins:
                self._episode_start = 0 if self._writer is None else self._writer.rows
                self.episodes -= 1
                return discarded, None
        begun_in = self._newest_file() if self._writer is None else self._begun_in
        if self._writer is not None:
            in_file = self._writer.rows - self._episode_start
            self._writer.truncate(self._episode_start)
            discarded += in_file
            self.rows -= in_file
        self.episodes -= discarded > 0
        return discarded, begun_in if discarded else None

    def flush_if_due(self) -> None:
        """Flush where the interval has passed; cheap otherwise."""
        if self._waiting and self._clock() - self._last_flush >= self._flush_interval:
            self.flush()

    def flush(self) -> None:
        """Bring the rows into the file if the disk takes them; `problem` says where it does not."""
        self._last_flush = self._clock()
        if self._writer is None and self.problem and self._last_flush < self._retry_at:
            return
        try:
            while self._waiting:
                self._write(self._next_stretch())
            self.problem = ""
        except StorageError as error:
            self.problem = f"{error} ({len(self._waiting)} rows wait in memory)"
            self._retry_at = self._clock() + RETRY_INTERVAL
            self._abandon()

    def close(self) -> None:
        """Flush and close. Rows that the disk does not take now are dropped; closing twice is harmless."""
        self._retry_at = -math.inf
        self.flush()
        self.dropped += len(self._waiting)
        self.rows -= len(self._waiting)
        self._waiting.clear()
        try:
            self._close_file()
        except StorageError as error:
            self.problem = str(error)
            self._abandon()

    # -- one file -------------------------------------------------------------------------------------------

    def _write(self, stretch: list[_Row]) -> None:
        """Rows of one episode: into the file, and off the waiting ones."""
        self._leave_file_if_due(stretch[0])
        if self._writer is None:
            self._writer, self._episode_start = self._open(), 0
            self._begun_in = None if stretch[0].begins else self._newest_file()
        writer = self._writer
        for row in stretch:
            if row.begins and writer.rows:
                writer.end_episode()
                self._episode_start, self._begun_in = writer.rows, None
            try:
                writer.append(row.transition)
            except StorageError:
                raise
            except UserError as error:
                self._refuse(row, error)
        writer.lost_rows += self._lost
        writer.flush()
        self._show(writer)
        self._lost = 0
        for row in stretch:
            if self._waiting and self._waiting[0] is row:
                self._waiting.popleft()

    def _next_stretch(self) -> list[_Row]:
        """The oldest rows that wait, up to the next episode; no more than the writer flushes as one."""
        stretch: list[_Row] = []
        for row in self._waiting:
            if len(stretch) == CHUNK_ROWS or (stretch and row.begins):
                break
            stretch.append(row)
        return stretch

    def _refuse(self, row: _Row, error: UserError) -> None:
        """Leave out a row that waits; no episode goes on across the place where it was."""
        place = self._waiting.index(row)
        del self._waiting[place]
        if place < len(self._waiting):
            self._waiting[place].begins = True
        else:
            self._cut = True
        self.refused, self.refusal = self.refused + 1, str(error)
        self.rows -= 1
        self._lost += 1

    def _drop_oldest(self) -> None:
        self._waiting.popleft()
        self._waiting[0].begins = True
        self.dropped += 1
        self.rows -= 1
        self._lost += 1

    def _leave_file_if_due(self, following: _Row) -> None:
        """Close the file where it is over a limit, and see that it is still there."""
        writer = self._writer
        if writer is None or not writer.rows:
            return
        size = writer.size_in_place()
        if size is None:
            raise StorageError(f"{writer.path}: was moved or deleted while it was written: leave it there")
        over = max((self._clock() - self._shown_at) / self._roll_seconds, size / self._roll_bytes)
        if over >= (1.0 if following.begins else PATIENCE):
            self._close_file()

    def _open(self) -> DataSetWriter:
        """A writer of the next file, hidden until rows are in it."""
        while self._path() in self.files or self._path().exists():
            self._number += 1
        path = self._path()
        if self.files and not path.parent.is_dir():  # where a disk was mounted, say: not ours to make anew
            raise StorageError(f"{path.parent}: the folder is gone: mount it or make it again")
        hidden = path.with_name(f".{path.name}.part")
        try:
            return DataSetWriter(hidden, self._info, math.inf, overwrite=True)
        except StorageError:
            _remove(hidden)
            raise

    def _path(self) -> Path:
        number = f"_{self._number:04d}" if self._number else ""
        return self.path.with_name(f"{self.path.stem}{number}{self.path.suffix}")

    def _show(self, writer: DataSetWriter) -> None:
        """Give a file that holds its first rows its name."""
        if writer.path in self.files or not writer.rows:
            return
        try:
            writer.path = writer.path.rename(self._path())
        except OSError as error:
            raise StorageError(f"{writer.path}: cannot be renamed ({error.strerror})") from error
        self.files.append(writer.path)
        self._shown_at = self._clock()

    def _newest_file(self) -> Path | None:
        return self.files[-1] if self.files else None

    def _close_file(self) -> None:
        """Close the file in order; one without rows goes.

        Raises:
            StorageError: it cannot be closed; its flushed rows are safe.
        """
        if self._writer is None:
            return
        if not self._writer.rows:
            self._abandon()
            return
        self._writer.end_episode()
        self._writer.lost_rows += self._lost
        self._writer.close()
        self._writer, self._lost = None, 0

    def _abandon(self) -> None:
        """Let go of the file as it is; one without rows goes."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.abandon()
        if writer.path not in self.files or not writer.rows:
            _remove(writer.path)
            self.files = [path for path in self.files if path != writer.path]


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
