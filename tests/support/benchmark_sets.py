"""Tiny benchmarks on disk, in every layout that the loaders read: the tests write rows of their own."""

import csv
import io
import json
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile

Fields = Mapping[str, Any]
RATE = 16_000


def write_set(root: Path, benchmark: str, rows: Sequence[Fields], waves: Sequence[np.ndarray], layout: str) -> Path:
    """Writes rows of canonical fields and their waves (float32 at 16 kHz) as a data set; returns `root` (`--data`).

    `layout` is one of `LAYOUTS[family]`. Sets of several benchmarks may be written into one folder.
    """
    family, _, subset = benchmark.partition("/")
    LAYOUTS[family][layout](root, subset, rows, waves)
    return root


def write_lines(file: Path, rows: Iterable[Any]) -> Path:
    """Writes JSON lines, such as a file of predictions."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8", newline="\n")
    return file


def encoded(wave: np.ndarray, format: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, RATE, format=format)
    return buffer.getvalue()


def _save(file: Path, wave: np.ndarray) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(wave, file.suffix[1:].upper()))
    return file.name


def _table(file: Path, rows: Sequence[Fields], dialect: str = "excel") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), dialect=dialect)
        writer.writeheader()
        writer.writerows(rows)


def _parquet(file: Path, rows: Sequence[Fields], waves: Sequence[np.ndarray] = (), column: str = "audio") -> None:
    """Writes parquet with one row in each group; with waves also a column of audio."""
    file.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": encoded(wave), "path": None} for wave in waves]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    table = pyarrow.table({**columns, **({column: cells} if cells else {})})
    pyarrow.parquet.write_table(table, file, row_group_size=1)


def _renamed(rows: Sequence[Fields], **names: str) -> list[dict[str, Any]]:
    return [{names.get(name, name): value for name, value in row.items()} for row in rows]


def _with(rows: Sequence[Fields], column: str, values: Iterable[Any]) -> list[dict[str, Any]]:
    return [{**row, column: value} for row, value in zip(rows, values, strict=True)]


def _saved(folder: Path, waves: Sequence[np.ndarray], at: str = "", ending: str = ".wav") -> list[str]:
    """Names of the files of waves, as a row of a table in `folder` gives them."""
    return [at + _save(folder / at / f"clip_{n}{ending}", wave) for n, wave in enumerate(waves)]


def _openaudiobench(root: Path, subset: str, rows: Sequence[Fields], waves: Sequence[np.ndarray]) -> None:
    question, answer = {
        "alpaca_eval": ("instruction", "output"),
        "llama_questions": ("Questions", "Answer"),
        "reasoning_qa": ("Prompt", "参考答案"),
        "trivia_qa": ("question", "answer_normalized_aliases"),
        "web_questions": ("question", "answers"),
    }[subset]
    folder = root / "eval_datas" / subset
    names = _saved(folder / "audios", waves, ending=".mp3")
    _table(
        folder / f"{subset}.csv", _with(_renamed(rows, question=question, reference=answer), "audio_filename", names)
    )


def _evalkit(root: Path, subset: str, rows: Sequence[Fields], waves: Sequence[np.ndarray]) -> None:
    names = {"prompt": "audio_content", "reference": "answer", "kwargs": "instruction_kwargs"}
    changed = _renamed(rows, instruction_id_list="instruction", **names)
    for n, (row, name) in enumerate(zip(changed, _saved(root, waves, f"{subset}/"), strict=True)):
        row.pop("key", None)
        row.update(index=n, question="", audio_path=f"/elsewhere/{name}", subset=subset)
    write_lines(root / f"{subset}.jsonl", changed)


def _voicebench_parquet(root: Path, subset: str, rows: Sequence[Fields], waves: Sequence[np.ndarray]) -> None:
    split = {"sd-qa": "usa", "mmsu": "law"}.get(subset, "test")
    _parquet(root / subset / f"{split}-00000-of-00001.parquet", rows, waves)


def _ultraeval_rows(subset: str, rows: Sequence[Fields]) -> list[dict[str, Any]]:
    label = {"llama-questions": "Answer", "speech-triavia-qa": "answer", "speech-web-questions": "answers"}.get(subset)
    return _renamed(rows, label=label) if label else _renamed(rows, prompt="instruction")


def _ultraeval_parquet(root: Path, subset: str, rows: Sequence[Fields], waves: Sequence[np.ndarray]) -> None:
    _parquet(root / subset / "data" / "test-00000-of-00001.parquet", _ultraeval_rows(subset, rows), waves)


def _audiofolder(folder: Path, rows: Sequence[Fields], waves: Sequence[np.ndarray], table: str = "jsonl") -> None:
    named = _with(rows, "file_name", _saved(folder, waves, "data/"))
    if table == "csv":
        _table(folder / "metadata.csv", named)
    else:
        write_lines(folder / "metadata.jsonl", named)


def _mmau_json(root: Path, subset: str, rows: Sequence[Fields], waves: Sequence[np.ndarray]) -> None:
    named = _with(_numbered(rows), "audio_id", (f"./{name}" for name in _saved(root, waves, "test-mini-audios/")))
    (root / "mmau-test-mini.json").write_text(json.dumps(named), encoding="utf-8")


def _mmau_parquet(root: Path, subset: str, rows: Sequence[Fields], waves: Sequence[np.ndarray]) -> None:
    changed = []
    for row in _numbered(rows):
        lettered = {c: f"({a}) {c}" for a, c in zip(string.ascii_uppercase, row.pop("choices"), strict=False)}
        answer, question = lettered[row.pop("answer")], row.pop("question")
        packed = json.dumps({**row, "category": [row["category"]]})
        changed.append({"instruction": question, "choices": list(lettered.values()), "answer": answer})
        changed[-1]["other_attributes"] = packed
    _parquet(root / "test_mini.parquet", changed, waves, "context")


def _numbered(rows: Sequence[Fields]) -> list[dict[str, Any]]:
    return _with(rows, "id", (f"row-{n}" for n in range(len(rows))))


def _mmau_pro(root: Path, subset: str, rows: Sequence[Fields], waves: Sequence[np.ndarray]) -> None:
    """A row names as many files as its `audio_count` says, always the same."""
    names = _saved(root, waves, "data/")
    paths = [[name] * row["audio_count"] for row, name in zip(rows, names, strict=True)]
    changed = _with(_numbered(rows), "audio_path", paths)
    for row in changed:
        del row["audio_count"]
        row.update(answer=row["answer"] or None, kwargs=row["kwargs"] or {"keyword": None, "N": None})
    _parquet(root / "test.parquet", changed)


def _mmsu_parquet(root: Path, subset: str, rows: Sequence[Fields], waves: Sequence[np.ndarray]) -> None:
    _parquet(root / "data" / "train-00000-of-00001.parquet", _numbered(rows), waves)


def _mmsu_json(root: Path, subset: str, rows: Sequence[Fields], waves: Sequence[np.ndarray]) -> None:
    write_lines(
        root / "mmsu.jsonl", _with(_numbered(rows), "audio_path", (f"/{n}" for n in _saved(root, waves, "audio/")))
    )


def _asr(root: Path, subset: str, rows: Sequence[Fields], waves: Sequence[np.ndarray]) -> None:
    if subset.startswith("common-voice"):
        folder = root / {"common-voice-en": "en", "common-voice-zh": "zh-CN"}[subset]
        names = [_save(folder / "clips" / f"cv_{n}.mp3", wave) for n, wave in enumerate(waves)]
        clips = [{"path": name, "sentence": row["ref"]} for row, name in zip(rows, names, strict=True)]
        return _table(folder / "test.tsv", clips, "excel-tab")
    chapter = root / "LibriSpeech" / subset.removeprefix("librispeech-") / "61" / "70968"
    names = [_save(chapter / f"61-70968-{n:04}.flac", wave)[:-5] for n, wave in enumerate(waves)]
    lines = [f"{name} {row['ref']}\n" for row, name in zip(rows, names, strict=True)]
    (chapter / "61-70968.trans.txt").write_text("".join(lines), encoding="utf-8")


def _speechfc(root: Path, subset: str, rows: Sequence[Fields], waves: Sequence[np.ndarray]) -> None:
    name = {"smartinteract": "SpeechFC_SmartInteract"}.get(subset) or "SpeechFC_" + subset.replace(
        "bfcl-", "BFCL_"
    ).replace("ace-", "ACEBench_").replace("single", "Single").replace("parallel", "Parallel")
    files = _saved(root / name, waves, "wav/")
    paths = (f"wav/{name}/{Path(file).name}" for file in files)  # as the released predictions name them
    write_lines(root / name / "metadata.jsonl", _with(rows, "file_name", paths))


Writer = Callable[[Path, str, Sequence[Fields], Sequence[np.ndarray]], None]
# Layouts that `write_set` writes, by family; the first is the usual one.
LAYOUTS: dict[str, dict[str, Writer]] = {
    "openaudiobench": {"csv": _openaudiobench},
    "voicebench": {
        "evalkit": _evalkit,
        "parquet": _voicebench_parquet,
        "audiofolder": lambda root, subset, rows, waves: _audiofolder(root / subset, rows, waves),
    },
    "ultraeval": {
        "parquet": _ultraeval_parquet,
        "audiofolder": lambda root, subset, rows, waves: _audiofolder(
            root / subset, _ultraeval_rows(subset, rows), waves
        ),
    },
    "mmau": {"json": _mmau_json, "parquet": _mmau_parquet},
    "mmau-pro": {"parquet": _mmau_pro},
    "mmsu": {"parquet": _mmsu_parquet, "jsonl": _mmsu_json},
    "asr": {"archive": _asr},
    "speechfc": {"jsonl": _speechfc},
    "vstyle": {"audiofolder": lambda root, subset, rows, waves: _audiofolder(root / subset, rows, waves)},
    "bigbench-audio": {
        "audiofolder": lambda root, subset, rows, waves: _audiofolder(root, _numbered(rows), waves),
        "csv": lambda root, subset, rows, waves: _audiofolder(root, _numbered(rows), waves, "csv"),
        "parquet": lambda root, subset, rows, waves: _parquet(root / "data/train-00000-of-00001.parquet", rows, waves),
    },
}
