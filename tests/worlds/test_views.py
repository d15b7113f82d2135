"""Every view of the toy world: what its records say, and that they come through preparation unchanged."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_world import LoudnessCodec

from data_pipelines.importers.registry import check_options, guess, read
from data_pipelines.prepare.reading import read_prepared, to_columns, to_record
from data_pipelines.prepare.rows import prepare
from data_pipelines.prepare.settings import Tools
from data_pipelines.records.record import Record, to_conversation, to_example, to_pair
from data_pipelines.records.validate import Limits
from data_pipelines.worlds.pairs import CAPABILITIES
from data_pipelines.worlds.schema import PairRow, Row
from data_pipelines.worlds.tasks import SPOKEN, TASKS
from data_pipelines.worlds.views import PREFERENCES, VIEWS, conversations
from fac_jax.batching.conversation import Conversation
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT
from fac_jax.types import PREFERENCE_TASKS, InputError

TOOLS = Tools(Limits(), LoudnessCodec(), None)  # pyright: ignore[reportArgumentType]  (a codec for tests)


def records(folder: Path, view: str, split: str | None = None) -> list[Record]:
    found = list(read(folder, "toy_world", view=view, split=split))
    assert all(isinstance(record, Record) for record in found)
    return found  # pyright: ignore[reportReturnType]


def same(one: Any, other: Any) -> None:
    """Two conversations, or two pairs, say the same."""
    if not isinstance(one, Conversation):
        assert (one.id, one.task) == (other.id, other.task)
        same(one.chosen, other.chosen)
        same(one.rejected, other.rejected)
        return
    assert (one.id, one.system) == (other.id, other.system)
    for turn, twin in zip(one.turns, other.turns, strict=True):
        assert (turn.role, turn.text, turn.lead, turn.learns) == (twin.role, twin.text, twin.lead, twin.learns)
        np.testing.assert_array_equal(turn.wave, twin.wave)
        assert turn.wave is None or turn.wave.dtype == twin.wave.dtype == np.float32


@pytest.mark.parametrize("view", TASKS)
def test_every_task_finds_its_rows(toy_folder: Path, toy_rows: dict[str, list[Row]], view: str) -> None:
    task = TASKS[view]
    found = records(toy_folder, view)
    by_id = {f"{row.id}:{view}": row for row in toy_rows[task.split]}
    wanted = [
        name
        for name, row in by_id.items()
        if row.kind in task.kinds
        and (task.user == "text" or row.user_audio is not None)
        and (task.assistant not in SPOKEN or row.assistant_audio is not None)
    ]
    assert [record.id for record in found] == wanted
    for line, record in enumerate(found, 1):
        assert (record.file, record.line) == (str(toy_folder), line)
        conversation = to_conversation(record)
        row, (user, assistant) = by_id[conversation.id], conversation.turns
        assert (user.role, assistant.role) == ("user", "assistant")
        written = f"{row.question}\n{task.instruction}" if task.instruction else row.question
        wave, text = (row.user_audio, task.instruction) if task.user == "speech" else (None, written)
        np.testing.assert_array_equal(user.wave, wave)
        np.testing.assert_array_equal(assistant.wave, row.assistant_audio if task.assistant in SPOKEN else None)
        assert user.text == text
        assert assistant.learns == {"voice": "speech", "silence": "text"}.get(task.assistant, "both")
        assert assistant.text == (row.question if task.answer == "question" else row.reply)
        assert conversation.system == (SYSTEM_TEXT if task.assistant == "text" else SYSTEM_JOINT)


@pytest.mark.parametrize("split", ["train", "test"])
def test_pairs_are_called_as_mixtures_call_them(
    toy_folder: Path, toy_pair_rows: dict[str, list[PairRow]], split: str
) -> None:
    assert {task for task, _ in PREFERENCES.values()} == set(PREFERENCE_TASKS)
    by_id = {row.id: row for row in toy_pair_rows[split]}
    seen: set[str] = set()
    for name in PREFERENCES:
        for record in records(toy_folder, name, split):
            row, pair = by_id[record.id], to_pair(record)
            assert name == row.task + ("_spoken" if row.chosen_audio is not None else "")
            assert (pair.id, pair.task) == (row.id, row.task)
            assert (pair.chosen.id, pair.rejected.id) == (f"{row.id}:chosen", f"{row.id}:rejected")
            sides = ((pair.chosen, row.chosen, row.chosen_audio), (pair.rejected, row.rejected, row.rejected_audio))
            for side, text, wave in sides:
                (user, assistant), system = side.turns, SYSTEM_TEXT if wave is None else SYSTEM_JOINT
                assert (user.text, assistant.text, side.system) == (row.instruction, text, system)
                np.testing.assert_array_equal(user.wave, row.user_audio)
                np.testing.assert_array_equal(assistant.wave, wave)
            seen.add(record.id)
    assert seen == set(by_id)


def test_ids_are_unique_over_all_views(toy_folder: Path) -> None:
    found = [record.id for view in VIEWS for record in records(toy_folder, view)]
    assert len(set(found)) == len(found)
    assert {*TASKS, *CAPABILITIES, *PREFERENCES} == set(VIEWS)


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_prepared_is_what_was_read(toy_folder: Path, view: str) -> None:
    before = records(toy_folder, view)[:3]
    for record, prepared in zip(before, prepare(before, TOOLS), strict=True):
        after = to_record(to_columns(prepared))  # pyright: ignore[reportArgumentType]  (no row is rejected)
        same(to_example(after), to_example(record))
        for message in (*after.messages, *after.replies):
            if message.role == "assistant" and message.audio is not None:
                assert message.audio.tokens is not None and message.audio.wave is not None
                assert len(message.audio.tokens) == len(message.audio.wave) // 640


class Counting(LoudnessCodec):
    """Counts the waves that it encodes."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode_batch(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.encoded += len(waves)
        return super().encode_batch(waves)


