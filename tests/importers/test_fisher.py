"""Two-channel recordings with timed transcripts, in the layout of the Fisher corpus."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipelines.importers import fisher
from data_pipelines.importers.registry import read
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Reason, Rejected
from data_pipelines.records.timing import TurnTiming
from data_pipelines.records.validate import Limits, validate
from fac_jax.duplex.call import SLOT, EventKind
from fac_jax.types import InputError

TRANSCRIPT = """# fe_03_00001.sph
1.00 2.30 A: hello [laughter]
3.10 4.00 B: ((hi there))
4.25 5.05 A: how are you
5.10 5.50 A: today
"""


def recording(folder: Path, seconds: float, text: str, channels: int = 2) -> Path:
    rng = np.random.default_rng(0)
    (folder / "audio").mkdir()
    samples = 0.1 * rng.standard_normal((round(seconds * 8000), channels))
    soundfile.write(folder / "audio" / "fe_03_00001.wav", samples, 8000)
    (folder / "fe_03_00001.txt").write_text(text)
    return folder


def rows(folder: Path) -> list[Record | Rejected]:
    return list(validate(read(folder, "fisher"), Limits()))


def test_either_speaker_is_the_assistant_once(tmp_path: Path) -> None:
    first, second = rows(recording(tmp_path, 8.0, TRANSCRIPT))
    assert isinstance(first, Record) and isinstance(second, Record) and first.timing and second.timing
    assert [first.id, second.id] == ["fe_03_00001:A:0", "fe_03_00001:B:0"] and first.timing.slots == 40
    # Heard from the slot of its start to that of its end; "today" leaves no room to close and to open.
    assert first.timing.turns == (TurnTiming(2, 12), TurnTiming(18, 28))
    assert [message.text for message in first.messages[1:]] == ["hello", "how are you today"]
    (event,) = first.timing.events
    assert (event.kind, event.onset, event.end, event.text) == (EventKind.SPEECH, 49600, 64000, "hi there")
    assert second.timing.turns == (TurnTiming(12, 20),) and len(second.timing.events) == 3
    user, reply, _ = (audio.wave for audio in first.audios)
    assert user is not None and reply is not None and len(user) == 40 * SLOT and len(reply) == 7 * SLOT
    assistant = second.audios[0].wave  # the other role hears A
    assert assistant is not None
    np.testing.assert_array_equal(reply, assistant[5 * SLOT : 12 * SLOT])


def test_a_long_recording_is_cut_where_the_assistant_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "SLOTS", 80)
    said = "".join(f"{start}.00 {start + 3}.00 A: one\n" for start in range(2, 30, 7))
    found = [row for row in rows(recording(tmp_path, 40.0, said)) if isinstance(row, Record)]
    calls = [row.timing for row in found if ":A:" in row.id and row.timing is not None]
    assert [timing.slots for timing in calls] == [77, 80, 43] and sum(len(timing.turns) for timing in calls) == 4
    long = "1.00 30.00 A: one\n"
    (tmp_path / "fe_03_00001.txt").write_text(long)
    (bad,) = [row for row in rows(tmp_path) if isinstance(row, Rejected)]  # the calls before and after it are read
    assert bad.reason == Reason.TOO_LONG and "a turn of 148 slots at 0.4 s" in bad.detail


def test_a_speaker_who_begins_at_once_is_left_out_until_silent(tmp_path: Path) -> None:
    first, *_ = rows(recording(tmp_path, 8.0, "0.10 1.50 A: well\n3.00 4.00 A: yes\n"))
    assert isinstance(first, Record) and first.timing is not None
    assert first.timing.slots == 40 - 9 and [m.text for m in first.messages[1:]] == ["yes"]


@pytest.mark.parametrize(("text", "reason", "message"), [
    ("1.0 2.0 C: who", Reason.MALFORMED, "line 1: not 'START END A: words'"),
    ("1.0 9.5 A: long", Reason.CALL, "line 1: 1.0 to 9.5 s, the recording has 8.00 s"),
    ("# x\n3.0 2.0 A: back", Reason.CALL, "line 2: 3.0 to 2.0 s"),
    ("1.0 1.9 A: " + "many words " * 40, Reason.CALL, "text ids for its"),
])  # fmt: skip
def test_annotations_that_do_not_fit(text: str, reason: Reason, message: str, tmp_path: Path) -> None:
    bad = rows(recording(tmp_path, 8.0, text))[0]
    assert isinstance(bad, Rejected) and bad.reason == reason and message in bad.detail


def test_bad_recordings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no NAME.txt with a recording"):
        rows(tmp_path)
    folder = recording(tmp_path, 8.0, TRANSCRIPT, channels=1)
    bad = rows(folder)[0]
    assert isinstance(bad, Rejected) and bad.reason == Reason.CALL and "has 1 channel" in bad.detail
    (folder / "audio" / "fe_03_00001.wav").write_bytes(b"no sound")
    (bad,) = rows(folder)
    assert isinstance(bad, Rejected) and bad.reason == Reason.UNDECODABLE_AUDIO
