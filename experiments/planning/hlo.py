"""Collectives of a compiled program, read from its text: how often each runs, and how many bytes it moves."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

KINDS: Final = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute")
BITS: Final = {
    **dict.fromkeys(("s4", "u4"), 4),
    **dict.fromkeys(("pred", "s8", "u8"), 8),
    **dict.fromkeys(("s16", "u16", "f16", "bf16"), 16),
    **dict.fromkeys(("s32", "u32", "f32"), 32),
    **dict.fromkeys(("s64", "u64", "f64", "c64"), 64),
}

_HEAD: Final = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
SHAPE: Final = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\]")
_INSTRUCTION: Final = re.compile(r"^\s*(?:ROOT )?%?[\w.\-]+ = (.*)$")
_CALLED: Final = re.compile(r"(?:body|condition|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES: Final = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS: Final = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CHAIN: Final = re.compile(r'chain_id="(\d+)"')
_GROUPS: Final = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_IOTA_GROUPS: Final = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_PAIRS: Final = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)+)\}")
_MESH_GROUPS: Final = re.compile(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}")
_BACKWARD: Final = re.compile(
    r"= \(\w+\[([\d,]+)\][^=]*, u8\[0\]\S*\) custom-call\(.*custom_call_target=\"__cudnn\$fmha\w*Backward\""
)
_AXIS: Final = re.compile(r"'([^']+)'(?::\((\d+)\)(\d+))?")  # of a mesh, or a part of it, 'axis':(before)size
_OPERATION: Final = re.compile(r"(?:^|\s)([a-z][a-z\-]*)\(")


@dataclasses.dataclass(frozen=True)
class Collective:
    """All collectives of one kind among groups of one size.

    Attributes:
      kind: of `KINDS`.
      group: devices that take part together.
      count: how often one runs in a step.
      bytes: what one device holds of the whole result (of the whole operand for a reduce-scatter), over all runs.
      span: consecutive devices among which the members of a group are: 8 for members 0 and 7.
    """

    kind: str
    group: int
    count: int
    bytes: int
    span: int

    @property
    def sent(self) -> float:
        """Bytes that a device sends at least."""
        if self.kind == "collective-permute":
            return float(self.bytes)
        share = (self.group - 1) / self.group
        return self.bytes * share * (2 if self.kind == "all-reduce" else 1)


def collectives(text: str) -> list[Collective]:
    """The collectives of a program by kind and by size and span of their groups, largest first.

    An asynchronous collective of a TPU stands in the text in several parts, which share a chain, and a reduce-scatter
    as an all-reduce in a fusion that is named so. A loop counts as often as it is known to run, once where it is not.
    """
    bodies, runs = dict(computations(text)), computation_runs(text)
    by_chain: dict[str, tuple[Collective, int]] = {}
    for name, lines in bodies.items():
        for number, line in enumerate(lines if runs.get(name) else ()):
            one = _collective(line, name.startswith("all-reduce-scatter"))
            if one is not None and one.group > 1:
                chain = _CHAIN.search(line)
                key = chain[1] if chain else f"{name} {number}"
                by_chain[key] = one, max(runs[name], by_chain.get(key, (one, 0))[1])
    found: dict[tuple[str, int, int], tuple[int, int]] = {}
    for one, times in by_chain.values():
        key = (one.kind, one.group, one.span)
        count, size = found.get(key, (0, 0))
        found[key] = count + times, size + times * one.bytes
    made = [Collective(kind, group, count, size, span) for (kind, group, span), (count, size) in found.items()]
    return sorted(made, key=lambda one: -one.bytes)


def cudnn_workspace(text: str) -> int:
    """Returns the bytes that cuDNN needs beside the buffers of a program that was compiled without a GPU to ask.

    The backward kernel sums the gradients of the queries in float32, and needs a number for each of their rows.
    """
    shapes = [[int(size) for size in found[1].split(",")] for found in _BACKWARD.finditer(text)]
    return max((4 * math.prod(shape) + 4 * math.prod(shape[:-1]) for shape in shapes), default=0)


def computation_runs(text: str) -> dict[str, int]:
    """Returns how often each computation of a program runs in a step, by name."""
    entry = next(match[1] for line in text.splitlines() if line.startswith("ENTRY") and (match := _HEAD.match(line)))
    return _runs(dict(computations(text)), entry)


def computations(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the computations of a program: name and lines."""
    name, lines = "", []
    for line in text.splitlines():
        head = None if line.startswith(" ") else _HEAD.match(line)
        if head:
            name, lines = head[1], []
        elif line == "}" and name:  # metadata of kernels has lines that only begin so
            yield name, lines
            name = ""
        elif name:
            lines.append(line)


