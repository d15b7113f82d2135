"""What is wrong with a data set on disk is said in one line that names the file, the row and the column."""

import json
from pathlib import Path

import pytest
from benchmark_rows import sample_rows, sample_waves
from benchmark_sets import write_lines, write_set

from data_pipelines.benchmarks.items import require_audio
from data_pipelines.benchmarks.table import load
from fac_jax.types import InputError


def fault(name: str, root: Path) -> str:
    """The message with which a data set is refused."""
    with pytest.raises(InputError) as refused:
        load(name, root)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "file", "source"),
    [
        ("voicebench/ifeval", "ifeval.jsonl", "hlt-lab/voicebench (Hugging Face)"),
        (
            "openaudiobench/trivia_qa",
            "eval_datas/trivia_qa/trivia_qa.csv",
            "baichuan-inc/OpenAudioBench (Hugging Face)",
        ),
        ("speechfc/ace-single", "SpeechFC_ACEBench_Single/metadata.jsonl", "FunAudioLLM/SpeechFCEval (Hugging Face)"),
    ],
)
def test_an_absent_data_set_is_named_with_its_source(name: str, file: str, source: str, tmp_path: Path) -> None:
    family = name.partition("/")[0]
    assert fault(name, tmp_path) == (
        f"{family}: {tmp_path}/{file} not found; download {source} there, "
        "or score a file of predictions (experiments.score)"
    )


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    name = "mmsu/test"
    write_set(tmp_path, name, sample_rows(name), sample_waves(), "parquet")
    data = tmp_path / "data"
    (data / "train-00000-of-00001.parquet").rename(data / "train-00000-of-00003.parquet")
    assert fault(name, tmp_path).startswith(f"{data}/train-00001-of-00003.parquet not found")


def test_a_missing_audio_file_is_named(tmp_path: Path) -> None:
    name = "speechfc/bfcl-single"
    found = load(name, write_set(tmp_path, name, sample_rows(name), sample_waves(), "jsonl"))
    (tmp_path / "SpeechFC_BFCL_Single" / "wav" / "clip_1.wav").unlink()
    require_audio(found.items[:1])
    with pytest.raises(InputError, match=r"clip_1\.wav not found: the audio of row 1$"):
        require_audio(load(name, tmp_path).items)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"index": 1, "audio_path": "a.wav", "answer": "B"}',
            "line 2: no column prompt or audio_content; it has index",
        ),
        (
            '{"index": 1, "audio_path": "a.wav", "answer": "B", "prompt": 3}',
            "line 2: column prompt is 3: must be a text",
        ),
        ('{"index": 1, "answer": "B", "prompt": "p"}', "line 2: no column audio_path or file_name"),
        ('{"index": 1.5, "answer": "B", "prompt": "p", "audio_path": "a.wav"}', "line 2: column index is 1.5"),
        ('{"index": 1, ', "line 2: the row cannot be parsed"),
        ("[1]", "line 2: the row cannot be parsed"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "openbookqa.jsonl"
    good = {"index": 0, "audio_path": "a.wav", "answer": "B", "prompt": "p"}
    file.write_text(f"{json.dumps(good)}\n{line}\n")
    assert fault("voicebench/openbookqa", tmp_path).startswith(f"{file}, {message}")


def test_a_bad_row_of_a_table_is_named(tmp_path: Path) -> None:
    table = tmp_path / "web_questions" / "web_questions.csv"
    table.parent.mkdir()
    table.write_text("question,answers,audio_filename\nwho,me,a.mp3\nwho,me\n")
    assert fault("openaudiobench/web_questions", tmp_path).startswith(f"{table}, line 3: ")


def test_a_column_that_parquet_lacks_is_named(tmp_path: Path) -> None:
    name = "voicebench/sd-qa"
    write_set(tmp_path, name, [{"prompt": "p"}, {"prompt": "q"}], sample_waves(), "parquet")
    file = tmp_path / "sd-qa" / "usa-00000-of-00001.parquet"
    assert fault(name, tmp_path) == f"{file}, row 1: no column reference or answer; it has prompt"


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    file = tmp_path / "test.parquet"
    file.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert fault("mmau-pro/test", tmp_path).startswith(f"{file}: no parquet file")


def test_a_bad_row_of_a_corpus_is_named(tmp_path: Path) -> None:
    name = "asr/librispeech-test-clean"
    write_set(tmp_path, name, [{"ref": "ONE"}, {"ref": ""}], sample_waves(), "archive")
    assert "61-70968.trans.txt, line 2: " in fault(name, tmp_path)


def test_files_without_rows_are_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "advbench.jsonl", [])
    assert fault("voicebench/advbench", tmp_path) == f"voicebench/advbench: its files in {tmp_path} hold no row"


def test_an_unknown_benchmark_is_answered_with_the_names(tmp_path: Path) -> None:
    assert "no benchmark 'voicebench/bbh'; there are openaudiobench/alpaca_eval, " in fault("voicebench/bbh", tmp_path)
