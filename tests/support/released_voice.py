"""A released directory of the voice with tiny models: files as PyTorch and the ONNX exporter write them."""

import collections
import io
import pickle
import sys
import types
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from golden_codec import FOLDER, models, speaker
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from fac_jax.evaluation.parity.recording import read_recording, tokenizer_config

KINDS = {np.dtype(np.float32): "FloatStorage", np.dtype(np.int64): "LongStorage", np.dtype(np.float16): "HalfStorage"}


class Storage:
    def __init__(self, key: str, array: np.ndarray) -> None:
        self.key, self.array = key, array


class Tensor:
    """Pickles as a tensor of PyTorch does."""

    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.parts = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self) -> tuple:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.parts


def _stand_in() -> dict[str, types.ModuleType]:
    """Modules that hold the names that such a pickle refers to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for name in KINDS.values():
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    return {"torch": torch, "torch._utils": utils}


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        kind = getattr(sys.modules["torch"], KINDS[obj.array.dtype])
        return "storage", kind, obj.key, "cpu", obj.array.size


def save_torch(file: Path, value: Any) -> None:
    """`torch.save` of dicts of arrays, or of `Tensor`s."""
    storages: list[Storage] = []

    def tensors(one: Any) -> Any:
        if isinstance(one, Mapping):
            return collections.OrderedDict((key, tensors(inner)) for key, inner in one.items())
        if isinstance(one, np.ndarray):
            strides = tuple(step // one.itemsize for step in np.ascontiguousarray(one).strides)
            one = Tensor(Storage(str(len(storages)), np.ascontiguousarray(one).ravel()), 0, one.shape, strides)
        if isinstance(one, Tensor):
            storages.append(one.parts[0])
        return one

    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= _stand_in()
    try:
        pickled = io.BytesIO()
        _Pickler(pickled, protocol=2).dump(tensors(value))
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        archive.writestr("archive/byteorder", "little")
        for storage in storages:
            archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())


def save_onnx(file: Path, tensors: Mapping[str, np.ndarray], depth: int, epsilons: tuple[float, float]) -> None:
    """The graph that the exporter leaves of an S3 tokenizer: names of nodes, weights under numbers, norms in pieces."""
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []

    def constant(array: np.ndarray, name: str | None = None) -> str:
        name = name or f"onnx::{len(initializers) + 4000}"
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def node(kind: str, name: str, *inputs: str) -> None:
        nodes.append(helper.make_node(kind, list(inputs), [f"{name}_output_0"], name=name))

    def hidden(array: float) -> str:
        out = f"/Constant_{len(nodes)}_output_0"
        value = numpy_helper.from_array(np.array(array, np.float32))
        nodes.append(helper.make_node("Constant", [], [out], name=out.removesuffix("_output_0"), value=value))
        return out

    for conv in ("conv1", "conv2"):
        weights = (constant(tensors[f"encoder.{conv}.{name}"]) for name in ("weight", "bias"))
        node("Conv", f"/{conv}/Conv", "feats", *weights)
    for i in range(depth):
        ours, theirs = f"encoder.blocks.{i}", f"/blocks.{i}"
        for part, name in (("attn/query", "attn.query"), ("attn/key", "attn.key"), ("attn/value", "attn.value"),
                           ("attn/out", "attn.out"), ("mlp/mlp.0", "mlp.0"), ("mlp/mlp.2", "mlp.2")):  # fmt: skip
            node("MatMul", f"{theirs}/{part}/MatMul", "x", constant(tensors[f"{ours}.{name}.weight"].T))
            if name != "attn.key":
                bias = constant(tensors[f"{ours}.{name}.bias"], f"blocks.{i}.{name}.bias")
                node("Add", f"{theirs}/{part}/Add", bias, f"{theirs}/{part}/MatMul_output_0")
        constant(tensors[f"{ours}.attn.fsmn_block.weight"], f"blocks.{i}.attn.fsmn_block.weight")
        for norm, epsilon in zip(("attn_ln", "mlp_ln"), epsilons, strict=True):
            weight, bias = (constant(tensors[f"{ours}.{norm}.{name}"]) for name in ("weight", "bias"))
            node("Add", f"{theirs}/{norm}/Add", f"{theirs}/{norm}/ReduceMean_1_output_0", hidden(epsilon))
            node("Mul", f"{theirs}/{norm}/Mul", f"{theirs}/{norm}/Div_output_0", weight)
            node("Add", f"{theirs}/{norm}/Add_1", f"{theirs}/{norm}/Mul_output_0", bias)
    down = "quantizer._codebook.project_down"
    node("MatMul", "/quantizer/project_in/MatMul", "x", constant(tensors[f"{down}.weight"].T))
    constant(tensors[f"{down}.bias"], "quantizer.project_in.bias")
    feats, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("feats", "x"))
    graph = helper.make_graph(nodes, "s3", [feats], [out], initializers)
    onnx.save(helper.make_model(graph), str(file))


TINY = tokenizer_config(read_recording(FOLDER / "s3tokenizer").values.section("config"))


def tensors(part: str) -> dict[str, np.ndarray]:
    """Recorded weights by torch names."""
    return load_file(FOLDER / part / "weights.safetensors")


def sizes() -> dict[str, Any]:
    """Of the recorded models."""
    flow, vocoder, _ = models()
    return {"tokenizer": TINY, "flow": flow[0], "vocoder": vocoder[0]}


def save_released(folder: Path) -> None:
    """A directory as it is published, with the recorded models and two speakers."""
    save_onnx(folder / "speech_tokenizer_v3.onnx", tensors("s3tokenizer"), TINY.depth, (1e-6, 1e-5))
    save_torch(folder / "flow.pt", tensors("flow"))
    save_torch(folder / "hift.pt", {f"generator.{name}": tensor for name, tensor in tensors("hift").items()})
    entry = {"embedding": speaker()[None], "speech_token": np.arange(4)[None]}
    save_torch(folder / "new_spk2info.pt", {"中文女": entry, "other": entry})
