"""The toy world's data set: made once, whole, and read back as it was planned."""

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
from toy_world import PAIRS, WORLD, rows_of

from data_pipelines.worlds import build as building
from data_pipelines.worlds.arithmetic import rows
from data_pipelines.worlds.build import ToyWorld, build
from data_pipelines.worlds.espeak import Voice
from data_pipelines.worlds.preferences import pair_specs
from data_pipelines.worlds.schema import PAIR_SPLITS, SPLITS, PairRow, Row
from data_pipelines.worlds.storage import is_toy_world, read_rows
from fac_jax.types import InputError


def test_what_is_read_is_what_was_planned(toy_rows: dict[str, list[Row]]) -> None:
    plan = rows(WORLD)
    assert set(toy_rows) == set(SPLITS)
    for split, found in toy_rows.items():
        assert [row.id for row in found] == [spec.id for spec in plan[split]]
        for row, spec in zip(found, plan[split], strict=True):
            assert (row.kind, row.question, row.reply) == (spec.kind, spec.question, spec.reply)
            assert row.voice == (spec.user_voice.name if spec.user_voice else "")
            for audio, voice in ((row.user_audio, spec.user_voice), (row.assistant_audio, spec.assistant_voice)):
                assert (audio is None) == (voice is None)
                if audio is not None:
                    assert audio.dtype == np.float32 and 0.4 < len(audio) / 16000 < 2.5
                    assert 0.05 < np.abs(audio).max() <= 1.0


def test_pairs_are_stored_in_the_same_folder(toy_folder: Path, toy_pair_rows: dict[str, list[PairRow]]) -> None:
    assert is_toy_world(toy_folder) and not is_toy_world(toy_folder.parent)
    specs = pair_specs(WORLD, PAIRS)
    assert set(toy_pair_rows) == set(specs) == set(PAIR_SPLITS)
    for split, found in toy_pair_rows.items():
        for row, spec in zip(found, specs[split], strict=True):
            assert (row.id, row.task, row.question, row.instruction) == (
                spec.id,
                spec.task,
                spec.question,
                spec.instruction,
            )
            assert (row.chosen, row.rejected, row.voice) == (spec.chosen, spec.rejected, spec.user_voice.name)
            assert row.snr_db == (None if spec.snr_db is None else pytest.approx(spec.snr_db))
            assert (row.chosen_audio is None) == (row.rejected_audio is None) == (spec.chosen_voice is None)


def test_pairs_leave_the_rows_as_they_are(toy_folder: Path, tmp_path: Path) -> None:
    alone = build(WORLD, None, tmp_path)
    for one, other in zip(rows_of(alone, "train"), rows_of(toy_folder, "train"), strict=True):
        for name in ("user_audio", "assistant_audio"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    with pytest.raises(InputError, match="has no split 'pairs_train'; it has text, train, dev, test"):
        read_rows(alone, "pairs_train")


def test_a_run_that_waits_for_another_to_make_the_data_has_all_of_it(tmp_path: Path) -> None:
    tiny = dataclasses.replace(WORLD, read_aloud=0)
    barrier = threading.Barrier(2)

    def together(**config: Any) -> ToyWorld:
        """Waits until both runs have found no data."""
        found = ToyWorld(**config)
        if not found.data_path.exists():
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait(60)
            barrier.abort()
        return found

    def made(_: int) -> tuple[Path, int]:
        folder = build(tiny, None, tmp_path, 1, together)
        return folder, sum(len(rows_of(folder, split)) for split in SPLITS)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(made, range(2))
    assert first == second and first[1] == sum(map(len, rows(tiny).values()))


def test_equal_replies_sound_equal(toy_rows: dict[str, list[Row]]) -> None:
    sounds: dict[str, set[bytes]] = {}
    for row in toy_rows["train"]:
        if row.assistant_audio is not None:
            sounds.setdefault(row.reply, set()).add(row.assistant_audio.tobytes())
    assert all(len(found) == 1 for found in sounds.values()) and len(sounds) > 5


def silence(jobs: list, processes: int) -> list[np.ndarray]:
    return [np.ones(1000, np.int16)] * len(jobs)


GENERATE = ToyWorld._generate_examples


def killed(*args: Any) -> Iterator[tuple[int, dict]]:
    yield from itertools.islice(GENERATE(*args), 2)
    raise KeyboardInterrupt


def test_a_killed_build_leaves_nothing_to_load_and_a_whole_one_is_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "speak_all", silence)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ToyWorld, "_generate_examples", killed)
        build(WORLD, None, tmp_path)
    assert not list(tmp_path.rglob(str(ToyWorld.VERSION)))
    made = build(WORLD, None, tmp_path)
    assert len(rows_of(made, "train")) == len(rows(WORLD)["train"])

    monkeypatch.setattr(ToyWorld, "_generate_examples", killed)
    assert build(WORLD, None, tmp_path) == made
    for world, pairs in ((dataclasses.replace(WORLD, seed=1), None), (WORLD, PAIRS)):  # another config, another folder
        with pytest.raises(KeyboardInterrupt):
            build(world, pairs, tmp_path)


def test_a_missing_voice_and_a_folder_of_something_else_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no voice 'en-mars'"):
        build(dataclasses.replace(WORLD, assistant=Voice("en-mars")), None, tmp_path)
    with pytest.raises(InputError, match="not a data set of the toy world"):
        read_rows(tmp_path, "train")


def test_spoken_replies_end_in_silence_and_whole_groups(
    toy_rows: dict[str, list[Row]], toy_pair_rows: dict[str, list[PairRow]]
) -> None:
    replies = [row.assistant_audio for found in toy_rows.values() for row in found]
    replies += [
        wave for found in toy_pair_rows.values() for row in found for wave in (row.chosen_audio, row.rejected_audio)
    ]
    lengths = set()
    for wave in replies:
        if wave is not None:
            speech = int(np.flatnonzero(wave)[-1]) + 1
            assert len(wave) % 3200 == 0 and 3200 <= len(wave) - speech < 3 * 3200
            lengths.add(speech * 25 // 16000 % 5)
    assert lengths == set(range(5))  # whatever is left over of the speech itself
