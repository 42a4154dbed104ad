"""What is remembered of traces that were handed on."""

from collector.remembered import Remembered


def test_the_latest_of_each_kind_are_remembered():
    remembered = Remembered({b"old": "before the restart"}, size=2)
    remembered.put(b"a", "kept")
    for number in range(5):
        remembered.put(bytes([number]), "dropped", dropped=True)

    assert [key in remembered for key in (b"old", b"a", b"\x00", b"\x03", b"\x04")] == [True, True, False, True, True]
    remembered.put(b"b", "kept")
    assert [key in remembered for key in (b"old", b"a", b"b")] == [False, True, True]


def test_a_trace_has_one_note_the_last():
    remembered = Remembered()
    remembered.put(b"a")
    assert (b"a" in remembered, remembered.note(b"a")) == (True, "")
    remembered.put(b"a", "dropped", dropped=True)
    assert remembered.note(b"a") == "dropped"
    remembered.put(b"a", "kept")
    assert remembered.note(b"a") == "kept"
    assert remembered.note(b"b") == ""
