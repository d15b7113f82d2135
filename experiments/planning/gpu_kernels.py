"""The kernels of a program that was compiled for GPUs: what each multiplies and moves, read from the program's text.

In such a program every instruction of a computation that is not fused is a kernel: a fusion, a product, a call of
cuDNN, a copy. The bytes of a kernel are those of its operands, or of the slices that it reads of them, and of its
results, or of what it updates of them: what it must move if nothing stays in a cache.
"""

import dataclasses
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from experiments.planning.hlo import BITS, KINDS, SHAPE, computation_runs, computations

Kind: TypeAlias = Literal["product", "grouped", "attention", "elementwise"]
Shape: TypeAlias = tuple[str, tuple[int, ...]]  # dtype, sizes

# What is no kernel: it only names, points or controls.
SILENT: Final = frozenset(
    "parameter constant tuple get-tuple-element bitcast while conditional call iota after-all partition-id replica-id "
    "fusion-done copy-done async-start async-update async-done opt-barrier".split()
)
VIEWS: Final = frozenset(("bitcast", "reshape", "transpose", "convert", "copy"))
_ASSIGNED: Final = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = ")
_OPERATION: Final = re.compile(r"\s*([a-z][\w\-]*)\(")
_CALLS: Final = re.compile(r"calls=%?([\w.\-]+)")
_APPLIES: Final = re.compile(r"to_apply=%?([\w.\-]+)")
_CONTRACTED: Final = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
_CUBLAS_CONTRACTED: Final = re.compile(r'"lhs_contracting_dimensions":\[([\d",]*)\]')
_SECOND: Final = re.compile(r"index=[1-9]")  # of the results of a call of cuBLAS, workspace
_TARGET: Final = re.compile(r'custom_call_target="([^"]+)"')


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction of a computation.

    Attributes:
      shapes: of its result, several for a tuple.
      operands: names of the instructions that it reads.
      rest: text behind the operands.
    """

    name: str
    operation: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    rest: str
    root: bool


@dataclasses.dataclass(frozen=True)
class KernelGroup:
    """All kernels of one kind and dtype.

    Attributes:
      kind: "product" has a matrix product in it, "grouped" is the grouped product of experts, "attention" is cuDNN's,
        "elementwise" is everything else.
      dtype: of the factors of a product, of the greatest result otherwise.
      count: runs in a step.
      flops: of its products, over all runs; 0 for grouped products and for cuDNN's attention, whose work depends on
        the batch.
      bytes: that they move, over all runs.
    """

    kind: Kind
    dtype: str
    count: int
    flops: float
    bytes: float


def gpu_kernels(text: str) -> list[KernelGroup]:
    """Returns the kernels of a compiled program by kind and dtype; those of loops count as often as these run."""
    bodies = {name: list(_instructions(lines)) for name, lines in computations(text)}
    runs = computation_runs(text)
    fused = {name for body in bodies.values() for one in body for name in _inlined(one)}
    counts: Counter[tuple[Kind, str]] = Counter()
    flops: defaultdict[tuple[Kind, str], float] = defaultdict(float)
    moved: defaultdict[tuple[Kind, str], float] = defaultdict(float)
    for name, body in bodies.items():
        if name in fused or not runs.get(name):
            continue
        by_name = {one.name: one for one in body}
        for one in body:
            if one.operation in SILENT or one.operation.removesuffix("-start").removesuffix("-done") in KINDS:
                continue
            key, operations, size = _kernel(one, by_name, bodies)
            counts[key] += runs[name]
            flops[key] += runs[name] * operations
            moved[key] += runs[name] * size
    return [KernelGroup(*key, counts[key], flops[key], moved[key]) for key in sorted(counts)]


def _inlined(one: Instruction) -> Iterator[str]:
    """The computations that are a part of an instruction's own kernel: a fusion's, and what a reduction combines by."""
    called = _CALLS.search(one.rest)
    applied = _APPLIES.search(one.rest) if one.operation != "call" else None
    yield from (found[1] for found in (called, applied) if found)


def _instructions(lines: Sequence[str]) -> Iterator[Instruction]:
    for line in lines:
        head = _ASSIGNED.match(line)
        if head is None:
            continue
        kind, end = _until(line, head.end())
        operation = _OPERATION.match(line, end)
        if operation is None:
            continue
        inside, behind = _until(line, operation.end() - 1)
        yield Instruction(
            head[2],
            operation[1],
            tuple((dtype, _sizes(sizes)) for dtype, sizes in SHAPE.findall(kind)),
            tuple(re.findall(r"%([\w.\-]+)", inside)),
            line[behind:],
            bool(head[1]),
        )


def _until(line: str, start: int) -> tuple[str, int]:
    """Returns what stands in the parentheses that open at `start`, or the word there, and where it ends."""
    if line[start] != "(":
        end = line.find(" ", start)
        return line[start:end], end
    depth = 0
    for end in range(start, len(line)):
        depth += (line[end] == "(") - (line[end] == ")")
        if depth == 0:
            return line[start + 1 : end], end + 1
    return line[start + 1 :], len(line)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(",") if size)


def _bytes(shapes: Sequence[Shape]) -> float:
    return sum(math.prod(sizes) * BITS.get(dtype, 8 if dtype.startswith("f8") else 0) / 8 for dtype, sizes in shapes)


def _kernel(
    one: Instruction, by_name: Mapping[str, Instruction], bodies: Mapping[str, Sequence[Instruction]]
) -> tuple[tuple[Kind, str], float, float]:
    """Returns kind and dtype of a kernel, its FLOPs, and its bytes."""
    called = _CALLS.search(one.rest)
    target = _TARGET.search(one.rest)
    largest = max(one.shapes, key=lambda shape: _bytes([shape]), default=("", ()))[0]
    operands = [by_name[name].shapes for name in one.operands if name in by_name]
    if target and "fmha" in target[1]:
        return ("attention", largest), 0.0, _bytes(one.shapes) + sum(map(_bytes, operands))
    if target and target[1].startswith("mosaic_gpu"):
        return ("grouped", largest), 0.0, _bytes(one.shapes) + sum(map(_bytes, operands))
    if called and called[1] in bodies:
        inside = {each.name: each for each in bodies[called[1]]}
        dots = [each for each in inside.values() if _multiplies(each)]
        size = _read(inside) + _written(inside)
        if dots:
            return ("product", _factors(dots[0], inside)), sum(_dot_flops(dot, inside) for dot in dots), size
        return ("elementwise", largest), 0.0, size
    if _multiplies(one):
        size = _bytes(one.shapes[:1]) + sum(map(_bytes, operands))
        return ("product", _factors(one, by_name)), _dot_flops(one, by_name), size
    if one.operation in ("dynamic-slice", "slice", "gather"):
        return ("elementwise", largest), 0.0, 2 * _bytes(one.shapes)
    if one.operation == "dynamic-update-slice":
        return ("elementwise", largest), 0.0, 2 * _bytes(by_name[one.operands[1]].shapes)
    return ("elementwise", largest), 0.0, _bytes(one.shapes) + sum(map(_bytes, operands))


def _multiplies(one: Instruction) -> bool:
    """Whether an instruction is a matrix product, the compiler's own or a call of cuBLAS."""
    target = _TARGET.search(one.rest)
    return one.operation == "dot" or bool(target and target[1].startswith("__cublas$"))


