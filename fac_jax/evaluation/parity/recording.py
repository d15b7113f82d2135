"""Reads recorded runs of parts of the voice: sizes, parameters and arrays."""

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fac_jax.checkpoint.json_files import Section, read_json
from fac_jax.checkpoint.voice.release import from_torch
from fac_jax.codec.cosyvoice.config import DiTConfig, FlowConfig, TokenizerConfig, VocoderConfig
from fac_jax.evaluation.parity.model import Recorded
from fac_jax.types import Array, InputError, Params


@dataclasses.dataclass(frozen=True)
class Recording:
    """One recorded folder: its path, the content of its config.json, and the arrays of its io.npz."""

    folder: Path
    values: Section
    arrays: Recorded

    def params(self, part: str, config: Any) -> Params:
        """Reads the parameters of a model of the voice from its recorded weights.

        Raises:
          InputError: the weights are missing, damaged or those of another model.
        """
        file = self.folder / "weights.safetensors"
        try:
            return from_torch(part, load_file(file), config)
        except FileNotFoundError:
            raise InputError(f"{file}: no such file") from None
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file} is truncated or no safetensors file ({error})") from error
        except InputError as error:
            raise InputError(f"{file}: {error}") from error

    def noted(self, key: str, pattern: str) -> tuple[str, ...]:
        """Returns the groups of a pattern in a note of config.json, which documents how inputs were drawn.

        Raises:
          InputError: the note does not match the pattern.
        """
        found = re.search(pattern, str(self.values.values.get(key, "")))
        if found is None:
            raise InputError(f"{self.values.where}: {key} does not say how it was drawn ({pattern})")
        return found.groups()


def read_recording(folder: Path) -> Recording:
    """Reads a recorded folder without its weights.

    Raises:
      InputError: a file is missing or damaged.
    """
    values = Section(read_json(folder / "config.json"), str(folder / "config.json"))
    return Recording(folder, values, read_arrays(folder / "io.npz"))


def read_arrays(file: Path) -> Recorded:
    """Reads the arrays of a recorded run from an `.npz` file.

    Raises:
      InputError: the file is missing, damaged or of another kind.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        with zipfile.ZipFile(file), np.load(file) as arrays:  # np.load takes other files too
            return Recorded(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{file}: no recorded arrays (.npz), or truncated: {error}") from None


def inside(apply: Callable[..., Any], variables: Any, *inputs: Any, **options: Any) -> dict[str, Array]:
    """Returns the outputs of all modules of a model, which `apply` runs on the inputs, by their dotted paths.

    The first axis of scanned layers is the layer.
    """

    def run(variables: Any, *inputs: Any) -> Any:
        return apply(variables, *inputs, capture_intermediates=True, mutable=["intermediates"], **options)[1]

    found: dict[str, Array] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(run)(variables, *inputs)["intermediates"]):
        parts = [str(getattr(key, "key", getattr(key, "idx", key))) for key in path]
        at = parts.index("__call__") if "__call__" in parts else len(parts)
        found.setdefault(".".join(parts[:at]), leaf)  # the first output of a module with several
    return found


def tokenizer_config(values: Section) -> TokenizerConfig:
    """Returns the sizes of an S3TokenizerV3."""
    return TokenizerConfig(
        mel_bins=values.size("n_mels"),
        width=values.size("n_audio_state"),
        num_heads=values.size("n_audio_head"),
        depth=values.size("n_audio_layer"),
    )


def flow_config(values: Section, steps: int) -> FlowConfig:
    """Returns the sizes of a CausalMaskedDiffWithDiT, with `steps` Euler steps of its solver."""
    decoder = values.section("decoder")
    estimator = decoder.section("estimator")
    solver = decoder.section("cfm_params")
    for key, word in {"solver": "euler", "t_scheduler": "cosine"}.items():
        if solver.word(key, word) != word:
            raise InputError(f"{solver.where}: {key} is {solver.word(key)!r}, only {word!r} is known")
    return FlowConfig(
        vocab_size=values.size("vocab_size"),
        mel_bins=values.size("output_size"),
        speaker_width=values.size("spk_embed_dim"),
        token_frames=values.size("token_mel_ratio"),
        lookahead=values.size("pre_lookahead_len"),
        lookahead_width=values.section("pre_lookahead_layer").size("channels"),
        steps=steps,
        guidance=solver.number("inference_cfg_rate"),
        dit=DiTConfig(
            width=estimator.size("dim"),
            depth=estimator.size("depth"),
            num_heads=estimator.size("heads"),
            head_dim=estimator.size("dim_head"),
            mlp_ratio=estimator.size("ff_mult"),
            chunk=estimator.size("static_chunk_size"),
        ),
    )


def vocoder_config(values: Section) -> VocoderConfig:
    """Returns the sizes of a CausalHiFTGenerator."""
    transform, f0 = values.section("istft_params"), values.section("f0_predictor")
    return VocoderConfig(
        mel_bins=values.size("in_channels"),
        channels=values.size("base_channels"),
        rate=values.size("sampling_rate"),
        harmonics=values.size("nb_harmonics") + 1,
        sine_amplitude=values.number("nsf_alpha"),
        noise=values.number("nsf_sigma"),
        voiced_threshold=values.number("nsf_voiced_threshold"),
        upsample_rates=values.numbers("upsample_rates"),
        upsample_widths=values.numbers("upsample_kernel_sizes"),
        fft=transform.size("n_fft"),
        hop=transform.size("hop_len"),
        block_widths=values.numbers("resblock_kernel_sizes"),
        block_dilations=_dilations(values, "resblock_dilation_sizes"),
        source_widths=values.numbers("source_resblock_kernel_sizes"),
        source_dilations=_dilations(values, "source_resblock_dilation_sizes"),
        slope=values.number("lrelu_slope"),
        limit=values.number("audio_limit"),
        lookahead=values.size("conv_pre_look_right"),
        f0_channels=f0.size("cond_channels"),
    )


def _dilations(values: Section, key: str) -> tuple[tuple[int, ...], ...]:
    rows = values.values.get(key)
    if not isinstance(rows, list):
        raise InputError(f"{values.where}: {key} must be a list of lists of whole numbers")
    rows_by_number = Section({str(i): row for i, row in enumerate(rows)}, f"{values.where}: {key}")
    return tuple(rows_by_number.numbers(str(i)) for i in range(len(rows)))
