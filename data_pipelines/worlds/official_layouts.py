"""Held-out rows of the toy world as the benchmarks are distributed, so that their loaders read them.

FOLDER/voicebench/{ifeval,advbench,openbookqa}.jsonl   as Kimi-Audio-Evalkit converts VoiceBench, with SUBSET/*.wav
FOLDER/mmau/mmau-test-mini.json                        with test-mini-audios/*.wav
FOLDER/mmsu/mmsu.jsonl                                 with audio/*.wav
FOLDER/speechfc/SpeechFC_BFCL_Single/metadata.jsonl    with *.wav beside it
FOLDER/speechfc_new_tools/                             the same of tools that training asks for in writing only
FOLDER/ultraeval/llama-questions/data/test-00000-of-00001.parquet
FOLDER/LibriSpeech/test-clean/SPEAKER/CHAPTER/         *.trans.txt and *.flac
FOLDER/assets/phrases.json                             phrases of the toy world, in place of those of VoiceBench
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile

from data_pipelines.worlds.asked import Asked
from data_pipelines.worlds.espeak import SAMPLE_RATE

Heard: TypeAlias = tuple[Asked, np.ndarray]  # a row, and what is heard in it, float32 `[N]` at 16 kHz
SPEECHFC: Final = "SpeechFC_BFCL_Single"
SPEAKER, CHAPTER = "1", "1"  # of LibriSpeech


def write(folder: Path, rows: Mapping[str, Sequence[Any]]) -> None:
    """Writes every benchmark; `rows` are those of `benchmark_world.held_out_rows`, each with what is heard."""
    for subset, name in (("ifeval", "instructions"), ("advbench", "refusals"), ("openbookqa", "choices")):
        write_voicebench(folder / "voicebench", subset, rows[name])
    understood = rows["audio_questions"]
    half = len(understood) // 2
    write_mmau(folder / "mmau", understood[:half])
    write_mmsu(folder / "mmsu", understood[half:])
    write_speechfc(folder / "speechfc", rows["tools"])
    write_speechfc(folder / "speechfc_new_tools", rows["new_tools"])
    write_ultraeval(folder / "ultraeval" / "llama-questions", rows["answers"])
    write_librispeech(folder / "LibriSpeech" / "test-clean", [*rows["answers"], *rows["tools"]])
    write_assets(folder / "assets")


def write_assets(folder: Path) -> None:
    """Writes the phrases by which letters and refusals of the toy world are read (`evaluation.benchmarks.assets`)."""
    letters, refusals = ["the answer is @"], ["I cannot help you"]
    found = {"mcq_official": letters, "mcq_ultraeval": letters, "refusal_evalkit": refusals}
    found |= dict.fromkeys(("refusal_official", "refusal_ultraeval"), [one.lower() for one in refusals])
    folder.mkdir(parents=True, exist_ok=True)
    phrases = {name: {"phrases": each} for name, each in found.items()}
    (folder / "phrases.json").write_text(json.dumps(phrases, indent=1) + "\n", encoding="utf-8")


def write_voicebench(folder: Path, subset: str, rows: Sequence[Heard]) -> None:
    """Writes a subset of VoiceBench in the form that Kimi-Audio-Evalkit converts it to."""
    files = _waves(folder, subset, rows)
    lines = [
        {
            "index": number,
            "question": "",
            "audio_content": one.heard,
            "audio_path": file,
            "answer": one.fields.get("reference", ""),
            "instruction": one.fields.get("instruction_id_list", []),
            "instruction_kwargs": one.fields.get("kwargs", []),
            "subset": subset,
        }
        for number, ((one, _), file) in enumerate(zip(rows, files, strict=True))
    ]
    _lines(folder / f"{subset}.jsonl", lines)


def write_mmau(folder: Path, rows: Sequence[Heard]) -> None:
    """Writes MMAU's test-mini."""
    files = _waves(folder, "test-mini-audios", rows)
    found = [
        {
            "id": one.id,
            "audio_id": f"./{file}",
            "question": one.fields["question"],
            "choices": list(one.fields["options"]),
            "answer": one.fields["answer"],
            "dataset": "toy world",
            "task": one.fields["task"],
            "split": "test-mini",
            "category": "perception",
            "sub-category": one.fields["topic"],
            "difficulty": "easy",
        }
        for (one, _), file in zip(rows, files, strict=True)
    ]
    (folder / "mmau-test-mini.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_mmsu(folder: Path, rows: Sequence[Heard]) -> None:
    """Writes MMSU."""
    files = _waves(folder, "audio", rows)
    lines = [
        {
            "id": one.id,
            "audio_path": file,
            "question": one.fields["question"],
            **dict(zip(("choice_a", "choice_b", "choice_c", "choice_d"), one.fields["options"], strict=True)),
            "answer_gt": one.fields["answer"],
            "task_name": one.fields["topic"],
            "category": "Perception",
            "sub-category": one.fields["task"],
        }
        for (one, _), file in zip(rows, files, strict=True)
    ]
    _lines(folder / "mmsu.jsonl", lines)


def write_speechfc(folder: Path, rows: Sequence[Heard]) -> None:
    """Writes SpeechFC's BFCL-Single."""
    files = _waves(folder, SPEECHFC, rows)
    lines = [
        {
            "utterance": one.fields["utterance"],
            "file_name": Path(file).name,
            "function": one.fields["function"],
            "ground_truth": one.fields["ground_truth"],
            "category": one.fields["category"],
            "dataset_key": Path(file).stem,
            "index": number,
        }
        for number, ((one, _), file) in enumerate(zip(rows, files, strict=True))
    ]
    _lines(folder / SPEECHFC / "metadata.jsonl", lines)


def write_ultraeval(folder: Path, rows: Sequence[Heard]) -> None:
    """Writes UltraEval-Audio's Llama Questions as a parquet file with the audio in it."""
    table = {
        "audio": [{"bytes": _encoded(wave, "WAV"), "path": f"{one.id}.wav"} for one, wave in rows],
        "Questions": [one.fields["question"] for one, _ in rows],
        "Answer": [one.fields["label"] for one, _ in rows],
    }
    (folder / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.table(table), folder / "data" / "test-00000-of-00001.parquet")


def write_librispeech(folder: Path, rows: Sequence[Heard]) -> None:
    """Writes a subset of LibriSpeech, of one speaker and one chapter, with transcripts in capitals."""
    chapter = folder / SPEAKER / CHAPTER
    chapter.mkdir(parents=True)
    lines = []
    for number, (one, wave) in enumerate(rows):
        name = f"{SPEAKER}-{CHAPTER}-{number:04d}"
        (chapter / f"{name}.flac").write_bytes(_encoded(wave, "FLAC"))
        assert isinstance(one.heard, str)
        lines.append(f"{name} {one.heard.upper()}\n")
    (chapter / f"{SPEAKER}-{CHAPTER}.trans.txt").write_text("".join(lines), "utf-8")


def _waves(folder: Path, name: str, rows: Sequence[Heard]) -> list[str]:
    """Writes what is heard into a folder below another, and returns the paths relative to that one."""
    (folder / name).mkdir(parents=True)
    for one, wave in rows:
        (folder / name / f"{one.id}.wav").write_bytes(_encoded(wave, "WAV"))
    return [f"{name}/{one.id}.wav" for one, _ in rows]


def _encoded(wave: np.ndarray, form: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, SAMPLE_RATE, format=form, subtype="PCM_16")
    return file.getvalue()


def _lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
