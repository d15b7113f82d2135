"""Collectives read from the text of compiled programs."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.planning.hlo import Collective, collectives, cudnn_workspace

ROOT = Path(__file__).parents[2]

TEXT = """HloModule jit_step, entry_computation_layout={(f32[8,4]{1,0})->f32[8,4]{1,0}}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%body (carry: (s32[], bf16[2,4])) -> (s32[], bf16[2,4]) {
  %carry = (s32[], bf16[2,4]{1,0}) parameter(0)
  %part = bf16[2,4]{1,0} get-tuple-element(%carry), index=1
  %ag = (bf16[2,4]{1,0}, bf16[8,4]{1,0}) all-gather-start(%part), replica_groups=[2,4]<=[8]
  %done = bf16[8,4]{1,0} all-gather-done(%ag)
  %rs = bf16[2,4]{1,0} reduce-scatter(%done), replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}, to_apply=%add
  ROOT %next = (s32[], bf16[2,4]{1,0}) tuple(%count, %rs)
}

%condition (carry: (s32[], bf16[2,4])) -> pred[] {
  ROOT %less = pred[] compare(%count, %limit), direction=LT
}

ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %p = f32[8,4]{1,0} parameter(0)
  %loop = (s32[], bf16[2,4]{1,0}) while(%s), condition=%condition, body=%body, x={"known_trip_count":{"n":"36"}}
  %both = (f32[8,4]{1,0}, f32[2]{0}) all-reduce(%p, %q), replica_groups=[1,8]<=[8], to_apply=%add
  %alone = f32[8,4]{1,0} all-reduce(%p), replica_groups={{0},{1}}, to_apply=%add
  ROOT %moved = f32[8,4]{1,0} collective-permute(%p), source_target_pairs={{0,1},{1,0}}
}
"""


def test_loops_count_as_often_as_they_run() -> None:
    found = {one.kind: one for one in collectives(TEXT)}
    assert found["all-gather"] == Collective("all-gather", 4, 36, 36 * 64, 4)
    assert found["reduce-scatter"] == Collective("reduce-scatter", 4, 36, 36 * 64, 4)
    assert found["all-reduce"] == Collective("all-reduce", 8, 1, 128 + 8, 8)  # a group of one sends nothing
    assert found["collective-permute"] == Collective("collective-permute", 2, 1, 128, 2)
    assert len(found) == 4


@pytest.mark.parametrize(
    ("kind", "sent"), [("all-gather", 75.0), ("reduce-scatter", 75.0), ("all-reduce", 150.0), ("all-to-all", 75.0)]
)
def test_what_a_device_sends(kind: str, sent: float) -> None:
    assert Collective(kind, 4, 1, 100, 4).sent == sent


@pytest.mark.parametrize(
    ("groups", "size", "span"),
    [
        ("{{0,1,2},{3,4,5}}", 3, 3),
        ("{{0,4},{1,5}}", 2, 5),
        ("[2,4]<=[8]", 4, 4),
        ("[4,2]<=[2,4]T(1,0)", 2, 5),
        ("mesh['a'=4,'b'=2] {'a'}", 4, 7),
        ("mesh['a'=4,'b'=2] {'b'}", 2, 2),
        ("mesh['a'=4,'b'=2] {'a','b'}", 8, 8),
        ("mesh['a'=8,'b'=2] {'a':(2)4}", 4, 7),
        ("mesh['a'=8,'b'=2] {'a':(1)2}", 2, 9),
    ],
)
def test_groups_are_read_in_every_form(groups: str, size: int, span: int) -> None:
    text = (
        f"ENTRY %main (p: f32[2]) -> f32[2] {{\n  ROOT %r = f32[2]{{0}} all-reduce(%p), replica_groups={groups}\n}}\n"
    )
    assert [(one.group, one.span) for one in collectives(text)] == [(size, span)]


ON_GPUS = """ENTRY %main (p: f32[2,4]) -> f32[8,4] {
  %ag = ((bf16[2,4]{1,0}, f32[1]{0}), (bf16[8,4]{1,0}, f32[4]{0})) all-gather-start(%p, %q), replica_groups=[1,4]<=[4]
  %rs = ((f32[8,4]{1,0}, f32[4]{0}), (f32[2,4]{1,0}, f32[1]{0})) reduce-scatter-start(%p, %q), replica_groups=[1,4]<=[4]
  ROOT %cp = (f32[8,4]{1,0}, f32[8,4]{1,0}) collective-permute-start(%p), source_target_pairs={{0,1},{1,2},{3,0}}
}
"""


def test_collectives_that_several_arrays_share_count_all_their_results() -> None:
    assert collectives(ON_GPUS) == [
        Collective("reduce-scatter", 4, 1, 4 * (32 + 4), 4),
        Collective("collective-permute", 2, 1, 128, 4),
        Collective("all-gather", 4, 1, 64 + 16, 4),
    ]


def test_the_workspace_of_cudnn_is_that_of_its_largest_gradient() -> None:
    lines = [
        f"  %{name} = (bf16[2,{heads},{length},64]{{3,1,2,0}}, bf16[2,4,{length},64]{{3,1,2,0}}, u8[{given}]{{0}}) "
        f'custom-call(%q, %k), custom_call_target="__cudnn$fmhaSoftmax{kind}", operand_layout_constraints={{}}'
        for name, heads, length, given, kind in (
            ("a", 8, 100, 0, "Backward"),
            ("b", 16, 100, 0, "Backward"),
            ("c", 16, 900, 0, ""),  # the forward kernel needs none
            ("d", 16, 900, 512, "Backward"),  # a GPU was asked: it is among the buffers
        )
    ]
    assert cudnn_workspace("\n".join(lines)) == 4 * 2 * 16 * 100 * 65
    assert cudnn_workspace(TEXT) == 0


ON_TPU = """%fused.1 (p: bf16[2,4]) -> bf16[8,4] {
  ROOT %ag = bf16[8,4]{1,0:T(8,128)(2,1)} all-gather(%p), attributes={chain_id="5"}, replica_groups=[1,4]<=[4]
}

