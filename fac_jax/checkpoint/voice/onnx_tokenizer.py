"""Reads the published S3 tokenizer, an ONNX graph, as torch names (docs/codec_model.md, section 1.7)."""

import dataclasses
import hashlib
import importlib
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from fac_jax.codec.cosyvoice.config import TokenizerConfig
from fac_jax.types import InputError

SHA256: Final = "23236a74175dbdda47afc66dbadd5bcb41303c467a57c261cb8539ad9db9208d"  # of the published file
NORMS: Final = {"attn_ln": "attention_norm_eps", "mlp_ln": "mlp_norm_eps"}


@dataclasses.dataclass(frozen=True)
class Graph:
    """The weights of an ONNX graph.

    Attributes:
      nodes: inputs of every node by its name.
      epsilons: epsilons of fused layer norms by the names of their nodes.
      constants: initializers and outputs of constant nodes, by name.
    """

    nodes: Mapping[str, list[str]]
    epsilons: Mapping[str, float]
    constants: Mapping[str, np.ndarray]

    def input(self, node: str, number: int) -> np.ndarray:
        """Returns the constant that is input `number` of a node."""
        name = self.nodes[node][number]
        if name not in self.constants:
            raise KeyError(f"{node} input {number}")
        return self.constants[name]

    def only(self, node: str) -> np.ndarray:
        """Returns the only constant input of a node that has more than one element."""
        constants = [self.constants[name] for name in self.nodes[node] if name in self.constants]
        found = [constant for constant in constants if constant.size != 1]
        if len(found) != 1:
            raise KeyError(f"the constant of {node}")
        return found[0]


def read_tokenizer(file: Path, config: TokenizerConfig) -> tuple[dict[str, np.ndarray], TokenizerConfig]:
    """Returns the tensors by torch names, and the config with the epsilons of the graph.

    Raises:
      InputError: `onnx` is not installed; the file is missing, damaged or holds another graph.
    """
    graph = _graph(file)
    tensors: dict[str, np.ndarray] = {}
    epsilons: dict[str, set[float]] = {field: set() for field in NORMS.values()}
    try:
        for conv in ("conv1", "conv2"):
            for number, name in ((1, "weight"), (2, "bias")):
                tensors[f"encoder.{conv}.{name}"] = graph.input(f"/{conv}/Conv", number)
        for i in range(config.depth):
            tensors |= _block(graph, i)
            for norm, field in NORMS.items():
                found, epsilon = _norm(graph, f"/blocks.{i}/{norm}")
                epsilons[field].add(epsilon)
                tensors |= {f"encoder.blocks.{i}.{norm}.{name}": value for name, value in found.items()}
        down = "quantizer._codebook.project_down"
        products = [node for node in graph.nodes if "quantizer" in node and node.endswith("MatMul")]
        tensors[f"{down}.weight"] = graph.input(products[0], 1).T
        tensors[f"{down}.bias"] = graph.constants["quantizer.project_in.bias"]
    except (KeyError, IndexError) as error:
        raise InputError(f"{file}: no S3 tokenizer of {config.depth} blocks: {error} is not in its graph") from error
    for field, found in epsilons.items():
        if len(found) != 1:
            raise InputError(f"{file}: norms of different epsilons: {sorted(found)}")
        config = dataclasses.replace(config, **{field: found.pop()})
    return tensors, config


def is_published(file: Path) -> bool:
    """Returns whether the file is the published one, by its SHA-256."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == SHA256


def _graph(file: Path) -> Graph:
    if importlib.util.find_spec("onnx") is None:
        raise InputError(f"{file} needs onnx to be read: pip install -e '.[codec]'")
    onnx: Any = importlib.import_module("onnx")
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        graph = onnx.load(str(file)).graph
        constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    except Exception as error:  # protobuf and onnx raise whatever a damaged file makes them stumble over
        raise InputError(f"{file} is truncated or no ONNX file ({' '.join(str(error).split())[:200]})") from error
    epsilons = {
        node.name: next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
        for node in graph.node
        if node.op_type == "LayerNormalization"
    }
    return Graph({node.name: list(node.input) for node in graph.node}, epsilons, constants)


def _block(graph: Graph, i: int) -> dict[str, np.ndarray]:
    ours, theirs = f"encoder.blocks.{i}", f"/blocks.{i}"
    tensors = {f"{ours}.attn.fsmn_block.weight": graph.constants[f"blocks.{i}.attn.fsmn_block.weight"]}
    for part in ("attn/query", "attn/key", "attn/value", "attn/out", "mlp/mlp.0", "mlp/mlp.2"):
        name = f"{ours}.{part.replace('/mlp.', '.').replace('/', '.')}"
        tensors[f"{name}.weight"] = graph.input(f"{theirs}/{part}/MatMul", 1).T
        if part != "attn/key":
            tensors[f"{name}.bias"] = graph.only(f"{theirs}/{part}/Add")
    return tensors


def _norm(graph: Graph, node: str) -> tuple[dict[str, np.ndarray], float]:
    """Returns weight, bias and epsilon of a layer norm, which may be decomposed into several nodes."""
    fused = f"{node}/LayerNormalization"
    if fused in graph.nodes:
        return {"weight": graph.input(fused, 1), "bias": graph.input(fused, 2)}, round(graph.epsilons[fused], 12)
    biases, epsilons = [], []
    for name in graph.nodes:
        if re.fullmatch(re.escape(node) + r"/Add(_\d+)?", name):
            for constant in (graph.constants[one] for one in graph.nodes[name] if one in graph.constants):
                (epsilons if constant.size == 1 else biases).append(constant)
    if len(biases) != 1 or len(epsilons) != 1:
        raise KeyError(f"the bias or the epsilon of {node}")
    epsilon = float(np.format_float_scientific(np.float32(epsilons[0].item())))
    return {"weight": graph.input(f"{node}/Mul", 1), "bias": biases[0]}, epsilon
