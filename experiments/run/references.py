"""Log-probabilities of preference pairs under the model that a stage starts from, made once and stored.

FILE (.npz)     params: digest of the parameters; rows: key of the rows; log_probs: float32 [R, 2, 2], (chosen,
                rejected) x (text, speech), 0 for rows that are no pairs
"""

import functools
import io
from typing import Any

import jax
import numpy as np
from etils import epath

from data_pipelines.loading.loader import PackedBatches, Shares
from data_pipelines.loading.sources import Source, one_epoch
from fac_jax.batching.packing import Budget
from fac_jax.checkpoint.store import params_digest
from fac_jax.io import replacing
from fac_jax.losses.log_probs import reply_log_probs
from fac_jax.losses.preference import Preference
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel import hosts
from fac_jax.parallel.batches import place_batch
from fac_jax.parallel.kernels import Attention, training_kernels
from fac_jax.parallel.mesh import Layout
from fac_jax.progress import bar
from fac_jax.types import Array, Batch, Params


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames=("segments", "chunk", "speech", "logits_dtype"))
def _score(model: FunAudioChat, layout: Layout | None, params: Params, batch: Batch, **static: Any) -> Array:
    score = functools.partial(reply_log_probs, model, **static)
    return (score if layout is None else layout.inside(score))(params, batch).total


def score_pairs(
    loss: Preference,
    config: ModelConfig,
    params: Params,
    source: Source,
    budget: Budget,
    layout: Layout | None,
    attention: Attention = "auto",
) -> np.ndarray:
    """Returns the log-probabilities of pairs under parameters.

    Every host scores its rows of each batch; all hosts get all values.

    `loss` says which streams count, how many logits exist at the same time, and in which dtype. With its `attention`
    a pair's reward is 0 before the first step.

    Returns:
      float32 `[R, 2, 2]`: (chosen, rejected) x (text, speech) of every pair of the source, in their order.
    """
    model = FunAudioChat(config, training_kernels(layout, attention, budget.segments))
    found = np.zeros((len(source.rows), 2, 2), np.float32)
    batches = PackedBatches(one_epoch("pairs", source), budget, config, loss.collate, Shares.on(layout))
    with bar("scoring pairs", len(source.rows)) as advance:
        for loaded in batches:
            batch: Any = loaded.batch
            batch = batch if layout is None else place_batch(batch, layout)
            static = {"segments": budget.segments, "chunk": loss.chunk, "speech": loss.speaks}
            static["logits_dtype"] = loss.logits_dtype
            total = _score(model, layout, params, loss.conversations(batch), **static)
            sides = hosts.everywhere(total).reshape(budget.rows, 2, -1, 2)
            for row, numbers in enumerate(batches.rows):
                for place, number in enumerate(numbers):
                    found[number] = sides[row, :, place]
            advance(sum(map(len, batches.rows)))
    return found


def stored_references(file: epath.Path, params: Params, rows: str, score: Any) -> np.ndarray:
    """Returns stored log-probabilities; makes and stores them if there are none of these parameters and rows."""
    key = params_digest(params)
    if file.exists():
        with np.load(io.BytesIO(file.read_bytes())) as stored:
            if (str(stored["params"]), str(stored["rows"])) == (key, rows):
                return stored["log_probs"]
    hosts.wait("references")  # nobody writes before all have looked
    found = score()
    if hosts.is_first():
        data = io.BytesIO()
        np.savez(data, params=key, rows=rows, log_probs=found)
        with replacing(file) as part:
            part.write_bytes(data.getvalue())
    return found
