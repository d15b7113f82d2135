"""Log-probabilities of preference pairs under the model that a stage starts from, made once and kept beside the rows.

FILE (.npz)     checkpoint: digest of the parameters; ids: of the pairs; log_probs: float32 [pairs, 2, 2], (chosen,
                rejected) x (text, speech)
"""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import jax
import numpy as np

from data_pipelines.loading.counts import one_epoch
from fac_jax import axes
from fac_jax.batching.collate import budget
from fac_jax.batching.pairs import PairExample, collate_pairs
from fac_jax.checkpoint.digest import params_digest
from fac_jax.losses.log_probs import reply_log_probs
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.batches import place_batch
from fac_jax.parallel.kernels import training_kernels
from fac_jax.parallel.mesh import Layout
from fac_jax.progress import passing
from fac_jax.types import Array, Batch, InputError, Params, PreferenceBatch

ROWS = 16  # pairs scored together, or as many more as a mesh needs
CHUNK = 256  # LLM positions whose logits are held at once


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score(model: FunAudioChat, layout: Layout | None, params: Params, batch: Batch) -> Array:
    score = functools.partial(reply_log_probs, model, segments=1, chunk=CHUNK)
    return (score if layout is None else layout.inside(score))(params, batch).total


def score_pairs(
    config: ModelConfig,
    params: Params,
    pairs: Sequence[PairExample],
    shapes: tuple[int, int] | None = None,
    layout: Layout | None = None,
) -> dict[str, np.ndarray]:
    """Log-probabilities float32 `[2, 2]`, (chosen, rejected) x (text, speech), of every pair by its id.

    Args:
      config: of the model.
      params: its parameters.
      pairs: made once more as they are asked for, slice by slice, if `shapes` is given.
      shapes: (seq_len, windows of a pair) that hold any of the pairs; None finds what a batch needs.
      layout: mesh that `params` lie on.
    """
    model = FunAudioChat(config, training_kernels(layout))
    shards = 1 if layout is None else layout.shards(axes.BATCH)
    rows = -(-ROWS // shards) * shards
    if shapes is None:
        seq_len, windows = budget({"pairs": pairs}, {"pairs": rows}, config)
    else:
        seq_len, windows = shapes[0], rows * shapes[1]
    batches = one_epoch(pairs, rows, seq_len, -(-windows // shards) * shards, config, collate_pairs)
    found: dict[str, np.ndarray] = {}
    for loaded in passing("scoring pairs", -(-len(pairs) // rows))(batches):
        batch = cast(PreferenceBatch, loaded.batch).batch
        placed = batch if layout is None else place_batch(batch, layout)
        total = np.asarray(_score(model, layout, params, placed)).reshape(rows, 2, 2)
        found |= dict(zip(loaded.row_ids, total, strict=False))
    return found


def stored_references(
    file: Path, params: Params, score: Callable[[Params], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Log-probabilities of pairs under `params`, from `file` if it is there, else what `score` gives, written to it.

    Args:
      file: of the stage.
      params: of the reference.
      score: `score_pairs` of the pairs.

    Raises:
      InputError: the file is damaged, or was made with another checkpoint.
    """
    key = params_digest(params)
    if file.exists():
        try:
            with np.load(file) as stored:
                checkpoint, ids, values = str(stored["checkpoint"]), stored["ids"].tolist(), stored["log_probs"]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{file}: no stored log-probabilities; remove it and they are made again") from error
        if checkpoint != key:
            raise InputError(
                f"{file}: log-probabilities of the checkpoint {checkpoint}, but the stage starts from {key}; "
                "remove the file and they are made again"
            )
        return dict(zip(ids, values, strict=True))
    found = score(params)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    with beside.open("wb") as out:
        np.savez(out, checkpoint=key, ids=list(found), log_probs=np.stack(list(found.values())))
    beside.replace(file)
    return found
