"""One shard: a file of rows, and the report that marks it as finished."""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from data_pipelines.paths import file_size
from data_pipelines.prepare.card import Tally, tally
from data_pipelines.prepare.plan import Placed
from data_pipelines.prepare.reading import DESCRIPTION, INFO, NAME, VERSION, features, to_columns
from data_pipelines.prepare.rows import TOGETHER, prepare
from data_pipelines.prepare.settings import Tools
from data_pipelines.records.reject import Rejected, entry
from fac_jax.io import replacing, write_text

REPORTS: Final = "shards"  # folder of the reports


@dataclass(frozen=True)
class Shard:
    """A shard of a split: its number `index` and the number of shards `of`."""

    split: str
    index: int
    of: int

    @property
    def name(self) -> str:
        """Name of its file in the naming scheme of tfds."""
        return f"{NAME}-{self.split}.array_record-{self.index:05d}-of-{self.of:05d}"


@dataclass(frozen=True, eq=False)
class Report:
    """The result of writing a shard; `refused` has the quarantine lines of rejected rows and their places."""

    shard: Shard
    rows: int
    bytes: int
    checksum: str
    counts: Tally
    refused: list[tuple[list[int], dict[str, Any]]]


def write_shard(out: Path, shard: Shard, rows: Sequence[Placed], tools: Tools) -> Report:
    """Prepares rows, writes the good ones into a shard, and then writes its report; raises as `rows.prepare`."""
    columns = features()
    serializer = ExampleSerializer(columns.get_serialized_info())  # pyright: ignore[reportArgumentType]
    counts: Tally = Counter()
    refused: list[tuple[list[int], dict[str, Any]]] = []
    written = 0
    with replacing(out / shard.name) as part:
        writer = ArrayRecordWriter(str(part), "group_size:1")  # group_size as tfds writes it
        for start in range(0, len(rows), TOGETHER):
            places, some = zip(*rows[start : start + TOGETHER], strict=True)
            for place, row in zip(places, prepare(some, tools), strict=True):
                counts += tally(row, shard.split, tools)
                if isinstance(row, Rejected):
                    refused.append((list(place), entry(row)))
                else:
                    example = serializer.get_tf_example(columns.encode_example(to_columns(row)))
                    writer.write(example.SerializeToString(deterministic=True))  # else by the process's hash seed
                    written += 1
        writer.close()
        with Path(part).open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        report = Report(shard, written, file_size(part), checksum, counts, refused)
    values = {name: value for name, value in vars(report).items() if name != "shard"}
    (out / REPORTS).mkdir(exist_ok=True)
    write_text(out / REPORTS / f"{shard.name}.json", json.dumps(values, ensure_ascii=False))
    return report


def finished(out: Path, shard: Shard) -> Report | None:
    """The report of a finished shard; None if the shard must be written."""
    try:
        report = json.loads((out / REPORTS / f"{shard.name}.json").read_text(encoding="utf-8"))
        if (out / shard.name).stat().st_size != report["bytes"]:
            return None
        counts = Counter(report.pop("counts"))
        return Report(shard=shard, counts=counts, **report)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sweep(out: Path) -> None:
    """Removes unfinished files of killed runs; called when all shards are finished."""
    for left in (*out.glob(f".{NAME}-*.part"), *out.glob(f"{REPORTS}/.*.part")):
        left.unlink(missing_ok=True)


def describe(out: Path, reports: Sequence[Report]) -> None:
    """Writes the description of finished shards that tfds reads; the reports are sorted, and `INFO` is written last."""
    splits: dict[str, list[Report]] = {}
    for report in reports:
        splits.setdefault(report.shard.split, []).append(report)
    temporary = out / f".{os.getpid()}.part"
    temporary.mkdir(exist_ok=True)
    try:
        for report in reports:  # tfds looks for the files in the folder of their description
            (temporary / report.shard.name).symlink_to((out / report.shard.name).resolve())
        infos = [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[report.rows for report in found],
                num_bytes=sum(report.bytes for report in found),
                filename_template=tfds.core.ShardedFileTemplate(
                    dataset_name=NAME,
                    split=split,
                    filetype_suffix="array_record",
                    data_dir=temporary,  # pyright: ignore[reportArgumentType]  (tfds takes any path)
                ),
            )
            for split, found in splits.items()
        ]
        tfds.folder_dataset.write_metadata(
            data_dir=temporary,
            features=features(),
            split_infos=infos,
            filename_template=None,
            version=VERSION,
            description=DESCRIPTION,
            check_data=False,
        )
        for file in sorted(temporary.glob("*.json"), key=lambda file: file.name == INFO):
            file.replace(out / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
