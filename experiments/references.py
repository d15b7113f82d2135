"""Log-probabilities of preference pairs under the model that a stage starts from, made once and kept beside the rows.

FILE (.npz)     checkpoint: digest of the parameters; ids: of the pairs; log_probs: float32 [pairs, 2, 2], (chosen,
                rejected) x (text, speech)
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import jax
import numpy as np

from data_pipelines.collate import budget
from data_pipelines.loading import one_epoch
from data_pipelines.pairs import PairExample, collate_pairs
from fac_jax.checkpoint.digest import params_digest
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.attention import training_attend
from fac_jax.progress import passing
from fac_jax.training.preference import reply_log_probs
from fac_jax.types import Array, Batch, InputError, Params, PreferenceBatch

ROWS = 16  # pairs scored together
CHUNK = 256  # LLM positions whose logits are held at once


@functools.partial(jax.jit, static_argnums=0)
def _score(model: FunAudioChat, params: Params, batch: Batch) -> Array:
    return reply_log_probs(model, params, batch, 1, CHUNK).total


def score_pairs(
    config: ModelConfig, params: Params, pairs: Sequence[PairExample], shapes: tuple[int, int] | None = None
) -> dict[str, np.ndarray]:
    """Log-probabilities float32 `[2, 2]`, (chosen, rejected) x (text, speech), of every pair by its id.

    Args:
      config: of the model.
      params: its parameters.
      pairs: made once more as they are asked for, slice by slice, if `shapes` is given.
      shapes: (seq_len, windows) that hold `ROWS` of the pairs, whichever they are; None finds them.
    """
    model = FunAudioChat(config, training_attend())
    seq_len, windows = shapes or budget({"pairs": pairs}, {"pairs": ROWS}, config)
    batches = one_epoch(pairs, ROWS, seq_len, windows, config, collate_pairs)
    found: dict[str, np.ndarray] = {}
    for loaded in passing("scoring pairs", -(-len(pairs) // ROWS))(batches):
        pairs_of = cast(PreferenceBatch, loaded.batch)
        total = np.asarray(_score(model, params, pairs_of.batch)).reshape(ROWS, 2, 2)
        found |= dict(zip(loaded.row_ids, total, strict=False))
    return found


def stored_references(
    file: Path,
    config: ModelConfig,
    params: Params,
    pairs: Sequence[PairExample],
    shapes: tuple[int, int] | None = None,
) -> dict[str, np.ndarray]:
    """Log-probabilities of the pairs under `params`, from `file` if it is there, else made and written to it.

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
    found = score_pairs(config, params, pairs, shapes)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    with beside.open("wb") as out:
        np.savez(out, checkpoint=key, ids=list(found), log_probs=np.stack(list(found.values())))
    beside.replace(file)
    return found
