"""Makes a random adapter with PEFT and records what it computes, for `python -m experiments.convert verify-adapter`.

    python tests/pytorch/record_adapter.py BASE OUT [--code=DIR] [--options=JSON] [--bfloat16]

BASE is a folder of Qwen3 (`experiments.convert jax-to-hf --part=text`), or one of the release's layout with a recorded
training batch in its io.npz, for which --code names a clone of github.com/FunAudioLLM/Fun-Audio-Chat. OUT gets what
`save_pretrained` writes, and io.npz. --options are arguments of `peft.LoraConfig`. The script needs torch, peft and a
transformers that knows the model, and nothing of this repository.

Every A and B is random and none is zero, so that no wrong transposition, scale or name can hide. Modules that are saved
in full are random too; those that share a table keep equal ones.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

TENSORS = "adapter_model.safetensors"
IGNORE = -100
Arrays = dict[str, np.ndarray]


def open_base(folder: Path, code: str | None) -> Any:
    """Reads a model in float32, of the release's classes where their code is given."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind: Any = AutoModelForCausalLM
    if code is not None:
        sys.path.insert(0, code)
        from funaudiochat.register import register_funaudiochat

        register_funaudiochat()
        kind = AutoModelForSeq2SeqLM
    return kind.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="sdpa")


def randomise(model: PeftModel, bfloat16: bool) -> None:
    """Fills all that trains with random numbers; copies of one table get the same ones."""
    torch.manual_seed(0)
    copies: list[tuple[torch.Tensor, torch.Tensor]] = []  # what a module that is saved in full was, and is
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        before, value = parameter.data.clone(), 0.1 * torch.randn_like(parameter)
        if "modules_to_save" in name:
            value = next((now for was, now in copies if torch.equal(was, before)), before + value)
            copies.append((before, value))
        parameter.data.copy_(value.bfloat16() if bfloat16 else value)


def numpy_of(tensor: torch.Tensor) -> np.ndarray:
    """Copies a tensor to numpy."""
    return tensor.detach().numpy().copy()


def norms_of(model: PeftModel, loss: torch.Tensor) -> Arrays:
    """Returns the norm of the gradient of every tensor of the adapter, by the names of torch."""
    model.zero_grad()
    loss.backward()
    norms = {name: p.grad.double().norm().item() for name, p in model.named_parameters() if p.grad is not None}
    return {"grad_names": np.array(list(norms)), "grad_norms": np.array(list(norms.values()))}


def record_text(model: PeftModel, rows: int = 2, length: int = 24, shown: int = 17) -> Arrays:
    """Runs random texts, of which the last is shorter, with the adapter, without it, and with it merged."""
    size = model.get_base_model().config.vocab_size
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, size, (rows, length)))
    mask = torch.ones_like(ids)
    mask[-1, shown:] = 0
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    output = model(**inputs, labels=torch.where(mask == 1, ids, IGNORE))
    arrays = {"adapted": numpy_of(output.logits), "loss": numpy_of(output.loss), **norms_of(model, output.loss)}
    with torch.no_grad():
        with model.disable_adapter():
            arrays["base"] = numpy_of(model(**inputs).logits)
        arrays["merged"] = numpy_of(model.merge_and_unload()(**inputs).logits)
    return arrays | {name: numpy_of(tensor).astype(np.int32) for name, tensor in inputs.items()}


def record_whole(model: PeftModel, batch: Arrays) -> Arrays:
    """Runs a recorded training batch with the adapter, and without it."""

    def run() -> Any:  # the release writes into its inputs: it gets copies
        return model.get_base_model()(**{name: torch.from_numpy(array.copy()) for name, array in batch.items()})

    output = run()
    names = ("text_logits", "speech_logits", "loss", "text_loss", "speech_loss")
    arrays = {name: numpy_of(getattr(output, name)) for name in names} | norms_of(model, output.loss)
    with torch.no_grad(), model.disable_adapter():
        arrays["base_text_logits"] = numpy_of(run().text_logits)
    return arrays


def main() -> None:
    """Parses the command line and writes the adapter and io.npz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="folder of the base")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--code", help="clone of the release's repository, for a base in its layout")
    parser.add_argument("--options", type=json.loads, default={}, help="arguments of LoraConfig, JSON")
    parser.add_argument("--bfloat16", action="store_true", help="tensors on disk are bfloat16")
    given = parser.parse_args()
    base = open_base(given.base, given.code)
    make(base, given.out, given.options, given.bfloat16, None if given.code is None else given.base / "io.npz")


def make(base: Any, out: Path, options: dict[str, Any], bfloat16: bool, inputs: Path | None = None) -> None:
    """Puts a random adapter on a base, writes it, and records it; `inputs` hold the batch of a whole model."""
    model = get_peft_model(base, LoraConfig(**options)).train()
    randomise(model, bfloat16)
    model.save_pretrained(out)
    if bfloat16:
        tensors = {name: tensor.bfloat16() for name, tensor in load_file(out / TENSORS).items()}
        save_file(tensors, out / TENSORS, metadata={"format": "pt"})
    if inputs is None:
        arrays = record_text(model)
    else:
        with np.load(inputs) as recorded:
            batch = {name.removeprefix("in/"): recorded[name] for name in recorded if name.startswith("in/")}
        arrays = record_whole(model, batch)
    np.savez_compressed(out / "io.npz", **arrays)
    print(f"{out}: {len(arrays['grad_names'])} tensors, loss {float(arrays['loss']):.4f}")


if __name__ == "__main__":
    main()
