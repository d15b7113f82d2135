"""Assembly of Fun-Audio-Chat (arXiv 2512.20156; model.md sections 2 to 6)."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from fac_jax import axes
from fac_jax.layers.attention import self_visibility
from fac_jax.layers.kernels import Kernels
from fac_jax.layers.linear import against_rows
from fac_jax.models.audio_encoder import AudioEncoder
from fac_jax.models.backbone import Backbone
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.decoder import ACTIVATION
from fac_jax.models.refined_head import RefinedHead
from fac_jax.models.speech_embedder import SpeechEmbedder
from fac_jax.types import IGNORE, NO_TEXT, Batch, Kind, ModelOutput, Params

Heads = Literal["joint", "text"]


class FunAudioChat(nn.Module):
    """The model. `kernels` compute attention and experts: the references unless a device has better ones."""

    config: ModelConfig
    kernels: Kernels = Kernels()

    def setup(self) -> None:
        c = self.config
        attend = self.kernels.encoder_attend
        self.encoder = AudioEncoder(c.audio, c.text.width, attend, c.remat, c.dtype, c.param_dtype)
        self.speech_embedder = SpeechEmbedder(c)
        self.backbone = Backbone(c, self.kernels)
        self.refined_head = RefinedHead(c, self.kernels)

    def __call__(self, batch: Batch, heads: Heads = "joint") -> ModelOutput:
        """Teacher-forced forward pass.

        Args:
          batch: conversations.
          heads: "text" leaves the refined head out.
        """
        frames = self.audio_frames(batch)
        embedded, text = self.embed(batch, frames)
        visibility = self_visibility(batch.segment_ids, batch.positions, causal=True)
        hidden, _, router = self.backbone(embedded, batch.positions, visibility)
        speech = None
        if heads == "joint":
            speech = self.speak(hidden, text, batch.speech_labels, batch.segment_ids, batch.positions)
        return ModelOutput(hidden=hidden, speech_hidden=speech, router=router, audio_frames=frames)

    def encode_audio(self, mel_windows: jax.Array, mel_lengths: jax.Array) -> jax.Array:
        """`[W, 2n, 128]`, int32 `[W]` -> 25 Hz frames `[W, n // 2, D]`."""
        return self.encoder(mel_windows, mel_lengths)

    def audio_frames(self, batch: Batch) -> jax.Array | None:
        """25 Hz frames of all windows of a batch `[W * n // 2, D]`; None if no window is there, or none is heard."""
        if self.config.user_audio == "tokens" or not batch.mel_windows.shape[0]:
            return None
        return rearrange(self.encode_audio(batch.mel_windows, batch.mel_lengths), "w f d -> (w f) d")

    def embed(self, batch: Batch, frames: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """LLM inputs and embeddings of the text stream, both `[B, S, D]` (model.md section 4).

        Args:
          batch: conversations.
          frames: of `audio_frames`.
        """
        groups = self.speech_embedder(batch.speech_ids, batch.has_waveform, batch.frame_index, frames, batch.parts)
        text = nn.with_logical_constraint(self.embed_text(batch.text_ids), ACTIVATION)
        return nn.with_logical_constraint(self.fuse(text, groups, batch.kind), ACTIVATION), text

    def embed_text(self, text_ids: jax.Array) -> jax.Array:
        """int32 `[B, S] -> [B, S, D]`; zero where there is no text."""
        return jnp.where((text_ids == NO_TEXT)[..., None], 0, self.backbone.embed(text_ids))

    def fuse(self, text: jax.Array, groups: jax.Array, kind: jax.Array) -> jax.Array:
        """Joins the streams by kind, `[B, S, D]` each: text, scaled speech, or both (Eq. 5; the release averages)."""
        kind = kind[..., None]
        joint = text + groups
        if self.config.fusion == "average":
            joint = joint / 2
        speech = groups * self.config.user_audio_scale
        return jnp.where(kind == Kind.JOINT, joint, jnp.where(kind == Kind.SPEECH, speech, text))

    def speak(
        self, hidden: jax.Array, text: jax.Array, labels: jax.Array, segment_ids: jax.Array, positions: jax.Array
    ) -> jax.Array:
        """Refined head with the speech labels `[B, S, G]` as its past, `[B, S, G, D]` (model.md section 6)."""
        ids = jnp.where(labels == IGNORE, self.config.special.speech_pad, labels)
        shifted = jnp.roll(rearrange(ids, "b s g -> b (s g)"), 1 - self.config.group_size, axis=1)
        previous = self.speech_embedder.lookup(shifted.reshape(labels.shape))
        return self.refined_head(hidden, text, previous, segment_ids, positions)

    def text_logits(self, hidden: jax.Array) -> jax.Array:
        """`[.., D] -> float32 [.., V]`."""
        return against_rows(hidden, self.backbone.unembedding(), "float32")

    def speech_logits(self, speech_hidden: jax.Array) -> jax.Array:
        """`[.., D] -> float32 [.., C]`; the head is tied to the speech table."""
        return against_rows(speech_hidden, self.speech_embedder.embed.embedding, "float32")


def speech_unembedding(params: Params) -> jax.Array:
    """The speech head `[C, D]` of a whole model's parameters, its width whole: it is read chunk by chunk."""
    table = params["speech_embedder"]["embed"]["embedding"]
    return nn.with_logical_constraint(table, (axes.CODEBOOK, None))


def init_params(config: ModelConfig, rng: jax.Array) -> Params:
    """Fresh parameters as a plain nested dict, in `config.param_dtype`. Trace it with `jax.eval_shape` for shapes."""
    return nn.unbox(boxed_params(config, rng))


def boxed_params(config: ModelConfig, rng: jax.Array) -> Params:
    """As `init_params`, every leaf boxed with its logical axis names (see `fac_jax/axes.py`)."""

    def touch_all(model: FunAudioChat, batch: Batch) -> None:
        output = model(batch)
        model.text_logits(output.hidden)

    hearing = replace(config, user_audio="waveform")  # the encoder has its parameters also where it is not run
    return FunAudioChat(hearing).init(rng, empty_batch(config, 1, 1, 1), method=touch_all)["params"]


def empty_batch(config: ModelConfig, rows: int, length: int, windows: int) -> Batch:
    """A batch of padding alone, `[rows, length]` LLM positions and `windows` encoder windows."""
    return Batch.padding(
        (rows, length),
        (windows, config.audio.mel_frames, config.audio.mel_bins),
        group_size=config.group_size,
        pad=config.special.pad,
        speech_pad=config.special.speech_pad,
    )
