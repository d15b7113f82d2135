"""The audio encoder in a call: against the half-duplex encoder, and slot by slot against whole recordings."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from initial import initial_params
from toy_training import MODEL

from fac_jax.audio.mel import host_log_power, log_mel
from fac_jax.duplex import ears
from fac_jax.duplex.call import GROUP, SLOT, SLOT_FRAMES
from fac_jax.duplex.ears import Ears
from fac_jax.generation.prepared import prepare
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.duplex import DuplexConfig
from fac_jax.models.fun_audio_chat import FunAudioChat, empty_batch, with_beside
from fac_jax.precision import EXACT, products
from fac_jax.types import Params

SLOTS, WINDOW = 7, 3
FLOOR = -3.0
CONFIG = replace(MODEL, audio={"n_window": 30}, duplex=DuplexConfig(sinks=4, loudest_floor=FLOOR))
BLOCKS = replace(CONFIG, duplex={"stream": "block"})
LIMIT = 1e-5


@pytest.fixture(scope="module")
def params() -> Params:
    return with_beside(initial_params(MODEL, 3), CONFIG)


@pytest.fixture(scope="module")
def waves() -> np.ndarray:
    """Two recordings that grow louder and louder."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((2, SLOTS * SLOT)) * np.geomspace(0.001, 0.3, SLOTS * SLOT)).astype(np.float32)


def apply(config: ModelConfig, params: Params, run: Callable[..., Any], *inputs: Any) -> Any:
    """Calls a function of the model as generation has it."""
    model, ready = prepare(config, params)
    with products(EXACT):
        return jax.jit(nn.apply(run, model))({"params": ready}, *inputs)


