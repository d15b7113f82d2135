"""Checkpoints in and out: the release's safetensors, ours, and a proof that they are the same model.

python -m experiments.convert hf-to-jax SRC DST                 a released checkpoint into a model of ours
python -m experiments.convert jax-to-hf SRC DST                 back, --dtype=bfloat16 | float32 | float16,
                                                                --part=whole | text (Qwen3) | audio (Whisper)
python -m experiments.convert assemble DST --text=DIR --audio=PATH --head=DIR
                                                                Qwen3 + Whisper + a small Qwen3 into a starting model
python -m experiments.convert merge A B DST --alpha=0.5           alpha A + (1 - alpha) B on the Shared LLM, A elsewhere
                                                                by path: --subtree=backbone/=0.3 --subtree=encoder/=1
python -m experiments.convert verify SRC --recorded=io.npz      all differences from a recorded run, exit 1 past a limit
                                                                with an adapter: --adapter=DIR
python -m experiments.convert peft-to-jax ADAPTER BASE DST      an adapter of PEFT into a stage's, DST/adapter, for BASE
python -m experiments.convert jax-to-peft STAGE DST             back, --part=whole | text (Qwen3)
python -m experiments.convert merge-adapter ADAPTER BASE DST    BASE with an adapter merged, a model of ours
python -m experiments.convert verify-adapter ADAPTER --base=DIR   an adapter against what PEFT recorded, as verify
python -m experiments.convert inspect SRC                       names, shapes, sizes, what maps where
python -m experiments.convert codec SRC DST                     the released voice into a codec of ours
python -m experiments.convert verify-codec DIR                  the codec against recorded runs, as verify
"""

import dataclasses
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import numpy as np
from absl import flags

from fac_jax import cli
from fac_jax.checkpoint.adapters.base import base_digest, read_base
from fac_jax.checkpoint.adapters.load import ADAPTER as STAGE_ADAPTER
from fac_jax.checkpoint.adapters.load import adapted, find_adapter, read_adapter
from fac_jax.checkpoint.adapters.merge import merge_adapter as merge_model
from fac_jax.checkpoint.adapters.names import PARTS as ADAPTER_PARTS
from fac_jax.checkpoint.adapters.names import Part
from fac_jax.checkpoint.adapters.save import save_adapter
from fac_jax.checkpoint.export import TOKENIZER, load_config, load_params
from fac_jax.checkpoint.opened import open_model
from fac_jax.checkpoint.release.assemble import assemble as assemble_model
from fac_jax.checkpoint.release.config import load_release_config
from fac_jax.checkpoint.release.convert import FLOATS, combine_models, export_release, import_release
from fac_jax.checkpoint.release.load import is_release
from fac_jax.checkpoint.release.params import from_release, param_shapes
from fac_jax.checkpoint.release.parts import PARTS
from fac_jax.checkpoint.release.survey import UNMAPPED, survey_params, survey_tensors
from fac_jax.checkpoint.release.tensors import TensorFolder
from fac_jax.checkpoint.voice.convert import TOKENIZER as SPEECH_TOKENIZER
from fac_jax.checkpoint.voice.convert import convert_codec
from fac_jax.checkpoint.voice.onnx_tokenizer import SHA256
from fac_jax.evaluation.parity.adapters import compare_adapter
from fac_jax.evaluation.parity.codec import compare_codec
from fac_jax.evaluation.parity.model import Figure, compare
from fac_jax.evaluation.parity.recording import read_arrays
from fac_jax.models.config import ModelConfig, replace
from fac_jax.progress import shown
from fac_jax.training.merge import SHARED_LLM, check_same, choose_alphas, combine
from fac_jax.types import InputError, Params

FAILED = 1
WHOLE, ALL = "whole", "all"