def _factors(dot: Instruction, inside: Mapping[str, Instruction]) -> str:
    return inside[dot.operands[0]].shapes[0][0]


def _dot_flops(dot: Instruction, inside: Mapping[str, Instruction]) -> float:
    contracted = _CONTRACTED.search(dot.rest) or _CUBLAS_CONTRACTED.search(dot.rest)
    factor = inside[dot.operands[0]].shapes[0][1]
    over = math.prod(factor[axis] for axis in _sizes(contracted[1].replace('"', ""))) if contracted else 1
    return 2.0 * over * math.prod(dot.shapes[0][1])


def _read(inside: Mapping[str, Instruction]) -> float:
    """Returns the bytes that a fusion reads of its parameters."""
    users: defaultdict[str, list[Instruction]] = defaultdict(list)
    for one in inside.values():
        for name in one.operands:
            users[name].append(one)

    def ends(name: str) -> Iterator[tuple[Instruction, int]]:
        """What reads an array at last, behind views of it, and as which operand."""
        for user in users[name]:
            if user.operation in VIEWS and users[user.name]:
                yield from ends(user.name)
            else:
                yield user, user.operands.index(name)

    total = 0.0
    for one in inside.values():
        if one.operation != "parameter":
            continue
        readers = list(ends(one.name))
        operations = {reader.operation if at == 0 else "" for reader, at in readers}
        if operations and operations <= {"dynamic-slice", "slice", "gather"}:
            total += min(_bytes(one.shapes), sum(_bytes(reader.shapes) for reader, _ in readers))
        elif operations != {"dynamic-update-slice"}:
            total += _bytes(one.shapes)
    return total


def _written(inside: Mapping[str, Instruction]) -> float:
    """Returns the bytes that a fusion writes: of an array that it updates in place, the update."""
    root = next(one for one in inside.values() if one.root)
    outputs = [inside[name] for name in root.operands] if root.operation == "tuple" else [root]
    total = 0.0
    for one in outputs:
        if one.operation == "get-tuple-element" and _SECOND.search(one.rest):
            continue
        last = one
        while last.operation in VIEWS and last.operands and last.operands[0] in inside:
            last = inside[last.operands[0]]
        if _multiplies(one):
            total += _bytes(one.shapes[:1])
            continue
        updates = last.operation == "dynamic-update-slice"
        total += _bytes(inside[last.operands[1]].shapes if updates else one.shapes)
    return total
