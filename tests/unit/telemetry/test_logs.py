"""The program's log: bounded per kind, one line a message, whatever is in it."""

import json
import logging

from spanbridge.collector.telemetry.logs import BURST, WINDOW, ConsoleFormatter, JsonFormatter, RateLimit


def record(message="said", line=1, *args):
    return logging.LogRecord("spanbridge.collector.x", logging.WARNING, "x.py", line, message, args, None)


def test_a_kind_of_message_is_bounded_and_says_how_many_were_left_out():
    now = [0.0]
    limit = RateLimit(lambda: now[0])

    assert [limit.filter(record()) for _ in range(BURST + 7)] == [True] * BURST + [False] * 7
    assert limit.filter(record(line=2)), "another kind has a budget of its own"
    now[0] = WINDOW
    late = record("said %d", 1, 5)
    assert limit.filter(late)
    assert late.getMessage() == "said 5 (and 7 more like it)"


def test_foreign_text_can_not_forge_a_line_or_steer_a_terminal():
    hostile = "bad\nFATAL all is lost\x1b[2J\r"
    line = ConsoleFormatter().format(record(hostile))
    assert "\n" not in line
    assert "\x1b" not in line
    assert json.loads(JsonFormatter().format(record(hostile)))["msg"] == hostile
    assert "\n" not in JsonFormatter().format(record(hostile))
