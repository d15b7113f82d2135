"""The codec of the release: the S3 tokenizer encodes, flow and vocoder decode.

A saved codec is a folder:

    codec.json              sizes, settings of speech, name of the speaker
    tokenizer.safetensors   read by the first call of `encode`
    flow.safetensors, vocoder.safetensors, speakers.safetensors   read by the first call of `decode`
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float, Float32, Int, Int32
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fac_jax.audio.mel import RATE
from fac_jax.codec.base import FILE, SpeechStream, refer
from fac_jax.codec.cosyvoice.config import FlowConfig, TokenizerConfig, VocoderConfig
from fac_jax.codec.cosyvoice.flow import BEFORE, Flow
from fac_jax.codec.cosyvoice.noise import release_noise
from fac_jax.codec.cosyvoice.pool import VoicePool
from fac_jax.codec.cosyvoice.s3_tokenizer import S3Tokenizer, WaveTokenizer
from fac_jax.codec.cosyvoice.token2wav import Speaker, SpeechConfig, Token2Wav
from fac_jax.codec.cosyvoice.vocoder import Vocoder
from fac_jax.config import from_tree
from fac_jax.io import write_text
from fac_jax.types import InputError, Params

NAME: Final = "cosyvoice3"
REPOSITORY: Final = "FunAudioLLM/Fun-CosyVoice3-0.5B-2512"
# Origin of each part, for messages.
ORIGINS: Final[Mapping[str, str]] = {
    "tokenizer": f"speech_tokenizer_v3.onnx of {REPOSITORY}",
    "flow": f"flow.pt of {REPOSITORY}",
    "vocoder": f"hift.pt of {REPOSITORY}",
    "speakers": "utils/new_spk2info.pt of the Fun-Audio-Chat repository",
}


@dataclasses.dataclass(frozen=True)
class Part:
    """One of the three models.

    Attributes:
      config: class of its sizes; its defaults are those of the release.
      model: class of the model.
      inputs: small inputs of the model for a configuration.
    """

    config: type
    model: Callable[[Any], nn.Module]
    inputs: Callable[[Any], tuple[jax.Array, ...]]

    def boxed(self, config: Any, rng: jax.Array) -> Params:
        """Initialises the parameters of a configuration; every leaf is boxed with its logical axis names."""
        return cast(Params, self.model(config).init(rng, *self.inputs(config))["params"])

    def init(self, config: Any, rng: jax.Array) -> Params:
        """Initialises parameters as a plain nested dict. `jax.eval_shape` of it gives their shapes."""
        return nn.unbox(self.boxed(config, rng))


def _tokenizer(c: TokenizerConfig) -> tuple[jax.Array, ...]:
    return jnp.zeros((1, 8, c.mel_bins)), jnp.array([8])


def _flow(c: FlowConfig) -> tuple[jax.Array, ...]:
    return jnp.zeros((1, BEFORE + 1 + c.lookahead), jnp.int32), jnp.ones((1, c.speaker_width))


def _vocoder(c: VocoderConfig) -> tuple[jax.Array, ...]:
    frames, noise = 2, jnp.zeros((1, 2 * c.frame_samples, c.harmonics))
    mel, sines = jnp.zeros((1, frames, c.mel_bins)), jnp.zeros((1, frames, c.harmonics))
    return mel, sines, jnp.zeros((1, frames)), noise, jnp.int32(frames)


PARTS: Final[Mapping[str, Part]] = {
    "tokenizer": Part(TokenizerConfig, S3Tokenizer, _tokenizer),
    "flow": Part(FlowConfig, Flow, _flow),
    "vocoder": Part(VocoderConfig, Vocoder, _vocoder),
}


@dataclasses.dataclass(frozen=True)
class Description:
    """The content of codec.json: the config of each part (`PARTS`), how it speaks, and the speaker of `decode`."""

    sizes: Mapping[str, Any]
    speech: SpeechConfig
    speaker: str


class CosyVoice3:
    """The released voice as a `Codec`. It reads each part from its folder at the first use."""

    heard_rate: int = RATE

    def __init__(self, folder: Path, description: Description) -> None:
        """Takes the folder of a saved codec and its description; `load` calls this."""
        self._folder, self.description = folder, description
        self.rate: int = description.sizes["vocoder"].rate
        self.units: int = description.sizes["flow"].vocab_size

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "CosyVoice3":
        """Reads what `save` wrote.

        Raises:
          InputError: codec.json has an unknown key or lacks one, or a file that `decode` needs is missing.
        """
        folder = Path(folder)
        values = json.loads((folder / FILE).read_text())
        where = str(folder / FILE)
        for key in (*PARTS, "speech", "speaker"):
            if key not in values:
                raise InputError(f"{where} does not say {key!r}; convert the codec again")
        sizes = {name: from_tree(part.config, values[name], where) for name, part in PARTS.items()}
        description = Description(sizes, from_tree(SpeechConfig, values["speech"], where), values["speaker"])
        for name in ("flow", "vocoder", "speakers"):
            _existing(folder, name)
        return cls(folder, description)

    @functools.cached_property
    def speaker(self) -> Speaker:
        """The speaker whose voice `decode` uses.

        Raises:
          InputError: codec.json names a speaker that the codec does not have.
        """
        name, speakers = self.description.speaker, self.speakers()
        if name not in speakers:
            known = ", ".join(sorted(speakers))
            raise InputError(f"{self._folder / FILE} names the speaker {name!r}; there are {known}")
        return speakers[name]

    def speakers(self) -> dict[str, Speaker]:
        """Reads the embeddings of all speakers, float32 `[192]` by name."""
        return _leaves(self._folder, "speakers")

    @functools.cached_property
    def voice(self) -> Token2Wav:
        """Flow and vocoder; `voice.stream(speaker)` speaks ids as they arrive."""
        sizes = self.description.sizes
        flow, vocoder = ((sizes[name], _params(self._folder, name)) for name in ("flow", "vocoder"))
        return Token2Wav(flow, vocoder, release_noise(), self.description.speech)

    @functools.cached_property
    def _tokenizer(self) -> WaveTokenizer:
        return WaveTokenizer(self.description.sizes["tokenizer"], _params(self._folder, "tokenizer"))

    def encode(self, wave: Float[np.ndarray, " N"]) -> Int32[np.ndarray, " T"]:
        """Encodes one wave at 16 kHz: T = `ceil(N // 160 / 4)` up to 30 s.

        Longer waves are cut (docs/codec_model.md, section 1.5).
        """
        return self.encode_batch([wave])[0]

    def encode_batch(self, waves: Sequence[Float[np.ndarray, " _N"]]) -> list[Int32[np.ndarray, " _T"]]:
        """Encodes every wave; the devices of this host share them."""
        return self._tokenizer(waves)

    def decode(self, ids: Int[np.ndarray, " T"]) -> Float32[np.ndarray, " N"]:
        """Speaks ids below `units` in the voice of the codec's speaker, 40 ms for each id.

        Raises:
          InputError: there is no id, an id is outside the codebook, or a file is missing or damaged.
        """
        return self.voice.offline(ids, self.speaker)

    def stream(self) -> SpeechStream:
        """Speaks ids in that voice as they arrive, chunk by chunk (docs/codec.md)."""
        return self.voice.stream(self.speaker)

    def pool(self, places: int) -> VoicePool:
        """Makes places for streams in that voice, whose chunks run in one program."""
        return VoicePool(self.voice, self.speaker, places)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes a codec.json that refers to this codec's folder; its files have gigabytes and are not copied."""
        refer(folder, self._folder)


