"""One controller at a time."""

from __future__ import annotations

import pytest

from dara_ros.lease import SILENCE, Lease

LATER = 1.1 * SILENCE


@pytest.fixture
def lease() -> Lease:
    return Lease()


def test_nobody_holds_a_fresh_lease(lease: Lease) -> None:
    assert not lease.held(0.0)
    assert not lease.renew("", 0.0)
    assert not lease.renew("made up", 0.0)


def test_the_second_who_asks_is_refused(lease: Lease) -> None:
    token = lease.take(0.0)
    assert token and lease.held(0.1)
    assert lease.take(0.1) == ""
    assert lease.renew(token, 0.2)


def test_signs_of_life_keep_it(lease: Lease) -> None:
    token = lease.take(0.0)
    for step in range(1, 20):
        assert lease.renew(token, 0.9 * SILENCE * step)
    assert lease.take(0.9 * SILENCE * 19 + 0.1) == ""


def test_a_foreign_token_is_no_sign_of_life(lease: Lease) -> None:
    lease.take(0.0)
    assert not lease.renew("made up", 0.9 * SILENCE)
    assert not lease.held(LATER)


def test_silence_ends_it_and_the_next_one_gets_another_token(lease: Lease) -> None:
    first = lease.take(0.0)
    second = lease.take(LATER)
    assert second not in ("", first)
    assert not lease.renew(first, LATER)
    assert lease.renew(second, LATER)


def test_a_holder_that_was_silent_goes_on_where_nobody_took_its_place(lease: Lease) -> None:
    token = lease.take(0.0)
    assert not lease.held(LATER)
    assert lease.renew(token, LATER)
    assert lease.held(LATER)


def test_only_the_holder_gives_it_back(lease: Lease) -> None:
    token = lease.take(0.0)
    lease.release("made up")
    assert lease.held(0.1)
    lease.release(token)
    assert not lease.held(0.1)
    assert not lease.renew(token, 0.1)
    assert lease.take(0.1)
