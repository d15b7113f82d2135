"""The page that shows data before training: its contents are those of a batch."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from launchers import called, launched
from toy_world import LoudnessCodec, make_model, make_tokenizer

from data_pipelines.view.blocks import LINE, SILENT, Block, Position, blocks, laid_out, render, totals
from data_pipelines.view.samples import Reader, Sample, reader_of, record_samples, stand_ins
from fac_jax.batching.collate import collate_packed
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import encode
from fac_jax.types import IGNORE, InputError, Kind


@pytest.fixture(scope="module")
def folder(toy_folder: Path) -> Path:
    return toy_folder


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    tokenizer = make_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    return Reader(tokenizer, LoudnessCodec(), make_model(tokenizer), "A reader for tests.")  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def chosen(folder: Path) -> list[Sample]:
    views = ("s2s", "asr", "t2s", "silent_qa")
    return [sample for view in views for sample in record_samples(folder, 3, view=view)[0]]


def positions(block: Block) -> list[Position]:
    return [p for s in block.stretches for p in (*s.positions, *(p for line in s.lines for p in line.positions))]


def test_toy_world_views_are_shown_like_other_rows(folder: Path) -> None:
    found, refused = record_samples(folder, 3, view="asr")
    assert [s.conversation.id for s in found] == [f"{s.row}" for s in found] and not refused
    assert all(s.conversation.id.endswith(":asr") and s.conversation.turns[1].text in s.note for s in found)
    held, _ = record_samples(folder, 2, view="s2s", split="test")
    assert all(s.conversation.id.startswith("test-qa-") for s in held)
    pairs, _ = record_samples(folder, 99, view="robustness")
    assert [s.conversation.id.rpartition(":")[2] for s in pairs[:2]] == ["chosen", "rejected"] and len(pairs) == 4


@pytest.mark.parametrize(
    ("view", "split", "message"),
    [
        ("asr", "tain", "the view 'asr' has no split 'tain'; it has train, dev, test"),
        ("robustness", "dev", "the view 'robustness' has no split 'dev'; it has train, test"),
        ("s2x", "train", "unknown view 's2x' of the format toy_world; known: text_qa"),
        ("t2s", "test", "the split 'test' has no row of the view 't2s'"),
    ],
)
def test_unknown_views_and_splits(folder: Path, view: str, split: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        record_samples(folder, 1, view=view, split=split)


@pytest.mark.parametrize("group", [5, 3, 1])
def test_blocks_show_the_ids_and_labels_of_the_batch(chosen: list[Sample], reader: Reader, group: int) -> None:
    reader = dataclasses.replace(reader, grid=dataclasses.replace(reader.grid, group_size=group))
    filled = add_features([s.conversation for s in chosen], reader.codec)
    for block, conversation in zip(laid_out(chosen, reader), filled, strict=True):
        example = encode(conversation, reader.tokenizer, reader.grid)
        shown = positions(block)
        assert [p.number for p in shown] == list(range(len(example)))
        assert [p.text.id for p in shown] == example.text_ids.tolist()
        assert [p.text.learned for p in shown] == (example.labels != IGNORE).tolist()
        for p, kind, ids, labels in zip(shown, example.kind, example.speech_ids, example.speech_labels, strict=True):
            if kind == Kind.TEXT:
                assert [t.id for t in p.speech] == labels[labels != IGNORE].tolist()
            else:
                assert [t.id for t in p.speech] == ids.tolist()
                assert [t.learned for t in p.speech] == (labels != IGNORE).tolist()
        assert (block.text_labels, block.speech_labels) == (
            int((example.labels != IGNORE).sum()),
            int((example.speech_labels != IGNORE).sum()),
        )


def test_packed_batch_gives_the_same_blocks(chosen: list[Sample], reader: Reader) -> None:
    filled = add_features([s.conversation for s in chosen], reader.codec)
    examples = [encode(conversation, reader.tokenizer, reader.grid) for conversation in filled]
    packed = collate_packed([examples[:7], examples[7:]], 3, sum(map(len, examples)), 200, reader.grid)
    for a, b in zip(blocks(packed, chosen, reader), laid_out(chosen, reader), strict=True):
        assert positions(a) == positions(b) and (a.id, a.said, a.positions) == (b.id, b.said, b.positions)
        for one, other in zip(a.stretches, b.stretches, strict=True):
            for x, y in zip(one.lines, other.lines, strict=True):
                np.testing.assert_array_equal(x.mel, y.mel)


def test_spectrograms_are_aligned_with_tokens(chosen: list[Sample], reader: Reader) -> None:
    width = 5 * 4
    heard = said = 0
    filled = add_features([s.conversation for s in chosen], reader.codec)
    for block, conversation in zip(laid_out(chosen, reader), filled, strict=True):
        turns = [t for t in conversation.turns if t.wave is not None]
        for stretch, turn in zip((s for s in block.stretches if s.sound), turns, strict=True):
            assert stretch.sound.wave is turn.wave
            mel = np.concatenate([line.mel for line in stretch.lines])
            for number, line in enumerate(stretch.lines):
                assert line.mel.shape == (len(line.positions) * width, 128) and len(line.positions) <= LINE
                assert line.second == pytest.approx(number * 2 - (0.4 if stretch.kind == "said" else 0))
            if stretch.kind == "heard":
                tokens = len(turn.wave) // 640
                np.testing.assert_array_equal(mel[: tokens * 4], turn.mel[: tokens * 4])
                assert (mel[-(-tokens // 5) * width :] == SILENT).all()
                heard += 1
            else:
                ids = [t.id for line in stretch.lines for p in line.positions for t in p.speech]
                assert ids[10 : 10 + len(turn.speech)] == turn.speech.tolist()
                assert (mel[:40] == SILENT).all() and (mel[40 : 40 + len(turn.speech) * 4] > SILENT).all()
                said += 1
    assert heard == 6 and said == 6
    silent = next(b for b in laid_out(chosen, reader) if b.id.endswith("silent_qa"))
    assert silent.stretches[1].kind == "said" and silent.stretches[1].sound is None and not silent.speech_labels


def test_page_is_self_contained_and_escaped(reader: Reader) -> None:
    hostile = "<script>alert(1)</script>"
    wave = (0.1 * np.random.default_rng(0).standard_normal(40_000)).astype(np.float32)
    turns = (Turn("user", hostile, wave=wave), Turn("assistant", hostile, wave=wave))
    found = laid_out([Sample(Conversation(hostile, hostile, turns), hostile)], reader)
    source = render(hostile, found, dataclasses.replace(reader, words=hostile))
    page = Page(source)
    assert page.open == [] and not page.all("script")
    assert [a["src"][:15] for a in page.all("audio")] == ["data:audio/flac"] * 2
    assert {i["src"][:14] for i in page.all("img")} == {"data:image/png"}
    assert len(page.all("img")) == 2 + 2  # 13 and 15 groups on lines of ten
    assert not re.search(r"""(src|href)=["']?(http|//|/)|url\(|@import""", source)
    assert render(hostile, found, dataclasses.replace(reader, words=hostile)) == source
    assert totals(found)["audio"] == "2.5 s heard, 2.5 s said"


