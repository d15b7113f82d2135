"""The S3 tokenizer at full size in PyTorch (package `s3tokenizer`) and here, on the same weights: ids and speed.

`make benchmark-torch`, an environment of its own. Random weights, float32, ten seconds of noise.
"""

import sys
import time
import types
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

from fac_jax.audio.mel import HOP, RATE, log_mel
from fac_jax.checkpoint.voice.release import from_torch
from fac_jax.codec.cosyvoice.config import TokenizerConfig
from fac_jax.codec.cosyvoice.s3_tokenizer import S3Tokenizer

sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))  # which s3tokenizer reads files with; we read none
from s3tokenizer.model_v3 import S3TokenizerV3  # noqa: E402

SECONDS, REPEATS = 10, 3


def best(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and CPU seconds of the fastest of some runs behind a first one, and what it gives."""
    found, times = run(), []
    for _ in range(REPEATS):
        wall, processor = time.perf_counter(), time.process_time()
        found = run()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    return *min(times), found


@torch.no_grad()
def spread(tokenizer: S3TokenizerV3, features: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Gives the eight features that are rounded mean 0 and deviation 1 over time, so that random weights tell times."""
    down = tokenizer.quantizer._codebook.project_down
    found = down(tokenizer.encoder(*features)[0][0])
    mean, deviation = found.mean(0), found.std(0)
    down.weight.div_(deviation[:, None])
    down.bias.sub_(mean).div_(deviation)


def main() -> None:
    torch.manual_seed(0)
    theirs = S3TokenizerV3("speech_tokenizer_v3_25hz").eval()
    wave = np.random.default_rng(0).standard_normal(SECONDS * RATE).astype(np.float32) * 0.1
    mel = np.asarray(log_mel(wave))[None]
    lengths = np.array([len(wave) // HOP], np.int32)
    features = torch.from_numpy(mel.swapaxes(1, 2).copy()), torch.from_numpy(lengths)
    spread(theirs, features)
    config = TokenizerConfig()
    params = from_torch("tokenizer", {name: t.detach().numpy() for name, t in theirs.state_dict().items()}, config)
    model = S3Tokenizer(config)

    @jax.jit
    def run(mel, lengths):
        with jax.default_matmul_precision("highest"):
            return model.apply({"params": placed}, mel, lengths)

    placed = jax.device_put(params)
    torch_wall, torch_processor, (torch_ids, _) = best(lambda: theirs.quantize(*features))
    jax_wall, jax_processor, ids = best(lambda: np.asarray(run(mel, lengths)))
    for name, wall, processor in (("PyTorch", torch_wall, torch_processor), ("JAX", jax_wall, jax_processor)):
        print(f"{name}: {wall / SECONDS:.3f} wall seconds, {processor / SECONDS:.3f} CPU seconds a second of audio")
    differ = int(np.sum(ids != torch_ids.numpy()))
    print(f"{differ} of {ids.size} ids differ; {len(np.unique(ids))} different ids")


if __name__ == "__main__":
    main()
