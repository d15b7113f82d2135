"""Compares the flow with a recorded run."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from fac_jax.checkpoint.voice.config import flow_config
from fac_jax.codec.cosyvoice.config import FlowConfig
from fac_jax.codec.cosyvoice.dit import Conditions
from fac_jax.codec.cosyvoice.flow import ABSENT, ALL, BEFORE, Flow, mask_of, sample, times, with_and_without
from fac_jax.evaluation.parity.model import Figure
from fac_jax.evaluation.parity.recording import Recording, channels_last, difference, inside, layer
from fac_jax.types import Params


def recorded_flow(recording: Recording) -> tuple[FlowConfig, Params]:
    """Reads the sizes and parameters of a recorded flow."""
    config = flow_config(recording.values.section("config"), recording.values.size("n_timesteps"))
    return config, recording.params("flow", config)


def compare(recording: Recording) -> Iterator[Figure]:
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
