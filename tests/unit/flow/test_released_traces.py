"""What is remembered of traces that were handed on."""

from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.processors.types import Context


def test_the_latest_of_each_kind_are_remembered():
    remembered = ReleasedTraces({b"old": "before the restart"}, size=2)
    remembered.put(b"a", "kept")
    for number in range(5):
        remembered.put(bytes([number]), "dropped", dropped=True)

    assert [key in remembered for key in (b"old", b"a", b"\x00", b"\x03", b"\x04")] == [True, True, False, True, True]
    remembered.put(b"b", "kept")
    assert [key in remembered for key in (b"old", b"a", b"b")] == [False, True, True]


def test_a_trace_has_one_note_the_last():
    remembered = ReleasedTraces()
    remembered.put(b"a")
    assert (b"a" in remembered, remembered.note(b"a")) == (True, "")
    remembered.put(b"a", "dropped", dropped=True)
    assert remembered.note(b"a") == "dropped"
    remembered.put(b"a", "kept")
    assert remembered.note(b"a") == "kept"
    assert remembered.note(b"b") == ""


def test_what_the_journal_keeps_tells_the_note_and_the_owner_again():
    owner, remembered = Context(tenant="a", allow_experiments=("team-a/*", "\x1f")), ReleasedTraces()
    for key in (b"owned", b"owned too", b"free"):
        remembered.put(key, "note")
    remembered.own(b"owned", owner)
    remembered.own(b"owned too", owner)
    remembered.own(b"free", Context(tenant="anybody"))
    again = ReleasedTraces({key: remembered.record(key) for key in (b"owned", b"owned too", b"free")})
    assert [again.note(key) for key in (b"owned", b"owned too", b"free")] == ["note"] * 3
    assert (again.owner(b"owned"), again.owner(b"owned too"), again.owner(b"free")) == (owner, owner, None)
    assert again.owner(b"owned") is again.owner(b"owned too")
    assert remembered.record(b"free") == "note"