def _runs(bodies: Mapping[str, list[str]], entry: str) -> dict[str, int]:
    """How often each computation runs: the entry once, what it calls as often as the call does."""
    runs: dict[str, int] = {}

    def visit(name: str, times: int) -> None:
        runs[name] = runs.get(name, 0) + times
        for line in bodies.get(name, ()):
            inner = times * _trips(line, bodies) if " while(" in line else times
            for called in _CALLED.findall(line):
                visit(called, inner)
            for branches in _BRANCHES.findall(line):
                for called in re.findall(r"[\w.\-]+", branches):
                    visit(called, times)

    visit(entry, 1)
    return runs


def _trips(line: str, bodies: Mapping[str, list[str]]) -> int:
    """How often a loop runs: as XLA notes, or up to the constant that its condition compares its counter with."""
    noted, condition = _TRIPS.search(line), re.search(r"condition=%?([\w.\-]+)", line)
    if noted:
        return int(noted[1])
    lines = "\n".join(bodies[condition[1]]) if condition else ""
    limit = re.search(r"ROOT .*compare\(%?[\w.\-]+, %?([\w.\-]+)\), direction=LT", lines)
    constant = limit and re.search(rf"%?{re.escape(limit[1])} = s32\[\]\S* constant\((\d+)\)", lines)
    return int(constant[1]) if constant else 1


def _collective(line: str, scatters: bool) -> Collective | None:
    match = _INSTRUCTION.match(line)
    operation = _OPERATION.search(match[1]) if match else None
    if match is None or operation is None:
        return None
    kind = operation[1].removesuffix("-start")
    if kind not in KINDS or operation[1].endswith("-done"):
        return None
    result = [_size(*shape) for shape in SHAPE.findall(match[1][: operation.start()])]
    members = _members(line)
    group, span = len(members), max(members) - min(members) + 1
    if operation[1].endswith("-start") and kind == "collective-permute":
        result = result[1:2]  # operand, result, and what the device keeps beside them
    elif operation[1].endswith("-start") and kind in ("all-gather", "reduce-scatter"):
        result = result[len(result) // 2 :]  # all operands stand before all results there
    size = sum(result) * (group if kind == "reduce-scatter" else 1)
    if scatters and kind == "all-reduce":
        kind = "reduce-scatter"
    return Collective(kind, group, 1, size, span)


def _members(line: str) -> list[int]:
    """Devices of the first group, in any of the forms in which XLA writes groups; of a permutation, its widest pair."""
    mesh, iota, listed, pairs = (form.search(line) for form in (_MESH_GROUPS, _IOTA_GROUPS, _GROUPS, _PAIRS))
    if mesh:
        sizes = {axis: int(size) for axis, size in re.findall(r"'([^']+)'=(\d+)", mesh[1])}
        return members(
            sizes, [(axis, int(before or 1), int(part or sizes[axis])) for axis, before, part in _AXIS.findall(mesh[2])]
        )
    if iota:
        shape, order = ([int(number) for number in numbers.split(",")] for numbers in (iota[3], iota[4] or "0"))
        devices = np.arange(math.prod(shape)).reshape(shape)
        return (devices.transpose(order) if iota[4] else devices).reshape(-1, int(iota[2]))[0].tolist()
    if pairs:
        return max(
            (list(map(int, pair)) for pair in re.findall(r"\{(\d+),(\d+)\}", pairs[1])),
            key=lambda pair: abs(pair[0] - pair[1]),
        )
    return [int(device) for device in listed[1].split(",")] if listed else [0]


def members(sizes: Mapping[str, int], axes: Sequence[tuple[str, int, int]]) -> list[int]:
    """Returns the devices of the group of device 0 in a mesh whose last axis is that of neighbours.

    Args:
      sizes: devices along every axis of the mesh, in its order.
      axes: of the group: name of the axis; number of parts that it is cut into before, 1 for all of it; members along
        it.
    """
    devices = np.arange(math.prod(sizes.values())).reshape(tuple(sizes.values()))
    chosen: list[Any] = [0] * len(sizes)
    for axis, before, size in axes:
        after = sizes[axis] // (before * size)
        chosen[list(sizes).index(axis)] = np.arange(size) * after
    whole = [np.atleast_1d(one) for one in chosen]
    return devices[np.ix_(*whole)].reshape(-1).tolist()


def _size(kind: str, dimensions: str) -> int:
    elements = math.prod(int(size) for size in dimensions.split(",") if size)
    return elements * BITS.get(kind, 8 if kind.startswith("f8") else 0) // 8
