import dataclasses
import itertools

import pytest

from data_pipelines.worlds.arithmetic import (
    NUMBERS,
    TEMPLATES,
    Pair,
    WorldConfig,
    facts,
    operate,
    pairs,
    reply,
    rows,
    say,
    split_pairs,
)
from fac_jax.text.prompts import TRANSCRIBE
from fac_jax.types import InputError

CONFIG = WorldConfig()
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module", params=SEEDS)
def world(request: pytest.FixtureRequest) -> WorldConfig:
    return dataclasses.replace(CONFIG, seed=request.param)


def test_the_world_has_187_pairs_and_results_from_0_to_20() -> None:
    every = pairs(10)
    assert len(every) == len(set(every)) == 187
    assert reply((3, "plus", 4)) == "three plus four is seven"
    assert reply((10, "minus", 10)) == "ten minus ten is zero"
    assert {operate(pair) for pair in every} == set(range(21))


def test_splits_are_disjoint_and_whole(world: WorldConfig) -> None:
    split = split_pairs(world)
    assert {name: len(found) for name, found in split.items()} == {"train": 137, "dev": 13, "test": 37}
    assert sorted(itertools.chain(*split.values())) == sorted(pairs(world.limit))
    trained = {operate(pair) for pair in split["train"]}
    assert {operate(pair) for pair in split["dev"] + split["test"]} <= trained


def test_held_out_questions_share_neither_content_nor_voice_with_training(world: WorldConfig) -> None:
    made = rows(world)
    asked = {name: {r.reply for r in made[name] if r.kind == "qa"} for name in ("train", "dev", "test")}
    voices = {name: {r.user_voice.name for r in made[name] if r.user_voice} for name in asked}
    timbres = {name: {voice.partition("+")[2] for voice in found} for name, found in voices.items()}
    for a, b in itertools.combinations(asked, 2):
        assert not asked[a] & asked[b]
        assert not voices[a] & voices[b]
        assert not timbres[a] & timbres[b]
    assert {name: len(found) for name, found in voices.items()} == {"train": 45, "dev": 2, "test": 2}
    assert len(made["test"]) == 37 * len(TEMPLATES) * 2
    held = asked["dev"] | asked["test"]
    for row in made["train"]:
        assert row.reply not in held
        assert not any(row.question.endswith(sentence) for sentence in held)


def test_replies_restate_the_question(world: WorldConfig) -> None:
    for split in rows(world).values():
        for row in split:
            if row.kind == "qa":
                asked, _, answer = row.reply.rpartition(" is ")
                left, operation, right = asked.split()
                pair: Pair = (NUMBERS.index(left), operation, NUMBERS.index(right))
                assert row.question in [template.format(say(pair)) for template in TEMPLATES]
                assert operate(pair) == NUMBERS.index(answer)


def test_read_aloud_and_transcription_rows_say_what_they_show(world: WorldConfig) -> None:
    train = rows(world)["train"]
    read = [r for r in train if r.kind == "read_aloud"]
    written = [r for r in train if r.kind == "transcribe"]
    assert (len(read), len(written)) == (world.read_aloud, world.transcribe)
    sums = [r for r in train if r.kind == "read_sum"]
    assert len(sums) == world.read_sums
    held = {reply(pair) for split in ("dev", "test") for pair in split_pairs(world)[split]}
    assert not {r.reply for r in sums} & held
    assert all(r.question == f"say: {r.reply}" and r.user_voice is None for r in read + sums)
    assert all(r.question == r.reply and r.assistant_voice is None for r in written)
    sentences = [r.reply for r in read + written]
    assert len(set(sentences)) == len(sentences)


def test_statements_are_asked_for_without_naming_the_pair_and_spoken_for_train_pairs_alone(world: WorldConfig) -> None:
    made = rows(world)
    stated = {split: [r for r in made[split] if r.kind == "statement"] for split in made}
    assert {r.reply for r in stated["text"]} == {reply(pair) for pair in pairs(world.limit)}
    assert {r.reply for r in stated["train"]} == {reply(pair) for pair in split_pairs(world)["train"]}
    assert {r.question for r in stated["train"]} == {"name a sum", "name a difference"}
    assert all(r.assistant_voice == world.assistant for r in stated["train"])
    assert not stated["dev"] and not stated["test"]


def test_no_sentence_read_aloud_puts_a_wrong_result_behind_a_sum(world: WorldConfig) -> None:
    read = [r.reply for r in rows(world)["train"] if r.kind == "read_aloud"]
    assert not {sentence.partition(" is ")[0] for sentence in read} - set(NUMBERS)


def test_one_voice_answers_and_ids_are_unique(world: WorldConfig) -> None:
    every = [row for split in rows(world).values() for row in split]
    assert len({row.id for row in every}) == len(every)
    assert {row.assistant_voice for row in every} == {None, world.assistant}


def test_text_knows_every_pair_and_the_wider_world() -> None:
    text = rows(CONFIG)["text"]
    assert all(row.user_voice is None and row.assistant_voice is None for row in text)
    asked = [row for row in text if row.kind == "qa"]
    assert {row.reply for row in asked} == {reply(pair) for pair in pairs(10)} and len(asked) == 187 * len(TEMPLATES)
    found = facts()
    assert len(found) >= 300 and len({question for _, question, _ in found}) == len(found)
    kinds = [row.kind for row in text if row.kind.endswith("fact")]
    assert len(kinds) == len(found) and 0.3 < kinds.count("rehearsed_fact") / len(found) < 0.4
    spoken = {TRANSCRIBE, *(t for r in rows(CONFIG)["train"] for t in (r.question, r.reply))}
    assert not spoken & {text for _, *pair in found for text in pair}


def test_a_seed_gives_one_world() -> None:
    assert rows(CONFIG) == rows(WorldConfig())
    assert split_pairs(CONFIG)["test"] != split_pairs(dataclasses.replace(CONFIG, seed=1))["test"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limit": 11}, "limit 11 is not in 1..10"),
        ({"test_pairs": 200}, "test_pairs .* is 213, but limit 10 allows at most"),
        ({"clips_per_pair": 136}, "clips_per_pair 136 exceeds the 135"),
        ({"read_aloud": 9000}, "read_aloud is 9000, but there are 5082 sentences"),
        ({"transcribe": 5082}, "transcribe is 5082, but there are 5032 sentences"),
    ],
)
def test_a_world_that_cannot_be_is_refused(change: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        rows(dataclasses.replace(CONFIG, **change))
