"""Whether a stage fits a topology, and how fast a step can be there at best, before a chip is rented.

python -m experiments.plan --config experiments/configs/sft_8b.py --topology v5e:8x8 [--mesh fsdp=32,tensor=2] [--json]
python -m experiments.plan --config experiments/configs/sft_8b.py --topology v5e:8x8 --search
python -m experiments.plan --config experiments/configs/sft_8b.py --topology v5e:2x2 --decode=8,32 --quantize=int8

The real training step is compiled ahead of time, or with --decode the steps of spoken replies on one device of the
topology; no device is needed and no array is made. Topologies: TPU slices as
v5e:4x4, v6e:8x8, v5p:2x2x4 (libtpu: pip install -e '.[tpu]'), GPUs as h100:8, h200:1, rtx4090:1, l40s:1, b200:2x8
(hosts x GPUs; pip install -e '.[cuda]', Python 3.12), the GPUs that are here (gpu), a CPU (cpu:8). Exit code 1: it does
not fit.
"""

import contextlib
import dataclasses
import functools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, cast

import jax
from absl import flags
from ml_collections import config_flags

from experiments.planning.decoding import DecodingPlan, make_decoding_plan
from experiments.planning.gpu_targets import TARGETS, asked_of
from experiments.planning.search import search
from experiments.planning.step import GIB, Plan, make_plan
from experiments.planning.topologies import FORMS, flags_of, topology_of
from experiments.run.config import resolve_config
from fac_jax import cli
from fac_jax.parallel.kernels import QUANTIZED, Quantized
from fac_jax.parallel.mesh import make_layout
from fac_jax.types import InputError

CONFIG = config_flags.DEFINE_config_file("config", help_string="File of the config; --config.key=value changes a key.")
TOPOLOGY = flags.DEFINE_string("topology", None, f"Devices: {FORMS}.", required=True)
MESH = flags.DEFINE_list(
    "mesh", [], "Devices along mesh axes, fsdp=8,tensor=2; the config's, or fsdp alone, if absent."
)
STAGE = flags.DEFINE_string("stage", None, "Stage of the recipe; the last that trains if absent.")
HBM = flags.DEFINE_float("hbm_gib", None, "GiB of a chip, if not those of the table.", lower_bound=0)
AS_JSON = flags.DEFINE_bool("json", False, "Print JSON.")
CONVERSATIONS = flags.DEFINE_integer(
    "conversations", 1, "Conversations of a row, of equal lengths: attention does not cross them.", lower_bound=1
)
SEARCH = flags.DEFINE_bool("search", False, "Try meshes, remat policies and batch sizes; print those that fit.")
TRIES = flags.DEFINE_integer("tries", 6, "Steps that a search compiles at most.", lower_bound=1)

DECODE = flags.DEFINE_list("decode", None, "Plan spoken replies in place of training: replies side by side, 1,8,32.")
POSITIONS = flags.DEFINE_integer("positions", 512, "decode: LLM positions of a question and its reply.", lower_bound=32)
QUANTIZE = flags.DEFINE_enum("quantize", None, QUANTIZED, "decode: form of the weights; tables are int8 then.")

DOES_NOT_FIT = 1


def mesh_sizes(words: list[str]) -> dict[str, int]:
    """`fsdp=8,tensor=2` as numbers.

    Raises:
      InputError: a word that is not AXIS=NUMBER.
    """
    sizes = {}
    for word in words:
        axis, _, size = word.partition("=")
        if not size.lstrip("-").isdecimal():
            raise InputError(f"--mesh={','.join(words)}: {word!r} is not AXIS=NUMBER, as in fsdp=8,tensor=2")
        sizes[axis] = int(size)
    return sizes


def plans() -> list[Plan]:
    """What the flags ask for: one plan, or those of a search that fit."""
    if QUANTIZE.value:
        raise InputError(f"--quantize={QUANTIZE.value} is of replies: give --decode=1,8 too")
    config = resolve_config(CONFIG.value)
    found = [stage for stage in config.stages if stage.steps and STAGE.value in (None, stage.name)]
    if not found:
        names = ", ".join(stage.name for stage in config.stages)
        raise InputError(f"--stage={STAGE.value}: no such stage that trains; the recipe has {names}")
    model, stage, attention = config.model, found[-1], config.attention
    topology, hbm = topology_of(TOPOLOGY.value), HBM.value and HBM.value * GIB
    if SEARCH.value:
        return search(model, stage, topology, attention, config.rules, hbm, TRIES.value)
    sizes = mesh_sizes(MESH.value) or config.mesh.sizes or {"fsdp": len(topology.devices)}
    layout = make_layout(sizes, config.rules, topology.devices)
    return [make_plan(model, stage, topology, layout, attention, hbm, CONVERSATIONS.value)]


def decoding_plans(slots: list[str]) -> list[DecodingPlan]:
    """What `--decode` asks for, a plan for each number of slots."""
    for option, given in (("stage", STAGE.value), ("search", SEARCH.value), ("mesh", MESH.value)):
        if given:
            raise InputError(f"--{option} is of training: a plan with --decode is of one device")
    if not slots or not all(word.isdecimal() and int(word) for word in slots):
        raise InputError(f"--decode={','.join(slots)}: each is a number of replies side by side, at least 1")
    model, topology = resolve_config(CONFIG.value).model, topology_of(TOPOLOGY.value)
    plan = functools.partial(make_decoding_plan, model, topology, positions=POSITIONS.value)
    form, hbm = cast(Quantized | None, QUANTIZE.value), HBM.value and HBM.value * GIB
    return [plan(slots=int(word), quantize=form, hbm=hbm) for word in slots]


