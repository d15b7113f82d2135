"""Measures speed on this machine: training, decoding, loading of data, and the voice.

python -m experiments.benchmark [--measure=train,decode] [--presets=tiny,base] [--json=out.json]
python -m experiments.benchmark --measure=decode --presets=8b --questions=1,8,32
python -m experiments.benchmark --measure=decode --presets=base --weights=trained,int8
python -m experiments.benchmark --measure=data --presets=base [--workers=2] [--step_seconds=0.4]
python -m experiments.benchmark --measure=codec [--parts=tokenizer,stream] [--seconds=10] [--minutes=1]

The measures are: card, the products and copies of the device; train, a training step; utilisation, a step in bfloat16
against matrix products; grouping, a step at the model's group size and at k = 1; decode, joint decoding; mixed,
answers of different lengths in static batches and continuously; data, loading of synthetic recordings, alone and next
to a training step; codec, the released voice at full size. docs/benchmark.md explains the figures.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
from absl import flags

from experiments.benchmarks.card import card_figures
from experiments.benchmarks.codec import KINDS, Speaking, codec_figures
from experiments.benchmarks.data import Loading, data_figures
from experiments.benchmarks.decode import decode_figures, endless, mixed_figures
from experiments.benchmarks.tables import TITLES, table
from experiments.benchmarks.train import grouping_figures, random_params, train_figures, utilisation_figures
from experiments.benchmarks.workloads import WORKLOADS
from fac_jax import cli
from fac_jax.evaluation.reports.machine import machine
from fac_jax.io import write_text
from fac_jax.models.presets import preset
from fac_jax.parallel.kernels import QUANTIZED, Quantized
from fac_jax.types import InputError

PRESETS = flags.DEFINE_list("presets", ["tiny", "base"], "Models to measure, in order.")
MEASURE = flags.DEFINE_list(
    "measure", ["train", "decode"], "Some of card, train, utilisation, grouping, decode, mixed, data, codec."
)
QUESTIONS = flags.DEFINE_list("questions", None, "decode, mixed: questions answered together, several numbers.")
WEIGHTS = flags.DEFINE_list("weights", ["trained"], "decode: forms of weights, trained or one of --quantize.")
JSON = flags.DEFINE_string("json", None, "File that gets all figures.")
ROWS = flags.DEFINE_integer("rows", 1, "data: rows of a batch.", lower_bound=1)
SEQ_LEN = flags.DEFINE_integer("seq_len", 512, "data: LLM positions of a row.", lower_bound=512)
BATCHES = flags.DEFINE_integer("batches", 3, "data: batches to measure.", lower_bound=1)
WORKERS = flags.DEFINE_integer("workers", 0, "data: processes that make items.", lower_bound=0)
STEP_SECONDS = flags.DEFINE_float(
    "step_seconds", None, "data: imitate a training step of this length by sleeping; otherwise the model trains.", 0.0
)
PARTS = flags.DEFINE_list("parts", list(KINDS), "codec: some of tokenizer, offline, stream.")
SECONDS = flags.DEFINE_float("seconds", 10.0, "codec: seconds of audio.", 1.0)
MINUTES = flags.DEFINE_multi_float("minutes", [], "codec: minutes of audio that run once, in ascending order.", 0.1)
HOP = flags.DEFINE_integer("hop", Speaking.hop, "codec: tokens of a chunk of a stream.", 1)
LEFT = flags.DEFINE_integer("left", Speaking.left, "codec: chunks before its own that a chunk hears.", 1)
STEPS = flags.DEFINE_integer("steps", Speaking.steps, "codec: Euler steps of the flow.", 1)


def benchmark(
    presets: Sequence[str],
    measure: Sequence[str],
    loading: Loading,
    speaking: Speaking,
    batches: Sequence[int] | None = None,
    weights: Sequence[Quantized | None] = (None,),
) -> dict[str, Any]:
    """Measures every preset, the device and the voice.

    Args:
      batches: numbers of questions answered together; None for those of the preset.
      weights: forms of the weights of decoding; tables are int8 where kernels are quantised.

    Returns:
      "machine", and for each of `TITLES` the figures by measurement.

    Raises:
      InputError: a preset without a workload, an unknown measure or an unknown part of the voice.
    """
    for option, given, known in (
        ("presets", presets, tuple(WORKLOADS)),
        ("measure", measure, tuple(TITLES)),
        ("parts", speaking.parts, KINDS),
    ):
        unknown = [name for name in given if name not in known]
        if unknown or not given:
            raise InputError(f"--{option}={','.join(unknown)}: known are {', '.join(known)}")
    figures: dict[str, Any] = {"machine": f"{machine()}, jax {jax.__version__}"} | {name: {} for name in TITLES}
    if "card" in measure:
        figures["card"] = {jax.devices()[0].device_kind: card_figures()}
    for name in presets if set(measure) - {"card", "codec"} else ():
        for kind, rows in _preset_figures(name, measure, loading, batches, weights).items():
            figures[kind] |= rows
    if "codec" in measure:
        figures["codec"] = codec_figures(speaking)
    return figures


def _preset_figures(
    name: str,
    measure: Sequence[str],
    loading: Loading,
    batches: Sequence[int] | None,
    weights: Sequence[Quantized | None],
) -> dict[str, dict[str, Any]]:
    work, config = WORKLOADS[name], endless(preset(name))
    shapes = jax.eval_shape(lambda: random_params(config))
    size = f"{name}, {sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e6:.1f} M"
    label = f"{size}, {config.dtype}"
    figures: dict[str, dict[str, Any]] = {}
    if "train" in measure:
        figures["train"] = {label: train_figures(config, work)}
    if "utilisation" in measure:
        by_attention = utilisation_figures(config, work.utilisation, work.updates)
        figures["utilisation"] = {f"{size}, {kind}": values for kind, values in by_attention.items()}
    if "grouping" in measure:
        one = work.conversation
        cases = {label: one, f"{label}, six times as long": one.longer(6), f"{label}, a reply to text": one.read()}
        figures["grouping"] = {case: grouping_figures(config, spoken, work.updates) for case, spoken in cases.items()}
    if "decode" in measure:
        params = jax.jit(lambda: random_params(config))()
        figures["decode"] = {
            f"{label}, {form or 'as trained'}, batch {rows}": decode_figures(config, params, work, rows, form)
            for rows in batches or work.batches
            for form in weights
        }
    if "mixed" in measure:
        params = jax.jit(lambda: random_params(config))()
        figures["mixed"] = {
            f"{label}, {rows} side by side": mixed_figures(config, params, rows) for rows in batches or (8,)
        }
    if "data" in measure:
        case = f"{label}, {loading.rows} x {loading.seq_len}, {loading.workers} workers"
        figures["data"] = {case: data_figures(preset(name), loading)}
    return figures


def report(figures: dict[str, Any]) -> str:
    """Returns all figures in Markdown."""
    lines = [figures["machine"]]
    for name, title in TITLES.items():
        lines += ["", *table(title, figures[name])] if figures[name] else []
    return "\n".join(lines)


def _counts(words: Sequence[str]) -> list[int]:
    if not all(word.isdecimal() and int(word) for word in words):
        raise InputError(f"--questions={','.join(words)}: each is a number of questions, at least 1")
    return [int(word) for word in words]


def _forms(words: Sequence[str]) -> list[Quantized | None]:
    unknown = [word for word in words if word not in ("trained", *QUANTIZED)]
    if unknown or not words:
        raise InputError(f"--weights={','.join(words)}: known are trained, {', '.join(QUANTIZED)}")
    return [None if word == "trained" else cast(Quantized, word) for word in words]


def main() -> None:
    """Measures, prints tables and writes the figures."""
    out = Path(JSON.value) if JSON.value else None
    if out and not out.parent.is_dir():
        raise InputError(f"--json={out}: there is no folder {out.parent}")
    batches = _counts(QUESTIONS.value) if QUESTIONS.value else None
    jax.config.update("jax_enable_compilation_cache", False)  # so that compile seconds are compile seconds
    loading = Loading(ROWS.value, SEQ_LEN.value, BATCHES.value, WORKERS.value, STEP_SECONDS.value)
    speaking = Speaking(PARTS.value, SECONDS.value, MINUTES.value, HOP.value, LEFT.value, STEPS.value)
    weights = _forms(WEIGHTS.value)
    figures = benchmark(PRESETS.value, MEASURE.value, loading, speaking, batches, weights)
    print(report(figures))
    if out:
        write_text(out, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    cli.run(main, interrupted="nothing was written")