def recorded(config: ModelConfig, params: Params, waves: np.ndarray) -> np.ndarray:
    """Frames `[R, t, G, D]` of whole recordings."""

    def slide(model: FunAudioChat, waves: jax.Array) -> jax.Array:
        return model.encoder.project(ears.slide_features(model, waves).reshape(len(waves), -1, config.audio.width))

    def block(model: FunAudioChat, waves: jax.Array) -> jax.Array:
        mel = ears.recorded_mel(waves, config.mel_bins, FLOOR)
        size = config.audio.mel_frames
        count = -(-mel.shape[1] // size)
        windows = jnp.pad(mel, ((0, 0), (0, count * size - mel.shape[1]), (0, 0))).reshape(-1, size, config.mel_bins)
        lengths = jnp.tile(jnp.clip(mel.shape[1] - size * jnp.arange(count), 0, size), len(waves))
        empty = empty_batch(config, 1, 1, 1)
        batch = empty.replace(mel_windows=windows, mel_lengths=lengths, mel_blocks=jnp.ones(len(windows), bool))
        frames = model.audio_frames(batch)
        assert frames is not None
        return frames.reshape(len(waves), -1, frames.shape[-1])[:, : SLOTS * GROUP]

    found = apply(config, params, block if config.blocks else slide, waves)
    return np.asarray(found).reshape(len(waves), SLOTS, GROUP, -1)


def test_slide_is_the_half_duplex_encoder_on_every_trailing_clip(
    params: Params, waves: np.ndarray, figures: Any
) -> None:
    """The loudest bin of the recording up to a slot is in its trailing clip, as the recording grows louder."""
    ours = recorded(CONFIG, params, waves)

    def half_duplex(model: FunAudioChat, clips: jax.Array, lengths: jax.Array) -> jax.Array:
        mel = log_mel(clips, lengths, CONFIG.mel_bins)
        return model.encoder(mel, lengths // SLOT * SLOT_FRAMES)

    firsts = [max(0, slot + 1 - WINDOW) for slot in range(SLOTS)]
    clips = np.zeros((SLOTS, WINDOW * SLOT), np.float32)
    lengths = np.array([(slot + 1 - first) * SLOT for slot, first in enumerate(firsts)], np.int32)
    for slot, first in enumerate(firsts):
        clips[slot, : lengths[slot]] = waves[0, first * SLOT : (slot + 1) * SLOT]
    theirs = apply(CONFIG, params, half_duplex, clips, lengths)
    ends = lengths // SLOT * GROUP
    wanted = np.stack([frames[end - GROUP : end] for frames, end in zip(theirs, ends, strict=True)])
    figures("frames of slide - half-duplex on the trailing clip, max abs diff", np.abs(ours[0] - wanted).max(), LIMIT)
    assert np.abs(wanted).max() > 1


@pytest.mark.parametrize("config", [CONFIG, BLOCKS], ids=["slide", "block"])
def test_slot_by_slot_equals_whole_recordings(
    config: ModelConfig, params: Params, waves: np.ndarray, figures: Any
) -> None:
    """Calls begin and end at any slot, wait while others go on, and none changes with its neighbours."""
    whole = recorded(config, params, waves)
    samples = waves.reshape(2, SLOTS, SLOT)

    def hear(model: FunAudioChat, state: Ears, samples: jax.Array, active: jax.Array) -> Any:
        return ears.hear(model, state, samples, active)

    model, ready = prepare(config, params)
    tick = jax.jit(nn.apply(hear, model))
    state: Any = ears.open_ears(config, 3)
    state = state.replace(samples=state.samples + 1, edge=state.edge + 1)  # of a call that is over
    rng = np.random.default_rng(1)
    heard: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}
    # Row 0 is a call from the start, row 1 waits in slots 2 and 3, row 2 is a call that ends, and another that begins.
    for slot in range(SLOTS + 4):
        if slot == 2:
            state = ears.begin(state, np.array([False, False, True]))
            heard[2].clear()
        block = rng.standard_normal((3, SLOT)).astype(np.float32)
        active = np.array([slot < SLOTS, slot not in (2, 3) and len(heard[1]) < SLOTS, len(heard[2]) < SLOTS])
        for row, recording in enumerate((0, 1, 1)):
            if active[row]:
                block[row] = samples[recording, len(heard[row])]
        with products(EXACT):
            state, frames = tick({"params": ready}, state, block, active)
        for row in np.flatnonzero(active):
            heard[int(row)].append(np.asarray(frames[row]))
    assert tick._cache_size() == 1, "one program for all slots"
    stream = "block" if config.blocks else "slide"
    for row, recording in enumerate((0, 1, 1)):
        worst = np.abs(np.stack(heard[row]) - whole[recording]).max()
        figures(f"{stream}, row {row}, slot by slot - whole recording, max abs diff", worst, LIMIT)


@pytest.mark.parametrize("config", [CONFIG, BLOCKS], ids=["slide", "block"])
def test_nothing_of_what_comes_later_is_heard(config: ModelConfig, params: Params, waves: np.ndarray) -> None:
    other = waves.copy()
    other[:, 4 * SLOT :] = 0.5
    before, after = recorded(config, params, waves), recorded(config, params, other)
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.abs(before[:, 4] - after[:, 4]).max() > 1e-2


def test_windows_that_are_heard_whole_are_those_of_a_half_duplex_model(params: Params) -> None:
    rng = np.random.default_rng(0)
    mel = rng.standard_normal((2, 60, CONFIG.mel_bins)).astype(np.float32)
    lengths = np.array([60, 43], np.int32)

    def encode(model: FunAudioChat, blocks: jax.Array | None) -> jax.Array:
        return model.encoder(jnp.asarray(mel), jnp.asarray(lengths), blocks)

    plain = apply(CONFIG, params, lambda model: encode(model, None))
    whole, mixed = (apply(CONFIG, params, encode, np.array(blocks)) for blocks in ([False, False], [True, False]))
    np.testing.assert_allclose(whole, plain, atol=LIMIT)
    np.testing.assert_allclose(mixed[1], plain[1], atol=LIMIT)
    assert np.abs(mixed[0] - plain[0]).max() > 1e-2


def test_the_loudest_bin_of_thirty_seconds_sets_the_range() -> None:
    slots = ears.LOUDEST_SLOTS + 10
    powers = np.random.default_rng(0).uniform(-9, -4, (1, slots, 2, 3)).astype(np.float32)
    powers[0, 5, 1, 2] = 1.0
    found = np.asarray(ears.recorded_loudest(jnp.asarray(powers), FLOOR))[0]
    wanted = [max(FLOOR, powers[0, max(0, t + 1 - ears.LOUDEST_SLOTS) : t + 1].max()) for t in range(slots)]
    np.testing.assert_array_equal(found, np.float32(wanted))
    assert ears.LOUDEST_SLOTS == 150 and found[4] == FLOOR and found[5] == found[154] == 1.0 and found[155] == FLOOR


def test_features_of_a_recording_fill_windows() -> None:
    features = np.arange(7 * GROUP * 2, dtype=np.float32).reshape(7, GROUP, 2)
    windows = ears.slide_windows(features, WINDOW)
    assert windows.shape == (3, WINDOW * GROUP, 2) and not windows[2, GROUP:].any()
    np.testing.assert_array_equal(windows.reshape(-1, 2)[: 7 * GROUP], features.reshape(-1, 2))


def test_the_least_loudness_is_that_of_a_quiet_clip() -> None:
    noise = np.random.default_rng(0).standard_normal(SLOT)
    noises = [(noise * level).astype(np.float32) for level in np.geomspace(1, 0.01, 21)]
    assert ears.quiet_maximum(noises, 16) == host_log_power(noises[-2], 16).max()


@pytest.mark.parametrize("config", [CONFIG, BLOCKS], ids=["slide", "block"])
def test_a_state_may_be_given_away(config: ModelConfig) -> None:
    """The runtime donates it: two fields may not share a buffer."""
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(ears.open_ears(config, 2)) if leaf.size]
    assert len(set(buffers)) == len(buffers)
