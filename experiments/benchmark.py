"""Measures speed on this machine: training, decoding, loading of data, and the voice.

python -m experiments.benchmark [--measure=train,decode] [--presets=tiny,base] [--json=out.json]
python -m experiments.benchmark --measure=decode --presets=8b --questions=1,8,32
python -m experiments.benchmark --measure=decode --presets=base --weights=trained,int8
python -m experiments.benchmark --measure=data --presets=base [--workers=2] [--step_seconds=0.4]
python -m experiments.benchmark --measure=codec [--parts=tokenizer,stream] [--seconds=10] [--minutes=1]

The measures are: card, the products and copies of the device; train, a training step; utilisation, a step in bfloat16
against matrix products; grouping, a step at the model's group size and at k = 1; decode, joint decoding; first_audio,
from a question to the first samples of the released voice; mixed, answers of different lengths in static batches and
continuously; calls, a slot of live calls; data, loading of synthetic recordings, alone and next to a training step;
codec, the released voice at full size. A row is printed when it is there. docs/benchmark.md explains the figures.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import jax
from absl import flags

from experiments.benchmarks.calls import call_figures, duplex_config
from experiments.benchmarks.card import card_figures
from experiments.benchmarks.codec import KINDS, Speaking, codec_figures, random_voice
from experiments.benchmarks.data import Loading, data_figures
from experiments.benchmarks.decode import decode_figures, endless, first_audio_figures, mixed_figures
from experiments.benchmarks.tables import TITLES, head, row
from experiments.benchmarks.train import grouping_figures, random_params, train_figures, utilisation_figures
from experiments.benchmarks.workloads import WORKLOADS
from fac_jax import cli
from fac_jax.evaluation.reports.machine import machine
from fac_jax.io import write_text
from fac_jax.models.config import replace
from fac_jax.models.presets import preset
from fac_jax.parallel.kernels import QUANTIZED, Quantized
from fac_jax.types import InputError

PRESETS = flags.DEFINE_list("presets", ["tiny", "base"], "Models to measure, in order.")
MEASURE = flags.DEFINE_list("measure", ["train", "decode"], f"Some of {', '.join(TITLES)}.")
QUESTIONS = flags.DEFINE_list(
    "questions", None, "decode, mixed, calls: questions or calls side by side, several numbers."
)
DTYPE = flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], "Of the models; that of the preset if not given.")
WEIGHTS = flags.DEFINE_list(
    "weights", ["trained"], "decode, first_audio: forms of weights, trained or one of --quantize."
)
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


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is measured.

    Attributes:
      presets: models.
      measure: some of `TITLES`.
      loading: of the measure data.
      speaking: of the measures codec and first_audio.
      batches: numbers of questions answered together; None for those of the preset.
      weights: forms of the weights of decoding; tables are int8 where kernels are quantised.
      dtype: of the models; None for that of the preset.
    """

    presets: Sequence[str]
    measure: Sequence[str]
    loading: Loading = Loading()
    speaking: Speaking = Speaking()
    batches: Sequence[int] | None = None
    weights: Sequence[Quantized | None] = (None,)
    dtype: str | None = None

    def check(self) -> None:
        """Refuses what is unknown.

        Raises:
          InputError: a preset without a workload, an unknown measure or an unknown part of the voice.
        """
        for option, given, known in (
            ("presets", self.presets, tuple(WORKLOADS)),
            ("measure", self.measure, tuple(TITLES)),
            ("parts", self.speaking.parts, KINDS),
        ):
            unknown = [name for name in given if name not in known]
            if unknown or not given:
                raise InputError(f"--{option}={','.join(unknown)}: known are {', '.join(known)}")


Row = tuple[str, dict[str, float]]  # what was measured, and its figures by name


def measured(asked: Asked) -> Iterator[tuple[str, Row]]:
    """Yields each row of figures when it is there, with its measure."""
    for kind in (kind for kind in TITLES if kind in asked.measure):
        for name in (None,) if kind in ("card", "codec") else asked.presets:
            yield from ((kind, row) for row in _rows(kind, name, asked))


def _rows(kind: str, name: str | None, asked: Asked) -> Iterator[Row]:
    """Yields the rows of a measure, and of a preset if it is one of models."""
    if name is None:
        if kind == "card":
            yield jax.devices()[0].device_kind, card_figures()
        else:
            yield from codec_figures(asked.speaking).items()
        return
    work, config = WORKLOADS[name], endless(preset(name))
    if asked.dtype is not None:
        config = replace(config, dtype=asked.dtype, param_dtype=asked.dtype)
    sizes = jax.eval_shape(lambda: random_params(config))
    size = f"{name}, {sum(leaf.size for leaf in jax.tree.leaves(sizes)) / 1e6:.1f} M"
    label, one = f"{size}, {config.dtype}", work.conversation
    decoded = kind in ("decode", "first_audio", "mixed", "calls")
    if kind == "calls":
        config = duplex_config(config, "slide")
    params = random_params(config) if decoded else {}
    match kind:
        case "train":
            yield label, train_figures(config, work)
        case "utilisation":
            for attention, values in utilisation_figures(config, work.utilisation, work.updates).items():
                yield f"{size}, {attention}", values
        case "grouping":
            for case, spoken in (("", one), (", six times as long", one.longer(6)), (", a reply to text", one.read())):
                yield label + case, grouping_figures(config, spoken, work.updates)
        case "decode":
            for rows, form in itertools.product(asked.batches or work.batches, asked.weights):
                case = f"{label}, {form or 'as trained'}, batch {rows}"
                yield case, decode_figures(config, params, work, rows, form)
        case "first_audio":
            voice = random_voice(asked.speaking)
            for form in asked.weights:
                yield f"{label}, {form or 'as trained'}", first_audio_figures(config, params, voice, form)
        case "mixed":
            for rows in asked.batches or (8,):
                yield f"{label}, {rows} side by side", mixed_figures(config, params, rows)
        case "calls":
            for stream, calls, talks in itertools.product(("slide", "block"), asked.batches or (1, 32), (False, True)):
                case = f"{label}, {stream}, {calls} calls, {'all talk' if talks else 'nobody talks'}"
                yield case, call_figures(duplex_config(config, stream), params, calls, talks)
        case "data":
            loading = asked.loading
            case = f"{label}, {loading.rows} x {loading.seq_len}, {loading.workers} workers"
            yield case, data_figures(preset(name), loading)


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
    asked = Asked(
        PRESETS.value,
        MEASURE.value,
        Loading(ROWS.value, SEQ_LEN.value, BATCHES.value, WORKERS.value, STEP_SECONDS.value),
        Speaking(PARTS.value, SECONDS.value, MINUTES.value, HOP.value, LEFT.value, STEPS.value),
        batches,
        _forms(WEIGHTS.value),
        DTYPE.value,
    )
    asked.check()
    figures: dict[str, Any] = {"machine": f"{machine()}, jax {jax.__version__}"} | {name: {} for name in TITLES}
    print(figures["machine"], flush=True)
    for kind, (label, values) in measured(asked):
        if not figures[kind]:
            print("", *head(TITLES[kind], values), sep="\n")
        print(row(label, values), flush=True)
        figures[kind][label] = values
        if out:
            write_text(out, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    cli.run(main, interrupted="rows that were printed are complete; a file of --json holds them")
