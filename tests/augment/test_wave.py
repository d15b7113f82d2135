"""Augmentation of waves as data: what the draws go by, what changes and what stays."""

import ast
import dataclasses
import hashlib
import multiprocessing
import textwrap
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from toy_world import LoudnessCodec, make_model, make_tokenizer

from data_pipelines.augment.operations import Clip, Gain, Narrow, Noise, Room, Silence, Speed, Telephone, Tilt
from data_pipelines.augment.wave import WaveAugmentConfig, augment_wave, augment_waves
from data_pipelines.worlds.pairs import pair_conversations
from data_pipelines.worlds.schema import PairRow
from fac_jax.audio.io import save_wav
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import encode
from fac_jax.config import from_tree
from fac_jax.types import IGNORE, InputError, Kind

EVERYTHING = WaveAugmentConfig(
    Speed(), Silence(), Room(1.0), Noise(1.0), Tilt(), Gain(), Clip(0.5), Narrow(0.5), Telephone(0.5)
)
SAME_LENGTH = dataclasses.replace(EVERYTHING, speed=None, silence=None)
ROWS = [f"row{i}" for i in range(6)]


def wave(seed: int = 0, samples: int = 16_000) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def digest(row: str) -> str:
    return hashlib.sha256(augment_wave(wave(), EVERYTHING, 3, 1, row).tobytes()).hexdigest()


def talk(name: str = "a") -> Conversation:
    asked, answered = wave(1), wave(2)
    turns = (
        Turn("user", "listen", wave=asked, speech=np.zeros(25, np.int32)),
        Turn("assistant", "yes", wave=answered),
        Turn("user", "no sound here"),
        Turn("assistant", "no"),
        Turn("user", wave=asked),
        Turn("assistant", "again", wave=answered),
    )
    return Conversation(name, "be kind", turns)


def test_draws_depend_only_on_seed_epoch_row_and_turn() -> None:
    once = [digest(row) for row in ROWS]
    assert len(set(once)) == len(ROWS)
    assert [digest(row) for row in reversed(ROWS)] == once[::-1]
    with multiprocessing.get_context("spawn").Pool(1) as worker:
        assert worker.map(digest, ROWS[3:]) == once[3:]
    given = wave()
    first = augment_wave(given, SAME_LENGTH, 3, 1, "a")
    np.testing.assert_array_equal(first, augment_wave(given, SAME_LENGTH, 3, 1, "a"))
    for other in ((4, 1, "a", 0), (3, 2, "a", 0), (3, 1, "b", 0), (3, 1, "a", 1)):
        assert np.abs(augment_wave(given, SAME_LENGTH, *other) - first).max() > 0.01
    np.testing.assert_array_equal(given, wave())
    assert first.dtype == np.float32 and np.abs(first).max() <= 1


def test_draws_do_not_depend_on_other_operations() -> None:
    alone = WaveAugmentConfig(gain=Gain())
    never = dataclasses.replace(alone, noise=Noise(0.0), room=Room(0.0))
    for epoch in range(4):
        np.testing.assert_array_equal(
            augment_wave(wave(), alone, 0, epoch, "a"), augment_wave(wave(), never, 0, epoch, "a")
        )


def test_probability_is_the_share_of_changed_waves() -> None:
    given = wave(samples=800)
    config = WaveAugmentConfig(gain=Gain(0.25))
    changed = [augment_wave(given, config, 0, epoch, row) is not given for row in ROWS for epoch in range(100)]
    assert np.mean(changed) == pytest.approx(0.25, abs=0.06)


def test_silence_keeps_within_its_seconds() -> None:
    short, long = wave(samples=8000), wave(samples=40_000)
    silence = WaveAugmentConfig(silence=Silence(1.0, (0.4, 0.8), within=1.5))
    for row in ROWS:
        found = augment_wave(short, silence, 0, 0, row)
        sounding = np.flatnonzero(found)
        np.testing.assert_array_equal(found[sounding[0] : sounding[-1] + 1], short)
        assert 8000 + 2 * 0.4 * 16_000 - 2 <= len(found) <= 24_000 == silence.longest(8000)
        assert min(sounding[0], len(found) - 1 - sounding[-1]) > 0
        np.testing.assert_array_equal(augment_wave(long, silence, 0, 0, row), long)


def test_folders_as_sources(tmp_path: Path) -> None:
    hum = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 16_000)).astype(np.float32)
    save_wav(tmp_path / "noise" / "hum.wav", hum)
    save_wav(tmp_path / "rooms" / "echo.wav", np.eye(1, 2000, 0, dtype=np.float32)[0])
    noise = Noise(1.0, (0.0, 0.0), (str(tmp_path / "noise"),))
    spectrum = np.abs(np.fft.rfft(augment_wave(wave(), WaveAugmentConfig(noise=noise), 0, 0, "a")))
    assert spectrum.argmax() == 1000 and spectrum[1000] > 10 * np.sort(spectrum)[-2]
    room = WaveAugmentConfig(room=Room(1.0, (str(tmp_path / "rooms"),)))
    np.testing.assert_allclose(augment_wave(wave(), room, 0, 0, "a"), wave(), atol=1e-4)


