"""How fast this machine trains and answers, and how near decoding comes to what its memory allows.

python -m experiments.benchmark [--presets=tiny,base] [--measure=train,utilisation,grouping,decode] [--json=out.json]
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.benchmarks.measure import compiled, copy_bandwidth, machine, once
from experiments.benchmarks.step_program import random_params, step_parts, step_program
from experiments.benchmarks.utilisation import utilisation_figures
from experiments.benchmarks.workloads import (
    QUESTION,
    UNIT_RATE,
    WORKLOADS,
    Conversation,
    Workload,
    packed_batch,
    preference_batch,
    seconds_of_audio,
)
from fac_jax import cli
from fac_jax.generation.decode import Decoding, generate, prepare
from fac_jax.losses import Preference
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.presets import preset
from fac_jax.types import InputError, Params

PRESETS = flags.DEFINE_list("presets", ["tiny", "base"], "Models to measure, in order.")
MEASURE = flags.DEFINE_list("measure", ["train", "decode"], "What is measured: train, utilisation, grouping, decode.")
JSON = flags.DEFINE_string("json", None, "File that gets all figures.")

TITLES = {
    "train": "training step",
    "utilisation": "step in bfloat16",
    "grouping": "step at k = 5 and k = 1",
    "decode": "joint decoding",
}


def endless(config: ModelConfig) -> ModelConfig:
    """The model with ends that no step can pick, so that every answer is as long as allowed."""
    return replace(config, special={"eos": config.vocab_size, "speech_eos": config.codebook_size})


def train_figures(config: ModelConfig, work: Workload) -> dict[str, float]:
    """One training step on both losses; beside it, turn by turn, one of preferences between its replies and others.

    The preference step has stored reference log-probabilities, and twice the conversations of the other: their replies,
    and a worse reply to each of their prompts.
    """
    batch = packed_batch(config, work.rows, work.packed, work.conversation)
    program, run = step_program(config, batch)
    _, prefer = step_program(config, preference_batch(batch, config, work.packed), loss=Preference())
    jax.block_until_ready((run(), prefer()))
    times = [(once(run), once(prefer)) for _ in range(work.updates)]
    seconds = min(plain for plain, _ in times)
    return {
        "steps/s": 1 / seconds,
        "audio seconds/s": seconds_of_audio(config, batch) / seconds,
        "LLM positions/s": batch.kind.size / seconds,
        "GFLOP/s": sum(step_parts(config, batch).values()) / seconds / 1e9,
        "DPO step / step": float(np.median([pairs / plain for plain, pairs in times])),
        "compile seconds": program.compile_seconds,
        "bytes": program.bytes,
    }


def grouping_figures(config: ModelConfig, one: Conversation, updates: int) -> dict[str, float]:
    """What dual-resolution speech representations save: a step, and one on equal audio without grouping (k = 1).

    Of one conversation each, since both programs and their states lie in memory together.
    """
    batch = packed_batch(config, 1, 1, one)
    single = replace(config, group_size=1)
    ungrouped = packed_batch(single, 1, 1, one.ungrouped(config.group_size))
    (_, run), (_, run_fine) = (step_program(*what) for what in ((config, batch), (single, ungrouped)))
    jax.block_until_ready((run(), run_fine()))
    times = [(once(run), once(run_fine)) for _ in range(updates)]
    cost, cost_fine = (step_parts(*what) for what in ((config, batch), (single, ungrouped)))
    return {
        "seconds a step": min(grouped for grouped, _ in times),
        "k=1": min(single for _, single in times),
        "time / k=1": float(np.median([grouped / single for grouped, single in times])),
        "FLOPs / k=1": sum(cost.values()) / sum(cost_fine.values()),
        "backbone FLOPs / k=1": cost["backbone"] / cost_fine["backbone"],
    }


def step_bytes(model: FunAudioChat, params: Params) -> int:
    """Bytes of weights that one LLM step of joint decoding reads: the Shared LLM once, the refined head G times.

    Rows of embedding tables that are looked up do not count; experts of a mixture count as if all were picked.

    Args:
      model: with its parameters from `prepare`.
      params: likewise.
    """

    def size(*trees: Any) -> int:
        return sum(leaf.nbytes for leaf in jax.tree.leaves(trees))

    backbone, head, speech = params["backbone"], params["refined_head"], params["speech_embedder"]
    unembedding = backbone["embed" if model.config.tie_embeddings else "unembed"]
    once = size(backbone["decoder"], unembedding, speech["discrete"], head["pre"])
    each = size(head["input"], head["decoder"], head["output"], speech["embed"])
    return once + model.config.group_size * each


def decode_figures(config: ModelConfig, params: Params, work: Workload, rows: int) -> dict[str, float]:
    """Joint greedy answers to `rows` questions, none of which ends by itself.

    Every answer is held against the copies of memory just before and just after it, since the bandwidth of a shared
    machine changes within seconds. The figures are those of the answer with the median share of the bound, beside the
    least and the greatest share.

    Args:
      config: of `params`.
      params: scanned layers.
      work: steps and answers.
      rows: B.
    """
    model, params = prepare(config, params)
    prompt = jax.device_put(packed_batch(config, rows, 1, QUESTION))
    keys = jax.random.split(jax.random.key(0), rows)
    decoding = Decoding("joint", max_steps=work.steps)
    program = compiled(generate, model, params, prompt, keys, jnp.int32(work.steps), decoding)

    def answer(limit: int) -> float:
        return once(lambda: program.run(params, prompt, keys, jnp.int32(limit), decoding))

    size, measured = step_bytes(model, params), []
    answer(1)  # the first run of a program also loads it
    before = copy_bandwidth()
    for _ in range(work.answers):
        whole, prefill = answer(work.steps), answer(1)
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


def benchmark(presets: Sequence[str], measure: Sequence[str]) -> dict[str, Any]:
    """All figures, by preset and measurement.

    Raises:
      InputError: a preset without a workload, or something else to measure.
    """
    unknown = [name for name in presets if name not in WORKLOADS]
    if unknown:
        raise InputError(f"--presets={unknown[0]}: not measured here; known: {', '.join(WORKLOADS)}")
    figures: dict[str, Any] = {"machine": machine()} | {name: {} for name in TITLES}
    strange = [name for name in measure if name not in TITLES]
    if strange:
        raise InputError(f"--measure={strange[0]}: not measured here; known: {', '.join(TITLES)}")
    for name in presets:
        work = WORKLOADS[name]
        config = endless(preset(name))
        shapes = jax.eval_shape(lambda config=config: random_params(config))
        size = f"{name}, {sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e6:.1f} M"
        where = f"{size}, {config.dtype}"
        if "train" in measure:
            figures["train"][where] = train_figures(config, work)
        if "utilisation" in measure:
            by_attention = utilisation_figures(config, work.utilisation, work.updates)
            figures["utilisation"] |= {f"{size}, {kind}": values for kind, values in by_attention.items()}
        if "grouping" in measure:
            one = work.conversation
            for told, spoken in (("", one), (", six times as long", one.longer(6)), (", a reply to text", one.read())):
                figures["grouping"][where + told] = grouping_figures(config, spoken, work.updates)
        if "decode" in measure:
            params = jax.jit(lambda config=config: random_params(config))()
            for rows in work.batches:
                figures["decode"][f"{where}, batch {rows}"] = decode_figures(config, params, work, rows)
    return figures


def table(first: str, rows: dict[str, dict[str, float]]) -> Iterator[str]:
    """Lines of a Markdown table: a row a measurement, a column a figure."""
    names = list(next(iter(rows.values())))
    heads = ["MiB" if name == "bytes" else name for name in names]
    yield f"| {first} | {' | '.join(heads)} |"
    yield "|---|" + "---:|" * len(heads)
    for where, values in rows.items():
        cells = [f"{values[name] / 2**20:.0f}" if name == "bytes" else _short(name, values[name]) for name in names]
        yield f"| {where} | {' | '.join(cells)} |"


def _short(name: str, value: float) -> str:
    """Three digits, or a percentage."""
    if name.startswith("share"):
        return f"{value:.0%}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def show(figures: dict[str, Any]) -> str:
    """Markdown of all figures."""
    lines = [figures["machine"]]
    for name, title in TITLES.items():
        lines += ["", *table(title, figures[name])] if figures[name] else []
    return "\n".join(lines)


def main() -> None:
    """The command."""
    out = Path(JSON.value) if JSON.value else None
    if out and not out.parent.is_dir():
        raise InputError(f"--json={out}: {out.parent} is no folder")
    jax.config.update("jax_enable_compilation_cache", False)  # so that compile seconds are compile seconds
    figures = benchmark(PRESETS.value, MEASURE.value)
    print(show(figures))
    if out:
        out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    cli.run(main)
