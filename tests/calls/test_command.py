"""The command that makes calls of any spoken dialogues, and reports on them."""

import json
from pathlib import Path
from typing import Any

import array_record.python.array_record_data_source  # noqa: F401  (whose flags are not those of the launcher)
import numpy as np
import pytest
from html_page import Page
from launchers import called
from spoken_dialogues import said, tone

from data_pipelines.duplex.records import dialogues, divided, extras_of
from data_pipelines.importers.registry import read
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Reason, Rejected
from data_pipelines.records.validate import Limits, validate
from fac_jax.audio.io import save_wav
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT, EventKind
from fac_jax.types import InputError

LAUNCHER = "data_pipelines.duplex.__main__"
HEARD = "<|audio_bos|><|AUDIO|><|audio_eos|>"
QUIET = {"quiet": {"probability": 0}}


def spoken(folder: Path) -> Path:
    """Two spoken dialogues and a written one, as release rows."""
    rest = np.zeros(RATE // 10, np.float32)
    save_wav(folder / "q.wav", np.concatenate([tone(0.6), rest, tone(0.3)]))
    save_wav(folder / "a.wav", tone(2.0, 500.0))
    words = {"q": {"ref_text": "what is two plus one"}, "a": {"text": "three"}}
    audio = [json.dumps({"path": f"{name}.wav", **texts}) for name, texts in words.items()]
    messages = [{"role": role, "content": HEARD} for role in ("user", "assistant")]
    rows: list[dict[str, Any]] = [{"id": name, "messages": messages, "audio": audio} for name in ("a", "b")]
    written = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    rows.append({"id": "c", "messages": written, "audio": []})
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def rows_of(file: Path) -> list[Record | Rejected]:
    return list(validate(read(file), Limits()))


def test_dialogues_of_rows(tmp_path: Path) -> None:
    """A question is divided at its silence; the row before asks the side question."""
    first, second, third = dialogues(rows_of(spoken(tmp_path)), extras_of(None))
    assert not isinstance(first, Rejected) and not isinstance(second, Rejected)
    assert isinstance(third, Rejected) and third.reason == Reason.MISSING_AUDIO
    asked = first.exchanges[0].asked
    assert [len(part) for part in asked.parts] == [round(0.65 * RATE), round(0.35 * RATE)]
    assert (asked.whole.text, first.exchanges[0].reply.text) == ("what is two plus one", "three")
    assert not first.side and second.side[0] is first.exchanges[0]
    assert len(first.exchanges[0].reply.wave) % SLOT == 0
    both, written = dialogues(rows_of(tmp_path / "rows.jsonl"), extras_of(None), together=3)
    assert isinstance(both, Rejected) and not isinstance(written, Rejected)
    assert written.id == "a" and len(written.exchanges) == 2  # the last one is of fewer rows


def test_speech_without_a_silence_stays_whole() -> None:
    assert len(divided(tone(1.0))) == 1 == len(divided(np.concatenate([tone(0.5), np.zeros(RATE // 25), tone(0.5)])))


def test_the_command_makes_calls_and_reports_on_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, extras, out = spoken(tmp_path), tmp_path / "extras", tmp_path / "calls"
    (extras / "backchannels").mkdir(parents=True)
    save_wav(extras / "backchannels" / "mm-hm.wav", said("", 0.4).wave)
    events = json.dumps({**QUIET, "backchannel": {"probability": 1, "longer": 1, "idle": 0}})
    called(LAUNCHER, "make", str(file), f"--out={out}", "--slots=40,50", f"--events={events}", f"--extras={extras}")
    assert "c: missing_audio" in capsys.readouterr().out
    one, two = rows_of(out)
    assert isinstance(one, Record) and isinstance(two, Record) and one.timing is not None
    kinds = {event.kind for event in one.timing.events}
    assert kinds >= {EventKind.SPEECH, EventKind.RESPONSE_GAP, EventKind.BACKCHANNEL}
    page = tmp_path / "page.html"
    called(LAUNCHER, "report", str(out), f"--out={page}")
    printed = capsys.readouterr().out
    assert "overlap" in printed and f"look: {page}" in printed
    found = Page(page.read_text())
    assert not found.open and "Fisher" in "".join(found.text) and found.all("link")[0]["href"] == "data:,"
    figures = json.loads(page.with_suffix(".json").read_text())
    assert figures["calls"] == 2 and figures["measures"]["overlap"]["per_minute"] > 0
    called(LAUNCHER, "report", str(out), f"--out={tmp_path / 'other.html'}", f"--reference={page.with_suffix('.json')}")
    assert json.loads((tmp_path / "other.json").read_text())["wasserstein"] == 0


FAULTS = {
    "--events=[]": "give an object",
    "--events={": "not JSON",
    '--events={"pause": {"odds": 1}}': "odds",
    "--slots=3": "two whole numbers",
    "--slots=9,3": "least and the most slots",
    '--channel={"pieces": 4}': "channel.pieces is 4",
    "--extras=/none": "no such folder",
}


@pytest.mark.parametrize("flag", FAULTS)
def test_bad_options_are_one_line(flag: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=FAULTS[flag]) as refused:
        called(LAUNCHER, "make", str(spoken(tmp_path)), f"--out={tmp_path / 'calls'}", flag)
    assert "\n" not in str(refused.value)


def test_bad_sources(tmp_path: Path) -> None:
    written = tmp_path / "rows.jsonl"
    written.write_text(
        json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "audio": []})
    )
    with pytest.raises(InputError, match="no spoken dialogue"):
        called(LAUNCHER, "make", str(written), f"--out={tmp_path / 'calls'}")
    with pytest.raises(InputError, match="no call among its rows"):
        called(LAUNCHER, "report", str(written), f"--out={tmp_path / 'page.html'}")
    with pytest.raises(InputError, match="known: train, dev, clean_turn"):
        called(LAUNCHER, "toy", f"--out={tmp_path / 'calls'}", "--splits=test")
    (tmp_path / "extras" / "coughs").mkdir(parents=True)
    with pytest.raises(InputError, match="unknown folder 'coughs'"):
        extras_of(tmp_path / "extras")
