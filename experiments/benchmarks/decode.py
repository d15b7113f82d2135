"""Speed of joint decoding, compared with the time that reading the weights from memory takes."""

from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmarks.measure import compiled, copy_bandwidth, once
from experiments.benchmarks.workloads import QUESTION, UNIT_RATE, Workload, packed_batch
from fac_jax.generation.decode import Decoding, generate, prepare
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import Params


def endless(config: ModelConfig) -> ModelConfig:
    """Returns a config with end tokens that cannot be picked, so that every response has `max_steps` steps."""
    return replace(config, special={"eos": config.vocab_size, "speech_eos": config.codebook_size})


def step_bytes(model: FunAudioChat, params: Params) -> int:
    """Returns the bytes of weights that one LLM step of joint decoding reads: the Shared LLM once, the head G times.

    Rows that are looked up in embedding tables do not count; in a mixture of experts all experts count.
    """

    def size(*trees: Any) -> int:
        return sum(leaf.nbytes for leaf in jax.tree.leaves(trees))

    backbone, head, speech = params["backbone"], params["refined_head"], params["speech_embedder"]
    unembedding = backbone["embed" if model.config.tie_embeddings else "unembed"]
    once = size(backbone["decoder"], unembedding, speech["discrete"], head["pre"])
    each = size(head["input"], head["decoder"], head["output"], speech["embed"])
    return once + model.config.group_size * each


def decode_figures(config: ModelConfig, params: Params, work: Workload, rows: int) -> dict[str, float]:
    """Measures joint greedy responses to `rows` questions together, all of them `work.steps` LLM steps long.

    Every response is compared with copies of memory made just before and just after it, because the bandwidth of a
    shared machine changes within seconds. The figures are those of the response with the median share of the bound; the
    least and the greatest share are given too.
    """
    model, params = prepare(config, params)
    prompt = jax.device_put(packed_batch(config, rows, 1, QUESTION))
    keys = jax.random.split(jax.random.key(0), rows)
    decoding = Decoding("joint", max_steps=work.steps)
    program = compiled(generate, model, params, prompt, keys, jnp.int32(work.steps), decoding)

    def respond(limit: int) -> float:
        return once(lambda: program.run(params, prompt, keys, jnp.int32(limit), decoding))

    size, measured = step_bytes(model, params), []
    respond(1)  # the first run of a program also loads it
    before = copy_bandwidth()
    for _ in range(work.responses):
        whole, prefill = respond(work.steps), respond(1)
        after = copy_bandwidth()
        step, copies = (whole - prefill) / (work.steps - 1), (before + after) / 2
        measured.append((size / copies / step, step, copies, prefill))
        before = after
    measured.sort()
    share, step, copies, prefill = measured[len(measured) // 2]
    return {
        "prefill seconds": prefill,
        "LLM steps/s": 1 / step,
        "speech tokens/s": rows * config.group_size / step,
        "times real time": config.group_size / UNIT_RATE / step,
        "copied GB/s": copies / 1e9,
        "bound, LLM steps/s": copies / size,
        "share of bound": share,
        "share, least": measured[0][0],
        "share, greatest": measured[-1][0],
        "compile seconds": program.compile_seconds,
        "bytes": program.bytes,
    }
