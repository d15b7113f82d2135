"""Assembly of Fun-Audio-Chat (arXiv 2512.20156; docs/model.md, sections 2 to 6)."""

import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from flax.linen.spmd import with_logical_constraint
from jaxtyping import Bool, Float, Float32, Int, Key

from fac_jax import axes
from fac_jax.layers.attention import self_visibility
from fac_jax.layers.kernels import Kernels
from fac_jax.layers.linear import Embedding, Linear
from fac_jax.layers.matrices import Int8Rows
from fac_jax.layers.param import zeros
from fac_jax.models.audio_encoder import AudioEncoder
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.decoder import ACTIVATION, Decoder
from fac_jax.models.refined_head import RefinedHead
from fac_jax.models.speech_embedder import SpeechEmbedder
from fac_jax.types import IGNORE, NO_TEXT, Array, Batch, Kind, ModelOutput, Params

Heads = Literal["joint", "text"]


class Backbone(nn.Module):
    """Shared LLM, at 5 Hz on audio: text embedding, Qwen3 decoder and text head (docs/model.md, section 5).

    The text head is a table `unembed` `[V, D]`, or the embedding itself if tied.
    """

    config: ModelConfig
    kernels: Kernels = Kernels()

    def setup(self) -> None:
        c = self.config
        table = functools.partial(
            Embedding, c.vocab_size, c.text.width, (axes.VOCAB, axes.EMBED), dtype=c.dtype, param_dtype=c.param_dtype
        )
        self.embed = table()
        if not c.tie_embeddings:
            self.unembed = table()
        self.decoder = Decoder(
            c.text, self.kernels, c.scan_layers, c.remat, c.unroll_layers, dtype=c.dtype, param_dtype=c.param_dtype
        )

    def logits(self, hidden: Float[jax.Array, "*dims D"]) -> Float32[jax.Array, "*dims V"]:
        """Logits of the text head."""
        return (self.embed if self.config.tie_embeddings else self.unembed).logits(hidden)


