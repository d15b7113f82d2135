import dataclasses

import numpy as np
import pytest
from examples import MODEL, example

from fac_jax.batching.collate import collate, least_shapes
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
