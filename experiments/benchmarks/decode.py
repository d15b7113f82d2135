"""Speed of joint decoding, compared with the time that reading weights and caches from memory takes."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.measure import compiled, copy_bandwidth, once
from experiments.benchmarks.workloads import QUESTION, UNIT_RATE, Conversation, Workload, packed_batch
from fac_jax.codec.cosyvoice.token2wav import Token2Wav
from fac_jax.generation.continuous import answers
from fac_jax.generation.decode import generate
from fac_jax.generation.engine import advance, prefill
from fac_jax.generation.prepared import prepare
from fac_jax.generation.slots import Decoding, Request, Slots, requests
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.kernels import Quantized
from fac_jax.types import Batch, Params

MIXED: Final = 64  # questions
SHORT: Final = Conversation(text=19, heard=15, spoken=0)  # 3 s
SHORTEST, LONGEST = 5, 60  # text ids of an answer


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


def cache_bytes(model: FunAudioChat, slots: Slots, positions: float) -> float:
    """Returns the bytes of caches that an LLM step reads when `positions` of each reply are filled.

    The Shared LLM reads its keys and values once, the head its own G times.
    """
    assert slots.speech is not None
    length = slots.caches[0].k.shape[-2]
    once, each = (sum(leaf.nbytes for leaf in jax.tree.leaves(c)) for c in (slots.caches, slots.speech.caches))
    return (once + model.config.group_size * each) * positions / length


def decode_figures(
    config: ModelConfig, params: Params, work: Workload, rows: int, quantize: Quantized | None = None
) -> dict[str, float]:
    """Measures joint greedy responses to `rows` questions together, all of them `work.steps` LLM steps long.

    Every response is compared with copies of memory made just before and just after it, because the bandwidth of a
    shared machine changes within seconds. The figures are those of the response with the median share of the bound; the
    least and the greatest share are given too.
    """
    model, params = prepare(config, params, None, quantize, quantize is not None)
    prompt = jax.device_put(packed_batch(config, rows, 1, QUESTION))
    keys = jax.random.split(jax.random.key(0), rows)
    decoding = Decoding("joint", max_steps=work.steps)
    length = prompt.text_ids.shape[1] + work.steps
    shapes = {"length": length, "max_steps": work.steps, "joint": True, "draws": False}
    request = requests(decoding, keys)
    begins = compiled(prefill, model, params, prompt, request, **shapes)
    slots = begins.run(params, prompt, request)
    steps = compiled(advance, model, params, slots, jnp.int32(work.steps), False, draws=False)

    asked = int(jnp.sum(prompt.segment_ids[0]))
    size = step_bytes(model, params) + cache_bytes(model, slots, asked + work.steps / 2)
    measured = []
    steps.run(params, slots, jnp.int32(1), False)  # the first run of a program also loads it
    before = copy_bandwidth()
    for _ in range(work.responses):
        start = time.perf_counter()
        slots = jax.block_until_ready(begins.run(params, prompt, request))
        prefilled = time.perf_counter()
        jax.block_until_ready(steps.run(params, slots, jnp.int32(work.steps), False))
        whole, taken = time.perf_counter() - prefilled, prefilled - start
        after = copy_bandwidth()
        step, copies = whole / (work.steps - 1), (before + after) / 2
        measured.append((size / copies / step, step, copies, taken))
        before = after
    measured.sort()
    share, step, copies, begun = measured[len(measured) // 2]
    return {
        "prefill seconds": begun,
        "prompt positions/s": rows * asked / begun,
        "LLM steps/s": 1 / step,
        "speech tokens/s": rows * config.group_size / step,
        "times real time": config.group_size / UNIT_RATE / step,
        "copied GB/s": copies / 1e9,
        "bound, LLM steps/s": copies / size,
        "share of bound": share,
        "share, least": measured[0][0],
        "share, greatest": measured[-1][0],
        "compile seconds": begins.compile_seconds + steps.compile_seconds,
        "bytes": max(begins.bytes, steps.bytes),
    }


def first_audio_figures(
    config: ModelConfig, params: Params, voice: Token2Wav, quantize: Quantized | None = None
) -> dict[str, float]:
    """Measures how long a question of 3 s waits for the beginning of its reply: the second of two runs.

    The log-mel of the question is there. What the random model says is spoken by the voice at full size, whose ids are
    taken from those of the model.
    """
    model, params = prepare(config, params, None, quantize, quantize is not None)
    decoding = Decoding("joint", max_steps=LONGEST)
    batch, request = _questions(config, 1), requests(decoding, jax.random.key(0)[None])
    speaker = np.random.default_rng(0).standard_normal(192).astype(np.float32)
    shapes = {"length": SHORT.text + SHORT.heard + LONGEST, "max_steps": LONGEST, "joint": True, "draws": False}

    def run() -> dict[str, float]:
        start, spoken, found = time.perf_counter(), voice.stream(speaker), {}

        def reached(name: str) -> None:
            found.setdefault(name, time.perf_counter() - start)

        slots, groups = prefill(model, params, batch, request, **shapes), 0
        slots.last.block_until_ready()
        reached("first text id, seconds")
        while True:
            slots = advance(model, params, slots, 1, False, draws=False)
            assert slots.speech is not None
            made = np.asarray(slots.speech.ids[0, : slots.speech.count[0]])
            if len(made) > groups:
                reached("first group, seconds")
                wave = spoken.push(made[groups:].reshape(-1) % min(voice.flow.vocab_size, config.units))
                groups = len(made)
                if wave.size:
                    reached("first audio, seconds")
                    return found | {"LLM steps before it": float(slots.count[0]) - 1}

    run()
    return run()


@functools.cache
def _questions(config: ModelConfig, rows: int) -> Batch:
    return jax.device_put(packed_batch(config, rows, 1, SHORT))


@dataclasses.dataclass(frozen=True)
class Mixed:
    """Questions of 3 s whose answers have lengths of their own (`continuous.Prompts`)."""

    config: ModelConfig
    limits: np.ndarray
    decoding: Decoding
    length: int = SHORT.text + SHORT.heard
    together: int = 1

    def __len__(self) -> int:
        return len(self.limits)

    def batch(self, chosen: Sequence[int | None]) -> tuple[Batch, Request]:
        """See `Prompts`."""
        limits = np.array([0 if number is None else self.limits[number] for number in chosen])
        keys = jax.random.split(jax.random.key(0), len(chosen))
        return _questions(self.config, len(chosen)), requests(self.decoding, keys, limits)


def mixed_figures(config: ModelConfig, params: Params, rows: int) -> dict[str, float]:
    """Measures answers of 5 to 60 steps to questions of 3 s, in static batches and continuously.

    Their lengths are spread evenly on a logarithmic scale. A static batch begins when the one before it has ended. Both
    answer the same questions in the same order, one after the other; the fastest of three runs counts.
    """
    model, params = prepare(config, params)
    decoding = Decoding("joint", max_steps=LONGEST)
    limits = np.random.default_rng(0).permutation(np.geomspace(SHORTEST, LONGEST, MIXED).round().astype(int))
    asked = Mixed(config, limits, decoding)

    def static() -> None:
        for start in range(0, MIXED, rows):
            batch, request = asked.batch(range(start, min(start + rows, MIXED)))
            jax.block_until_ready(generate(model, params, batch, request.keys, request.limit, decoding))

    def continuous() -> None:
        for _ in answers(model, params, asked, decoding, rows):
            pass

    static()
    continuous()
    times = [(once(static), once(continuous)) for _ in range(3)]
    waiting, flowing = (min(each) for each in zip(*times, strict=True))
    steps = int(np.sum(limits))
    return {
        "answers/s, static": MIXED / waiting,
        "answers/s, continuous": MIXED / flowing,
        "continuous / static": waiting / flowing,
        "ids/s, static": steps / waiting,
        "ids/s, continuous": steps / flowing,
    }
