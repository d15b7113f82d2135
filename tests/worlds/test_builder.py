import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_world import WORLD

from data_pipelines.worlds import builder
from data_pipelines.worlds.arithmetic import rows
from data_pipelines.worlds.builder import SpokenArithmetic, build, read
from data_pipelines.worlds.schema import SPLITS, Row
from data_pipelines.worlds.synthesis import Voice
from data_pipelines.worlds.tasks import TASKS, conversations, is_spoken
from experiments.run.toy import TEXT_SPLIT_TASKS
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT
from fac_jax.types import InputError


def test_what_is_read_is_what_was_planned(toy_rows: dict[str, list[Row]]) -> None:
    plan = rows(WORLD)
    assert set(toy_rows) == set(SPLITS)
    for split, found in toy_rows.items():
        specs = {spec.id: spec for spec in plan[split]}
        assert {row.id for row in found} == set(specs) and len(found) == len(specs)
        for row in found:
            spec = specs[row.id]
            assert (row.kind, row.question, row.reply) == (spec.kind, spec.question, spec.reply)
            assert row.voice == (spec.user_voice.name if spec.user_voice else "")
            for audio, voice in ((row.user_audio, spec.user_voice), (row.assistant_audio, spec.assistant_voice)):
                assert (audio is None) == (voice is None)
                if audio is not None:
                    assert audio.dtype == np.float32 and 0.4 < len(audio) / 16000 < 2.5
                    assert 0.05 < np.abs(audio).max() <= 1.0


def test_who_waits_for_another_run_to_make_the_data_has_all_of_it(tmp_path: Path) -> None:
    tiny = dataclasses.replace(WORLD, read_aloud=0)
    barrier = threading.Barrier(2)

    def together(**config: Any) -> SpokenArithmetic:
        """Nobody goes on before both have found no data."""
        found = SpokenArithmetic(**config)
        if not found.data_path.exists():
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait(60)
            barrier.abort()
        return found

    def made(_: int) -> set[str]:
        return set(builder.prepared(together, {"world": tiny}, tmp_path, 1).info.splits)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(made, range(2))) == [set(SPLITS)] * 2


def test_equal_replies_sound_equal(toy_rows: dict[str, list[Row]]) -> None:
    sounds: dict[str, set[bytes]] = {}
    for row in toy_rows["train"]:
        if row.assistant_audio is not None:
            sounds.setdefault(row.reply, set()).add(row.assistant_audio.tobytes())
    assert all(len(found) == 1 for found in sounds.values()) and len(sounds) > 5


def silence(jobs: list, processes: int) -> list[np.ndarray]:
    return [np.ones(1000, np.int16)] * len(jobs)


GENERATE = SpokenArithmetic._generate_examples


def killed(*args: Any) -> Iterator[tuple[str, dict]]:
    yield from itertools.islice(GENERATE(*args), 2)
    raise KeyboardInterrupt


def test_a_killed_build_leaves_nothing_to_load_and_a_whole_one_is_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "speak_all", silence)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SpokenArithmetic, "_generate_examples", killed)
        build(WORLD, tmp_path)
    assert not list(tmp_path.rglob(str(SpokenArithmetic.VERSION)))
    made = build(WORLD, tmp_path)
    assert len(read(made, "train")) == len(rows(WORLD)["train"])

    monkeypatch.setattr(SpokenArithmetic, "_generate_examples", killed)
    assert [row.id for row in read(build(WORLD, tmp_path), "dev")] == [row.id for row in read(made, "dev")]
    with pytest.raises(KeyboardInterrupt):  # another world is another data set
        build(dataclasses.replace(WORLD, seed=1), tmp_path)


def test_a_missing_voice_and_a_missing_split_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no voice 'en-mars'"):
        build(dataclasses.replace(WORLD, assistant=Voice("en-mars")), tmp_path)
    monkeypatch.setattr(builder, "speak_all", silence)
    with pytest.raises(InputError, match="has no split 'valid'; it has text, train, dev, test"):
        read(build(WORLD, tmp_path), "valid")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_finds_its_rows(toy_rows: dict[str, list[Row]], task: str) -> None:
    view = TASKS[task]
    split = "text" if task in TEXT_SPLIT_TASKS else "train"
    found = conversations(toy_rows[split], task)
    by_id = {f"{row.id}:{task}": row for row in toy_rows[split]}
    for conversation in found:
        row, (user, assistant) = by_id[conversation.id], conversation.turns
        assert (user.role, assistant.role) == ("user", "assistant")
        written = f"{row.question}\n{view.instruction}" if view.instruction else row.question
        heard = (row.user_audio, view.instruction) if view.user == "speech" else (None, written)
        assert user.wave is heard[0] and user.text == heard[1]
        assert (assistant.wave is not None) == is_spoken(task)
        assert assistant.silent == (view.assistant == "silence")
        assert assistant.text == (row.question if view.answer == "question" else row.reply)
        assert conversation.system == (SYSTEM_TEXT if view.assistant == "text" else SYSTEM_JOINT)


def test_tasks_without_rows_are_refused(toy_rows: dict[str, list[Row]]) -> None:
    with pytest.raises(InputError, match="unknown task 's2x'; known: text_qa"):
        conversations(toy_rows["train"], "s2x")
    with pytest.raises(InputError, match="no row has the task 's2s'"):
        conversations(toy_rows["text"], "s2s")
