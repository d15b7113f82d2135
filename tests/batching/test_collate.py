"""Examples laid out as a batch, one or many in a row: windows, segments, budgets; packed rows equal unpacked ones."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
import pytest
from examples import MODEL, example
from golden_model import golden

from fac_jax.batching.collate import collate, collate_packed, least_shapes
from fac_jax.batching.conversation import Turn
from fac_jax.batching.grid import Example, lay_out, windows_of
from fac_jax.batching.packing import Budget, ItemSize, pack
from fac_jax.losses import Sft
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.text.chat import AudioPiece, TextPiece
from fac_jax.types import IGNORE, NO_FRAME, InputError, Kind


def test_every_frame_is_found_in_the_windows_of_its_own_audio() -> None:
    examples = [example("a", 130), example("b"), example("c", 100, 230, 8)]
    batch = collate(examples, rows=4, seq_len=30, windows=9, model=MODEL)
    assert batch.mel_lengths.tolist() == [100, 30, 100, 100, 100, 30, 8, 0, 0]
    mels = [mel for e in examples for mel in e.mels]
    joined = np.concatenate([w[:n] for w, n in zip(batch.mel_windows, batch.mel_lengths, strict=True)])
    np.testing.assert_array_equal(joined, np.concatenate(mels))
    for window, length in zip(batch.mel_windows, batch.mel_lengths, strict=True):
        assert not window[length:].any()
    for row, windows in ((0, {0, 1}), (1, set()), (2, {2, 3, 4, 5, 6}), (3, set())):
        frames = batch.frame_index[row][batch.frame_index[row] != NO_FRAME]
        assert set((frames // 25).tolist()) == windows
        assert len(set(frames.tolist())) == len(frames)


def test_rows_are_segments_with_positions_and_padding_is_silent() -> None:
    examples = [example("a", 130), example("b")]
    batch = collate(examples, rows=3, seq_len=20, windows=2, model=MODEL)
    for row, length in enumerate((len(examples[0]), len(examples[1]), 0)):
        assert batch.segment_ids[row].tolist() == [1] * length + [0] * (20 - length)
        assert batch.positions[row].tolist() == [*range(length), *[0] * (20 - length)]
        padding = np.arange(20) >= length
        assert (batch.labels[row, padding] == IGNORE).all()
        assert (batch.text_ids[row, padding] == MODEL.special.pad).all()
        assert (batch.speech_ids[row, padding] == MODEL.special.speech_pad).all()
        assert (batch.kind[row, padding] == Kind.TEXT).all() and not batch.has_waveform[row, padding].any()
    arrays = dataclasses.asdict(batch)
    assert arrays.pop("parts") == 1
    assert all(arrays.pop(name) is None for name in ("features", "mel_blocks", "beside", "moments"))
    for name, array in arrays.items():
        want = {"has_waveform": bool, "mel_windows": np.float32}.get(name, np.int32)
        assert array.dtype == want, name


def test_a_budget_that_does_not_fit_says_both_numbers() -> None:
    examples = [example("a", 130), example("b", 230)]
    with pytest.raises(InputError, match="needs 5 encoder windows, its budget is 4"):
        collate(examples, rows=2, seq_len=20, windows=4, model=MODEL)
    with pytest.raises(InputError, match="2 examples do not fit a batch of 1 rows"):
        collate(examples, rows=1, seq_len=20, windows=5, model=MODEL)
    with pytest.raises(InputError, match="row b: takes 15 LLM positions, the batch has 14"):
        collate(examples, rows=2, seq_len=14, windows=5, model=MODEL)


def test_the_least_shapes_hold_every_example() -> None:
    examples = [example("a", 100), example("b", 101), example("d")]
    assert least_shapes(examples, MODEL) == (3 + 5, 3)


SEQ_LEN = 48


def spoken(name: str, seed: int, mel_frames: int, tokens: int) -> Example:
    """A heard question and a spoken reply."""
    rng = np.random.default_rng(seed)
    model = golden("dense").config
    mel = rng.standard_normal((mel_frames, 128)).astype(np.float32)
    turns = [
        Turn("user", wave=np.zeros(mel_frames * 160, np.float32), mel=mel),
        Turn("assistant", speech=rng.integers(0, model.units, tokens).astype(np.int32)),
    ]
    words = tuple(map(int, rng.integers(0, 200, 4)))
    ends = TextPiece((model.special.audio_eos, model.special.eos), True)
    return lay_out(
        name,
        [TextPiece((1, 2), False), AudioPiece(0, False, (), False), AudioPiece(1, True, words, True), ends],
        turns,
        model,
    )


def conversations() -> list[Example]:
    lengths = ((70, 23), (130, 11), (24, 40), (205, 17), (110, 8))
    heard = [spoken(f"s{i}", i, mel, tokens) for i, (mel, tokens) in enumerate(lengths)]
    return [heard[0], example("b"), *heard[1:], example("a", 130)]


def windows(examples: Sequence[Example]) -> int:
    return sum(windows_of(mel, golden("dense").config.audio.n_window) for e in examples for mel in e.mels)


@pytest.mark.parametrize("case", ("dense", pytest.param("moe_mixed", marks=pytest.mark.slow)))
def test_packed_equals_unpacked(case: str) -> None:
    g, examples = golden(case), conversations()
    sizes = [ItemSize(len(e), windows([e])) for e in examples]
    packed_rows, rest = pack(sizes, Budget(6, SEQ_LEN, windows(examples)))
    rows = [[examples[i] for i in row] for row in packed_rows if row]
    assert not rest
    assert max(map(len, rows)) > 1 and len(rows) < len(examples)
    model, count = FunAudioChat(g.config), windows(examples)
    packed = collate_packed(rows, len(rows), SEQ_LEN, count, g.config)
    # Windows lie in the order of the rows, as they do in the packed batch.
    alone = collate([e for row in rows for e in row], len(examples), SEQ_LEN, count, g.config)

    def everything(params, batch):
        (loss, metrics), grads = jax.value_and_grad(lambda p: Sft(chunk=16)(model, p, batch), has_aux=True)(params)
        out = model.apply({"params": params}, batch)
        text = model.apply({"params": params}, out.hidden, method="text_logits")
        speech = model.apply({"params": params}, out.speech_hidden, method="speech_logits")
        return loss, metrics, grads, text, speech

    with jax.default_matmul_precision("highest"):
        ours, theirs = (jax.jit(everything)(g.params, batch) for batch in (packed, alone))
    for a, b in zip(jax.tree.leaves(ours[:2]), jax.tree.leaves(theirs[:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(ours[2]), jax.tree.leaves(theirs[2]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    there, here = (np.asarray(batch.segment_ids) > 0 for batch in (packed, alone))
    np.testing.assert_allclose(ours[3][there], theirs[3][here], atol=1e-5)
    # A position's last pieces read past their conversation's end; nothing is to be predicted there.
    kept = [(np.asarray(batch.speech_labels) != IGNORE).any(-1) for batch in (packed, alone)]
    before = [np.roll(flags, -1, axis=1) for flags in kept]
    np.testing.assert_allclose(ours[4][before[0]], theirs[4][before[1]], atol=1e-5)
