"""Compares the three networks of the voice with recorded runs."""

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from fac_jax.audio.mel import log_mel
from fac_jax.codec.cosyvoice.config import FlowConfig, VocoderConfig
from fac_jax.codec.cosyvoice.dit import Conditions
from fac_jax.codec.cosyvoice.flow import ABSENT, ALL, BEFORE, Flow, mask_of, sample, times, with_and_without
from fac_jax.codec.cosyvoice.s3_tokenizer import S3Tokenizer, token_lengths
from fac_jax.codec.cosyvoice.source import F0_LOOKAHEAD, tones
from fac_jax.codec.cosyvoice.vocoder import Vocoder, reflected, spectrum
from fac_jax.codec.cosyvoice.vocoder_windows import RELEASE_HELD, WindowedVocoder
from fac_jax.evaluation.parity.model import Figure, channels_last, difference, layer, unequal
from fac_jax.evaluation.parity.recording import Recording, flow_config, inside, tokenizer_config, vocoder_config
from fac_jax.types import Params

# The rule of the s3tokenizer package for a long log-mel (docs/codec_model.md, section 1.5): windows overlap, and each
# side of a seam drops half of the overlap. Fun-Audio-Chat cuts waves instead.
FRAMES, STRIDE, SEAM = 3000, 2600, 50
F0_LIMIT = 1e-3  # Hz


def compare_tokenizer(recording: Recording) -> Iterator[Figure]:
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


def recorded_flow(recording: Recording) -> tuple[FlowConfig, Params]:
    """Reads the sizes and parameters of a recorded flow."""
    config = flow_config(recording.values.section("config"), recording.values.size("n_timesteps"))
    return config, recording.params("flow", config)


def compare_flow(recording: Recording) -> Iterator[Figure]:
    """Yields figures of the look-ahead layer, of single estimates with their layers, and of whole solutions."""
    config, params = recorded_flow(recording)
    yield from _lookahead(config, params, recording)
    yield from _estimate(config, params, recording)
    for case in ("a_offline", "b_nofinal", "c_streammask", "d_prompt"):
        if f"{case}_mel" in recording.arrays:
            yield from _solution(config, params, recording, case)


def _lookahead(config: FlowConfig, params: Params, recording: Recording) -> Iterator[Figure]:
    arrays = recording.arrays
    if "p_in" not in arrays:
        return
    embedded = arrays["p_in"]
    for name, after in (("p_out_final", config.lookahead), ("p_out_ctx", 0)):
        padded = np.pad(embedded, ((0, 0), (BEFORE, after), (0, 0)))
        present = np.zeros(padded.shape[:2], bool)
        present[:, BEFORE : BEFORE + embedded.shape[1]] = True
        apply = Flow(config).apply
        ours = apply({"params": params}, padded, present, method=lambda flow, *inputs: flow.lookahead(*inputs))
        yield difference(name, np.asarray(ours), arrays[name])


def _estimate(config: FlowConfig, params: Params, recording: Recording) -> Iterator[Figure]:
    arrays = recording.arrays
    x, mu, cond = (channels_last(arrays[f"e_{name}"]) for name in ("x", "mu", "cond"))
    conditions = Conditions(mu, cond, arrays["e_spks"])
    frames = x.shape[1]
    inputs = [{"params": params}, x, arrays["e_t"], conditions, jnp.arange(frames)]
    whole, chunks = (mask_of(frames, frames, chunk, ALL) for chunk in (None, config.dit.chunk))
    found = inside(Flow(config).apply, *inputs, whole, method="direction")
    recorded = {
        "e_time_embed": found["dit.time"],
        "e_input_proj": found["dit.input"],
        "e_input_embed": np.asarray(found["dit.input"]) + np.asarray(found["dit.position"]),
    }
    for i in range(config.dit.depth):
        recorded |= {f"e_block{i}_attn": found["dit.layers.attention"][i], f"e_block{i}": found["dit.layers"][i]}
    for name, ours in recorded.items():
        if name in arrays:
            yield layer(name, ours, arrays[name])
    yield difference("e_out", channels_last(np.asarray(found["dit"])), arrays["e_out"])
    ours, _ = jax.jit(Flow(config).apply, static_argnames="method")(*inputs, chunks, method="direction")
    yield difference("e_out_stream", channels_last(np.asarray(ours)), arrays["e_out_stream"])