class FunAudioChat(nn.Module):
    """Fun-Audio-Chat: audio encoder, speech embedder, Shared LLM and refined head."""

    config: ModelConfig
    kernels: Kernels = Kernels()

    def setup(self) -> None:
        c = self.config
        encoder = functools.partial(AudioEncoder, c.audio, c.text.width, 2 * c.group_size)
        how = self.kernels.encoder_attend, c.scan_layers, c.remat, c.unroll_layers
        self.encoder = encoder(*how, dtype=c.dtype, param_dtype=c.param_dtype)
        self.speech_embedder = SpeechEmbedder(c)
        self.backbone = Backbone(c, self.kernels)
        self.refined_head = RefinedHead(c, self.kernels)
        if c.duplex is not None:
            # Like `speech_embedder/continuous`, from zero: a half-duplex model begins as it is.
            names = (axes.MLP, axes.EMBED)
            self.beside = Linear(c.text.width, names, init=zeros, dtype=c.dtype, param_dtype=c.param_dtype)

    def __call__(self, batch: Batch, heads: Heads = "joint") -> ModelOutput:
        """Runs the model on whole conversations, with the true tokens as the past of every position.

        Args:
          batch: conversations.
          heads: "text" leaves the refined head out.
        """
        frames = self.audio_frames(batch)
        embedded, text = self.embed(batch, frames)
        visibility = self_visibility(batch.segment_ids, batch.positions, causal=True, **self.config.limits)
        hidden, _, router = self.backbone.decoder(embedded, batch.positions, visibility)
        speech = None
        if heads == "joint":
            speech = self.speak(hidden, text, batch.speech_labels, batch.segment_ids, batch.positions)
        return ModelOutput(hidden=hidden, speech_hidden=speech, router=router, audio_frames=frames)

    def audio_frames(self, batch: Batch) -> Float[jax.Array, "F D"] | None:
        """Encodes all windows of a batch into one list of 25 Hz frames; features that are stored are only projected.

        Returns None if the batch has no windows, or if the model reads only the codec's tokens.
        """
        if self.config.user_audio == "tokens" or not batch.mel_windows.shape[0]:
            return None
        if batch.features is None:
            frames = self.encoder(batch.mel_windows, batch.mel_lengths, batch.mel_blocks)
        else:
            frames = self.encoder.project(batch.features)
        return rearrange(frames, "w f d -> (w f) d")

    def audio_features(
        self,
        mel_windows: Float[Array, "W M mels"],
        mel_lengths: Int[Array, " W"],
        mel_blocks: Bool[Array, " W"] | None = None,
    ) -> Float[jax.Array, "W M//4 C"]:
        """Computes the encoder's features of windows (`AudioEncoder.features`), which can be stored."""
        return self.encoder.features(mel_windows, mel_lengths, mel_blocks)

    def embed(
        self, batch: Batch, frames: Float[jax.Array, "F D"] | None
    ) -> tuple[Float[jax.Array, "B S D"], Float[jax.Array, "B S D"]]:
        """Embeds conversations; `frames` are those of `audio_frames` (docs/model.md, section 4).

        Returns:
          Inputs of the Shared LLM, and embeddings of the text stream only.
        """
        groups, heard = self.speech_embedder(
            batch.speech_ids, batch.has_waveform, batch.frame_index, frames, batch.parts
        )
        text = with_logical_constraint(self.embed_text(batch.text_ids), ACTIVATION)
        fused = self.fuse(text, groups, batch.kind, batch.beside, heard)
        return with_logical_constraint(fused, ACTIVATION), text

    def embed_text(self, text_ids: Int[Array, "*dims"]) -> Float[jax.Array, "*dims D"]:
        """Embeds text ids; zero where there is no text."""
        return jnp.where((text_ids == NO_TEXT)[..., None], 0, self.backbone.embed(text_ids))

    def fuse(
        self,
        text: Float[jax.Array, "B S D"],
        groups: Float[jax.Array, "B S D"],
        kind: Int[Array, "B S"],
        beside: Bool[Array, "B S"] | None = None,
        heard: Float[jax.Array, "B S D"] | None = None,
    ) -> Float[jax.Array, "B S D"]:
        """Joins the streams by kind: text, scaled speech, or both; `beside` them what the user says then.

        Args:
          beside: True where `heard` is added, mapped by the kernel `beside`; None where no position has it.
          heard: continuous features of the user's audio of every position; None if no audio has a waveform.
        """
        kind = kind[..., None]
        speech = groups * self.config.user_audio_scale
        own = jnp.where(kind == Kind.JOINT, self.join(text, groups), jnp.where(kind == Kind.SPEECH, speech, text))
        if beside is None or heard is None:
            return own
        return own + jnp.where(beside[..., None], self.beside(heard), 0)

    def join(
        self, text: Float[jax.Array, "*dims D"], groups: Float[jax.Array, "*dims D"]
    ) -> Float[jax.Array, "*dims D"]:
        """Joins the text and the speech of JOINT positions (Eq. 5; the release averages)."""
        return (text + groups) / 2 if self.config.fusion == "average" else text + groups

    def speak(
        self,
        hidden: Float[jax.Array, "B S D"],
        text: Float[jax.Array, "B S D"],
        labels: Int[Array, "B S G"],
        segment_ids: Int[Array, "B S"],
        positions: Int[Array, "B S"],
    ) -> Float[jax.Array, "B S G D"]:
        """Runs the refined head with the speech labels as its past (docs/model.md, section 6)."""
        ids = jnp.where(labels == IGNORE, self.config.special.speech_pad, labels)
        shifted = jnp.roll(rearrange(ids, "b s g -> b (s g)"), 1 - self.config.group_size, axis=1)
        previous = self.speech_embedder.lookup(shifted.reshape(labels.shape))
        return self.refined_head(hidden, text, previous, segment_ids, positions)

    def text_logits(self, hidden: Float[jax.Array, "*dims D"]) -> Float32[jax.Array, "*dims V"]:
        """Logits of text ids from states of the Shared LLM."""
        return self.backbone.logits(hidden)

    def speech_logits(self, speech_hidden: Float[jax.Array, "*dims D"]) -> Float32[jax.Array, "*dims C"]:
        """Logits of speech ids from states of the refined head; the output head is the speech table."""
        return self.speech_embedder.embed.logits(speech_hidden)


