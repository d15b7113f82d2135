"""Kernels read from the text of a program that was compiled for a GPU."""

import pytest

from experiments.planning.estimate import expected_seconds
from experiments.planning.gpu_kernels import KernelGroup, gpu_kernels
from experiments.planning.topologies import Topology
from fac_jax.parallel.chips import CHIPS

TEXT = """HloModule jit_step

%add (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  ROOT %sum = bf16[] add(%a, %b)
}

%product (p: bf16[8,16,32], x: bf16[64,16], i: s32[]) -> bf16[64,32] {
  %p = bf16[8,16,32]{2,1,0} parameter(0)
  %x = bf16[64,16]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  %layer = bf16[1,16,32]{2,1,0} dynamic-slice(%p, %i, %zero, %zero), dynamic_slice_sizes={1,16,32}
  %w = bf16[16,32]{1,0} bitcast(%layer)
  ROOT %dot = bf16[64,32]{1,0} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%stacked (s: f32[8,64,32], y: bf16[64,32], i: s32[]) -> f32[8,64,32] {
  %s = f32[8,64,32]{2,1,0} parameter(0)
  %y = bf16[64,32]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %c = f32[64,32]{1,0} convert(%y)
  %b = f32[1,64,32]{2,1,0} bitcast(%c)
  ROOT %u = f32[8,64,32]{2,1,0} dynamic-update-slice(%s, %b, %i, %i, %i)
}

%body (carry: (s32[], bf16[64,16], bf16[8,16,32], f32[8,64,32])) -> (s32[], f32[8,64,32]) {
  %carry = (s32[], bf16[64,16]{1,0}, /*index=2*/bf16[8,16,32]{2,1,0}, f32[8,64,32]{2,1,0}) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  %x = bf16[64,16]{1,0} get-tuple-element(%carry), index=1
  %p = bf16[8,16,32]{2,1,0} get-tuple-element(%carry), index=2
  %s = f32[8,64,32]{2,1,0} get-tuple-element(%carry), index=3
  %y = bf16[64,32]{1,0} fusion(%p, %x, %i), kind=kCustom, calls=%product
  %all = bf16[64,32]{1,0} all-reduce(%y), replica_groups=[1,4]<=[4], to_apply=%add
  %t = f32[8,64,32]{2,1,0} fusion(%s, %all, %i), kind=kLoop, calls=%stacked
  ROOT %next = (s32[], f32[8,64,32]{2,1,0}) tuple(%i, %t)
}

%condition (c: (s32[])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (x: bf16[64,16]) -> f32[64,16] {
  %x = bf16[64,16]{1,0} parameter(0)
  %loop = (s32[], f32[8,64,32]{2,1,0}) while(%x), condition=%condition, body=%body, c={"known_trip_count":{"n":"8"}}
  %flash = (bf16[2,4,8,16]{3,1,2,0}, f32[2,4,8], u8[0]) custom-call(%x), custom_call_target="__cudnn$fmhaSoftmax"
  %f = f32[64,16]{1,0} convert(%x)
  ROOT %square = f32[64,64]{1,0} dot(%f, %f), lhs_contracting_dims={1}, rhs_contracting_dims={1}
}
"""

