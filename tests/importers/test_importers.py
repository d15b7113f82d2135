"""Every format but the release's: rows become the records that they say, and bad rows do not stop a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from user_rows import encoded, preference_row, release_row, save, told, tone, write_jsonl

from data_pipelines.importers import corpora, manifest
from data_pipelines.importers.registry import FORMATS, guess, read
from data_pipelines.records.audio import with_waves
from data_pipelines.records.record import Audio, Message, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError
from fac_jax.text.prompts import TRANSCRIBE
from fac_jax.types import InputError


@pytest.mark.parametrize(
    ("name", "rate", "channels", "format"),
    [
        ("a.wav", 8_000, 1, "WAV"),
        ("a.wav", 16_000, 1, "WAV"),
        ("a.wav", 44_100, 2, "WAV"),
        ("a.wav", 48_000, 1, "WAV"),
        ("a.flac", 44_100, 2, "FLAC"),
        ("a.mp3", 44_100, 1, "MP3"),
        ("a.ogg", 48_000, 2, "OGG"),
    ],
)
def test_recordings_become_mono_at_16_khz(tmp_path: Path, name: str, rate: int, channels: int, format: str) -> None:
    save(tmp_path / name, 1.0, rate, channels, format)
    for audio in (Audio(path=str(tmp_path / name)), Audio(data=(tmp_path / name).read_bytes())):
        record = Record("x", "", (Message("user", "", audio),), None, "f", 1)
        wave = with_waves(record).audios[0].wave
        assert wave is not None and wave.dtype == np.float32 and wave.shape == (16_000,)
        spectrum = np.abs(np.fft.rfft(wave[1600:-1600] * np.hanning(12_800)))
        assert spectrum.argmax() * 1.25 == pytest.approx(440, abs=2)
        assert np.abs(wave[1600:-1600]).max() == pytest.approx(0.3, abs=0.03)


def test_manifest_jsonl(tmp_path: Path) -> None:
    rows = [
        {"id": "one", "audio": "a.wav", "text": "hello", "sampling_rate": 16_000},
        {"audio_filepath": "/b.wav", "transcript": "you"},
        b'{"audio": "c.wav"',
        {"audio": "c.wav"},
        {"text": "no audio"},
        {"audio": "c.wav", "text": 5},
        {"audio": "c.wav", "text": " "},
        {"id": "", "audio": "c.wav", "text": "x"},
        {"audio": "c.wav", "text": "x", "sampling_rate": "fast"},
        b'{"audio": "c.wav", "text": "\xff"}',
        b"",
        {"audio": "d.wav", "text": "last"},
    ]
    found = list(read(write_jsonl(tmp_path / "m.jsonl", rows)))
    assert [told(row) for row in found] == [
        ("one", f"u:~{TRANSCRIBE}", "a:hello"),
        ("m:2", f"u:~{TRANSCRIBE}", "a:you"),
        (3, Reason.MALFORMED),
        (4, Reason.MISSING_KEY),
        (5, Reason.MISSING_KEY),
        (6, Reason.WRONG_TYPE),
        (7, Reason.EMPTY_TEXT),
        (8, Reason.WRONG_TYPE),
        (9, Reason.WRONG_RATE),
        (10, Reason.BAD_UTF8),
        ("m:12", f"u:~{TRANSCRIBE}", "a:last"),
    ]
    first, second = (row.audios[0] for row in found[:2] if isinstance(row, Record))
    assert (first.path, first.named, first.rate, first.transcript) == (
        str(tmp_path / "a.wav"),
        "a.wav",
        16_000,
        "hello",
    )
    assert second.path == "/b.wav"
    (said, *_) = manifest.read_jsonl(tmp_path / "m.jsonl", Path("/elsewhere"), "tts")
    assert told(said) == ("one", "u:hello", "a:~hello") and said.audios[0].path == "/elsewhere/a.wav"


def test_manifest_with_offsets(tmp_path: Path) -> None:
    save(tmp_path / "long.wav", 2.0)
    common = {"audio_filepath": "long.wav", "text": "x"}
    pieces = [{"offset": 0.5, "duration": 0.75}, {"offset": 1.5}, {"offset": 0, "duration": "0.25"}, {"duration": 0.1}]
    wrong = [{"offset": -1}, {"offset": "soon"}, {"offset": float("nan")}, {"offset": True}]
    found = list(read(write_jsonl(tmp_path / "m.jsonl", [{**common, **more} for more in (*pieces, *wrong)])))
    whole = tone(2.0)[:, 0]
    wanted = (whole[8000:20_000], whole[24_000:], whole[:4000], whole)
    for row, part in zip(found[:4], wanted, strict=True):
        assert isinstance(row, Record)
        np.testing.assert_allclose(with_waves(row).audios[0].wave, part, atol=1e-4)
    assert [row.reason for row in found if isinstance(row, Rejected)] == [Reason.WRONG_TYPE] * 4


def test_manifest_csv_and_tsv(tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    table.write_bytes(
        b'\xef\xbb\xbfid,path,text,sample_rate\none,a.wav,"hello, you",8000\ntwo,b.wav\n\nthree,c.wav,\xff,8000\n'
        b'four,d.wav,"two\nlines",\nfive,e.wav,x,-1\n'
    )
    found = list(read(table))
    assert [told(row) for row in found] == [
        ("one", f"u:~{TRANSCRIBE}", "a:hello, you"),
        (3, Reason.MALFORMED),
        (5, Reason.BAD_UTF8),
        ("four", f"u:~{TRANSCRIBE}", "a:two\nlines"),
        (8, Reason.WRONG_RATE),
    ]
    (tmp_path / "t.tsv").write_text('path\ttext\na.wav\tsay "hello\n')
    (row,) = read(tmp_path / "t.tsv")
    assert told(row)[2] == 'a:say "hello'
    (tmp_path / "empty.csv").write_text("\n")
    with pytest.raises(InputError, match=r"empty\.csv: its first line names no columns"):
        list(read(tmp_path / "empty.csv"))


def test_kaldi_with_and_without_segments(tmp_path: Path) -> None:
    save(tmp_path / "long.wav", 2.0)
    (tmp_path / "wav.scp").write_text("r1\tlong.wav\nr2 sox a.wav -t wav - |\nr3 c.wav\n")
    (tmp_path / "text").write_text("r1 hello you\nr2 there\nr4 nobody\n")
    assert [told(row) for row in read(tmp_path)] == [
        ("r1", f"u:~{TRANSCRIBE}", "a:hello you"),
        (2, Reason.MISSING_AUDIO),
        (3, Reason.MISSING_AUDIO),
        (3, Reason.MISSING_KEY),
    ]
    (tmp_path / "segments").write_text("u1 r1 0.5 1.25\nu2 r1 1.5 -1\nu3 r1 x 1\nu4 r1 1.0 9.0\nu5 r1 1.0\n")
    (tmp_path / "text").write_text("u1 one\nu2 two\nu3 three\nu4 four\nu9 nine\n")
    found = list(read(tmp_path))
    assert [told(row)[1] for row in found if isinstance(row, Rejected)] == [
        Reason.MALFORMED,
        Reason.MISSING_AUDIO,
        Reason.MISSING_KEY,
    ]
    good = [row for row in found if isinstance(row, Record)]
    assert [row.id for row in good] == ["u1", "u2", "u4"]
    whole = tone(2.0)[:, 0]
    for row, part in zip(good[:2], (whole[8000:20_000], whole[24_000:]), strict=True):
        np.testing.assert_allclose(with_waves(row).audios[0].wave, part, atol=1e-4)
    with pytest.raises(RejectedError, match="no audio from 1.0 to 9.0 s: .* has 2.00 s"):
        with_waves(good[2])
    (tmp_path / "text").unlink()
    with pytest.raises(InputError, match="no text there; a Kaldi folder has"):
        list(corpora.read_kaldi(tmp_path, tmp_path))


def test_audio_folder(tmp_path: Path) -> None:
    for name, rate, channels, format in (
        ("a.wav", 8_000, 1, "WAV"),
        ("b.flac", 44_100, 2, "FLAC"),
        ("deep/c.MP3", 48_000, 1, "MP3"),
        ("d.ogg", 16_000, 1, "OGG"),
        ("e.wav", 16_000, 1, "WAV"),
        ("f.wav", 16_000, 1, "WAV"),
    ):
        save(tmp_path / name, 0.5, rate, channels, format)
        (tmp_path / name).with_suffix(".txt").write_text(f"said in {Path(name).stem}\n")
    (tmp_path / "e.txt").unlink()
    (tmp_path / "f.txt").write_bytes(b"\xff")
    found = list(read(tmp_path))
    ask = f"u:~{TRANSCRIBE}"
    assert [told(row) for row in found] == [
        ("a", ask, "a:said in a"),
        ("b", ask, "a:said in b"),
        ("d", ask, "a:said in d"),
        ("deep/c", ask, "a:said in c"),
        (5, Reason.MISSING_KEY),
        (6, Reason.BAD_UTF8),
    ]
    assert {len(with_waves(row).audios[0].wave) for row in found if isinstance(row, Record)} == {8000}
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no recording below it"):
        list(read(tmp_path / "none", "audio-folder"))


def test_spoken_alpaca(tmp_path: Path) -> None:
    question, answer = encoded(0.5), encoded(0.7, format="FLAC")
    rows = {
        "input_audio": [{"bytes": question, "path": "q.wav"}, {"bytes": None, "path": "q.wav"}, None, None],
        "output_audio": [{"bytes": answer, "path": None}, None, None, None],
        "speech_input": ["what is it", "what is it", "written", "bad"],
        "output": ["a tone", "a tone", "text", None],
        "instruction": ["", "", "", ""],
    }
    (tmp_path / "data").mkdir()
    pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / "data" / "p.parquet")
    for path in (tmp_path / "data", tmp_path / "data" / "p.parquet"):
        found = list(read(path))
        assert [told(row) for row in found] == [
            ("p:1", "u:~", "a:~a tone"),
            ("p:2", "u:~", "a:a tone"),
            ("p:3", "u:written", "a:text"),
            (4, Reason.MISSING_KEY),
        ]
        first, second = found[:2]
        assert isinstance(first, Record) and isinstance(second, Record)
        assert [len(audio.wave) for audio in with_waves(first).audios] == [8000, 11_200]
        assert first.audios[0].transcript == "what is it"
        assert second.audios[0].path == str(tmp_path / "data" / "q.wav")


def test_audio_parquet_with_paths_and_bad_utf8(tmp_path: Path) -> None:
    text = pyarrow.StringArray.from_buffers(
        3, pyarrow.array([0, 2, 3, 6], pyarrow.int32()).buffers()[1], pyarrow.py_buffer(b"hi\xffyou")
    )
    table = pyarrow.table({"id": ["a", "b", "c"], "audio": ["a.wav", "b.wav", None], "sentence": text})
    pyarrow.parquet.write_table(table, tmp_path / "p.parquet")
    assert [told(row) for row in read(tmp_path / "p.parquet")] == [
        ("a", f"u:~{TRANSCRIBE}", "a:hi"),
        (2, Reason.BAD_UTF8),
        (3, Reason.MISSING_AUDIO),
    ]
    with pytest.raises(InputError, match="no column input_audio; it has id, audio, sentence"):
        list(read(tmp_path / "p.parquet", "spoken-alpaca"))
    (tmp_path / "q.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="no parquet file"):
        list(read(tmp_path / "q.parquet", "audio-parquet"))


def test_librispeech(tmp_path: Path) -> None:
    chapter = tmp_path / "LibriSpeech" / "dev-clean" / "84" / "121123"
    for number in range(2):
        save(chapter / f"84-121123-000{number}.flac", 0.5, format="FLAC")
    (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO ON\n84-121123-0001 DO YOU\n84-121123-0002\n")
    for path in (tmp_path, chapter.parents[1]):
        found = list(read(path))
        assert [told(row) for row in found] == [
            ("84-121123-0000", f"u:~{TRANSCRIBE}", "a:GO ON"),
            ("84-121123-0001", f"u:~{TRANSCRIBE}", "a:DO YOU"),
            (3, Reason.EMPTY_TEXT),
        ]
        assert all(len(with_waves(row).audios[0].wave) == 8000 for row in found if isinstance(row, Record))
    with pytest.raises(InputError, match=r"no \*\.trans\.txt below it"):
        list(corpora.read_librispeech(tmp_path / "LibriSpeech" / "dev-clean" / "85", tmp_path))


def test_common_voice(tmp_path: Path) -> None:
    save(tmp_path / "clips" / "common_voice_en_1.mp3", 0.5, 48_000, format="MP3")
    header = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\tlocale\tsegment\n"
    row = 'c\t{}\tHe said "yes.\t2\t0\t\t\t\ten\t\n'
    (tmp_path / "train.tsv").write_text(header + row.format("common_voice_en_1.mp3") + row.format("common_voice_en_2"))
    (tmp_path / "dev.tsv").write_text(header)
    first, second = read(tmp_path)
    assert told(first) == ("common_voice_en_1", f"u:~{TRANSCRIBE}", 'a:He said "yes.')
    assert isinstance(first, Record) and isinstance(second, Record)
    assert len(with_waves(first).audios[0].wave) == 8000
    assert second.audios[0].path == str(tmp_path / "clips" / "common_voice_en_2.mp3")
    assert list(read(tmp_path / "dev.tsv")) == []
    with pytest.raises(InputError, match=r"no train\.tsv there"):
        list(corpora.read_common_voice(tmp_path / "clips", tmp_path))


@pytest.mark.parametrize(
    ("rows", "format"),
    [
        ([release_row("a", "b"), b"{"], "release"),
        ([preference_row()], "preference"),
        ([{"conversations": []}], "llama-factory"),
        ([{"prompt": "", "chosen": "", "rejected": ""}], "trl"),
        ([{"wav": "", "text": ""}], "manifest-jsonl"),
        ([{"messages": []}], None),
        ([b"{"], None),
        ([release_row("a", "b"), preference_row()], None),
    ],
)
def test_format_is_recognised_only_if_a_single_one_fits(tmp_path: Path, rows: list[Any], format: str | None) -> None:
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    if format is None:
        with pytest.raises(InputError, match=r"its format cannot be recognised; name it with --format \("):
            guess(file)
    else:
        assert guess(file) == format in FORMATS


def test_unknown_format_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read(tmp_path / "gone.jsonl", "release")
    with pytest.raises(InputError, match="unknown format 'relase'; known: release, preference, "):
        read(tmp_path, "relase")
