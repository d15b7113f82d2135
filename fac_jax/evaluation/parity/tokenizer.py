"""Compares the S3 tokenizer with a recorded run."""

from collections.abc import Iterator, Mapping

import jax
import numpy as np

from fac_jax.audio.mel import log_mel
from fac_jax.checkpoint.voice.config import tokenizer_config
from fac_jax.codec.cosyvoice.s3_tokenizer import S3Tokenizer, token_lengths
from fac_jax.evaluation.parity.model import Figure
from fac_jax.evaluation.parity.recording import Recording, channels_last, difference, inside, layer, unequal

# The rule of the s3tokenizer package for a long log-mel (docs/codec_model.md, section 1.5): windows overlap, and each
# side of a seam drops half of the overlap. Fun-Audio-Chat cuts waves instead.
FRAMES, STRIDE, SEAM = 3000, 2600, 50


def compare(recording: Recording) -> Iterator[Figure]:
    """Yields figures of log-mels, layers and ids of short audio, and of the ids of long log-mels."""
    arrays = recording.arrays
    config = tokenizer_config(recording.values.section("config"))
    model, variables = S3Tokenizer(config), {"params": recording.params("tokenizer", config)}
    run = jax.jit(model.apply)

    def ids(mel: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return np.asarray(run(variables, mel, lengths))

    for i in (i for i in range(len(arrays["mel_len"])) if f"audio{i}" in arrays):
        mel = np.asarray(log_mel(arrays[f"audio{i}"]))
        yield difference(f"log-mel {i}", channels_last(mel), arrays[f"mel{i}"])
        alone = ids(mel[None], np.array([len(mel)]))
        yield unequal(f"ids of audio {i} alone", alone, arrays[f"codes_single{i}"])

    mel, lengths = channels_last(arrays["mel_batch"]), arrays["mel_len"]
    found = inside(model.apply, variables, mel, lengths)
    recorded: Mapping[str, np.ndarray] = {
        "act_conv1_pre_gelu": channels_last(np.asarray(found["conv1"])),
        "act_conv2_pre_gelu": channels_last(np.asarray(found["conv2"])),
        "act_block0_fsmn_conv": channels_last(np.asarray(found["layers.attention.fsmn"][0])),
        "act_block0_attn_out": np.asarray(found["layers.attention"][0]),
        "act_project_down": np.asarray(found["project_down"]).reshape(-1, found["project_down"].shape[-1]),
    } | {f"act_block{i}_out": np.asarray(found["layers"][i]) for i in range(config.depth)}
    for name, ours in recorded.items():
        if name in arrays:
            yield layer(name.removeprefix("act_"), ours, arrays[name])
    yield unequal("ids of the batch", ids(mel, lengths), arrays["codes"])
    yield unequal("numbers of ids", token_lengths(lengths), arrays["code_len"])
    if "long_codes" in arrays:
        bins, frames, factor = recording.noted("long_case", r"normal\(\((\d+),(\d+)\)\).*float32\(([\d.]+)\)")
        for i, (seed, length) in enumerate(zip(arrays["long_seeds"], arrays["long_mel_len"], strict=True)):
            drawn = np.random.RandomState(int(seed)).standard_normal((int(bins), int(frames))).astype(np.float32)
            found = in_windows(ids, channels_last(drawn * np.float32(factor)), int(length))
            count = int(arrays["long_code_len"][i])
            yield unequal(f"ids of long mel {i}", found, arrays["long_codes"][i, :count])


def in_windows(ids, mel: np.ndarray, length: int) -> np.ndarray:
    """Returns the ids of one log-mel `[M, 128]` by the rule of the s3tokenizer package, in overlapping windows."""
    starts = range(0, length, STRIDE)
    windows = np.zeros((len(starts), FRAMES, mel.shape[1]), np.float32)
    lengths = np.array([min(FRAMES, length - start) for start in starts])
    for i, start in enumerate(starts):
        windows[i, : lengths[i]] = mel[start : start + lengths[i]]
    found = ids(windows, lengths)
    merged = []
    for i, row in enumerate(found):
        row = row[: token_lengths(int(lengths[i]))]
        merged.append(row[SEAM if i else 0 : len(row) - (SEAM if i < len(starts) - 1 else 0)])
    return np.concatenate(merged)