DTYPE = flags.DEFINE_enum("dtype", "bfloat16", FLOATS, "Of the tensors that jax-to-hf and assemble write.")
PART = flags.DEFINE_enum(
    "part", WHOLE, [WHOLE, *PARTS], "jax-to-hf, jax-to-peft: the whole (or all), or a part in the layout of its origin."
)
HALF_DUPLEX = flags.DEFINE_bool("half_duplex", False, "jax-to-hf: write a duplex model without its kernel `beside`.")
SHARD_GB = flags.DEFINE_float("shard_gb", 1.0, "Most gigabytes (2^30 bytes) of a shard that jax-to-hf writes.", 0.0)
TEXT = flags.DEFINE_string("text", None, "assemble: folder of Qwen3, Qwen3-MoE or Qwen3-VL, with its tokenizer.")
AUDIO = flags.DEFINE_string("audio", None, "assemble: Whisper of transformers or CTranslate2 (folder) or OpenAI (.pt).")
HEAD = flags.DEFINE_string("head", None, "assemble: folder of a small Qwen3.")
UNITS = flags.DEFINE_integer("units", 6561, "assemble: ids of the codec.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "assemble: of the parameters that are in none of the three.")
RECORDED = flags.DEFINE_string("recorded", None, "verify: recorded run (.npz).")
JSON = flags.DEFINE_bool("json", False, "verify, verify-adapter, verify-codec, inspect: print JSON.")
SPEAKERS = flags.DEFINE_string("speakers", None, "codec: speaker embeddings (.pt or .npz), if they are not in SRC.")
SPEAKER = flags.DEFINE_string("speaker", None, "codec: the speaker that decodes; the first if not given.")
ALPHA = flags.DEFINE_float("alpha", 0.5, "merge: share of A in the Shared LLM; 0 resets it to B.")
SUBTREE = flags.DEFINE_multi_string("subtree", [], "merge: PATTERN=ALPHA in place of --alpha; the first match counts.")
ADAPTER = flags.DEFINE_string("adapter", None, "verify: adapter in PEFT's format, or stage with one, to put on SRC.")
ANY_BASE = flags.DEFINE_bool("any_base", False, "Take an adapter that was made for a base with other values.")
BASE = flags.DEFINE_string("base", None, "verify-adapter, and jax-to-peft of an adapter of others: its base.")


def hf_to_jax(src: str, dst: str) -> None:
    """Converts the released checkpoint SRC into a model of ours, DST."""
    config = import_release(Path(src), Path(dst), shown("tensors"))
    count = sum(math.prod(shape) for shape in param_shapes(config).values())
    print(f"{dst}: {count:,} parameters, {config.param_dtype}")
    if not (Path(dst) / TOKENIZER).exists():
        print(f"no tokenizer in {src}: put {TOKENIZER} into {dst} before text goes in or out")


def jax_to_hf(src: str, dst: str) -> None:
    """Converts a model of ours, SRC, into the layout of the release, of Qwen3 or of Whisper, DST."""
    shard_bytes, part = int(SHARD_GB.value * 2**30), ALL if PART.value == WHOLE else PART.value
    export_release(Path(src), Path(dst), DTYPE.value, shard_bytes, shown("tensors"), part, HALF_DUPLEX.value)
    tensors = TensorFolder(Path(dst))
    count = sum(math.prod(shape) for shape in tensors.shapes.values())
    files = len(list(Path(dst).glob("*.safetensors")))
    print(f"{dst}: {len(tensors)} tensors, {count:,} numbers, {DTYPE.value}, in {files} safetensors")


def assemble(dst: str) -> None:
    """Assembles the models of --text, --audio and --head into a model of ours, DST."""
    folders = {"text": TEXT.value, "audio": AUDIO.value, "head": HEAD.value}
    absent = [f"--{name}=DIR" for name, folder in folders.items() if not folder]
    if absent:
        raise InputError(f"assemble needs {', '.join(absent)}")
    text, audio, head = (Path(str(folder)) for folder in folders.values())
    made = assemble_model(text, audio, head, Path(dst), UNITS.value, DTYPE.value, SEED.value, shown("tensors"))
    for name, dtype in made.dtypes.items():
        print(f"{folders[name]}: {dtype} -> {DTYPE.value}")
    print(f"{dst}: freshly initialised are {', '.join(made.fresh)}")


def verify(src: str) -> None:
    """Compares a released checkpoint or a model of ours with a recorded run; exits 1 if a figure exceeds its limit."""
    if not RECORDED.value:
        raise InputError("verify needs --recorded=io.npz")
    params, config = load(Path(src))
    if ADAPTER.value:
        params = adapted(params, config, ADAPTER.value, ANY_BASE.value)
    # The recorded classes know this way only of reading a prompt in the refined head.
    config = replace(config, head_prefill="release")
    arrays = read_arrays(Path(RECORDED.value))
    try:
        show_figures(compare(params, config, arrays))
    except InputError as error:
        raise InputError(f"{RECORDED.value}: {error}") from error


def peft_to_jax(adapter: str, base: str, dst: str) -> None:
    """Converts an ADAPTER of PEFT into DST/adapter, which knows its BASE, a released checkpoint or a model of ours."""
    params, model = open_model(base)
    found = read_adapter(adapter, model)
    known = dataclasses.replace(found, base=base_digest(params, model))
    save_adapter(Path(dst) / STAGE_ADAPTER, known, model, base_name=base)
    print(f"{dst}: {found}")


def jax_to_peft(stage: str, dst: str) -> None:
    """Converts the adapter of STAGE into one that PEFT loads on the release's classes or on those of Qwen3, DST."""
    part = WHOLE if PART.value == ALL else PART.value
    if part not in ADAPTER_PARTS:
        raise InputError(f"--part={part}: an adapter has the parts {', '.join(ADAPTER_PARTS)}")
    if BASE.value:
        model = open_model(BASE.value)[1]
    else:
        known = read_base(find_adapter(stage))
        if known is None:
            raise InputError(f"{stage}: does not say to which model it belongs; name it with --base=DIR")
        model = known.model
    found = read_adapter(stage, model)
    without = save_adapter(Path(dst), found, model, cast(Part, part))
    print(f"{dst}: {found}" + (f"; --part={part} has no place for {len(without)} of its parts" if without else ""))
    if found.saved:
        print("it replaces tables, which servers of adapters refuse: merge-adapter makes a model of it")


def merge_adapter(adapter: str, base: str, dst: str) -> None:
    """Merges an ADAPTER into its BASE, a released checkpoint or a model of ours, and writes a model of ours, DST."""
    found, config = merge_model(adapter, Path(base), Path(dst), ANY_BASE.value, shown("pieces"))
    print(f"{dst}: {found}, merged, {config.param_dtype}")


def verify_adapter(adapter: str) -> None:
    """Compares an ADAPTER with what PEFT recorded in its io.npz; exits 1 if a figure exceeds its limit."""
    if not BASE.value:
        raise InputError("verify-adapter needs --base=DIR, the model that the adapter belongs to")
    params, config = load(Path(BASE.value))
    show_figures(compare_adapter(Path(adapter), params, config, Path(BASE.value)))


def codec(src: str, dst: str) -> None:
    """Converts the released voice SRC into a codec of ours, DST."""
    speakers = Path(SPEAKERS.value) if SPEAKERS.value else None
    made = convert_codec(Path(src), Path(dst), speakers, SPEAKER.value, wrap=shown("parts"))
    if made.published:
        print(f"{SPEECH_TOKENIZER} is the published file (sha256 {SHA256})")
    else:
        print(f"{SPEECH_TOKENIZER} is NOT the published file, whose sha256 is {SHA256}")
    for part, count in made.counts.items():
        print(f"{part}: {count:,} parameters")
    print(f"{dst}: speaks as {made.speaker}; speakers: {', '.join(made.speakers)}")


def verify_codec(folder: str) -> None:
    """Compares the codec with the recorded runs in FOLDER; exits 1 if a figure exceeds its limit."""
    show_figures(compare_codec(Path(folder)))


def merge(a: str, b: str, dst: str) -> None:
    """Merges models of ours, A and B, into DST."""
    shapes = [{"/".join(path): s for path, s in param_shapes(load_config(Path(x))).items()} for x in (a, b)]
    check_same(*shapes)
    chosen = choose_alphas(list(shapes[0]), merge_alphas())

    def mix(path: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.asarray(combine(first, second, chosen[path]))

    origin = {"merge": [a, b], "alphas": merge_alphas(), "order": 0}
    combine_models(Path(a), Path(b), Path(dst), mix, origin, shown("pieces"))
    print(f"{dst}: " + ", ".join(f"{pattern} {alpha:g}" for pattern, alpha in merge_alphas().items()))


def merge_alphas() -> dict[str, float]:
    """Returns alpha by parameter pattern, from the flags.

    Raises:
      InputError: a --subtree that is not PATTERN=ALPHA.
    """
    if not SUBTREE.value:
        return {SHARED_LLM: ALPHA.value}
    found = {}
    for word in SUBTREE.value:
        pattern, _, alpha = word.rpartition("=")
        try:
            found[pattern] = float(alpha)
        except ValueError:
            raise InputError(f"--subtree={word}: write PATTERN=ALPHA, for example backbone/=0.5") from None
    return found


def show_figures(figures: Iterable[Figure]) -> None:
    """Prints every figure when it is computed, or all as JSON with --json; exits 1 if one exceeds its limit."""
    found: list[Figure] = []
    for figure in figures:
        found.append(figure)
        if not JSON.value:
            mark = "" if figure.holds else "  EXCEEDED"
            print(f"{figure.name:50s} {figure.value:10.3g}  <= {figure.limit:g}{mark}", flush=True)
    if JSON.value:
        print(json.dumps([{**vars(figure), "holds": figure.holds} for figure in found], indent=2))
    if not all(figure.holds for figure in found):
        sys.exit(FAILED)


def inspect(src: str) -> None:
    """Prints every tensor of a released checkpoint, or every parameter of a model of ours, and what it maps to."""
    folder = Path(src)
    rows = list(survey_tensors(folder) if is_release(folder) else survey_params(folder))
    if JSON.value:
        fields = {"name": "name", "shape": "shape", "dtype": "dtype", "bytes": "bytes", "maps to": "target"}
        found = [{name: getattr(row, field) for name, field in fields.items()} for row in rows]
        print(json.dumps(found, indent=2))
        return
    for row in rows:
        print(f"{row.name}  {row.dtype}{list(row.shape)}  {row.bytes:,} B  ->  {row.target}")
    wrong = sum(not row.maps for row in rows)
    more = f"; {wrong} do not map (look for {UNMAPPED.strip()})" if wrong else ""
    print(f"{len(rows)} names, {sum(row.bytes for row in rows):,} bytes{more}")


def load(folder: Path) -> tuple[Params, ModelConfig]:
    """Loads parameters and config of a released checkpoint or of a model of ours."""
    if is_release(folder):
        config = load_release_config(folder)
        return from_release(TensorFolder(folder), config), config
    return load_params(folder)


COMMANDS = {
    "hf-to-jax": hf_to_jax,
    "jax-to-hf": jax_to_hf,
    "assemble": assemble,
    "merge": merge,
    "verify": verify,
    "inspect": inspect,
    "codec": codec,
    "verify-codec": verify_codec,
    "peft-to-jax": peft_to_jax,
    "jax-to-peft": jax_to_peft,
    "merge-adapter": merge_adapter,
    "verify-adapter": verify_adapter,
}

if __name__ == "__main__":
    cli.run_commands(COMMANDS)
