"""A model that hears a user's audio as the codec's tokens alone (`ModelConfig.user_audio`): grid, training, rows."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from etils import epath
from record_run import begin, make_config, run, write_initial
from toy_training import MODEL, SPECIAL, make_batch
from toy_world import UNITS, LoudnessCodec, make_model
from user_rows import PLACEHOLDER, heard, preference_row, release_row, save, spoken, write_jsonl

from data_pipelines.loading.encode import Encode
from data_pipelines.loading.loader import PackedBatches
from data_pipelines.loading.sources import items_as_source, one_epoch
from data_pipelines.prepare.lengths import survey
from data_pipelines.prepare.local import prepare
from data_pipelines.prepare.reading import read_prepared
from data_pipelines.prepare.settings import Settings, Source
from data_pipelines.records.validate import Limits
from data_pipelines.worlds.pairs import encode_pairs
from data_pipelines.worlds.schema import PairRow, Row
from data_pipelines.worlds.views import VIEWS
from experiments.configs import quickstart, recipe_toy
from experiments.run.config import resolve_config
from experiments.run.data import Run
from experiments.run.schema import RunConfig
from experiments.toy.questions import prompts
from fac_jax.batching.collate import GRID_FIELDS
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.batching.features import Hears, add_features
from fac_jax.batching.grid import encode
from fac_jax.batching.packing import Budget
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.losses import Sft
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import NO_FRAME, InputError, Kind, Params


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> ModelConfig:
    return replace(make_model(tokenizer), user_audio="tokens")


def question(seconds: float = 1.3) -> Conversation:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, int(16_000 * seconds)).astype(np.float32)
    wave *= np.linspace(0, 1, len(wave), dtype=np.float32)  # its loudness, and so its ids, rise
    return Conversation(
        "row-7", "joint", (Turn("user", "now", wave=wave), Turn("assistant", "two", speech=np.arange(7)))
    )


def test_the_grid_is_that_of_the_waveform_but_for_ids_where_frames_were(
    tokenizer: Tokenizer, model: ModelConfig
) -> None:
    asked = question()
    ids = LoudnessCodec().encode_batch([asked.turns[0].wave])[0]
    (filled,) = add_features([asked], LoudnessCodec(), Hears("tokens"))
    found, by_wave = encode(filled, tokenizer, model), encode(asked, tokenizer, replace(model, user_audio="waveform"))
    by_ids = dataclasses.replace(asked, turns=(Turn("user", "now", speech=ids), asked.turns[1]))
    for name in GRID_FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(encode(by_ids, tokenizer, model), name), name)
    user = found.kind == Kind.SPEECH
    for name in GRID_FIELDS:
        a, b = getattr(found, name), getattr(by_wave, name)
        if name in ("speech_ids", "has_waveform", "frame_index"):
            a, b = a[~user], b[~user]
        np.testing.assert_array_equal(a, b, name)
    assert len(np.unique(ids)) > 4 and user.sum() == -(-len(ids) // 5)
    assert found.speech_ids[user].reshape(-1).tolist() == [*ids, *[model.special.speech_pad] * (-len(ids) % 5)]
    assert not found.has_waveform.any() and (found.frame_index == NO_FRAME).all()
    assert found.mels == () and len(by_wave.mels) == 1 and found.audio_seconds == by_wave.audio_seconds


def test_a_log_mel_that_is_there_is_not_heard_and_missing_ids_are_told(
    tokenizer: Tokenizer, model: ModelConfig
) -> None:
    (both,) = add_features(add_features([question()], None), LoudnessCodec(), Hears("tokens"))
    assert both.turns[0].mel is not None and encode(both, tokenizer, model).mels == ()
    with pytest.raises(
        InputError, match="row row-7: the user's audio has no speech ids, all that a model with user_aud"
    ):
        encode(question(), tokenizer, model)
    with pytest.raises(InputError, match="row row-7: the user speaks, but there is no codec to encode it with"):
        add_features([question()], None, Hears("tokens"))


def test_a_step_trains_the_discrete_path_and_never_runs_the_encoder(toy_params: Params) -> None:
    batch, config = make_batch(0), replace(MODEL, user_audio="tokens")
    user = (batch.kind == Kind.SPEECH)[..., None]
    ids = np.where(user, np.arange(5) + 3, batch.speech_ids)
    none = np.full_like(batch.frame_index, NO_FRAME)
    batch = batch.replace(speech_ids=ids, has_waveform=np.zeros_like(batch.has_waveform), frame_index=none)
    windowless = batch.replace(mel_windows=batch.mel_windows[:0], mel_lengths=batch.mel_lengths[:0])

    @jax.jit
    def step(params: Params, batch: Any) -> Any:
        return jax.value_and_grad(lambda p: Sft()(FunAudioChat(config), p, batch)[0])(params)

    loss, gradient = step(toy_params, windowless)
    assert np.isfinite(loss)
    unused = (gradient["encoder"], gradient["speech_embedder"]["continuous"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(unused))
    assert np.any(gradient["speech_embedder"]["discrete"]["kernel"])
    assert np.any(gradient["speech_embedder"]["embed"]["embedding"][3])
    silent = step(toy_params, windowless.replace(speech_ids=np.where(user, SPECIAL.speech_pad, ids)))[0]
    assert silent != loss, "what the user says is heard"
    broken = toy_params | {"encoder": {}}
    again = jax.jit(lambda params, batch: Sft()(FunAudioChat(config), params, batch)[0])(broken, batch)
    np.testing.assert_allclose(again, loss, rtol=1e-6, err_msg="windows are not looked at")


def test_rows_questions_and_pairs_of_the_toy_world_have_no_windows(
    toy_rows: dict[str, list[Row]], tokenizer: Tokenizer, model: ModelConfig
) -> None:
    make = Encode(tokenizer, model, LoudnessCodec())
    for name in ("s2t", "s2s"):
        items = [make(record, 0) for record in VIEWS[name].records(toy_rows["train"])]
        stream = one_epoch(name, items_as_source(items, model.audio.n_window))
        batch: Any = next(PackedBatches(stream, Budget(2, 160, 0), model, Sft().collate)).batch
        user = np.asarray(batch.kind) == Kind.SPEECH
        assert batch.mel_windows.shape[0] == 0 and not np.asarray(batch.has_waveform).any()
        assert (np.asarray(batch.speech_ids)[user][:, 0] < UNITS).all() and user.sum() > 4
    asking = Run(RunConfig(model, ()), epath.Path(), {}, tokenizer, LoudnessCodec())
    (asked, *_) = prompts(asking, toy_rows["test"], "s2t")
    assert asked.mels == () and (asked.speech_ids[asked.kind == Kind.SPEECH][:, 0] < UNITS).all()
    wave = question().turns[0].wave
    assert wave is not None
    row = PairRow("p1", "robustness", "what", "", "right", "wrong", wave, wave, wave[:9000], "voice", None)
    (pair,) = encode_pairs([row], tokenizer, model, LoudnessCodec())
    assert pair.mels == () and not (pair.chosen.has_waveform.any() or pair.rejected.has_waveform.any())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            quickstart,
            r'stages\.ears: CTC aligns the encoder, which a model with user_audio "tokens" .*take the stage out',
        ),
        (recipe_toy, r"stages\.pre_alignment: CTC aligns the encoder, .*: set its ctc_weight to 0"),
    ],
)
def test_stages_that_align_the_encoder_are_refused(config: Any, message: str) -> None:
    asked = config.get_config()
    with asked.unlocked():
        asked.model.user_audio = "tokens"
    with pytest.raises(InputError, match=message):
        resolve_config(asked)
    with asked.unlocked():
        asked.model.user_audio = "token"
    with pytest.raises(InputError, match="config key model.user_audio is 'token'; known: waveform, tokens"):
        resolve_config(asked)


@pytest.mark.slow
def test_rows_of_ones_own_are_tokenised_once_and_trained_on(tmp_path: Path) -> None:
    initial = write_initial(tmp_path / "initial")
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    codec = UnitCodec.fit([noise], UnitCodecConfig(units=UNITS))
    codec.save(tmp_path / "codec")
    save(tmp_path / "a.wav", 1.0)
    audio = [heard("a.wav", 1.0), spoken("yes", [1, 2, 3])]
    rows = [release_row(PLACEHOLDER, PLACEHOLDER, audio=audio, id="talk"), preference_row(id="pair")]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    given = [Source(str(file), "release")]
    settings = Settings(units=UNITS, codec=str(tmp_path / "codec"), user_audio="tokens")
    with pytest.raises(InputError, match="row talk: the user's audio has no tokens; name a codec to encode it"):
        prepare(given, tmp_path / "none", dataclasses.replace(settings, codec=None), 1)
    prepare(given, tmp_path / "out", settings, 1)
    (user, reply) = read_prepared(tmp_path / "out", "train")[0].audios
    np.testing.assert_array_equal(user.tokens, codec.encode(user.wave))
    assert reply.tokens.tolist() == [1, 2, 3]

    config = make_config(initial, {"mine": {"path": str(file), "format": "release"}}, steps=1)
    config.model.user_audio = "tokens"
    config.data.codec = str(tmp_path / "codec")
    config.data.sets.mine.waves.gain.probability = 1.0
    with pytest.raises(InputError, match=r"data\.sets\.mine\.waves changes what is heard every epoch, whose tokens"):
        begin(config, tmp_path, "refused")
    config.data.sets.mine.waves.gain.probability = None
    trained, curve = run(config, tmp_path)
    model, mine = trained.config.model, trained.sets["mine"].train
    assert np.isfinite(curve[-1]["loss"]) and model.user_audio == "tokens"
    make = Encode(trained.tokenizer, model)
    found = [make(row, 0) for row in read_prepared(mine.folder, "train")]
    assert mine.lengths.windows.tolist() == [0, 0] and mine.lengths.length.tolist() == [len(item) for item in found]
    assert all(item.mels == () for item in found)

    prepare(given, tmp_path / "waves", Settings(units=UNITS), 1)
    with pytest.raises(InputError, match="row talk .*has no tokens, .*prepare the rows with --user_audio=tokens"):
        survey(tmp_path / "waves", "train", Limits(99, units=UNITS, tokenizer=trained.tokenizer), model)