def text_unembedding(params: Params, config: ModelConfig) -> Float[Array, "V D"]:
    """Takes the text head from a whole model's parameters; its width is not sharded, since it is read in chunks."""
    table = params["backbone"]["embed" if config.tie_embeddings else "unembed"]["embedding"]
    wide = table.wide(config.dtype) if isinstance(table, Int8Rows) else table
    return with_logical_constraint(wide, (axes.VOCAB, None))


def speech_unembedding(params: Params) -> Float[Array, "C D"]:
    """Takes the speech head from a whole model's parameters; its width is not sharded, since it is read in chunks."""
    table = params["speech_embedder"]["embed"]["embedding"]
    wide = table.wide("float32") if isinstance(table, Int8Rows) else table
    return with_logical_constraint(wide, (axes.CODEBOOK, None))


@functools.partial(jax.jit, static_argnums=0)  # operation by operation they are hundreds of small programs
def init_params(config: ModelConfig, rng: Key[jax.Array, ""]) -> Params:
    """Makes fresh parameters as a plain nested dict, in `config.param_dtype`; `jax.eval_shape` of it gives shapes.

    It is one program, which is compiled once for a configuration.
    """
    return nn.unbox(boxed_params(config, rng))


def init_shapes(config: ModelConfig) -> Params:
    """Returns the shapes and dtypes of `init_params`; nothing is computed."""
    return nn.unbox(boxed_shapes(config))


def boxed_params(config: ModelConfig, rng: Key[jax.Array, ""]) -> Params:
    """Makes fresh parameters like `init_params`, every leaf boxed with its logical axis names (`fac_jax/axes.py`)."""

    def touch_all(model: FunAudioChat, batch: Batch) -> None:
        output = model(batch)
        model.text_logits(output.hidden)

    hearing = replace(config, user_audio="waveform")  # so that the encoder has its parameters too
    variables = FunAudioChat(hearing).init(rng, empty_batch(config, 1, 1, 1), method=touch_all)
    return dict(variables["params"])


@functools.cache  # whoever reads, writes or places a model asks, and the model is traced for each answer
def boxed_shapes(config: ModelConfig) -> Params:
    """Returns the shapes, dtypes and logical axis names of `boxed_params`; nothing is computed."""
    return jax.eval_shape(lambda: boxed_params(config, jax.random.key(0)))


def with_beside(params: Params, config: ModelConfig) -> Params:
    """Returns the parameters of a duplex model from those of a half-duplex one: with a kernel `beside` of zeros.

    Parameters that have one, and those of a model that is not duplex, stay as they are.
    """
    if config.duplex is None or "beside" in params:
        return params
    like = params["speech_embedder"]["continuous"]["kernel"]  # it has the same shape, and the same shards
    return {**params, "beside": {"kernel": jnp.zeros_like(like)}}


def empty_batch(config: ModelConfig, rows: int, length: int, windows: int) -> Batch:
    """Makes a batch of padding only, with `[rows, length]` LLM positions and `windows` encoder windows."""
    return Batch.padding(
        (rows, length),
        (windows, config.audio.mel_frames, config.audio.mel_bins),
        group_size=config.group_size,
        pad=config.special.pad,
        speech_pad=config.special.speech_pad,
        duplex=config.duplex is not None,
        blocks=config.blocks,
    )
