"""A starting checkpoint from three published ones: text model, audio encoder, refined head (paper, section 2.3)."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from fac_jax.checkpoint.export import TOKENIZER, finish
from fac_jax.checkpoint.json_files import Section, read_json
from fac_jax.checkpoint.release.config import (
    decoder_config,
    decoder_problems,
    encoder_config,
    encoder_problems,
    refuse,
)
from fac_jax.checkpoint.release.convert import Wrap, at_destination, fill_params, fingerprint
from fac_jax.checkpoint.release.names import QWEN3_HEAD, TEXT_SOURCES, WHISPER, Entry
from fac_jax.checkpoint.release.params import Read, check_tied, match, one_dtype, param_shapes
from fac_jax.checkpoint.release.tensors import TensorFolder
from fac_jax.checkpoint.release.whisper import open_whisper
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import init_params
from fac_jax.text.special_ids import speech_special_ids
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Assembled:
    """What came of it.

    Attributes:
      fresh: paths of the parameters that are freshly initialised.
      dtypes: of the tensors of "text", "audio" and "head" as they were found.
    """

    fresh: list[str]
    dtypes: Mapping[str, str]


def assemble(
    text: Path, audio: Path, head: Path, destination: Path, units: int, dtype: str, seed: int, wrap: Wrap = iter
) -> Assembled:
    """Builds a model folder of ours from three published models.

    Args:
      text: Qwen3, Qwen3-MoE or Qwen3-VL (its text part), with its tokenizer, which gets our special tokens.
      audio: Whisper, in any layout of `open_whisper`.
      head: a small Qwen3.
      destination: must not exist.
      units: ids of the codec; four speech specials follow them.
      dtype: of all parameters.
      seed: of those that are in none of the three.
      wrap: of the tensors while they are copied, for a progress bar.

    Raises:
      InputError: a file is missing or damaged, tensors are not those of their config.json, a config.json asks for what
        the model does not do, or a source's tensors are of different dtypes.
    """
    folders = {"text": text, "audio": audio, "head": head}
    configs = {name: folder / "config.json" for name, folder in folders.items() if name != "audio"}
    sources = {name: fingerprint(folder) for name, folder in folders.items()}
    job = {"assemble": sources, "units": units, "dtype": dtype, "seed": seed}
    with at_destination(destination, job) as unfinished:
        values = {name: Section(read_json(f), str(f)) for name, f in configs.items()}
        values["audio"], encoder = open_whisper(audio)
        kind = values["text"].word("model_type")
        if kind not in TEXT_SOURCES:
            known = ", ".join(TEXT_SOURCES)
            raise InputError(f"{configs['text']}: model_type {kind!r} is no text model; known: {known}")
        layouts = {"text": TEXT_SOURCES[kind], "audio": WHISPER, "head": QWEN3_HEAD}
        if not (text / TOKENIZER).exists():
            raise InputError(f"{text / TOKENIZER}: no such file; the text model's tokenizer is needed")
        tokenizer = Tokenizer.load(text).with_specials()
        config = _config(values, tokenizer, units, dtype, text)
        entries: list[tuple[Entry, Read]] = []
        dtypes: dict[str, str] = {}
        for name, folder in folders.items():
            tensors = encoder if name == "audio" else TensorFolder(folder)
            entries += [(entry, tensors.__getitem__) for entry in match(tensors.shapes, layouts[name], config)]
            check_tied(tensors, layouts[name], config)
            dtypes[name] = one_dtype(tensors, layouts[name])
        given = {entry.path for entry, _ in entries}
        fresh = [path for path in param_shapes(config) if path not in given]
        entries += _fresh(config, fresh, seed)
        fill_params(unfinished, config, entries, wrap)
        origin = {"from": {name: folder.name for name, folder in folders.items()}, "order": 0}
        finish(unfinished, config, origin, {})
        tokenizer.save(unfinished / TOKENIZER)
    return Assembled([".".join(path) for path in fresh], dtypes)


def _fresh(config: ModelConfig, paths: list[tuple[str, ...]], seed: int) -> list[tuple[Entry, Read]]:
    """Returns entries of freshly initialised parameters; only these are computed."""

    def init() -> dict[str, jax.Array]:
        leaves: Any = traverse_util.flatten_dict(init_params(config, jax.random.key(seed)), sep=".")
        return {name: leaves[name] for name in map(".".join, paths)}

    made = {name: np.asarray(leaf) for name, leaf in jax.jit(init)().items()}
    return [(Entry(path, np.array(".".join(path)), "same"), made.__getitem__) for path in paths]


def _config(values: Mapping[str, Section], tokenizer: Tokenizer, units: int, dtype: str, text: Path) -> ModelConfig:
    whole, audio, head = values["text"], values["audio"], values["head"]
    decoder = whole.section("text_config") if "text_config" in whole.values else whole
    refuse(decoder_problems(decoder) + encoder_problems(audio) + decoder_problems(head))
    vocabulary = decoder.size("vocab_size")
    if tokenizer.vocab_size > vocabulary:
        raise InputError(
            f"{text}: its embedding has {vocabulary} rows, its tokenizer with our special tokens needs "
            f"{tokenizer.vocab_size}; enlarge the embedding (resize_token_embeddings of transformers)"
        )
    return ModelConfig(
        text=decoder_config(decoder),
        audio=encoder_config(audio),
        head=decoder_config(head),
        vocab_size=vocabulary,
        codebook_size=units + len(speech_special_ids(units)),
        special=tokenizer.special_ids(units),
        tie_embeddings=whole.flag("tie_word_embeddings", decoder.flag("tie_word_embeddings", False)),
        dtype=dtype,
        param_dtype=dtype,
    )
