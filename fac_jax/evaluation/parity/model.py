"""Compares a checkpoint with a recorded run of the release (`io.npz`): every difference against its limit.

A recorded run holds a training batch with what the release computed on it (encoder, hidden states, logits, losses,
gradient norm of every parameter), text-only logits, and greedy responses.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, cast

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from fac_jax.checkpoint.release.batch import encoder_spans, release_batch
from fac_jax.checkpoint.release.params import to_release
from fac_jax.generation.decode import generate
from fac_jax.generation.prepared import prepare
from fac_jax.generation.sampling import Sampling
from fac_jax.generation.slots import Decoding
from fac_jax.losses import Sft
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.precision import EXACT, products
from fac_jax.types import Array, Batch, InputError, ModelOutput, Params

LIMIT = 1e-4  # absolute limit of quantities with a scale of about 1
VALUES, LOSSES, NORMS = 2e-4, 1e-5, 1e-3  # limits: absolute, relative, relative
NO_NORM = 1e-6  # absolute limit of a gradient that is zero in the release: that of an expert without tokens
TRAINING_SCALE = 0.5  # the release's factor on a user's audio in a batch with text_ids (docs/model.md, section 4)
UNREAD = "continuous_audio_tower.audio_bos_eos_token.weight"  # no forward pass of the release reads it
PENALTY: Final = Sampling(repetition_penalty=1.2)
# Penalties are arrays, so that the three spoken runs share one compilation.
RUNS: Final[Mapping[str, Decoding]] = {
    "s2t": Decoding("text"),
    "s2s": Decoding("joint"),
    "s2s_default": Decoding("joint", speech=PENALTY),
    "s2s_rep": Decoding("joint", text=PENALTY, speech=PENALTY),
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """The largest difference of one quantity, and the largest that passes; the name says how it is measured."""

    name: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the value is within its limit; NaN is not."""
        return self.value <= self.limit


def compare(params: Params, config: ModelConfig, arrays: Mapping[str, np.ndarray]) -> Iterator[Figure]:
    """Yields all figures of a recorded run, computed in float32 at the highest precision.

    Raises:
      InputError: the arrays hold no known part of a run, or an array is missing or has another shape.
    """
    arrays = Recorded(arrays)
    config = dataclasses.replace(config, dtype="float32")
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    parts = {"train/": _training, "text/": _text_only} | {f"{run}/": partial(_response, run=run) for run in RUNS}
    known = [part for prefix, part in parts.items() if under(arrays, prefix)]
    if not known:
        raise InputError(f"recorded arrays hold nothing below {', '.join(parts)}")
    for part in known:
        with products(EXACT):
            found = list(part(params, config, arrays))
        yield from found


class Recorded(dict[str, np.ndarray]):
    """Recorded arrays by name; a missing name raises `InputError`."""

    def __missing__(self, name: str) -> np.ndarray:
        raise InputError(f"recorded arrays hold no {name}; record the whole run")