def test_only_user_audio_changes_and_old_features_are_dropped() -> None:
    before = talk()
    after = augment_waves(before, EVERYTHING, 0, 0)
    assert [t.text for t in after.turns] == [t.text for t in before.turns]
    for number in (1, 2, 3, 5):
        assert after.turns[number] is before.turns[number]
    first, last = after.turns[0], after.turns[4]
    assert first.speech is None and first.mel is None
    assert len(first.wave) != len(last.wave)  # turns draw apart
    still = augment_waves(before, WaveAugmentConfig(), 0, 0)
    assert all(a is b for a, b in zip(still.turns, before.turns, strict=True))


def test_labels_do_not_change(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    model = make_model(tokenizer)
    plain = add_features([talk()], LoudnessCodec())[0]
    slow = WaveAugmentConfig(Speed(factor=(0.8, 0.8)), noise=Noise(1.0))
    examples = [encode(c, tokenizer, model) for c in (plain, augment_waves(plain, slow, 0, 0))]
    kept = [e.kind != Kind.SPEECH for e in examples]
    for field in ("labels", "speech_labels", "text_ids", "speech_ids", "kind"):
        a, b = (getattr(e, field)[k] for e, k in zip(examples, kept, strict=True))
        np.testing.assert_array_equal(a, b)
    assert (examples[0].speech_labels != IGNORE).sum() > 50
    heard = [int((e.kind == Kind.SPEECH).sum()) for e in examples]
    assert heard == [2 * 5, 2 * 7]  # 25 and int(25 / 0.8) tokens in groups of five
    assert heard[1] <= 2 * np.ceil(slow.longest(16_000) * 25 / 16_000 / 5)


def test_both_sides_of_a_pair_hear_the_same_question() -> None:
    row = PairRow("p1", "robustness", "what", "", "right", "wrong", wave(1), None, None, "voice", None)
    chosen, rejected = (augment_waves(side, EVERYTHING, 0, 0, row.id) for side in pair_conversations(row))
    assert (chosen.turns[1].text, rejected.turns[1].text) == ("right", "wrong")
    np.testing.assert_array_equal(chosen.turns[0].wave, rejected.turns[0].wave)
    assert len(chosen.turns[0].wave) != len(row.user_audio)


def test_operations_from_a_config_dict() -> None:
    config = ConfigDict({"augment_wave": {"telephone": {}, "noise": {"snr_db": (3, 15)}, "room": None, "speed": {}}})
    config.augment_wave.noise.probability = 0.25
    found = from_tree(WaveAugmentConfig, config.to_dict()["augment_wave"], "data.augment_wave")
    assert found == WaveAugmentConfig(Speed(), noise=Noise(0.25, (3, 15)), telephone=Telephone())
    assert [name for name, _ in found.operations()] == ["speed", "noise", "telephone"]
    assert found.longest(9000) == 10_001 and WaveAugmentConfig(Speed(factor=(1.25, 1.5))).longest(9000) == 9000
    padded = WaveAugmentConfig(Speed(factor=(0.8, 1.2)), Silence(seconds=(0.0, 0.5), within=2.0))
    assert [padded.longest(n) for n in (8000, 16_000, 40_000)] == [26_001, 32_000, 50_001]
    with pytest.raises(InputError, match="data.augment_wave.noise.snr"):
        from_tree(WaveAugmentConfig, {"noise": {"snr": 3}}, "data.augment_wave")


def test_example_of_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "data_augmentation.md").read_text()
    example = text[text.index("    {\n") : text.index("    }\n") + 6]
    values = ast.literal_eval(textwrap.dedent(example))
    found = from_tree(WaveAugmentConfig, ConfigDict({"waves": values}).to_dict()["waves"], "data.waves")
    assert [name for name, _ in found.operations()] == ["speed", "room", "noise"]
    for name in EVERYTHING.__dict__:
        assert f"| `{name}` | `probability` {type(getattr(EVERYTHING, name))().probability:g}, " in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise(1.5), "noise.probability is 1.5: give a share from 0 to 1"),
        (lambda: Noise("often"), "noise.probability is 'often'"),
        (lambda: Noise(snr_db=(20, 10)), "noise.snr_db"),
        (lambda: Noise(snr_db=3), "noise.snr_db"),
        (lambda: Noise(snr_db=[3]), "noise.snr_db"),
        (lambda: Noise(sources=("blue",)), "no folder of sounds blue"),
        (lambda: Noise(sources="white"), "noise.sources"),
        (lambda: Room(sources=()), "room.sources"),
        (lambda: Room(rt60=(0.0, 0.5)), "room.rt60"),
        (lambda: Speed(factor=(0.1, 1.0)), "speed.factor"),
        (lambda: Gain(gain_db=(0, float("nan"))), "gain.gain_db"),
        (lambda: Telephone(band=(300, 4000)), "telephone.band"),
        (lambda: Silence(seconds=(0.5, 0.2)), "silence.seconds"),
        (lambda: Tilt(db_per_octave=(0, 30)), "tilt.db_per_octave"),
        (lambda: Clip(over_db=(-3, 3)), "clip.over_db"),
        (lambda: Narrow(rate=(8000, 44100)), "narrow.rate"),
        (lambda: Telephone(codecs=("AMR",)), "unknown codec 'AMR'; known: ULAW, ALAW, GSM610"),
        (lambda: WaveAugmentConfig(gain=6), "gain is 6"),
    ],
)
def test_invalid_settings_are_refused(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
