"""Is it the same model? A checkpoint against a recorded run of the release (`io.npz`): every difference and its limit.

A recorded run holds a training batch with what the release computed on it (encoder, hidden states, logits, losses,
gradient norm of every parameter), text-only logits, and greedy answers.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, cast

import jax
import jax.numpy as jnp
import numpy as np

from fac_jax.checkpoint.release import to_release
from fac_jax.checkpoint.release_batch import release_batch
from fac_jax.generation.decode import Decoding, generate, prepare
from fac_jax.generation.sampling import Sampling
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.training.objectives import sft_loss
from fac_jax.types import Array, Batch, InputError, Params

VALUES, LOSSES, NORMS = 2e-4, 1e-5, 1e-3  # limits: absolute, relative, relative
TRAINING_SCALE = 0.5  # the release's factor on a user's audio in training (model.md section 4)
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
    """One difference.

    Attributes:
      name: what differs, and how it is measured.
      value: the greatest difference.
      limit: most that it may be.
    """

    name: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the difference is within its limit; one that is no number is not."""
        return self.value <= self.limit


def compare(params: Params, config: ModelConfig, arrays: Mapping[str, np.ndarray]) -> Iterator[Figure]:
    """All figures of a recorded run, one part of the model after the other, in float32 at the highest precision.

    Args:
      params: of the model (scanned layers).
      config: its configuration.
      arrays: recorded arrays by name.

    Raises:
      InputError: there is nothing recorded that is known here.
    """
    config = dataclasses.replace(config, dtype="float32")
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    parts = {"train/last_hidden": _training, "text/logits": _text_only} | {
        f"{run}/text_ids": partial(_answer, run=run) for run in RUNS
    }
    known = [part for name, part in parts.items() if name in arrays]
    if not known:
        raise InputError(f"recorded arrays hold none of {', '.join(parts)}")
    for part in known:
        with jax.default_matmul_precision("highest"):
            yield from part(params, config, arrays)


def under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays below `prefix`, by their shorter names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def training_batch(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> tuple[Batch, ModelConfig]:
    """The recorded training batch, and the configuration under which the release trained on it."""
    return release_batch(under(arrays, "in/"), config), dataclasses.replace(config, user_audio_scale=TRAINING_SCALE)


def _training(params: Params, config: ModelConfig, arrays: Mapping[str, np.ndarray]) -> Iterator[Figure]:
    batch, config = training_batch(arrays, config)
    model, variables = FunAudioChat(config), {"params": params}

    frames = jax.jit(partial(model.apply, method="encode_audio"))(variables, batch.mel_windows, batch.mel_lengths)
    frames = np.asarray(frames).reshape(-1, config.text.width)
    index = np.asarray(batch.frame_index)[np.asarray(batch.has_waveform)].reshape(-1)
    recorded = zip(arrays["encoder/features"], arrays["encoder/lengths"], strict=True)
    yield _values("encoder", frames[index[index >= 0]], np.concatenate([f[:n] for f, n in recorded]))

    output, text, speech = jax.jit(partial(model.apply, method=_everything))(variables, batch)
    kept = np.asarray(batch.segment_ids) > 0
    yield _values("hidden", np.asarray(output.hidden)[kept], arrays["train/last_hidden"][kept])
    yield _values("text logits", np.asarray(text)[kept], arrays["train/text_logits"][kept])
    yield _values("speech logits", np.asarray(speech)[kept], arrays["train/speech_logits"].reshape(speech.shape)[kept])

    objective = partial(sft_loss, model, batch=batch, text_weight=1.0, speech_weight=1.0, chunk=16)
    (loss, metrics), grads = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
    text_loss = arrays["train/text_loss"]
    if "router_loss" in metrics:
        yield _relative("router loss", metrics["router_loss"], arrays["train/aux_loss"], LOSSES)
        # The release's text loss holds the router's already.
        assert config.text.moe is not None
        text_loss = text_loss - config.text.moe.aux_loss_coef * arrays["train/aux_loss"]
    yield _relative("loss", loss, arrays["train/loss"], LOSSES)
    yield _relative("text loss", metrics["text_loss"], text_loss, LOSSES)
    yield _relative("speech loss", metrics["speech_loss"], arrays["train/speech_loss"], LOSSES)
    norms = dict(zip(arrays["train/grad_names"].tolist(), arrays["train/grad_norms"].tolist(), strict=True))
    yield _gradients(to_release(grads, config), norms)


def _everything(model: FunAudioChat, batch: Batch) -> tuple:
    output = cast(Any, model(batch))
    return output, model.text_logits(output.hidden), model.speech_logits(output.speech_hidden)


def _text_only(params: Params, config: ModelConfig, arrays: Mapping[str, np.ndarray]) -> Iterator[Figure]:
    ids = arrays["text/input_ids"]
    batch = release_batch({"input_ids": ids, "attention_mask": np.ones_like(ids)}, config)
    model = FunAudioChat(config)

    def logits(model: FunAudioChat, batch: Batch) -> jax.Array:
        return model.text_logits(cast(jax.Array, model(batch, heads="text").hidden))

    yield _values(
        "text-only logits",
        jax.jit(partial(model.apply, method=logits))({"params": params}, batch),
        arrays["text/logits"],
    )


def _answer(params: Params, config: ModelConfig, arrays: Mapping[str, np.ndarray], run: str) -> Iterator[Figure]:
    expected = {"text": arrays[f"{run}/text_ids"][0]}
    # Where the release ended the turn, one step more would show that we do not.
    steps = len(expected["text"]) + int(expected["text"][-1] == config.special.eos)
    decoding = dataclasses.replace(RUNS[run], max_steps=steps)
    model, prepared = prepare(config, params)
    prompt = release_batch(under(arrays, f"{run}/in/"), config)
    reply = generate(model, prepared, prompt, jax.random.split(jax.random.key(0), 1), jnp.int32(steps), decoding)
    ours = {"text": np.asarray(reply.text_ids[0, : reply.text_count[0]])}
    if decoding.stream == "joint":
        expected["speech"] = arrays[f"{run}/speech_ids"][0]
        ours["speech"] = np.asarray(reply.speech_ids[0, : reply.speech_count[0]]).ravel()
    wrong = sum(_tokens(ours[stream], expected[stream]) for stream in expected)
    yield Figure(f"{run}, tokens that differ", wrong, 0)


def _tokens(ours: np.ndarray, theirs: np.ndarray) -> int:
    return abs(len(ours) - len(theirs)) + int(np.sum(ours[: len(theirs)] != theirs[: len(ours)]))


def _values(name: str, ours: jax.Array | np.ndarray, theirs: np.ndarray) -> Figure:
    return Figure(f"{name}, max abs diff", float(np.abs(np.asarray(ours) - theirs).max()), VALUES)


def _relative(name: str, ours: jax.Array, theirs: np.ndarray, limit: float) -> Figure:
    return Figure(f"{name}, relative", abs(float(ours) - float(theirs)) / abs(float(theirs)), limit)


def _gradients(grads: Mapping[str, Array], norms: Mapping[str, float]) -> Figure:
    """The worst gradient norm; a parameter that only one of the two knows is infinitely wrong."""
    ours = {name: float(np.linalg.norm(np.asarray(grad, np.float64))) for name, grad in grads.items()}
    strange = (ours.keys() ^ norms.keys()) - {UNREAD}
    # np.max and not max, which may pass over a NaN.
    worst = np.max([abs(ours.get(name, np.inf) - norm) / norm for name, norm in norms.items() if norm > 0])
    return Figure("gradient norm of every parameter, relative", np.inf if strange else float(worst), NORMS)