def decoding_lines(plan: DecodingPlan) -> Iterator[str]:
    """The plan of spoken replies for people."""
    yield f"one device of {plan.topology}  {plan.weights}, {plan.slots} replies of {plan.positions} LLM positions"
    for name, size in (("weights", plan.weight_bytes), ("slots", plan.slot_bytes), ("peak", plan.peak_bytes)):
        yield f"  {name:12} {_gib(size)}" + (f" of {_gib(plan.device_bytes)}" if name == "peak" else "")
    for one in plan.kernels:
        yield f"  {one.kind:12} {one.dtype:5} {one.count:6} kernels an LLM step"
    if plan.kernels:
        yield f"  {'kernels':18} {sum(one.count for one in plan.kernels):6} an LLM step"
    yield f"  compiled in {plan.compile_seconds:.0f} s"
    if not plan.fits:
        over = _gib(plan.peak_bytes - plan.device_bytes)
        yield f"does not fit: {over} too much; would help: fewer replies or positions, or --quantize=int8"


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan for programs; FLOPs with their totals."""
    values = dataclasses.asdict(plan)
    totals = {f"{kind}_total": sum(parts.values()) for kind, parts in plan.flops.items()}
    return values | {"flops": plan.flops | totals}


def lines(plan: Plan) -> Iterator[str]:
    """The plan for people."""
    memory, used = plan.per_chip_bytes, plan.per_chip_bytes["peak"]
    mesh = ",".join(f"{axis}={size}" for axis, size in plan.mesh.items()) or "one device"
    yield f"{plan.topology}  mesh {mesh}  remat {plan.remat}  {plan.rows} rows a step"
    for name in ("arguments", "temporaries", "peak"):
        yield f"  {name:12} {_gib(memory[name])}" + (f" of {_gib(plan.hbm_bytes)} a chip" if name == "peak" else "")
    yield "  of which " + ", ".join(f"{name} {_gib(size)}" for name, size in memory["state"].items() if size)
    for one in plan.collectives:
        yield f"  {one.kind:18} of {one.group:4}  {one.count:6} times  {_gib(one.bytes)}"
    total = sum(plan.flops["needed"].values())
    for part, count in plan.flops["needed"].items():
        yield f"  {part:16} {count:.3e} FLOPs  {count / total:4.0%}"
    executed = sum(plan.flops["executed"].values())
    yield f"  {'together':16} {total:.3e} FLOPs needed, {executed:.3e} executed"
    for name, seconds in plan.bounds.items():
        yield f"  {name:12} {seconds:.3g} s"
    if plan.estimated_step_seconds is None:
        yield "  no estimate of time: what such a device can do is not known"
    else:
        yield f"  step {plan.estimated_step_seconds:.3g} s at best, MFU {plan.estimated_mfu:.0%} at most"
    for one in plan.kernels:
        flops = f", {one.flops:.3g} FLOPs" if one.flops else ""
        yield f"  {one.kind:12} {one.dtype:5} {one.count:6} kernels a chip, {one.bytes / 1e9:.3g} GB{flops}"
    if plan.expected_step_seconds is not None:
        parts = ", ".join(f"{name} {seconds:.3g}" for name, seconds in plan.expected.items())
        yield f"  step {plan.expected_step_seconds:.3g} s expected ({parts}), MFU {plan.expected_mfu:.0%}"
    yield f"  compiled in {plan.compile_seconds:.0f} s"
    if not plan.fits:
        yield f"does not fit: {_gib(used - plan.hbm_bytes)} a chip too much"
        yield from (f"  would help: {help}" for help in plan.helps)


def _gib(size: float | None) -> str:
    return "not known" if size is None else f"{size / GIB:.3g} GiB"


def main() -> None:
    """The command."""
    flag = flags_of(TOPOLOGY.value)
    if flag:  # before jax starts
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    if not TOPOLOGY.value.startswith("gpu"):
        jax.config.update("jax_platforms", "cpu")  # where nothing is computed; a TPU that is here is left alone
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # so another process may have it, or compile as well
    kind = TOPOLOGY.value.partition(":")[0]
    with asked_of(kind) if kind in TARGETS else contextlib.nullcontext():
        found: Sequence[Plan | DecodingPlan] = plans() if DECODE.value is None else decoding_plans(DECODE.value)
    show(found)
    if not any(plan.fits for plan in found):
        sys.exit(DOES_NOT_FIT)


def show(found: Sequence[Plan | DecodingPlan]) -> None:
    """Prints plans."""
    if AS_JSON.value:
        made = [as_json(plan) if isinstance(plan, Plan) else dataclasses.asdict(plan) for plan in found]
        print(json.dumps(made if SEARCH.value or DECODE.value is not None else made[0], indent=2))
    else:
        said = (lines(plan) if isinstance(plan, Plan) else decoding_lines(plan) for plan in found)
        print("\n".join(line for some in said for line in some) or "nothing that was tried fits")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)
