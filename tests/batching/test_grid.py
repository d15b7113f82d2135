import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from golden_model import golden
from toy_world import UNITS, LoudnessCodec

from data_pipelines.worlds.schema import Row
from data_pipelines.worlds.views import conversations
from fac_jax.audio.mel import log_mel
from fac_jax.batching.collate import GRID_FIELDS, collate
from fac_jax.batching.conversation import Conversation, Turn, prompt
from fac_jax.batching.features import add_features, mels
from fac_jax.batching.grid import encode, lay_out
from fac_jax.evaluation.parity.model import training_batch, under
from fac_jax.models.config import ModelConfig
from fac_jax.text.chat import AudioPiece, Piece, TextPiece
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import IGNORE, NO_FRAME, InputError, Kind


def recorded_pieces(ids: np.ndarray, labels: np.ndarray, joint: Iterator[tuple[bool, tuple[int, ...]]]) -> list[Piece]:
    """The recorded ids of a row as pieces; `joint` says of every audio in turn whether it carries text, and which."""
    pieces: list[Piece] = []
    audio = 305
    cuts = [i for i in range(1, len(ids)) if (ids[i], ids[i - 1]).count(audio) == 1]
    cuts += [i for i in range(1, len(ids)) if (labels[i] == IGNORE) != (labels[i - 1] == IGNORE)]
    for part in np.split(np.arange(len(ids)), sorted(set(cuts))):
        loss = bool(labels[part[0]] != IGNORE)
        if ids[part[0]] == audio:
            carries, text = next(joint)
            pieces.append(AudioPiece(sum(isinstance(p, AudioPiece) for p in pieces), carries, text, loss))
        else:
            pieces.append(TextPiece(tuple(map(int, ids[part])), loss))
    return pieces


