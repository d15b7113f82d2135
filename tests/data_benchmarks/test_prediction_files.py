"""Files of replies, our own and the official tools': with a data set, or with rows that hold their fields."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from benchmark_rows import sample_rows, sample_waves
from benchmark_sets import encoded, write_lines, write_set

from data_pipelines.benchmarks.items import Item, ItemSet
from data_pipelines.benchmarks.predictions import PredictionSet, prediction_row
from data_pipelines.benchmarks.table import BENCHMARKS, load, load_predictions
from fac_jax.types import InputError


def predicted(found: PredictionSet) -> list[Any]:
    return [reply.prediction for reply in found.replies]


def ids(found: PredictionSet) -> list[str]:
    return [reply.item.id for reply in found.replies]


def questions(tmp_path: Path) -> ItemSet:
    name = "voicebench/openbookqa"
    return load(name, write_set(tmp_path / "data", name, sample_rows(name), sample_waves(), "evalkit"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_our_own_rows_need_no_data_set(name: str, tmp_path: Path) -> None:
    items = [Item(f"r{n}", None, fields) for n, fields in enumerate(sample_rows(name))]
    lines = [prediction_row(item, f"reply\u2028\u0085 {item.id}") for item in items]
    found = load_predictions(name, write_lines(tmp_path / "predictions.jsonl", lines))
    assert [reply.item for reply in found.replies] == items
    assert predicted(found) == ["reply\u2028\u0085 r0", "reply\u2028\u0085 r1"]
    assert (found.rows, found.left_out, found.unanswered) == (2, {}, ())


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("speechfc/bfcl-single", "predict"),
        ("mmau/test-mini", "model_output"),
        ("mmau/test-mini", "model_prediction"),
        ("mmau-pro/test", "model_output"),
        ("mmsu/test", "response"),
        ("voicebench/ifeval", "response"),
    ],
)
def test_rows_of_the_official_tools_are_read(name: str, reply: str, tmp_path: Path) -> None:
    lines = [{**fields, reply: f"x{n}"} for n, fields in enumerate(sample_rows(name))]
    found = load_predictions(name, write_lines(tmp_path / "out.jsonl", lines))
    assert predicted(found) == ["x0", "x1"] and ids(found) == ["0", "1"]
    assert [reply.item.fields for reply in found.replies] == sample_rows(name)


def test_a_json_array_and_rows_without_a_reply(tmp_path: Path) -> None:
    first, second = sample_rows("mmau/test-mini")
    file = tmp_path / "mmau.json"
    file.write_text(json.dumps([{"id": "a", **first, "model_output": "A cat"}, {"id": "b", **second}]))
    found = load_predictions("mmau/test-mini", file)
    assert ids(found) == ["a", "b"] and predicted(found) == ["A cat", None]


def test_parquet_with_a_column_of_replies(tmp_path: Path) -> None:
    file = tmp_path / "test.parquet"
    rows = [{**row, "kwargs": str(row["kwargs"]), "model_output": "m"} for row in sample_rows("mmau-pro/test")]
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "audio_count"}
    columns["audio_path"] = [["data/a.wav"], ["data/b.wav", "data/c.wav"]]
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    found = load_predictions("mmau-pro/test", file)
    assert [reply.item.fields for reply in found.replies] == sample_rows("mmau-pro/test")[:1]
    assert (found.rows, found.left_out) == (2, {"1": "several audio files"})


def test_replies_are_matched_with_a_data_set_in_any_order(tmp_path: Path) -> None:
    data = questions(tmp_path)
    lines = [{"index": 1, "prediction": "B"}, {"id": "0", "response": "A"}]
    found = load_predictions(data.benchmark, write_lines(tmp_path / "p.jsonl", lines), data)
    assert [(reply.item, reply.prediction) for reply in found.replies] == [(data.items[1], "B"), (data.items[0], "A")]
    assert found.unanswered == ()
    less = load_predictions(data.benchmark, write_lines(tmp_path / "q.jsonl", lines[:1]), data)
    assert less.unanswered == data.items[:1]


def test_replies_to_rows_that_are_left_out_are_left_out(tmp_path: Path) -> None:
    name = "mmau-pro/test"
    rows = [sample_rows(name)[0], {**sample_rows(name)[1], "audio_count": 2}]
    data = load(name, write_set(tmp_path, name, rows, sample_waves(), "parquet"))
    lines = [{"id": f"row-{n}", "model_output": "m"} for n in range(2)]
    found = load_predictions(name, write_lines(tmp_path / "p.jsonl", lines), data)
    assert ids(found) == ["row-0"] and found.left_out == {"row-1": "several audio files"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"id": "0", "predictions": "A"}], "line 1: no column prediction or response; it has id, predictions"),
        ([{"prediction": "A"}], "line 1: no column id or index; it has prediction"),
        ([{"id": "9", "prediction": "A"}], "line 1: the data set of voicebench/openbookqa has no row '9'"),
        ([{"id": "0", "prediction": "A"}] * 2, "line 2: row '0' has a reply already"),
        ([{"id": "0", "audio": {"bytes": ""}}], "line 1: column audio is {'bytes': ''}: must be the path of a file"),
    ],
)
def test_a_row_that_answers_nothing_is_named(lines: list[Any], message: str, tmp_path: Path) -> None:
    data = questions(tmp_path)
    file = write_lines(tmp_path / "p.jsonl", lines)
    with pytest.raises(InputError) as refused:
        load_predictions(data.benchmark, file, data)
    assert str(refused.value) == f"{file}, {message}"


def test_a_row_without_its_fields_and_an_empty_file_are_named(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "p.jsonl", [{"id": "0", "prediction": "A"}])
    with pytest.raises(InputError, match="line 1: no column prompt or audio_content"):
        load_predictions("voicebench/openbookqa", file)
    with pytest.raises(InputError, match="holds no row"):
        load_predictions("voicebench/openbookqa", write_lines(tmp_path / "q.jsonl", []))


def test_a_spoken_reply_is_a_path_beside_the_file(tmp_path: Path) -> None:
    wave = sample_waves()[0]
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "0.wav").write_bytes(encoded(wave))
    item = Item("0", None, sample_rows("ultraeval/llama-questions")[0])
    spoken = prediction_row(item, "Paris", "wav/0.wav")
    found = load_predictions("ultraeval/llama-questions", write_lines(tmp_path / "predictions.jsonl", [spoken]))
    assert found.replies[0].audio is not None
    np.testing.assert_allclose(found.replies[0].audio.read()[0], wave, atol=1e-3)


def test_replies_of_vstyle_are_speech_with_the_instruction_beside_them(tmp_path: Path) -> None:
    (tmp_path / "q.wav").write_bytes(encoded(sample_waves()[0]))
    row = {"id": "m-1", **sample_rows("vstyle/en")[0], "response_audio_path": "r.wav"}
    lines = [{**row, "instruction_audio_path": "q.wav"}, {**row, "id": "m-2", "instruction_audio_path": "absent.wav"}]
    found = load_predictions("vstyle/en", write_lines(tmp_path / "metadata.jsonl", lines))
    assert ids(found) == ["m-1", "m-2"] and predicted(found) == [None, None]
    first, second = found.replies
    assert first.audio is not None and first.audio.path == tmp_path / "r.wav"
    assert first.item.audio is not None and second.item.audio is None
