"""A clock that stands still while it is stopped."""

from spanbridge.collector.flow.pausable_clock import PausableClock


def test_time_that_was_stopped_never_passed():
    now = [100.0]
    time = PausableClock(lambda: now[0])

    now[0] = 101.0
    assert time() == 101.0
    with time.paused():
        now[0] = 150.0
        assert time() == 101.0
    assert time() == 101.0
    now[0] = 152.0
    assert time() == 103.0
    with time.paused():
        now[0] = 160.0
    assert time() == 103.0
