"""Compares the vocoder with a recorded run."""

from collections.abc import Iterator

import numpy as np

from fac_jax.checkpoint.voice.config import vocoder_config
from fac_jax.codec.cosyvoice.config import VocoderConfig
from fac_jax.codec.cosyvoice.source import F0_LOOKAHEAD, tones
from fac_jax.codec.cosyvoice.stft import reflected, spectrum
from fac_jax.codec.cosyvoice.vocoder import Vocoder
from fac_jax.codec.cosyvoice.vocoder_windows import RELEASE_HELD, WindowedVocoder
from fac_jax.evaluation.parity.model import Figure
from fac_jax.evaluation.parity.recording import Recording, channels_last, difference, inside, layer
from fac_jax.types import Params

F0_LIMIT = 1e-3  # Hz


def recorded_vocoder(recording: Recording) -> tuple[VocoderConfig, Params]:
    """Reads the sizes and parameters of a recorded vocoder."""
    config = vocoder_config(recording.values.section("config"))
    return config, recording.params("vocoder", config)


def compare(recording: Recording) -> Iterator[Figure]:
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
    source = np.asarray(model.apply(variables, *inputs, method="source"))[:, None]
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