# A call of cuBLAS has a workspace as its second result; alone, or in a fusion with the slices that it reads or writes.
CALL = 'custom_call_target="__cublas$lt$matmul", backend_config={"lhs_contracting_dimensions":["1"],"alpha":1}'
CUBLAS = """HloModule jit_step

%called (p: bf16[8,16,32], x: bf16[64,16], i: s32[]) -> (bf16[64,32], s8[4096]) {
  %p = bf16[8,16,32]{2,1,0} parameter(0)
  %x = bf16[64,16]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %layer = bf16[1,16,32]{2,1,0} dynamic-slice(%p, %i, %i, %i), dynamic_slice_sizes={1,16,32}
  %w = bf16[16,32]{1,0} bitcast(%layer)
  ROOT %call = (bf16[64,32]{1,0}, s8[4096]{0}) custom-call(%x, %w), CALL
}

%kept (s: bf16[8,16,32], x: bf16[64,16], g: bf16[64,32], i: s32[]) -> (bf16[8,16,32], s8[4096]) {
  %s = bf16[8,16,32]{2,1,0} parameter(0)
  %x = bf16[64,16]{1,0} parameter(1)
  %g = bf16[64,32]{1,0} parameter(2)
  %i = s32[] parameter(3)
  %t = bf16[16,64]{0,1} bitcast(%x)
  %call = (bf16[16,32]{1,0}, s8[4096]{0}) custom-call(%t, %g), CALL
  %grads = bf16[16,32]{1,0} get-tuple-element(%call), index=0
  %one = bf16[1,16,32]{2,1,0} bitcast(%grads)
  %all = bf16[8,16,32]{2,1,0} dynamic-update-slice(%s, %one, %i, %i, %i)
  %workspace = s8[4096]{0} get-tuple-element(%call), index=1
  ROOT %both = (bf16[8,16,32]{2,1,0}, s8[4096]{0}) tuple(%all, %workspace)
}

ENTRY %main (p: bf16[8,16,32], x: bf16[64,16], i: s32[]) -> bf16[8,16,32] {
  %p = bf16[8,16,32]{2,1,0} parameter(0)
  %x = bf16[64,16]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %forward = (bf16[64,32]{1,0}, s8[4096]{0}) fusion(%p, %x, %i), kind=kCustom, calls=%called
  %y = bf16[64,32]{1,0} get-tuple-element(%forward), index=0
  %backward = (bf16[8,16,32]{2,1,0}, s8[4096]{0}) fusion(%p, %x, %y, %i), kind=kCustom, calls=%kept
  ROOT %alone = (bf16[64,64]{1,0}, s8[4096]{0}) custom-call(%x, %x), CALL
}
""".replace("CALL", CALL)


def test_kernels_move_and_multiply_what_they_read_and_write() -> None:
    found = {(one.kind, one.dtype): one for one in gpu_kernels(TEXT)}
    flops, weights, inputs, outputs = 2 * 64 * 16 * 32, 2 * 16 * 32, 2 * 64 * 16, 2 * 64 * 32
    # Of the stacked weights each of eight runs reads one layer, and of the stacked results it writes one.
    assert found["product", "bf16"] == KernelGroup(
        "product", "bf16", 8, 8 * flops, 8 * (weights + inputs + outputs + 4)
    )
    moved = 8 * (outputs + 2 * outputs + 4) + inputs + 2 * inputs
    assert found["elementwise", "f32"] == KernelGroup("elementwise", "f32", 9, 0.0, moved)
    assert found["attention", "bf16"] == KernelGroup("attention", "bf16", 1, 0.0, 2 * 1024 + 4 * 64 + inputs)
    assert found["product", "f32"].flops == 2 * 64 * 64 * 16
    # Collectives are counted elsewhere; what is left is the comparison that ends the loop.
    assert set(found) == {
        ("product", "bf16"),
        ("elementwise", "f32"),
        ("attention", "bf16"),
        ("product", "f32"),
        ("elementwise", "pred"),
    }


def test_a_product_of_cublas_is_one_with_the_layer_that_it_reads_or_writes() -> None:
    found = {(one.kind, one.dtype): one for one in gpu_kernels(CUBLAS)}
    product, weights, inputs, outputs = 2 * 64 * 16 * 32, 2 * 16 * 32, 2 * 64 * 16, 2 * 64 * 32
    flops = 2 * product + 2 * 64 * 64 * 16
    moved = 2 * (weights + inputs + outputs + 4) + 2 * inputs + 2 * 64 * 64
    assert found == {("product", "bf16"): KernelGroup("product", "bf16", 3, flops, moved)}


def test_what_is_expected_is_the_sum_of_the_kernels() -> None:
    kernels = [
        KernelGroup("product", "bf16", 100, 0.71 * 989e12, 1.0),  # one second by its products
        KernelGroup("product", "f32", 100, 1.0, 2 * 0.9 * 4.8e12),  # two by its bytes
        KernelGroup("elementwise", "bf16", 200, 0.0, 0.5 * 0.9 * 4.8e12),
    ]
    topology = Topology("h200:1", range(1), CHIPS["h200"], (1,), 1)
    found = expected_seconds(topology, kernels, attention=0.4 * 989e12 * 3, experts=0.0, network=0.25)
    wanted = {"products": 3.0, "attention": 3.0, "elementwise": 0.5, "launches": 400 * 2.5e-6, "network": 0.25}
    assert found == pytest.approx(wanted)
    assert expected_seconds(Topology("v5e:4x4", range(16), CHIPS["v5e"], (4, 4), 16), kernels, 1.0, 1.0, 1.0) == {}
