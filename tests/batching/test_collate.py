import dataclasses

import numpy as np
import pytest
from examples import MODEL, example

from data_pipelines.augment.spec import AugmentConfig, augment, augment_mel
from fac_jax.batching.collate import budget, collate
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


def test_the_budget_is_the_least_that_always_fits() -> None:
    tasks = {"heard": [example("a", 100), example("b", 101), example("c", 90)], "text": [example("d")]}
    assert budget(tasks, {"heard": 2, "text": 1}, MODEL) == (3 + 5, 3)
    assert budget(tasks, {"heard": 4}, MODEL) == (3 + 5, 8)  # an epoch may end and another begin in one batch
    assert budget(tasks, {"text": 2}, MODEL) == (3, 0)


def test_augmentation_is_fixed_by_seed_epoch_and_row() -> None:
    config, one = AugmentConfig(), example("a", 130)
    again = augment(example("a", 130), config, seed=1, epoch=2)
    np.testing.assert_array_equal(augment(one, config, 1, 2).mels[0], again.mels[0])
    others = [augment(one, config, 1, 3), augment(one, config, 2, 2)]
    others.append(augment(dataclasses.replace(one, id="b"), config, 1, 2))
    assert all(np.abs(other.mels[0] - again.mels[0]).max() > 0.1 for other in others)
    np.testing.assert_array_equal(one.mels[0], example("a", 130).mels[0])
    text = example("b")
    assert augment(text, config, 1, 2) is text


def test_each_change_of_the_mel_is_what_it_is_called() -> None:
    off = AugmentConfig(shift_bins=0, gain_db=0, time_masks=0, frequency_masks=0)
    mel = np.random.default_rng(0).standard_normal((90, 128)).astype(np.float32)

    def change(**changes: float) -> list[np.ndarray]:
        config = dataclasses.replace(off, **changes)
        return [augment_mel(mel, config, np.random.default_rng(seed)) for seed in range(40)]

    np.testing.assert_array_equal(change()[0], mel)
    moves = []
    for out in change(shift_bins=4):
        moves += [k for k in range(-4, 5) if np.array_equal(out[:, 4:-4], np.roll(mel, k, axis=1)[:, 4:-4])]
    assert set(moves) == set(range(-4, 5)) and len(moves) == 40
    gains = [out - mel for out in change(gain_db=8)]
    assert max(np.ptp(gain) for gain in gains) < 1e-6 < 0.15 < max(abs(gain.mean()) for gain in gains) <= 8 / 40
    for axis, changes, most in ((1, {"time_masks": 1, "time_frames": 7}, 7), (0, {"frequency_masks": 1}, 12)):
        widths = [(out != mel).all(axis=axis).sum() for out in change(**changes)]
        assert 0 <= min(widths) < 3 and most - 2 < max(widths) <= most
        assert all((out != mel).any(axis=axis).sum() == w for out, w in zip(change(**changes), widths, strict=True))


def test_a_clip_shorter_than_a_mask_can_be_augmented() -> None:
    mel = np.ones((4, 128), np.float32)
    assert all(augment_mel(mel, AugmentConfig(), np.random.default_rng(i)).shape == (4, 128) for i in range(20))