def write_codec(
    folder: Path, params: Mapping[str, Params], description: Description, speakers: Mapping[str, np.ndarray]
) -> None:
    """Writes a codec into a folder that exists. codec.json comes last, so that an unfinished folder is no codec.

    Takes the parameters of each part, and speaker embeddings float32 `[192]` by name.
    """
    embeddings = {name: np.asarray(embedding, np.float32) for name, embedding in speakers.items()}
    leaves = {name: traverse_util.flatten_dict(tree, sep=".") for name, tree in params.items()}
    for name, arrays in {**leaves, "speakers": embeddings}.items():
        contiguous = {path: np.ascontiguousarray(array) for path, array in arrays.items()}
        save_file(contiguous, folder / f"{name}.safetensors")
    values = {name: dataclasses.asdict(config) for name, config in description.sizes.items()}
    values |= {"speech": dataclasses.asdict(description.speech), "speaker": description.speaker}
    write_text(folder / FILE, json.dumps({"name": NAME} | values, indent=1))


def _leaves(folder: Path, part: str) -> dict[str, np.ndarray]:
    """Reads the arrays of a part by their dotted names.

    Raises:
      InputError: the file is missing (the message names its origin) or damaged.
    """
    file = _existing(folder, part)
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is truncated or no safetensors file ({error}); convert it again") from error


def _params(folder: Path, part: str) -> Params:
    return traverse_util.unflatten_dict(_leaves(folder, part), sep=".")


def _existing(folder: Path, part: str) -> Path:
    """Returns the file of a part, or raises an InputError that says how to make it."""
    file = folder / f"{part}.safetensors"
    if not file.is_file():
        raise InputError(
            f"codec file is missing: {file}; it is made from {ORIGINS[part]} by "
            "python -m experiments.convert codec SRC DST"
        )
    return file
