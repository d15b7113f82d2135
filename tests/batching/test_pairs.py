"""Preference pairs: what is made, how it lies in a batch, and the reference's log-probabilities."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath
from initial import initial_params
from toy_world import PAIRS, WORLD, LoudnessCodec, make_model, make_tokenizer

from data_pipelines.augment.effects import COLOURS, add_noise, coloured_noise
from data_pipelines.loading.sources import items_as_source
from data_pipelines.worlds.arithmetic import WorldConfig, split_pairs
from data_pipelines.worlds.pairs import CAPABILITIES, encode_pairs
from data_pipelines.worlds.preferences import SPEAKERS, PairsConfig, PairSpec, is_woman, neighbours, pair_specs
from data_pipelines.worlds.schema import PairRow
from data_pipelines.worlds.views import conversations
from experiments.run.references import score_pairs, stored_references
from experiments.toy.pair_questions import obeys
from fac_jax.batching.collate import collate, least_shapes
from fac_jax.batching.packing import Budget
from fac_jax.batching.pairs import PairExample, collate_packed_pairs
from fac_jax.generation.respond import Response
from fac_jax.losses import Preference
from fac_jax.losses.log_probs import reply_log_probs
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import NO_TASK, PREFERENCE_TASKS, InputError, Params, PreferenceBatch


@pytest.fixture(scope="module")
def specs() -> dict[str, list[PairSpec]]:
    return pair_specs(WorldConfig(), PairsConfig())


@pytest.fixture(scope="module")
def rows(toy_pair_rows: dict[str, list[PairRow]]) -> dict[str, list[PairRow]]:
    return toy_pair_rows


@dataclasses.dataclass(frozen=True)
class Scored:
    """Pairs on the grid of a tiny model."""

    pairs: list[PairExample]
    config: ModelConfig
    params: Params


@pytest.fixture(scope="module")
def scored(rows: dict[str, list[PairRow]], tmp_path_factory: pytest.TempPathFactory) -> Scored:
    tokenizer = make_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    config = make_model(tokenizer)
    pairs = encode_pairs(rows["train"], tokenizer, config, LoudnessCodec())
    return Scored(pairs, config, initial_params(config))


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_reply_is_better_by_itself(specs: dict[str, list[PairSpec]], split: str) -> None:
    for task in ("instruction", "understanding", "empathy"):
        mine = [spec for spec in specs[split] if spec.task == task]
        opening = {"instruction": lambda text, voice: voice.rate, "empathy": lambda text, voice: text.split()[0]}
        view = opening.get(task, lambda text, voice: text)
        chosen = Counter(view(spec.chosen, spec.chosen_voice) for spec in mine)
        assert chosen == Counter(view(spec.rejected, spec.rejected_voice) for spec in mine)
        assert len(set(chosen.values())) == 1


def test_held_out_pairs_share_neither_sums_nor_voices(specs: dict[str, list[PairSpec]]) -> None:
    world = WorldConfig()
    split = split_pairs(world)
    assert len({spec.id for part in specs.values() for spec in part}) == sum(map(len, specs.values()))
    voices = {name: {spec.user_voice.name for spec in part} for name, part in specs.items()}
    assert voices["train"] <= set(world.train_voices) and voices["test"] == set(world.test_voices)
    said = {name: {spec.question.split(" ", 2)[-1] for spec in part} for name, part in specs.items()}
    assert not said["train"] & said["test"] and split["train"] != split["test"]


def test_what_is_chosen_is_true(specs: dict[str, list[PairSpec]]) -> None:
    for spec in specs["train"]:
        if spec.instruction == "who is speaking":
            assert ("woman" in spec.chosen) == is_woman(spec.user_voice.name)
        elif spec.instruction == "how many words":
            assert spec.chosen.split()[0] == {5: "five", 6: "six"}[len(spec.question.split())]
        elif spec.task == "empathy":
            assert spec.chosen.startswith("cheer up" if spec.user_voice.pitch < 50 else "how nice")
        elif spec.task == "instruction":
            assert (spec.chosen_voice.rate < spec.rejected_voice.rate) == spec.instruction.endswith("slowly")


def test_neighbours_differ_in_one_operand_and_exist() -> None:
    assert neighbours((0, "minus", 0), 10) == [(1, "minus", 0), (2, "minus", 0)]
    for pair in split_pairs(WorldConfig())["train"]:
        for left, operation, right in neighbours(pair, 10):
            assert operation == pair[1] and (left == pair[0]) != (right == pair[2])


def test_a_world_of_one_sex_is_refused() -> None:
    with pytest.raises(InputError, match="test_voices has no woman: en-us"):
        pair_specs(WorldConfig(test_voices=("en-us",)), PairsConfig())


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("snr", [0.0, 12.0])
def test_noise_has_its_power_and_its_colour(colour: str, snr: float) -> None:
    rng = np.random.default_rng(0)
    wave = (0.05 * np.sin(np.arange(16000) / 7)).astype(np.float32)
    noise = add_noise(wave, snr, colour, np.random.default_rng(1)) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(snr, abs=0.1)
    power = np.abs(np.fft.rfft(coloured_noise(2**16, colour, rng))) ** 2
    octaves = [np.mean(power[2**k : 2 ** (k + 1)]) for k in (6, 12)]
    assert np.log2(octaves[0] / octaves[1]) / 6 == pytest.approx(COLOURS[colour], abs=0.2)


def test_loud_speech_with_noise_stays_in_range() -> None:
    noisy = add_noise(np.ones(1000, np.float32), -20.0, "white", np.random.default_rng(0))
    assert np.abs(noisy).max() == pytest.approx(1.0)


def test_rows_are_read_as_they_were_planned(rows: dict[str, list[PairRow]]) -> None:
    plan = {spec.id: spec for part in pair_specs(WORLD, PAIRS).values() for spec in part}
    for split in ("train", "test"):
        assert Counter(row.task for row in rows[split]) == dict.fromkeys(PREFERENCE_TASKS, 4)
        for row in rows[split]:
            spec = plan[row.id]
            assert (row.question, row.chosen, row.rejected) == (spec.question, spec.chosen, spec.rejected)
            assert (row.snr_db is None) == (spec.snr_db is None)
            assert (row.chosen_audio is None) == (spec.chosen_voice is None)
    slow = next(row for row in rows["train"] if row.instruction == "answer slowly")
    assert len(slow.chosen_audio) > 1.3 * len(slow.rejected_audio)


def log_probs(scored: Scored, batch: object) -> np.ndarray:
    model = FunAudioChat(scored.config)
    return np.asarray(jax.jit(lambda p, b: reply_log_probs(model, p, b, 3, 64).total)(scored.params, batch))


def in_rows_of_their_own(pairs: list[PairExample], seq_len: int, windows: int, config: ModelConfig) -> PreferenceBatch:
    return collate_packed_pairs([[pair] for pair in pairs], len(pairs), seq_len, windows, 1, config)


def test_a_batch_of_pairs_is_its_conversations(scored: Scored) -> None:
    pairs, config = scored.pairs, scored.config
    _, windows = least_shapes([pair.chosen for pair in pairs], config)
    seq_len = max(map(len, pairs))
    both = in_rows_of_their_own(pairs, seq_len, windows, config)
    assert both.batch.mel_windows.shape[0] == windows  # a prompt's audio once, for both replies
    turns = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    alone = collate(turns, len(turns), seq_len, 2 * windows, config)
    np.testing.assert_allclose(log_probs(scored, both.batch), log_probs(scored, alone), atol=2e-4)
    assert both.tasks[:, 0].tolist() == [pair.task for pair in pairs]


@pytest.mark.slow
def test_packed_pairs_equal_unpacked_ones(scored: Scored) -> None:
    pairs, config = scored.pairs[:6], scored.config
    _, windows = least_shapes([pair.chosen for pair in pairs], config)
    seq_len = max(map(len, pairs))
    alone = log_probs(scored, in_rows_of_their_own(pairs, seq_len, windows, config).batch)[:, 0]
    rows = [pairs[:3], pairs[3:5], pairs[5:]]
    packed = collate_packed_pairs(rows, 3, 3 * seq_len, windows, 3, config)
    found = log_probs(scored, packed.batch).reshape(3, 2, 3, 2)
    for number, (p, n) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]):
        np.testing.assert_allclose(found[p, :, n], alone[2 * number : 2 * number + 2], atol=2e-4)
    assert packed.tasks[1, 2] == packed.tasks[2, 1] == NO_TASK


def scores(scored: Scored, pairs: list[PairExample]) -> np.ndarray:
    source = items_as_source(pairs, scored.config.audio.n_window)
    budget = Budget(4, max(map(len, pairs)), int(source.windows.max()), segments=1)
    return score_pairs(Preference(), scored.config, scored.params, source, budget, None)


def test_the_reference_is_stored_for_its_parameters_and_rows(scored: Scored, tmp_path: Path) -> None:
    file = epath.Path(tmp_path) / "references.npz"
    made = stored_references(file, scored.params, "rows", lambda: scores(scored, scored.pairs))
    again = stored_references(file, scored.params, "rows", lambda: pytest.fail("they are stored"))
    np.testing.assert_array_equal(made, again)
    for pair, found in zip(scored.pairs, made, strict=True):
        assert (found[:, 0] < 0).all() and (found[:, 1] < 0).all() == pair.spoken
    other = jax.tree.map(lambda leaf: leaf * 1.01, scored.params)
    anew = np.full_like(made, 7)
    np.testing.assert_array_equal(stored_references(file, other, "rows", lambda: anew), anew)
    np.testing.assert_array_equal(stored_references(file, scored.params, "others", lambda: anew), anew)


def test_scores_do_not_depend_on_what_else_is_scored(scored: Scored) -> None:
    every, one = scores(scored, scored.pairs), scores(scored, scored.pairs[3:4])
    np.testing.assert_allclose(one[0], every[3], atol=2e-4)


def test_a_reply_obeys_by_its_words_and_its_pace(rows: dict[str, list[PairRow]], scored: Scored) -> None:
    row, pair = next((r, p) for r, p in zip(rows["train"], scored.pairs, strict=True) if r.task == "instruction")
    units = scored.config.units
    lengths = [len(LoudnessCodec().encode_batch([wave])[0]) for wave in (row.chosen_audio, row.rejected_audio)]

    def said(text: str, length: int) -> bool:
        return obeys(row, pair, Response(row.id, text, np.zeros(length, np.int32), True), units)

    assert said(row.chosen, lengths[0]) and not said(row.chosen, lengths[1]) and not said("seven", lengths[0])
    words, judged = next((r, p) for r, p in zip(rows["train"], scored.pairs, strict=True) if r.task == "understanding")
    silent = np.zeros(0, np.int32)
    assert obeys(words, judged, Response("", words.chosen, silent, True), units)
    assert not obeys(words, judged, Response("", words.rejected, silent, True), units)


def test_to_be_kind_is_to_open_kindly(rows: dict[str, list[PairRow]], scored: Scored) -> None:
    kind, pair = next((r, p) for r, p in zip(rows["train"], scored.pairs, strict=True) if r.task == "empathy")
    for said, obeyed in ((kind.chosen, True), (kind.rejected, False), (kind.chosen.split(maxsplit=2)[2], False)):
        assert obeys(kind, pair, Response("", said, np.zeros(0, np.int32), True), scored.config.units) == obeyed
    wrong_sum = " ".join([*kind.chosen.split()[:2], "one plus one is nine"])
    assert obeys(kind, pair, Response("", wrong_sum, np.zeros(0, np.int32), True), scored.config.units)


def test_capabilities_but_the_speaker_are_asked_for_in_words_that_no_preference_asks_in(
    rows: dict[str, list[PairRow]],
) -> None:
    train = rows["train"]
    made = {name: conversations(train, name) for name in CAPABILITIES}
    assert {name: len(found) for name, found in made.items()} == {
        "openings_spoken": 2 * PAIRS.train,
        "paces_spoken": 2 * PAIRS.train,
        "speakers": PAIRS.train // 2,
        "word_counts": PAIRS.train // 2,
        "noisy_asr": PAIRS.train,
        "moods_asr": PAIRS.train,
    }
    instructions = {row.instruction for row in train} - {""}
    for name in ("paces_spoken", "word_counts", "noisy_asr", "moods_asr"):
        assert not [c for c in made[name] if any(asked in c.turns[0].text for asked in instructions)]
    asked = {(c.turns[0].text, c.turns[1].text) for c in conversations([*train, *train], "speakers")}
    assert asked == set(itertools.product(("who is speaking", "describe the voice"), SPEAKERS))


def test_a_reply_read_slowly_is_longer_than_the_same_read_quickly(rows: dict[str, list[PairRow]]) -> None:
    seconds: dict[tuple[str, bool], int] = {}
    for c in conversations(rows["train"], "paces_spoken"):
        wave = c.turns[1].wave
        assert wave is not None
        seconds[c.id.split(":")[0], c.turns[0].text.startswith("say slowly")] = len(wave)
    assert len(seconds) == 2 * PAIRS.train
    assert all(seconds[name, True] > 1.3 * seconds[name, False] for name, _ in seconds)
