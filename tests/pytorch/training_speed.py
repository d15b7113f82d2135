"""A training step in the release's own PyTorch classes and here: same weights, same batch, alternating runs.

    python tests/pytorch/training_speed.py --code=DIR --python=.venv-release/bin/python [--pairs=5] [--json=FILE]

DIR is a clone of the release's repository (github.com/FunAudioLLM/Fun-Audio-Chat); `make benchmark-torch CODE=DIR`
runs it. The model is `base`, 117 M parameters in float32, with random weights that an export hands to the release.
The batch is two conversations of 256 LLM positions: a text, 18 s of a question, 25 s of a spoken reply. The release has
its attention "sdpa" and PyTorch's fused AdamW.

A pair is one run of each side, ours first, each behind a run of the same side that does not count. The ratio of a pair
is ours over theirs.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from alternating import Figures, answer, in_turn, options, report, start

from experiments.benchmarks.train import random_params, step_program
from fac_jax.checkpoint.export import export_model
from fac_jax.checkpoint.release.convert import export_release
from fac_jax.evaluation.parity.model import training_batch
from fac_jax.losses import Sft
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.presets import preset
from fac_jax.parallel.kernels import training_kernels
from fac_jax.training.step import bind
from fac_jax.types import IGNORE

PRESET = "base"
ROWS, TEXT, HEARD, SPOKEN = 2, 38, 90, 125  # conversations, and LLM positions of their parts
ORDERS = ("forward", "gradients", "update")
MEL_FRAMES = 4  # of a speech token
Arrays = dict[str, np.ndarray]


def conversations(config: ModelConfig) -> Arrays:
    """Returns a batch of the release's data loader with random contents."""
    rng, special, group = np.random.default_rng(0), config.special, config.group_size
    text = rng.integers(special.sil + 1, config.vocab_size, (ROWS, TEXT))
    heard = np.full((ROWS, HEARD), special.audio)
    reply = np.array([special.audio_bos, *[special.audio] * SPOKEN, special.audio_eos, special.eos])
    replies = np.repeat(reply[None], ROWS, axis=0)
    ids = np.concatenate([text, heard, replies], axis=1)
    labels = np.concatenate([np.full((ROWS, TEXT + HEARD), IGNORE), replies], axis=1)
    counts = np.tile([HEARD * group, SPOKEN * group], ROWS)  # of each row its question, then its reply
    frames = HEARD * group * MEL_FRAMES
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "labels": labels,
        "speech_ids": rng.integers(0, config.units, (2 * ROWS, counts.max())),
        "speech_attention_mask": (np.arange(counts.max()) < counts[:, None]).astype(np.int64),
        "text_ids": rng.integers(special.sil + 1, config.vocab_size, (2 * ROWS, SPOKEN)),
        "text_attention_mask": np.tile([False, True], ROWS),
        "feature_exist_mask": np.tile([True, False], ROWS),
        "input_features": rng.standard_normal((ROWS, config.audio.mel_bins, frames)).astype(np.float32),
        "feature_attention_mask": np.ones((ROWS, frames), np.int64),
    }


def ours(config: ModelConfig, params: Any, arrays: Arrays) -> dict[str, Callable[[], float]]:
    """Returns what runs each of `ORDERS` and gives the loss; everything is compiled."""
    batch, config = training_batch({f"in/{name}": array for name, array in arrays.items()}, config)
    batch = jax.device_put(batch)
    objective = bind(Sft(), FunAudioChat(config, training_kernels()))

    def loss(params: Any) -> jax.Array:
        return objective.loss(params, batch, objective.counts(batch), None)[0]

    forward, gradients = jax.jit(loss), jax.jit(jax.value_and_grad(loss))
    _, update = step_program(config, batch)
    runs = {
        "forward": lambda: float(forward(params)),
        "gradients": lambda: float(jax.block_until_ready(gradients(params))[0]),
        "update": lambda: float(jax.block_until_ready(update())["loss"]),
    }
    return runs


def compared(mine: Callable[[], float], theirs: Callable[[], Figures], pairs: int) -> Figures:
    """Runs both sides once, which does not count and must give the same loss, then in pairs."""
    loss, first = mine(), theirs()
    if abs(loss / first["loss"] - 1) > 1e-4:
        sys.exit(f"the losses differ: {loss} here, {first['loss']} in the release")
    return {"loss": loss} | in_turn(mine, theirs, pairs)


def main() -> None:
    """Measures and prints a table."""
    given = options(__doc__)
    config = preset(PRESET)
    params, arrays = jax.jit(lambda: random_params(config))(), conversations(config)
    with tempfile.TemporaryDirectory() as scratch:
        mine, theirs, batch = Path(scratch) / "model", Path(scratch) / "hf", Path(scratch) / "batch.npz"
        export_model(mine, params, config, {"stage": "benchmark", "order": 0, "steps": 0}, {})
        export_release(mine, theirs, "float32")
        np.savez(batch, **arrays)  # pyright: ignore[reportArgumentType]
        process = start(given.python, "release_training.py", theirs, batch, f"--code={given.code}")
        there = answer(process)
        runs = ours(config, params, arrays)
        figures: Figures = {
            order: compared(runs[order], partial(answer, process, order), given.pairs) for order in ORDERS
        }
        process.communicate()
    report(figures, there["torch"], given.json)


if __name__ == "__main__":
    main()