%fused.2 (p: bf16[2,4]) -> bf16[8,4] {
  ROOT %ag.1 = bf16[8,4]{1,0:T(8,128)(2,1)S(1)} all-gather(%p), attributes={chain_id="5"}, replica_groups=[1,4]<=[4]
}

%all-reduce-scatter.7 (p: bf16[8,4]) -> bf16[2,4] {
  %all = bf16[8,4]{1,0} all-reduce(%p), channel_id=4, replica_groups=[1,4]<=[4], to_apply=%add
  ROOT %mine = bf16[2,4]{1,0} dynamic-slice(%all, %at), dynamic_slice_sizes={2,4}
}

%body (c: (s32[], bf16[2,4])) -> (s32[], bf16[2,4]) {
  %start = bf16[8,4]{1,0} fusion(%x), kind=kCustom, calls=%fused.1
  %done = bf16[8,4]{1,0} fusion(%start), kind=kCustom, calls=%fused.2
  ROOT %rs = bf16[2,4]{1,0} fusion(%done), kind=kCustom, calls=%all-reduce-scatter.7
}

%condition (c: (s32[], bf16[2,4])) -> pred[] {
  %kernel = s32[] custom-call(), frontend_attributes={kernel={"block": {"q": 128
}}}
  %limit = s32[]{:T(128)} constant(36)
  %counter = s32[]{:T(128)} get-tuple-element(%c), index=0
  ROOT %lt = pred[]{:T(512)} compare(%counter, %limit), direction=LT
}

ENTRY %main (p: bf16[2,4]) -> bf16[2,4] {
  %loop = (s32[], bf16[2,4]{1,0}) while(%s), condition=%condition, body=%body
}
"""


def test_a_tpus_loops_and_parts_of_collectives() -> None:
    found = collectives(ON_TPU)
    assert found == [Collective("all-gather", 4, 36, 36 * 64, 4), Collective("reduce-scatter", 4, 36, 36 * 64, 4)]


PROGRAM = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
import jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from experiments.planning.hlo import collectives
mesh = jax.make_mesh((4,), ("fsdp",), axis_types=(AxisType.Auto,))
weights = jax.ShapeDtypeStruct((7, 16, 16), jnp.float32, sharding=NamedSharding(mesh, P(None, "fsdp")))
rows = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=NamedSharding(mesh, P("fsdp")))
whole = NamedSharding(mesh, P("fsdp"))
def run(weights, rows):
    def layer(x, w):
        return jax.lax.with_sharding_constraint(x @ w, whole), None
    return jax.lax.scan(layer, rows, weights)[0]
for one in collectives(jax.jit(run, out_shardings=whole).lower(weights, rows).compile().as_text()):
    print(one.kind, one.group, one.count, one.bytes)
"""


def test_a_real_program_moves_its_weights_layer_by_layer() -> None:
    """Seven layers of 16 x 16 float32, each gathered from four devices."""
    result = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    kinds = [line.split() for line in result.stdout.splitlines()]
    assert kinds == [["all-gather", "4", "7", str(7 * 16 * 16 * 4)]]