def test_equal_replies_are_encoded_once(toy_folder: Path) -> None:
    codec, found = Counting(), records(toy_folder, "s2s")
    prepared = prepare(found, Tools(Limits(), codec, None))  # pyright: ignore[reportArgumentType]
    assert len(prepared) == len(found) > codec.encoded
    assert codec.encoded == len({record.messages[1].text for record in found})


def test_evaluation_reads_held_out_rows(toy_folder: Path, toy_rows: dict[str, list[Row]]) -> None:
    for split in ("dev", "test"):
        for view in ("s2t", "s2s", "text_qa", "silent_qa"):
            wanted = [f"{row.id}:{view}" for row in toy_rows[split]]
            assert [record.id for record in records(toy_folder, view, split)] == wanted


def test_a_prepared_view_is_read_back_by_the_command(toy_folder: Path, tmp_path: Path) -> None:
    from launchers import imported

    with imported("data_pipelines.prepare.__main__") as command:
        command.flags.FLAGS(["prepare", f"--out={tmp_path / 'out'}", "--view=silent_qa"])
        command.main(str(toy_folder))
    assert guess(toy_folder) == "toy_world" and guess(tmp_path / "out") == "prepared"
    before = {record.id: record for record in records(toy_folder, "silent_qa")}
    after = list(read_prepared(tmp_path / "out", "train"))
    assert {record.id for record in after} == set(before)
    for record in after:
        same(to_example(record), to_example(before[record.id]))
        assert record.messages[1].learns == "text"


def test_data_prepared_under_the_first_schema_are_read(toy_folder: Path) -> None:
    (record, *_) = records(toy_folder, "s2t")
    (prepared,) = prepare([record], TOOLS)
    columns = to_columns(prepared)  # pyright: ignore[reportArgumentType]
    del columns["learns"]
    same(to_example(to_record(columns)), to_example(record))


def test_views_and_tasks_that_do_not_exist_are_named(toy_rows: dict[str, list[Row]]) -> None:
    with pytest.raises(InputError, match="unknown view 'tts' of the format toy_world; known: text_qa"):
        check_options("toy_world", "tts", None)
    with pytest.raises(InputError, match="unknown view 's2s' of the format kaldi; known: asr, tts"):
        check_options("kaldi", "s2s", None)
    with pytest.raises(InputError, match="unknown task 's2x'; known: text_qa"):
        conversations(toy_rows["train"], "s2x")
    with pytest.raises(InputError, match="no row has the task 's2s'"):
        conversations(toy_rows["text"], "s2s")


def test_a_reply_over_silence_is_in_speech_mode(toy_folder: Path) -> None:
    (record, *_) = records(toy_folder, "silent_qa")
    assert record.system is None and to_conversation(record).system == SYSTEM_JOINT
    (user, reply) = record.messages
    written = dataclasses.replace(record, messages=(user, dataclasses.replace(reply, learns="both")))
    assert to_conversation(written).system == SYSTEM_TEXT
