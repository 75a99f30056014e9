"""The recorder: roll-over, discarding, and disks that are full, gone or read-only."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from recording_process import INFO, row

from dara_ros.errors import UserError
from dara_ros.policies.dataset import DataSet
from dara_ros.policies.dataset_recorder import RETRY_INTERVAL, Recorder


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Callable[..., Recorder]:
    """A recorder of tmp_path/disk/walk.h5 that flushes when told to."""

    def recorder(**settings: float) -> Recorder:
        return Recorder(tmp_path / "disk" / "walk.h5", INFO, flush_interval=1e9, clock=clock, **settings)

    return recorder


def add(recorder: Recorder, *numbers: int, begins: bool = True) -> None:
    """Rows of one episode, and a flush."""
    for number in numbers:
        recorder.append(row(number), begins and number == numbers[0])
    recorder.flush()


def episodes(*paths: Path) -> list[list[int]]:
    """The numbers of the rows, episode by episode."""
    with DataSet(paths) as data:
        data.check()
        stamps = data.column("infos/stamp")
        return [stamps[start:end].tolist() for start, end in zip(*data.episodes(), strict=True)]


# -- one disk that works ------------------------------------------------------------------------------------


def test_a_file_rolls_over_between_two_episodes(make: Callable[..., Recorder], clock: Clock) -> None:
    recorder = make(roll_seconds=10)
    add(recorder, 0, 1)
    clock.now = 10.0
    add(recorder, 2, begins=False)  # over its age, but the episode goes on
    assert len(recorder.files) == 1
    add(recorder, 3)
    recorder.close()
    assert [path.name for path in recorder.files] == ["walk.h5", "walk_0001.h5"]
    assert [episodes(path) for path in recorder.files] == [[[0, 1, 2]], [[3]]]
    assert episodes(*recorder.files) == [[0, 1, 2], [3]]
    assert not list(recorder.path.parent.glob(".*"))


def test_an_episode_without_end_is_cut(make: Callable[..., Recorder], clock: Clock) -> None:
    recorder = make(roll_seconds=10)
    add(recorder, 0, 1)
    clock.now = 13.0
    add(recorder, 2, 3, begins=False)
    discarded, elsewhere = recorder.discard_episode()
    assert (discarded, elsewhere) == (2, recorder.files[0])  # it tells where the first part stays
    add(recorder, 4)
    recorder.close()
    assert episodes(*recorder.files) == [[0, 1], [4]]
    with DataSet(recorder.files[0]) as data:
        assert data.column("timeouts").tolist() == [False, True]


def test_files_roll_over_by_size(make: Callable[..., Recorder]) -> None:
    recorder = make(roll_bytes=150_000)
    for number in range(2500):
        recorder.append(row(number), begins=number % 10 == 0)
    recorder.close()
    sizes = [path.stat().st_size for path in recorder.files]
    assert len(sizes) > 2 and max(sizes) < 1.25 * 150_000 + 200_000  # a chunk of every column
    assert episodes(recorder.path.parent) == [list(range(n, n + 10)) for n in range(0, 2500, 10)]


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("over", [False, True])
def test_the_last_episode_is_discarded_once(make: Callable[..., Recorder], flushed: bool, over: bool) -> None:
    recorder = make()
    add(recorder, 0, 1)
    recorder.append(row(2), begins=True)
    recorder.append(row(3, terminal=over))
    if flushed:
        recorder.flush()
    recorder.append(row(4)) if not over else recorder.end_episode()
    assert recorder.discard_episode() == (2 if over else 3, None)
    assert recorder.discard_episode() == (0, None)
    assert (recorder.rows, recorder.episodes) == (2, 1)
    add(recorder, 5, begins=False)  # begins one, whatever is said
    recorder.close()
    assert episodes(recorder.path) == [[0, 1], [5]]


def test_what_is_not_finite_is_refused_and_splits_the_episode(make: Callable[..., Recorder]) -> None:
    recorder = make()
    for number in (0, 1, np.nan, 3, 4):
        recorder.append(row(number) if number == number else row(2, reward=np.nan), begins=number == 0)
    recorder.close()
    assert (recorder.rows, recorder.refused, recorder.dropped) == (4, 1, 0)
    assert "rewards is NaN" in recorder.refusal
    assert episodes(recorder.path) == [[0, 1], [3, 4]]
    with DataSet(recorder.path) as data:
        assert data.lost_rows == 1


def test_no_row_no_file(make: Callable[..., Recorder]) -> None:
    recorder = make()
    recorder.close()
    recorder.close()
    discarded = make()
    add(discarded, 0)
    discarded.discard_episode()
    discarded.close()
    assert discarded.files == [] and list(recorder.path.parent.iterdir()) == []


def test_an_existing_file_is_refused(make: Callable[..., Recorder]) -> None:
    recorder = make()
    add(recorder, 0)
    with pytest.raises(UserError, match="exists already"):
        make()
    recorder.close()


# -- disks that fail ----------------------------------------------------------------------------------------


def fails_then_works(recorder: Recorder, clock: Clock, said: str, mend: Callable[[], object]) -> None:
    """Rows 100 to 199 come while the disk takes none: half of them have room in memory."""
    for number in range(100, 200):
        add(recorder, number, begins=number % 10 == 0)
        clock.now += 0.1
    assert said in recorder.problem and "\n" not in recorder.problem
    assert recorder.waiting == 50
    mend()
    clock.now += RETRY_INTERVAL
    add(recorder, 200)
    assert (recorder.problem, recorder.waiting) == ("", 0)


def check_kept(recorder: Recorder, before: list[int]) -> None:
    """Nothing is missing but what was dropped, and the file says how much that is."""
    recorder.close()
    assert recorder.problem == ""
    with DataSet(recorder.files) as data:
        data.check()
        stamps = data.column("infos/stamp").tolist()
        assert stamps == [*before, *range(200 - len(stamps) + len(before) + 1, 201)]
        assert data.lost_rows == recorder.dropped > 0
        assert recorder.rows == len(data)
    kept = [episode for episode in episodes(*recorder.files) if episode[0] >= 160]
    assert kept[-4:] == [[*range(n, n + 10)] for n in range(170, 200, 10)] + [[200]]


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[None]:
    """A file system there, or the test is skipped."""
    if subprocess.run(["mount", *arguments, str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_disk_full(tmp_path: Path, make: Callable[..., Recorder], clock: Clock) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        recorder = make(keep_rows=50)
        add(recorder, *range(100))
        ballast = disk / "ballast"
        with pytest.raises(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        number = 1000
        while not recorder.problem:  # up to the end of the last block that it has
            add(recorder, number, begins=number == 1000)
            number += 1
        in_file = list(range(1000, number - recorder.waiting))
        fails_then_works(recorder, clock, "No space left on device", ballast.unlink)
        recorder.close()
        with DataSet(recorder.files[0]) as data:  # the file that could not be closed in order is whole
            assert data.column("infos/stamp").tolist() == [*range(100), *in_file]
        check_kept(recorder, [*range(100), *in_file])


def test_file_size_limit(make: Callable[..., Recorder], clock: Clock) -> None:
    """The same without the rights to mount: the kernel refuses every write beyond a size."""
    recorder = make(keep_rows=50)
    add(recorder, *range(100))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        fails_then_works(
            recorder, clock, "File too large", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    check_kept(recorder, list(range(100)))


def test_folder_gone(make: Callable[..., Recorder], clock: Clock, tmp_path: Path) -> None:
    recorder = make(keep_rows=50)
    add(recorder, *range(100))
    disk, elsewhere = tmp_path / "disk", tmp_path / "elsewhere"
    disk.rename(elsewhere)
    fails_then_works(recorder, clock, "the folder is gone", lambda: elsewhere.rename(disk))
    check_kept(recorder, list(range(100)))


def test_folder_deleted(make: Callable[..., Recorder], clock: Clock, tmp_path: Path) -> None:
    recorder = make(keep_rows=50)
    add(recorder, *range(100))
    shutil.rmtree(tmp_path / "disk")
    fails_then_works(recorder, clock, "the folder is gone", (tmp_path / "disk").mkdir)
    recorder.close()
    assert episodes(recorder.files[-1])[-2:] == [[*range(190, 200)], [200]]


def test_file_system_read_only(make: Callable[..., Recorder], clock: Clock, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    recorder = make(keep_rows=50, roll_seconds=1.0)
    add(recorder, *range(100))
    clock.now = 2.0
    with mounted(disk, "--bind", str(disk)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)
        fails_then_works(
            recorder,
            clock,
            "Read-only file system",
            lambda: subprocess.run(["mount", "-o", "remount,bind,rw", str(disk)], check=True),
        )
        check_kept(recorder, list(range(100)))


def test_rows_that_never_reach_the_disk_are_counted(make: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = make()
    add(recorder, 0, 1)
    shutil.rmtree(tmp_path / "disk")
    add(recorder, 2, 3, 4)
    recorder.close()
    assert recorder.dropped == 3
    assert "the folder is gone" in recorder.problem
