"""A training step in the release's own PyTorch classes and here: same weights, same batch, alternating runs.

    python tests/pytorch/training_speed.py --code=DIR --python=.venv-release/bin/python [--pairs=5] [--json=FILE]

DIR is a clone of the release's repository (github.com/FunAudioLLM/Fun-Audio-Chat); `make benchmark-torch CODE=DIR`
runs it. The model is `base`, 117 M parameters in float32, with random weights that an export hands to the release.
The batch is two conversations of 256 LLM positions: a text, 18 s of a question, 25 s of a spoken reply. The release has
its attention "sdpa" and PyTorch's fused AdamW.

A pair is one run of each side, ours first, each behind a run of the same side that does not count. The ratio of a pair
is ours over theirs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.measure import once
from experiments.benchmarks.train import random_params, step_program
from fac_jax.checkpoint.export import export_model
from fac_jax.checkpoint.release.convert import export_release
from fac_jax.evaluation.parity.model import training_batch
from fac_jax.evaluation.reports.machine import machine
from fac_jax.io import write_text
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
REST = 0.5  # seconds
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


def release(python: str, code: str, folder: Path, batch: Path) -> subprocess.Popen[str]:
    """Starts the release, which answers orders (`release_training.py`)."""
    script = Path(__file__).with_name("release_training.py")
    command = [python, str(script), str(folder), str(batch), f"--code={code}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str], order: str | None = None) -> dict[str, Any]:
    """Returns what the release says next, after an order if one is given."""
    assert process.stdin is not None and process.stdout is not None
    if order:
        print(order, file=process.stdin, flush=True)
    for line in process.stdout:
        if line.startswith("{"):  # others are the release's own
            return json.loads(line)
    sys.exit("the release stopped")


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", required=True, help="clone of the release's repository")
    parser.add_argument("--python", required=True, help="Python that has torch and transformers 4.52.3")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each side (default 5)")
    parser.add_argument("--json", type=Path, help="file that gets all figures")
    given = parser.parse_args()
    if not (Path(given.code) / "funaudiochat").is_dir():
        parser.error(f"--code={given.code}: holds no folder funaudiochat; give a clone of the release's repository")
    config = preset(PRESET)
    params, arrays = jax.jit(lambda: random_params(config))(), conversations(config)
    with tempfile.TemporaryDirectory() as scratch:
        mine, theirs, batch = Path(scratch) / "model", Path(scratch) / "hf", Path(scratch) / "batch.npz"
        export_model(mine, params, config, {"stage": "benchmark", "order": 0, "steps": 0}, {})
        export_release(mine, theirs, "float32")
        np.savez(batch, **arrays)  # pyright: ignore[reportArgumentType]
        process = release(given.python, given.code, theirs, batch)
        there = answer(process)
        runs = ours(config, params, arrays)
        figures: dict[str, Any] = {"machine": f"{machine()}, jax {jax.__version__}, torch {there['torch']}"}
        for order in ORDERS:
            figures[order] = compared(runs[order], lambda order=order: answer(process, order), given.pairs)
        process.communicate()
    print(figures["machine"])
    print(
        "| | ours, s: least (median) | release | ratio of the least | median of the pairs |\n|---|---:|---:|---:|---:|"
    )
    for order in ORDERS:
        print(f"| {order} | {row(figures[order])} |")
    if given.json:
        write_text(given.json, json.dumps(figures, indent=2) + "\n")


def compared(mine: Callable[[], float], theirs: Callable[[], dict[str, Any]], pairs: int) -> dict[str, Any]:
    """Runs both sides once, which does not count and must give the same loss, then in pairs."""
    loss, first = mine(), theirs()
    if abs(loss / first["loss"] - 1) > 1e-4:
        sys.exit(f"the losses differ: {loss} here, {first['loss']} in the release")
    times = [(rested(lambda: once(mine)), rested(lambda: theirs()["seconds"])) for _ in range(pairs)]
    return {"loss": loss, "ours": [own for own, _ in times], "release": [other for _, other in times]}


def rested(run: Callable[[], float]) -> float:
    """Gives the second of two runs, begun when the threads of the other side, which wait actively at first, sleep.

    The first finds caches and memory as the other side left them, which no training loop ever does.
    """
    time.sleep(REST)
    run()
    return run()


def row(figures: dict[str, Any]) -> str:
    """Returns the cells of a row of the table."""
    mine, theirs = np.array(figures["ours"]), np.array(figures["release"])
    cells = (f"{side.min():.2f} ({np.median(side):.2f})" for side in (mine, theirs))
    return " | ".join([*cells, f"{mine.min() / theirs.min():.2f}", f"{np.median(mine / theirs):.2f}"])


if __name__ == "__main__":
    main()