def _solution(config: FlowConfig, params: Params, recording: Recording, case: str) -> Iterator[Figure]:
    arrays, apply, variables = recording.arrays, Flow(config).apply, {"params": params}
    theirs = arrays[f"{case}_mel"]
    mu = arrays[f"{case}_mu"]
    frames = mu.shape[2]
    prompt = frames - theirs.shape[2]
    final = case != "b_nofinal"
    tokens = frames // config.token_frames - (prompt // config.token_frames if prompt else 0)
    spoken = arrays["token"][0][: tokens if final else tokens + config.lookahead]
    before = arrays["prompt_token"][0] if prompt else np.zeros(0, np.int64)
    edges = np.full(BEFORE, ABSENT), np.full(config.lookahead if final else 0, ABSENT)
    ids = np.concatenate([edges[0], before, spoken, edges[1]]).astype(np.int32)
    cond = np.zeros((frames, config.mel_bins), np.float32)
    if prompt:
        cond[:prompt] = arrays["prompt_feat"][0]
    noise = channels_last(arrays["noise"])[0, :frames]
    chunk = config.dit.chunk if case == "c_streammask" else None

    ours = apply(variables, ids[None], method="mu")
    yield difference(f"{case}_mu", channels_last(np.asarray(ours)), mu)
    speaker = apply(variables, arrays["embedding"], method="speaker")
    yield difference(f"{case}_spks", np.asarray(speaker), arrays[f"{case}_spks"])
    yield difference(f"{case}_t", times(config.steps)[0], arrays[f"{case}_t"], 1e-6)

    conditions = with_and_without(Conditions(channels_last(mu), cond[None], arrays[f"{case}_spks"]))
    mask = mask_of(frames, frames, chunk, ALL)
    direction = jax.jit(apply, static_argnames="method")

    def estimate(x: np.ndarray, t: float) -> np.ndarray:
        both = np.stack([x, x]), np.full(2, t, np.float32)
        out, _ = direction(variables, *both, conditions, jnp.arange(frames), mask, method="direction")
        return channels_last(np.asarray(out))

    yield difference(f"{case}_step1_out", estimate(noise, 0.0), arrays[f"{case}_step1_out"])
    if f"{case}_out_steps" in arrays:
        steps = zip(channels_last(arrays[f"{case}_x_in_steps"]), arrays[f"{case}_t"], strict=True)
        found = np.stack([estimate(x, t) for x, t in steps])
        yield difference(f"{case}_out_steps", found, arrays[f"{case}_out_steps"])
    mel = sample(config, params, ids, np.int32(frames), arrays["embedding"][0], cond, noise, chunk)
    yield difference(f"{case}_mel", channels_last(np.asarray(mel)[None, prompt:]), theirs)


def recorded_vocoder(recording: Recording) -> tuple[VocoderConfig, Params]:
    """Reads the sizes and parameters of a recorded vocoder."""
    config = vocoder_config(recording.values.section("config"))
    return config, recording.params("vocoder", config)


def compare_vocoder(recording: Recording) -> Iterator[Figure]:
    """Yields figures of pitch, source, layers and waves, of speech that ends and of speech that continues."""
    config, params = recorded_vocoder(recording)
    arrays = recording.arrays
    mel = channels_last(arrays["mel"])[0]
    noise = arrays["sine_noise_head"][0, : len(mel) * config.frame_samples].astype(np.float32)
    vocoder = WindowedVocoder(config, params, noise)
    model, variables = Vocoder(config), {"params": params}
    f0 = vocoder.f0(mel, len(mel))
    played = tones(f0, np.zeros(config.harmonics), config, "release")
    inputs = played.sines[None], played.noise[None], noise[None]
    source = model.apply(variables, *inputs, method=lambda model, *inputs: model.harmonics(*inputs))
    source = np.asarray(source)[:, None]
    loud = np.repeat(played.noise, config.frame_samples)[:, None] * noise
    sines = np.repeat(played.sines, config.frame_samples, axis=0) + loud

    decoded = mel[None], arrays["final_source"][:, 0], np.int32(len(mel))
    found = inside(model.apply, variables, *decoded, method="decode")
    recorded = {"conv_pre": found["conv_pre"], "conv_post": found["conv_post"]}
    for i in range(len(config.upsample_rates)):
        recorded |= {f"up{i}": found[f"ups_{i}"], f"source_down{i}": found[f"source_downs_{i}"]}
        recorded |= {f"source_res{i}": found[f"source_blocks_{i}"]}
    recorded |= {f"res{i}": found[f"blocks_{i}"] for i in range(len(config.upsample_rates) * len(config.block_widths))}

    for case, ahead, held in (("final", 0, 0), ("nofinal", F0_LOOKAHEAD, RELEASE_HELD)):
        frames = len(mel) - ahead
        yield difference(f"{case}_f0 in Hz", f0[None, :frames], arrays[f"{case}_f0"], F0_LIMIT)
        count = frames * config.frame_samples
        yield difference(f"{case}_source", source[..., :count], arrays[f"{case}_source"])
        if f"{case}_sinegen" in arrays:
            theirs = arrays[f"{case}_sinegen"]
            yield difference(f"{case}_sinegen", sines[None, : theirs.shape[1]], theirs)
        padded = reflected(arrays[f"{case}_source"][:, 0], config.fft // 2, count)
        bins = np.split(np.asarray(spectrum(padded, config.fft, config.hop)), 2, axis=-1)
        for name, ours in zip(("real", "imag"), bins, strict=True):
            if f"{case}_stft_{name}" in arrays:
                yield layer(f"{case}_stft_{name}", channels_last(ours), arrays[f"{case}_stft_{name}"])
        for name, ours in recorded.items():
            if f"{case}_{name}" in arrays:
                theirs = arrays[f"{case}_{name}"]
                known = theirs.shape[-1]
                if held:  # only frames that are not held back do not depend on later ones
                    known = (len(mel) - held) * (known // (frames - config.lookahead))
                cut = channels_last(np.asarray(ours))[..., :known]
                yield layer(f"{case}_{name}", cut, theirs[..., :known])
        speech = vocoder.speech(len(mel), "release", held)
        yield difference(f"{case}_wav", speech.push(mel, final=not held)[None], arrays[f"{case}_wav"])
