"""Sets of speech recognition: LibriSpeech as the archives hold it, and Common Voice."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_pipelines.benchmarks.base import Column, DataSet, Layout, Row
from data_pipelines.benchmarks.items import AudioFile
from data_pipelines.benchmarks.reading import refused
from data_pipelines.importers.corpora import read_common_voice, read_librispeech
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Rejected


def _librispeech(folders: Sequence[Path]) -> Iterator[Row]:
    return _rows(read_librispeech(folders[0], folders[0]))


def _common_voice(tables: Sequence[Path]) -> Iterator[Row]:
    return _rows(read_common_voice(tables[0], tables[0].parent))


def _rows(records: Iterator[Record | Rejected]) -> Iterator[Row]:
    """The recordings and transcripts of an importer as rows."""
    for record in records:
        if isinstance(record, Rejected):
            raise refused(record)
        heard, said = record.messages
        assert heard.audio is not None and heard.audio.path is not None
        audio = AudioFile(Path(heard.audio.path))
        yield Row({"id": record.id, "ref": said.text}, f"{record.file}, line {record.line}", audio.path.parent, audio)


def _benchmark(name: str, source: str, expected: int | None, language: str, layouts: tuple[Layout, ...]) -> DataSet:
    columns = (Column("ref"), Column("language", default=language))
    return DataSet(f"asr/{name}", source, expected, layouts, columns)


def _common_voice_layouts(folder: str) -> tuple[Layout, ...]:
    return tuple(Layout(f"{at}test.tsv", _common_voice) for at in (f"{folder}/", f"cv-corpus-*/{folder}/", ""))


BENCHMARKS: tuple[DataSet, ...] = (
    *(
        _benchmark(
            f"librispeech-{part}",
            f"{part}.tar.gz of LibriSpeech (https://www.openslr.org/12)",
            rows,
            "en",
            (Layout(f"LibriSpeech/{part}", _librispeech), Layout(part, _librispeech)),
        )
        for part, rows in (("test-clean", 2620), ("test-other", 2939))
    ),
    *(
        _benchmark(
            f"common-voice-{language}",
            f"the language {folder} of Common Voice (https://commonvoice.mozilla.org)",
            None,  # the paper does not name the release
            language,
            _common_voice_layouts(folder),
        )
        for language, folder in (("en", "en"), ("zh", "zh-CN"))
    ),
)
