"""How far the next-id distributions of a quantised model are from those of the model that it was made of."""

import functools
from collections.abc import Iterable
from typing import TypeAlias, cast

import jax
import jax.numpy as jnp

from fac_jax.losses.cross_entropy import next_labels
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import IGNORE, Array, Batch, ModelOutput, Params

Prepared: TypeAlias = tuple[FunAudioChat, Params]  # what `generation.prepared.prepare` returns


def divergence(exact: Prepared, approximate: Prepared, batches: Iterable[Batch]) -> dict[str, float]:
    """Computes the mean Kullback-Leibler divergence of a stream's labelled ids, in nats, with the true ids as the past.

    Returns:
      "text_kl" and "speech_kl", each if the batches have labels of the stream.
    """
    models, params = zip(exact, approximate, strict=True)
    parts = (_sums(models, params, batch) for batch in batches)
    sums = jax.device_get(functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), parts))
    return {f"{stream}_kl": float(total / count) for stream, (total, count) in sums.items() if count}


@functools.partial(jax.jit, static_argnames=("models",))
def _sums(
    models: tuple[FunAudioChat, FunAudioChat], params: tuple[Params, Params], batch: Batch
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Sum of the divergence and number of labels by stream."""
    outputs = [
        cast(ModelOutput, model.apply({"params": each}, batch)) for model, each in zip(models, params, strict=True)
    ]

    def summed(stream: str, states: list[jax.Array | None], labels: Array) -> tuple[jax.Array, jax.Array]:
        def row(given: tuple[list[jax.Array], jax.Array]) -> jax.Array:
            logits = (
                cast(jax.Array, model.apply({"params": each}, state, method=f"{stream}_logits"))
                for model, each, state in zip(models, params, given[0], strict=True)
            )
            ours, theirs = (jax.nn.log_softmax(each, axis=-1) for each in logits)
            return jnp.sum(jnp.where(given[1], jnp.sum(jnp.exp(ours) * (ours - theirs), axis=-1), 0))

        labelled = jnp.asarray(labels != IGNORE)
        return jnp.sum(jax.lax.map(row, (states, labelled))), jnp.sum(labelled)  # logits of all rows would be large

    return {
        "text": summed("text", [out.hidden for out in outputs], next_labels(batch.labels, batch.segment_ids)),
        "speech": summed(
            "speech", [out.speech_hidden for out in outputs], next_labels(batch.speech_labels, batch.segment_ids)
        ),
    }