def under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Returns the arrays whose names start with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def training_batch(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> tuple[Batch, ModelConfig]:
    """Returns the recorded training batch, and the configuration with which the release trained on it."""
    scale = TRAINING_SCALE if "in/text_ids" in arrays else 1.0
    return release_batch(under(arrays, "in/"), config), dataclasses.replace(config, user_audio_scale=scale)


def _training(params: Params, config: ModelConfig, arrays: Mapping[str, np.ndarray]) -> Iterator[Figure]:
    batch, config = training_batch(arrays, config)
    model, variables = FunAudioChat(config), {"params": params}

    if len(batch.mel_windows):
        windows = jax.jit(partial(model.apply, method=lambda model, *mel: model.encoder(*mel)))
        frames = windows(variables, batch.mel_windows, batch.mel_lengths)
        yield _encoder(
            rearrange(np.asarray(frames), "w f d -> (w f) d"), encoder_spans(under(arrays, "in/"), config), arrays
        )

    output, text, speech = jax.jit(partial(model.apply, method=everything))(variables, batch)
    kept = np.asarray(batch.segment_ids) > 0
    yield difference("hidden", output.hidden, arrays["train/last_hidden"], VALUES, kept)
    yield difference("text logits", text, arrays["train/text_logits"], VALUES, kept)
    fine, kept = rearrange(speech, "b s g c -> b (s g) c"), np.repeat(kept, config.group_size, axis=1)
    yield difference("speech logits", fine, arrays["train/speech_logits"], VALUES, kept)

    objective = partial(Sft(chunk=16), model, batch=batch)
    with_gradients = "train/grad_names" in arrays
    if with_gradients:
        (loss, metrics), grads = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
    else:
        (loss, metrics), grads = jax.jit(objective)(params), params
    text_loss = arrays["train/text_loss"]
    if config.text.moe is not None and config.text.moe.aux_loss_coef:
        yield relative("router loss", metrics["router_loss"], arrays["train/aux_loss"])
        # The release's text loss holds the router's already.
        text_loss = text_loss - config.text.moe.aux_loss_coef * arrays["train/aux_loss"]
    yield relative("loss", loss, arrays["train/loss"])
    yield relative("text loss", metrics["text_loss"], text_loss)
    yield relative("speech loss", metrics["speech_loss"], arrays["train/speech_loss"])
    if with_gradients:
        names, norms = arrays["train/grad_names"], arrays["train/grad_norms"]
        check_shape("train/grad_norms", names, norms)
        yield from _gradients(to_release(grads, config), dict(zip(names.tolist(), norms.tolist(), strict=True)))


def _encoder(frames: np.ndarray, spans: list[tuple[int, int]], arrays: Mapping[str, np.ndarray]) -> Figure:
    """Compares the encoder's frames `[F, D]` with the recorded ones, which are cut to the batch's speech tokens."""
    recorded, lengths = arrays["encoder/features"], arrays["encoder/lengths"]
    if lengths.tolist() != [count for _, count in spans] or len(recorded) != len(spans):
        raise InputError(f"encoder/lengths are {lengths.tolist()}, by the batch {[count for _, count in spans]}")
    kept = np.arange(recorded.shape[1]) < lengths[:, None]
    first = np.array([first for first, _ in spans])
    index = first[:, None] + np.arange(recorded.shape[1])
    return difference("encoder", frames[np.where(kept, index, 0)], recorded, VALUES, kept)


def everything(model: FunAudioChat, batch: Batch) -> tuple[ModelOutput, jax.Array, jax.Array]:
    """Runs a model on conversations: its output, and the logits of both streams."""
    output = cast(Any, model(batch))
    return output, model.text_logits(output.hidden), model.speech_logits(output.speech_hidden)


def _text_only(params: Params, config: ModelConfig, arrays: Mapping[str, np.ndarray]) -> Iterator[Figure]:
    ids = arrays["text/input_ids"]
    batch = release_batch({"input_ids": ids, "attention_mask": np.ones_like(ids)}, config)
    model = FunAudioChat(config)

    def logits(model: FunAudioChat, batch: Batch) -> jax.Array:
        return model.text_logits(cast(jax.Array, model(batch, heads="text").hidden))

    ours = jax.jit(partial(model.apply, method=logits))({"params": params}, batch)
    yield difference("text-only logits", ours, arrays["text/logits"], VALUES)


def _response(params: Params, config: ModelConfig, arrays: Mapping[str, np.ndarray], run: str) -> Iterator[Figure]:
    special, expected = config.special, arrays[f"{run}/text_ids"]
    prompt = release_batch(under(arrays, f"{run}/in/"), config)
    rows = len(prompt.text_ids)
    if expected.ndim != 2 or len(expected) != rows:
        raise InputError(f"{run}/text_ids is {list(expected.shape)}, must be [{rows}, T]: one answer a prompt")
    # If the release ended all turns, one more step would show a turn that we do not end.
    steps = expected.shape[1] + int((expected == special.eos).any(axis=1).all())
    decoding = dataclasses.replace(RUNS[run], max_steps=steps)
    model, prepared = prepare(config, params)
    reply = generate(model, prepared, prompt, jax.random.split(jax.random.key(0), rows), steps, decoding)
    wrong = _tokens(reply.text_ids, int(reply.text_count.max()), expected)
    if reply.speech_ids is not None and reply.speech_count is not None:
        ours = reply.speech_ids.reshape(rows, -1)
        wrong += _tokens(ours, int(reply.speech_count.max()) * config.group_size, arrays[f"{run}/speech_ids"])
    yield Figure(f"{run}, tokens that differ", wrong, 0)


def _tokens(padded: Array, length: int, theirs: np.ndarray) -> int:
    """Counts the tokens that differ; `length` is that of our longest row, and shorter rows are padded in both."""
    ours = np.asarray(padded)[:, :length]
    common = min(length, theirs.shape[1])
    beyond = max(length, theirs.shape[1]) - common
    return len(ours) * beyond + int(np.sum(ours[:, :common] != theirs[:, :common]))


def check_shape(name: str, ours: Array, theirs: np.ndarray) -> None:
    """Raises an InputError unless a recorded array has the shape of ours."""
    if np.shape(ours) != np.shape(theirs):
        shapes = f"{list(np.shape(theirs))} in the recorded run, {list(np.shape(ours))} in this model"
        raise InputError(f"{name} is {shapes}; is it another model's run?")


def difference(
    name: str, ours: Array, theirs: np.ndarray, limit: float = LIMIT, kept: np.ndarray | None = None
) -> Figure:
    """Measures the largest absolute difference where `kept` (over the leading axes) is true, or everywhere."""
    check_shape(name, ours, theirs)
    found = np.abs(np.asarray(ours, np.float64) - theirs)
    return Figure(f"{name}, max abs diff", float(found[... if kept is None else kept].max()), limit)


def layer(name: str, ours: Array, theirs: np.ndarray) -> Figure:
    """Measures as `difference` does, for a layer inside a model: the limit grows with the scale of the recording."""
    return difference(name, ours, theirs, LIMIT * max(1.0, float(np.max(np.abs(theirs)))))


def unequal(name: str, ours: Array, theirs: np.ndarray) -> Figure:
    """Counts the ids that differ; the limit is 0."""
    check_shape(name, ours, theirs)
    return Figure(f"{name}, that differ", float(np.sum(np.asarray(ours) != theirs)), 0)


def channels_last(array: np.ndarray) -> np.ndarray:
    """Swaps the last two axes: `[.., C, T]` becomes `[.., T, C]`, and the reverse."""
    return np.swapaxes(array, -1, -2)


def relative(name: str, ours: Array, theirs: np.ndarray, limit: float = LOSSES) -> Figure:
    """Measures the relative difference of two numbers; the absolute one where the recorded number is zero."""
    check_shape(name, ours, theirs)
    return Figure(f"{name}, relative", abs(float(ours) - float(theirs)) / (abs(float(theirs)) or 1.0), limit)


def _gradients(grads: Mapping[str, Array], norms: Mapping[str, float]) -> Iterator[Figure]:
    """Yields the worst gradient norms; a parameter that only one of the two has makes the difference infinite."""
    ours = {name: float(np.linalg.norm(np.asarray(grad, np.float64))) for name, grad in grads.items()}
    strange = (ours.keys() ^ norms.keys()) - {UNREAD}
    # np.max and not max, which may pass over a NaN.
    worst = np.max([abs(ours.get(name, np.inf) - norm) / norm for name, norm in norms.items() if norm], initial=0.0)
    yield Figure("gradient norm of every parameter, relative", np.inf if strange else float(worst), NORMS)
    still = np.max([ours.get(name, 0.0) for name, norm in norms.items() if not norm], initial=0.0)
    yield Figure("gradient norm where the recorded one is zero", float(still), NO_NORM)