@pytest.mark.parametrize("case", ["dense", "moe_aux"])
def test_the_recorded_batch_is_laid_as_the_release_lays_it(case: str) -> None:
    record = golden(case)
    arrays, config = under(record.arrays, "in/"), record.config
    want, _ = training_batch(record.arrays, record.config)
    counts = arrays["speech_attention_mask"].sum(axis=1)
    features = iter(zip(arrays["input_features"], arrays["feature_attention_mask"], strict=True))
    turns: list[Turn] = []
    texts: list[tuple[bool, tuple[int, ...]]] = []
    for a, count in enumerate(counts):
        carries, text = bool(arrays["text_attention_mask"][a]), arrays["text_ids"][a]
        groups = -(-count // config.group_size)  # the release cuts a longer text, as the last one of the record
        texts.append((carries, tuple(map(int, text[:groups][text[:groups] != config.special.pad]))))
        if carries:
            ids = arrays["speech_ids"][a, config.delay_groups * config.group_size : count]
            turns.append(Turn("assistant", speech=ids))
        else:
            feature, mask = next(features)
            turns.append(Turn("user", wave=np.zeros(count * 640, np.float32), mel=feature[:, : mask.sum()].T))
    examples, first, joint = [], 0, iter(texts)
    for row in range(2):
        inside = arrays["attention_mask"][row].astype(bool)
        pieces = recorded_pieces(arrays["input_ids"][row][inside], arrays["labels"][row][inside], joint)
        audios = sum(isinstance(piece, AudioPiece) for piece in pieces)
        examples.append(lay_out(f"row {row}", pieces, turns[first : first + audios], config))
        first += audios
    got = collate(examples, rows=2, seq_len=48, windows=len(want.mel_lengths), model=config)

    valid = np.asarray(want.segment_ids) > 0
    speech = np.asarray(want.kind) == Kind.SPEECH  # there the release's text stream is empty, ours the placeholder
    np.testing.assert_array_equal(got.text_ids[valid & ~speech], want.text_ids[valid & ~speech])
    assert (got.text_ids[speech] == config.special.audio).all()
    for name in (*GRID_FIELDS, "segment_ids", "positions"):
        if name != "text_ids":
            np.testing.assert_array_equal(getattr(got, name)[valid], getattr(want, name)[valid], name)
    np.testing.assert_array_equal(got.mel_lengths, want.mel_lengths)
    np.testing.assert_array_equal(got.mel_windows, want.mel_windows)
    assert (got.labels[~valid] == IGNORE).all() and (got.speech_labels[~valid] == IGNORE).all()


def spoken(seconds: float, tokens: int = 12, reply: str = "one plus one is two") -> Conversation:
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(int(16000 * seconds)).astype(np.float32) / 10
    ids = rng.integers(0, UNITS, tokens).astype(np.int32)
    return Conversation("row-7", "joint", (Turn("user", wave=wave), Turn("assistant", reply, speech=ids)))


@pytest.mark.parametrize("seconds", [0.04, 0.2, 0.81, 1.0, 1.234, 2.5])
def test_audio_takes_a_position_for_each_group_and_reads_its_own_frames(
    seconds: float, tokenizer: Tokenizer, model: ModelConfig
) -> None:
    example = encode(spoken(seconds), tokenizer, model)
    heard = example.kind == Kind.SPEECH
    tokens = int(25 * seconds)
    assert heard.sum() == -(-tokens // 5)
    assert example.has_waveform.tolist() == heard.tolist()
    assert (example.text_ids[heard] == model.special.audio).all()
    assert (example.speech_ids[heard] == model.special.speech_pad).all()
    assert (example.frame_index[~heard] == NO_FRAME).all()
    frames = example.frame_index[heard].reshape(-1)
    mel_frames = int(16000 * seconds) // 160
    lengths = [min(40, mel_frames - start) for start in range(0, mel_frames, 40)]
    exist = [w * 10 + f for w, m in enumerate(lengths) for f in range(max(1, ((m - 1) // 2 - 1) // 2 + 1))]
    want = (exist + [NO_FRAME] * len(frames))[: len(frames)]
    assert frames.tolist() == want
    assert example.audio_seconds == pytest.approx((tokens + 12) / 25)


def test_a_reply_leads_with_text_and_ends_with_eos(tokenizer: Tokenizer, model: ModelConfig) -> None:
    special = model.special
    example = encode(spoken(1.0, tokens=12), tokenizer, model)
    joint = np.flatnonzero(example.kind == Kind.JOINT)
    assert len(joint) == 2 + 3 and (np.diff(joint) == 1).all()
    ids, labels = (getattr(example, name)[joint].reshape(-1) for name in ("speech_ids", "speech_labels"))
    assert ids[:10].tolist() == [special.speech_bos] * 10
    assert ids[22:].tolist() == [special.speech_pad] * 3
    np.testing.assert_array_equal(labels[:22], ids[:22])
    assert (labels[22:] == IGNORE).all()
    text = tokenizer.encode("one plus one is two")
    padded = (text + [special.sil] * 5)[: len(joint)]
    assert example.text_ids[joint].tolist() == example.labels[joint].tolist() == padded
    before, end = joint[0] - 1, joint[-1] + 1
    assert example.text_ids[before] == example.labels[before] == special.audio_bos
    assert example.text_ids[end : end + 2].tolist() == [special.audio_eos, special.eos]
    assert (example.speech_labels[end] == special.speech_eos).all()
    rest = np.ones(len(example), bool)
    rest[[*joint, end]] = False
    assert (example.speech_labels[rest] == IGNORE).all()
    assert (example.labels[:before] == IGNORE).all()


def test_a_text_longer_than_its_speech_gets_more_positions(tokenizer: Tokenizer, model: ModelConfig) -> None:
    words = "one plus two is zero minus two plus one"
    example = encode(spoken(1.0, tokens=3, reply=words), tokenizer, model)
    text = tokenizer.encode(words)
    joint = example.kind == Kind.JOINT
    assert joint.sum() == len(text) > 3
    assert example.labels[joint].tolist() == text
    labels = example.speech_labels[joint]
    assert labels[2, 3:].tolist() == [IGNORE, IGNORE]
    assert (labels[3:] == model.special.speech_pad).all()


def test_a_silent_reply_teaches_its_text_alone(tokenizer: Tokenizer, model: ModelConfig) -> None:
    turns = (Turn("user", "say it"), Turn("assistant", "one plus one is two", learns="text"))
    example = encode(Conversation("silent", "", turns), tokenizer, model)
    text = tokenizer.encode("one plus one is two")
    joint = np.flatnonzero(example.kind == Kind.JOINT)
    assert example.text_ids[joint].tolist() == example.labels[joint].tolist() == text
    learnt = np.flatnonzero(example.labels != IGNORE)
    assert learnt.tolist() == [joint[0] - 1, *joint]  # audio_bos opens it; where it ends is not learnt
    assert (example.speech_labels == IGNORE).all()
    units = example.speech_ids[joint].reshape(-1)
    assert set(units[10:].tolist()) == {model.special.speech_pad}
    assert example.audio_seconds == 0


def test_a_voice_alone_teaches_its_speech_and_no_word_of_its_text(tokenizer: Tokenizer, model: ModelConfig) -> None:
    whole = spoken(1.0, tokens=13)
    reply = dataclasses.replace(whole.turns[-1], learns="speech")
    both = encode(whole, tokenizer, model)
    voice = encode(dataclasses.replace(whole, turns=(*whole.turns[:-1], reply)), tokenizer, model)
    for name in GRID_FIELDS:
        if name != "labels":
            np.testing.assert_array_equal(getattr(voice, name), getattr(both, name), name)
    joint = np.flatnonzero(voice.kind == Kind.JOINT)
    assert np.flatnonzero(voice.labels != IGNORE).tolist() == [joint[0] - 1]  # audio_bos opens it
    ends = (voice.speech_labels == model.special.speech_eos).any(axis=1)
    assert np.flatnonzero(ends).tolist() == [joint[-1] + 1]


def test_generation_prompts_are_prefixes_of_what_is_trained(
    toy_rows: dict[str, list[Row]], tokenizer: Tokenizer, model: ModelConfig
) -> None:
    spoken, written = conversations(toy_rows["train"], "s2s"), conversations(toy_rows["text"], "text_qa")
    for conversation in add_features([*spoken[:5], *written[:5]], LoudnessCodec()):
        whole = encode(conversation, tokenizer, model)
        start = encode(prompt(conversation), tokenizer, model, add_generation_prompt=True)
        for name in GRID_FIELDS:
            if "labels" not in name:
                np.testing.assert_array_equal(getattr(whole, name)[: len(start)], getattr(start, name), name)
        assert (start.labels == IGNORE).all()
        assert whole.labels[len(start)] != IGNORE


def test_features_are_shared_and_are_those_of_each_clip_alone(toy_rows: dict[str, list[Row]]) -> None:
    tasks = [conversations(toy_rows["train"], task) for task in ("s2t", "s2s", "asr", "t2s")]
    found = add_features([conversation for task in tasks for conversation in task], LoudnessCodec())
    count = len(tasks[0])
    for a, b in list(zip(found[:count], found[count : 2 * count], strict=True))[::15]:
        assert a.turns[0].mel is b.turns[0].mel
        wave = a.turns[0].wave
        np.testing.assert_allclose(a.turns[0].mel, log_mel(wave), atol=1e-4)
        np.testing.assert_array_equal(b.turns[1].speech, LoudnessCodec().encode_batch([b.turns[1].wave])[0])
        assert a.turns[1].speech is None
    assert len(mels([])) == 0


def test_codec_ids_of_a_users_audio_stand_beside_its_waveform(tokenizer: Tokenizer, model: ModelConfig) -> None:
    conversation = spoken(0.5)
    ids = np.arange(12, dtype=np.int32)
    user = dataclasses.replace(conversation.turns[0], speech=ids)
    both = encode(dataclasses.replace(conversation, turns=(user,)), tokenizer, model)
    only = dataclasses.replace(conversation, turns=(dataclasses.replace(user, wave=None),))
    discrete = encode(only, tokenizer, model)
    for example, has_waveform in ((both, True), (discrete, False)):
        heard = example.kind == Kind.SPEECH
        assert example.speech_ids[heard].reshape(-1).tolist() == [*range(12), *[model.special.speech_pad] * 3]
        assert (example.has_waveform[heard] == has_waveform).all()
    assert not discrete.mels and (discrete.frame_index == NO_FRAME).all()


def bad(change: str) -> Conversation:
    good = spoken(0.5)
    user, assistant = good.turns
    turns = {
        "short": (dataclasses.replace(user, wave=np.zeros(639, np.float32)), assistant),
        "empty": (user, dataclasses.replace(assistant, speech=np.zeros(0, np.int32))),
        "outside": (user, dataclasses.replace(assistant, speech=np.array([3, UNITS], np.int32))),
        "unencoded": (user, dataclasses.replace(assistant, speech=None, wave=np.zeros(9999, np.float32))),
    }
    return dataclasses.replace(good, turns=turns[change])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("short", "row row-7: the user's audio is shorter than one speech token"),
        ("empty", "row row-7: the assistant's audio is shorter than one speech token"),
        ("outside", f"row row-7: speech id {UNITS} is outside the codec's {UNITS} units"),
        ("unencoded", "row row-7: the assistant's audio has no speech ids"),
    ],
)
def test_bad_audio_is_refused_with_its_row(change: str, words: str, tokenizer: Tokenizer, model: ModelConfig) -> None:
    with pytest.raises(InputError, match=words):
        encode(bad(change), tokenizer, model)


def test_a_row_of_another_tokenizer_is_refused(tokenizer: Tokenizer, model: ModelConfig) -> None:
    small = dataclasses.replace(model, vocab_size=model.special.pad)
    with pytest.raises(InputError, match="row row-7: text id .* is outside the model's vocabulary"):
        encode(spoken(0.5), tokenizer, small)


def test_features_name_the_row_of_a_bad_wave() -> None:
    with pytest.raises(InputError, match="row row-7: the user's audio is shorter"):
        add_features([bad("short")], LoudnessCodec())
    with pytest.raises(InputError, match="row row-7: the assistant speaks, but there is no codec"):
        add_features([bad("unencoded")], None)
