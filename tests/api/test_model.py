"""`fac_jax.load(..).respond(..)`: every kind of folder, of question and of mode, and what is refused."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_speaker import STEPS, UNITS, WAVE

import fac_jax
from fac_jax.api import Model
from fac_jax.checkpoint.release.convert import export_release
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.text.prompts import SYSTEM_JOINT
from fac_jax.types import InputError


def test_a_wave_is_answered_in_text_and_speech(model: Model) -> None:
    reply = model.respond(WAVE, rate=16000, max_steps=STEPS)
    assert isinstance(reply.text, str) and isinstance(reply.finished, bool)
    assert reply.units.size and reply.units.dtype == np.int32 and reply.units.max() < UNITS
    assert reply.rate == model.codec.rate and reply.wave.dtype == np.float32
    np.testing.assert_array_equal(reply.wave, model.codec.decode(reply.units))


@pytest.mark.parametrize(("question", "mode"), [(WAVE, "s2s"), (WAVE, "s2t"), ("what is two", "t2s")])
def test_pieces_are_the_reply_as_it_is_made(model: Model, question: Any, mode: Any) -> None:
    whole = model.respond(question, mode=mode, max_steps=STEPS)
    pieces = list(model.stream(question, mode=mode, max_steps=STEPS))
    assert len(pieces) == STEPS  # no reply of this model ends before
    assert [piece.last for piece in pieces] == [False] * (STEPS - 1) + [True]
    assert "".join(piece.text for piece in pieces) == whole.text
    assert np.concatenate([piece.units for piece in pieces]).tolist() == whole.units.tolist()
    assert sum(len(piece.wave) for piece in pieces) == len(whole.wave)
    assert pieces[-1].finished == whole.finished


def test_a_stream_refuses_before_its_first_piece(model: Model) -> None:
    with pytest.raises(InputError, match="mode t2s reads a text, not a wave"):
        model.stream(WAVE, mode="t2s")


def test_a_list_is_answered_in_its_order_each_as_if_it_were_alone(model: Model) -> None:
    waves = [WAVE, WAVE[:9000], WAVE * 0.1]
    replies = model.respond(waves, max_steps=STEPS)
    for wave, reply in zip(waves, replies, strict=True):
        single = model.respond(wave, max_steps=STEPS)
        assert reply.text == single.text and reply.units.tolist() == single.units.tolist()
    assert model.respond([]) == []


def test_text_is_answered_in_text_and_in_speech_where_it_is_asked_for(model: Model) -> None:
    written = model.respond("what is two", max_steps=STEPS)
    assert written.text and written.units.size == 0 and written.wave.size == 0
    assert model.respond("what is two", mode="t2s", max_steps=STEPS).wave.size
    assert model.respond(WAVE, mode="s2t", max_steps=STEPS).wave.size == 0


def test_another_rate_is_the_same_question(model: Model) -> None:
    slow = np.interp(np.arange(0, 16000, 1 / 3), np.arange(16000), WAVE).astype(np.float32)
    here, there = (model.respond(w, rate=r, mode="s2t", max_steps=STEPS) for w, r in ((WAVE, 16000), (slow, 48000)))
    assert here.text == there.text


def test_instruction_and_system_prompt_are_read(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def remembered(self: Model, conversations: Any, *_: Any) -> list[Any]:
        asked.extend(conversations)
        return [SimpleNamespace(finished=True, units=np.zeros(1))]

    monkeypatch.setattr(Model, "respond_to", remembered)
    model.respond(WAVE, instruction="be short", system="You are kind.")
    model.respond("what", mode="t2s")
    assert asked[0].system == "You are kind." and asked[0].turns[0].text == "be short"
    assert asked[1].system == SYSTEM_JOINT and asked[1].turns[0].text == "what"


def test_what_cannot_be_heard_and_what_was_cut_is_said(model: Model) -> None:
    assert model.heard is not None
    long = np.tile(WAVE, 1 + int(16000 * model.heard.seconds) // len(WAVE))
    for wave, message in ((0 * WAVE, "question 0 is silent"), (long, "question 0 is .* s long: no row of training")):
        with pytest.warns(UserWarning, match=message):
            model.respond(wave, mode="s2t", max_steps=STEPS)
    with pytest.warns(UserWarning, match=f"reply 0 was cut at max_steps={STEPS}"):
        model.respond(WAVE, mode="s2t", max_steps=STEPS)


def test_draws_follow_the_seed(model: Model) -> None:
    drawn = [model.respond(WAVE, max_steps=STEPS, temperature=2.0, seed=s).units.tolist() for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_released_layout_is_converted_in_memory(model: Model, workdir: Path, tmp_path: Path) -> None:
    export_release(workdir, tmp_path / "hf", "float32")
    (tmp_path / "hf" / "codec").rename(tmp_path / "codec")
    released = fac_jax.load(tmp_path / "hf", codec=tmp_path / "codec")
    ours, theirs = (m.respond(WAVE, max_steps=STEPS) for m in (model, released))
    assert ours.text == theirs.text and ours.units.tolist() == theirs.units.tolist()
    bare = fac_jax.load(tmp_path / "hf")
    assert bare.respond(WAVE, mode="s2t", max_steps=STEPS).text == model.respond(WAVE, mode="s2t", max_steps=STEPS).text
    with pytest.raises(InputError, match=r"no codec in .*hf/codec: codec\.json not found"):
        bare.respond(WAVE)


def test_a_codec_of_other_ids_is_refused(workdir: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    UnitCodec.fit([noise], UnitCodecConfig(units=4, iterations=2)).save(tmp_path)
    with pytest.raises(InputError, match="has 4 ids, the model speaks 16"):
        fac_jax.load(workdir, codec=tmp_path).respond(WAVE, max_steps=STEPS)


@pytest.mark.parametrize(
    ("question", "options", "message"),
    [
        (WAVE, {"mode": "t2t"}, "mode t2t reads a text"),
        ("what", {"mode": "s2t"}, "mode s2t hears a wave"),
        ("what", {"mode": "x2t"}, "unknown mode 'x2t'"),
        ("", {}, "the text is empty"),
        ((WAVE * 32767).astype(np.int16), {}, r"floats \[N\] .* this one is int16 \[16000\]"),
        (np.stack([WAVE, WAVE]), {}, r"this one is float32 \[2, 16000\]"),
        (WAVE * np.nan, {}, "not finite"),
        (WAVE[:300], {}, "shorter than one speech token"),
        (WAVE, {"rate": 16}, "rate=16: give the sampling rate"),
        (WAVE, {"temperature": float("nan")}, "temperature is nan"),
        (WAVE, {"top_p": 1.5}, "top_p is 1.5; give a probability"),
        (WAVE, {"repetition_penalty": 0.0}, "repetition_penalty is 0"),
        (WAVE, {"max_steps": 0}, "max_steps is 0; give 1 or more"),
        (WAVE, {"max_steps": 64}, "max_steps=64 leaves no room in the context of 64"),
        (np.tile(WAVE, 20), {"max_steps": 8}, r"the context has 56 .*: 20\.0 s of audio, at most \d\.\d s fit"),
    ],
)
def test_what_cannot_be_answered_is_refused(model: Model, question: object, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.respond(question, **options)  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_the_longest_audio_that_is_said_to_fit_does_fit(model: Model) -> None:
    with pytest.raises(InputError) as caught:
        model.respond(np.tile(WAVE, 20), mode="s2t", max_steps=STEPS)
    seconds = float(str(caught.value).split("at most ")[1].split(" s")[0])
    model.respond(np.tile(WAVE, 20)[: int(seconds * 16000)], mode="s2t", max_steps=STEPS)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint folder"):
        fac_jax.load(tmp_path / "nowhere")


def test_importing_the_package_is_light() -> None:
    script = "import sys, fac_jax; print('jax' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


def test_the_version_is_that_of_the_installation() -> None:
    assert fac_jax.__version__ == importlib.metadata.version("fac_jax")


def test_quantised_weights_answer(workdir: Path) -> None:
    reply = fac_jax.load(workdir, quantize="int8", quantize_tables=True).respond(WAVE, max_steps=STEPS)
    assert reply.units.size