def test_row_that_training_refuses_is_named(reader: Reader) -> None:
    short = Conversation("tiny", "", (Turn("user", wave=np.zeros(100, np.float32)), Turn("assistant", "what")))
    with pytest.raises(InputError, match="row tiny: the user's audio is shorter than one speech token"):
        laid_out([Sample(short)], reader)
    spoken = Conversation("mute", "", (Turn("user", "hi"), Turn("assistant", "yo", wave=np.zeros(9000, np.float32))))
    with pytest.raises(InputError, match="row mute: the assistant speaks, but there is no codec"):
        laid_out([Sample(spoken)], dataclasses.replace(reader, codec=None))


def test_stand_ins_are_fitted_on_the_rows(folder: Path) -> None:
    for view in ("s2s", "text_qa"):
        found, _ = record_samples(folder, 4, view=view)
        reader = stand_ins(found)
        assert (reader.codec is None) == (view == "text_qa")
        assert (reader.grid.group_size, reader.grid.delay_groups, reader.grid.n_window) == (5, 2, 100)
        for sample, block in zip(found, laid_out(found, reader), strict=True):
            assert sample.conversation.turns[-1].text in "".join(p.text.name for p in positions(block)).replace(
                "\u00a0", " "
            )


def test_reader_of_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished stage and no checkpoint"):
        reader_of(tmp_path)
    (tmp_path / "params").mkdir()
    with pytest.raises(InputError, match="tokenizer file not found"):
        reader_of(tmp_path)
    from fac_jax.checkpoint.json_files import write_json
    from fac_jax.models.config import replace

    tokenizer = make_tokenizer(tmp_path)
    model = replace(make_model(tokenizer), group_size=1, delay_groups=3)
    write_json(tmp_path / "config.json", dataclasses.asdict(model))
    reader = reader_of(tmp_path)
    assert reader.codec is None and reader.tokenizer.vocab_size == tokenizer.vocab_size
    for name in ("vocab_size", "units", "special", "group_size", "delay_groups"):
        assert getattr(reader.grid, name) == getattr(model, name)
    assert reader.grid.n_window == model.audio.n_window


def test_command_writes_a_page_and_prints_its_totals(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "page.html"
    slow = '{"speed": {"factor": [0.5, 0.5]}}'
    options = ["--out", str(out), "--rows", "2", "--view", "asr", "--augment", slow]
    done = launched("data_pipelines.view.__main__", str(folder), *options)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["rows", "audio", "positions", "speech", "look:"]
    plain, _ = record_samples(folder, 2, view="asr")
    seconds = sum(len(s.conversation.turns[0].wave) for s in plain) / 16_000
    assert f"{2 * seconds:.1f} s heard, 0.0 s said" in done.stdout
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]
    assert Page(out.read_text()).open == [] and done.stdout.endswith(f"look: {out}\n")


def test_command_refuses_before_it_writes(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its format cannot be recognised"):
        called("data_pipelines.view.__main__", str(tmp_path), f"--out={tmp_path / 'page.html'}")
    with pytest.raises(InputError, match="--out=/proc/q.html: cannot be written"):
        called("data_pipelines.view.__main__", str(folder), "--out=/proc/q.html")
    assert not list(tmp_path.iterdir())
