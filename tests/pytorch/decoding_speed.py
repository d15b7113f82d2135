"""Spoken replies of the release's own PyTorch classes and ours: same weights, same prompts, alternating runs.

    python tests/pytorch/decoding_speed.py --code=DIR --python=.venv-release/bin/python [--pairs=5] [--json=FILE]

DIR is a clone of the release's repository (github.com/FunAudioLLM/Fun-Audio-Chat); `make benchmark-torch CODE=DIR`
runs it. The model is `base`, 117 M parameters in float32, with random weights that an export hands to the release. A
prompt is a text and 8 s of a question; a reply has 60 text ids and 59 groups of
speech, 12 s, both greedy. The ids of both sides must be equal. The release has its attention "sdpa".

A pair is one run of each side, ours first, each behind a run of the same side that does not count. The ratio of a pair
is ours over theirs. The rows "one id" are the prompt alone; in the rows "int8" our weights and tables are int8.
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

from experiments.benchmarks.train import random_params
from fac_jax.checkpoint.export import export_model
from fac_jax.checkpoint.release.batch import release_batch
from fac_jax.checkpoint.release.convert import export_release
from fac_jax.generation.decode import Reply, generate
from fac_jax.generation.prepared import prepare
from fac_jax.generation.slots import Decoding
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.presets import preset
from fac_jax.parallel.kernels import Quantized

PRESET = "base"
BATCHES = (1, 4)
TEXT, HEARD, STEPS = 19, 40, 60  # LLM positions
MEL_FRAMES = 4  # of a speech token
Arrays = dict[str, np.ndarray]


def prompts(config: ModelConfig, rows: int) -> Arrays:
    """Returns prompts of the release's processor with random contents."""
    rng, special, group = np.random.default_rng(0), config.special, config.group_size
    text = rng.integers(special.sil + 1, config.vocab_size, (rows, TEXT))
    ids = np.concatenate([text[:, :3], np.full((rows, HEARD), special.audio), text[:, 3:]], axis=1)
    tokens = HEARD * group
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "speech_ids": rng.integers(0, config.units, (rows, tokens)),
        "speech_attention_mask": np.ones((rows, tokens), np.int64),
        "feature_exist_mask": np.ones(rows, bool),
        "input_features": rng.standard_normal((rows, config.audio.mel_bins, tokens * MEL_FRAMES)).astype(np.float32),
        "feature_attention_mask": np.ones((rows, tokens * MEL_FRAMES), np.int64),
    }


def ours(config: ModelConfig, params: Any, quantize: Quantized | None = None) -> Callable[[int, int], Reply]:
    """Returns what makes replies to a number of prompts."""
    model, params = prepare(config, params, None, quantize, quantize is not None)
    batches = {rows: jax.device_put(release_batch(prompts(config, rows), config)) for rows in BATCHES}

    def reply(rows: int, steps: int) -> Reply:
        keys = jax.random.split(jax.random.key(0), rows)
        found = generate(model, params, batches[rows], keys, steps, Decoding("joint", STEPS))
        return jax.device_get(found)

    return reply


def compared(mine: Callable[[], Reply], theirs: Callable[[], Figures], steps: int, pairs: int) -> Figures:
    """Runs both sides once, which does not count and must give the same ids, then in pairs."""
    reply, other = mine(), theirs()
    assert reply.speech_ids is not None and reply.speech_count is not None
    text, groups = int(reply.text_count[0]), int(reply.speech_count[0])
    speech = reply.speech_ids[:, :groups].reshape(len(reply.text_ids), -1)
    if not (np.array_equal(reply.text_ids[:, :text], other["text"]) and np.array_equal(speech, other["speech"])):
        sys.exit("the ids of the replies differ")
    if int(reply.text_count.min()) < steps:
        sys.exit(f"a reply ended before its {steps} steps: draw other weights")
    return {"speech ids": int(speech.size)} | in_turn(mine, theirs, pairs)


def main() -> None:
    """Measures and prints a table."""
    given = options(__doc__)
    config = replace(preset(PRESET), head_prefill="release")
    params = jax.jit(lambda: random_params(config))()
    with tempfile.TemporaryDirectory() as scratch:
        mine, hf = Path(scratch) / "model", Path(scratch) / "hf"
        export_model(mine, params, config, {"stage": "benchmark", "order": 0, "steps": 0}, {})
        export_release(mine, hf, "float32")
        for rows in BATCHES:
            np.savez(Path(scratch) / f"{rows}.npz", **prompts(config, rows))  # pyright: ignore[reportArgumentType]
        process = start(given.python, "release_decoding.py", hf, scratch, f"--code={given.code}")
        there, reply, coarse = answer(process), ours(config, params), ours(config, params, "int8")
        figures: Figures = {}
        for rows in BATCHES:
            for name, steps in (("one id", 1), (f"{STEPS} ids", STEPS)):
                theirs = partial(answer, process, f"{rows} {steps}")
                figures[f"batch {rows}, {name}"] = compared(partial(reply, rows, steps), theirs, steps, given.pairs)
            # Its ids are others now and then.
            figures[f"batch {rows}, {STEPS} ids, int8"] = in_turn(partial(coarse, rows, STEPS), theirs, given.pairs)
        process.communicate()
    report(figures, there["torch"], given.json)


if __name__ == "__main__":
    main()
