"""The release's processor tensors as our `Batch` (docs/model.md, sections 4 and 7): a data loader can be moved over."""

from collections.abc import Mapping

import numpy as np

from fac_jax.models.config import ModelConfig
from fac_jax.types import IGNORE, NO_FRAME, NO_TEXT, Batch, InputError, Kind


def release_batch(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> Batch:
    """Places the release's flat lists of audios on the LLM grid.

    As in the release, the text of a reply that is longer than its groups is cut.

    Args:
      arrays: `input_ids`, `attention_mask` `[B, S]`; if there is audio, `speech_ids`, `speech_attention_mask` `[A, T]`,
        and, if any has a waveform, `input_features` `[A', 128, M]`, `feature_attention_mask` `[A', M]`,
        `feature_exist_mask` `[A]`; in training `labels` `[B, S]`, `text_ids` `[A, T / G]`, `text_attention_mask` `[A]`.

    Raises:
      InputError: an array is missing or has another shape than those it belongs to, or audio positions and groups
        differ in number; names both.
    """
    _check(arrays, config)
    special, group = config.special, config.group_size
    ids = np.asarray(arrays["input_ids"], np.int32)
    rows, length = ids.shape
    mask = np.asarray(arrays["attention_mask"]).astype(bool)
    text = ids.copy()
    kind = np.full(ids.shape, Kind.TEXT, np.int32)
    speech = np.full((rows, length, group), special.speech_pad, np.int32)
    valid_speech = np.zeros((rows, length, group), bool)
    has_waveform = np.zeros(ids.shape, bool)
    frame_index = np.full((rows, length, group), NO_FRAME, np.int32)
    labels = np.asarray(arrays.get("labels", np.full(ids.shape, IGNORE)), np.int32).copy()

    windows, lengths = np.zeros((0, config.audio.mel_frames, config.audio.mel_bins), np.float32), np.zeros(0, np.int32)
    audio_rows, audio_cols = np.nonzero((ids == special.audio) & mask)
    groups: list[tuple[int, int]] = []
    first_frame: list[int] = []  # NO_FRAME for an audio without waveform
    encoded: list[int] = []
    if "speech_ids" in arrays:
        counts = np.asarray(arrays["speech_attention_mask"]).astype(int).sum(axis=1)
        groups = [(a, g) for a, n in enumerate(counts) for g in range(-(-n // group))]
        exists = np.asarray(arrays.get("feature_exist_mask", np.zeros(len(counts)))).astype(bool)
        windows, lengths = _windows(arrays, config)
        spans = iter(encoder_spans(arrays, config))
        taken = [next(spans) if there else (NO_FRAME, 0) for there in exists]
        first_frame, encoded = [first for first, _ in taken], [count for _, count in taken]
    if len(groups) != len(audio_rows):
        raise InputError(f"{len(audio_rows)} audio positions in input_ids but {len(groups)} groups of speech ids")

    with_text = np.asarray(arrays["text_attention_mask"]).astype(bool) if "text_ids" in arrays else None
    for (audio, g), row, col in zip(groups, audio_rows, audio_cols, strict=True):
        tokens = np.asarray(arrays["speech_ids"][audio], np.int32)
        span = np.arange(g * group, (g + 1) * group)
        inside = span < counts[audio]
        speech[row, col] = np.where(inside, tokens[np.minimum(span, len(tokens) - 1)], special.speech_pad)
        valid_speech[row, col] = inside
        joint = with_text is not None and with_text[audio]
        kind[row, col] = Kind.JOINT if joint else Kind.SPEECH
        if joint:
            reply = np.asarray(arrays["text_ids"][audio], np.int32)
            token = reply[g] if g < len(reply) else special.sil
            text[row, col] = special.sil if token in (special.pad, special.eos) else token
        elif with_text is not None:
            text[row, col] = NO_TEXT
        has_waveform[row, col] = first_frame[audio] != NO_FRAME
        if first_frame[audio] != NO_FRAME:
            frame_index[row, col] = np.where(span < encoded[audio], first_frame[audio] + span, NO_FRAME)

    kept = labels != IGNORE
    speech_labels = np.where((kind == Kind.JOINT)[..., None] & kept[..., None] & valid_speech, speech, IGNORE)
    speech_labels[labels == special.audio_eos] = special.speech_eos
    labels = np.where(kind == Kind.JOINT, np.where(kept, text, IGNORE), np.where(kind == Kind.SPEECH, IGNORE, labels))
    return Batch(
        text_ids=text,
        kind=kind,
        speech_ids=speech,
        has_waveform=has_waveform,
        frame_index=frame_index,
        segment_ids=mask.astype(np.int32),
        positions=np.maximum(np.cumsum(mask, axis=1) - 1, 0).astype(np.int32),
        labels=labels.astype(np.int32),
        speech_labels=speech_labels.astype(np.int32),
        mel_windows=windows,
        mel_lengths=lengths,
    )


def encoder_spans(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> list[tuple[int, int]]:
    """For every waveform its first 25 Hz frame in the encoder's output, and the number of its frames.

    One of them may lie beyond the audio's speech tokens (docs/model.md, section 2). `arrays` as for `release_batch`.
    """
    spans, windows = [], 0
    for mel_frames in _mel_frames(arrays):
        spans.append((windows * config.audio.frames, max(1, ((mel_frames - 1) // 2 + 1) // 2)))
        windows += -(-mel_frames // config.audio.mel_frames)
    return spans


def _windows(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """Windows `[W, 2n, 128]` and their lengths."""
    size = config.audio.mel_frames
    windows, lengths = [], []
    for mel, total in zip(arrays.get("input_features", ()), _mel_frames(arrays), strict=True):
        for begin in range(0, total, size):
            piece = mel[:, begin : min(begin + size, total)].T
            windows.append(np.pad(piece, ((0, size - len(piece)), (0, 0))))
            lengths.append(len(piece))
    shape = (-1, size, config.audio.mel_bins)
    return np.asarray(windows, np.float32).reshape(shape), np.asarray(lengths, np.int32)


def _mel_frames(arrays: Mapping[str, np.ndarray]) -> list[int]:
    """Mel frames of every waveform."""
    return [int(np.sum(mask)) for mask in arrays.get("feature_attention_mask", ())]


def _check(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> None:
    """Holds the shapes of the arrays against each other; letters stand for sizes that must agree."""
    expected = {"input_ids": "BS", "attention_mask": "BS"}
    if "speech_ids" in arrays:
        expected |= {"speech_ids": "AT", "speech_attention_mask": "AT"}
    if "text_ids" in arrays:
        expected |= {"text_ids": "At", "text_attention_mask": "A"}
    if "input_features" in arrays:
        expected |= {"input_features": "WFM", "feature_attention_mask": "WM", "feature_exist_mask": "A"}
    expected |= {name: axes for name, axes in {"labels": "BS", "feature_exist_mask": "A"}.items() if name in arrays}
    sizes = {"F": config.audio.mel_bins}
    for name, axes in expected.items():
        if name not in arrays:
            raise InputError(f"the batch has no {name}, which belongs to {', '.join(n for n in expected if n != name)}")
        shape = np.shape(arrays[name])
        if len(shape) != len(axes) or any(sizes.setdefault(axis, n) != n for axis, n in zip(axes, shape, strict=True)):
            reported = ", ".join(str(sizes.get(axis, axis)) for axis in axes)
            raise InputError(f"{name} is {list(shape)}, must be [{reported}] to go with the arrays before it")
    waveforms = int(np.sum(arrays.get("feature_exist_mask", 0)))
    if waveforms != sizes.get("W", 0):
        raise InputError(f"feature_exist_mask names {waveforms} waveforms, input_features has {sizes.get('W', 0)}")
