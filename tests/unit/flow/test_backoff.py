import pytest

from spanbridge.collector.flow.backoff import Backoff

BACKOFF = Backoff(initial_interval=1, max_interval=30, multiplier=2, randomization_factor=0.5)


@pytest.mark.parametrize(
    ("failures", "chance", "at_least", "expected"),
    [
        (1, 0.5, None, 1.0),
        (2, 0.5, None, 2.0),
        (5, 0.5, None, 16.0),
        (6, 0.5, None, 30.0),
        (1, 0.0, None, 0.5),
        (1, 1.0, None, 1.5),
        (1, 0.5, 7.0, 7.0),
        (6, 0.5, 7.0, 30.0),
        (1, 0.5, 1e9, 300.0),
        (10**6, 0.5, None, 30.0),
    ],
)
def test_delay(failures, chance, at_least, expected):
    assert BACKOFF.delay(failures, chance, at_least) == expected
