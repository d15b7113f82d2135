"""Connectionist temporal classification (CTC), which warms up the audio encoder on transcripts."""

import dataclasses
from typing import ClassVar, cast

import jax
import jax.numpy as jnp
import optax
from einops import rearrange
from jaxtyping import Bool, Float, Float32, Int

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.losses.base import Counts, Loss, Metrics
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Block, ctc_blocks, encoder_blocks
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import IGNORE, NO_FRAME, Array, Batch, InputError, Kind, Params

# Norm that every row of the text embedding is scaled to. Rows as pre-training leaves them (norms 0.3 to 1.1 in the toy
# world) give logits too flat to learn from: the loss of the quickstart's encoder after 150 steps is 1.24 on them, 0.51
# at norm 2, 0.48 at norm 4.
ROW_NORM = 2.0


@dataclasses.dataclass(frozen=True)
class Ctc(Loss):
    """CTC of the audio encoder's 25 Hz frames against the text labels of the row; the LLM is not run.

    It is for rows whose reply is the transcript of what is heard, one conversation a row. A frame's logits are its
    products with the rows of the text embedding, all scaled to one norm; the pad id is the blank.
    """

    kind: ClassVar[str] = "ctc"

    def counts(self, batch: Batch, config: ModelConfig) -> Counts:
        """Counts the rows with a transcript."""
        return {"transcripts": jnp.sum(transcribed_rows(batch, config.special), dtype=jnp.float32)}

    def __call__(
        self,
        model: FunAudioChat,
        params: Params,
        batch: Batch,
        counts: Counts | None = None,
        reference: Params | None = None,
    ) -> tuple[jax.Array, Metrics]:
        """Computes the mean of `encoder_ctc_losses` over the rows with a transcript. See `Loss`."""
        counts = self.counts(batch, model.config) if counts is None else counts
        frames = cast(jax.Array, model.apply({"params": params}, batch, method="audio_frames"))
        losses = encoder_ctc_losses(frames, params, batch, model.config.special)
        loss = jnp.sum(losses) / jnp.maximum(counts["transcripts"], 1.0)
        return loss, {"ctc_loss": loss}

    def blocks(self, config: ModelConfig, stats: BatchStats) -> list[Block]:
        """Lists the products of the audio encoder and of the CTC logits."""
        return encoder_blocks(config, stats) + ctc_blocks(config, stats)

    def check(self, config: ModelConfig, segments: int | None, where: str) -> None:
        """Refuses a model that does not run its encoder, and rows of several conversations. See `Loss`."""
        check_ctc(config, segments, where, "take the stage out of the recipe")


def check_ctc(config: ModelConfig, segments: int | None, where: str, remedy: str) -> None:
    """Checks that CTC can train a model on packed rows; the arguments are those of `Loss.check`.

    Raises:
      InputError: the model hears tokens, so that its encoder is not run, and `remedy` says what to do; or a row may
        hold several conversations, while CTC reads a whole row as one transcript.
    """
    if config.user_audio == "tokens":
        raise InputError(
            f'{where}: CTC aligns the encoder, which a model with user_audio "tokens" does not hear: {remedy}'
        )

    if segments != 1:
        raise InputError(f"config key {where}.data.segments is {segments}: CTC needs 1, a conversation a row")


def transcripts(batch: Batch, special: SpecialIds) -> tuple[Bool[jax.Array, "B T"], Bool[jax.Array, "B S"]]:
    """Finds the frames and the labels that CTC compares.

    Returns:
      the T = `S * G` frames of 25 Hz in which the user speaks; and the labels that are words rather than markup (pad,
      end of turn, audio marks).
    """
    heard = (jnp.asarray(batch.kind) == Kind.SPEECH)[..., None] & (batch.frame_index != NO_FRAME)
    markup = jnp.array([IGNORE, special.pad, special.eos, special.audio_bos, special.audio_eos, special.sil])
    return rearrange(heard, "b s g -> b (s g)"), ~jnp.isin(batch.labels, markup)


def transcribed_rows(batch: Batch, special: SpecialIds) -> Bool[jax.Array, " B"]:
    """Finds the rows with both a user's frames and words."""
    frames, words = transcripts(batch, special)
    return jnp.any(frames, axis=1) & jnp.any(words, axis=1)


def encoder_ctc_losses(
    frames: Float[Array, "F D"], params: Params, batch: Batch, special: SpecialIds
) -> Float32[jax.Array, " B"]:
    """Computes the CTC loss of every row, float32; 0 for a row without frames or without words.

    Args:
      frames: 25 Hz encoder frames of all windows, F = `W * n // 2` (`ModelOutput.audio_frames`).
    """
    heard, words = transcripts(batch, special)
    picked = jnp.take(jnp.asarray(frames), rearrange(batch.frame_index, "b s g -> b (s g)"), axis=0, mode="clip")
    table = params["backbone"]["embed"]["embedding"]
    table = (ROW_NORM * table / jnp.linalg.norm(table, axis=1, keepdims=True)).astype(picked.dtype)
    logits = jnp.einsum("btd,vd->btv", picked, table, preferred_element_type=jnp.float32)
    return ctc_losses(logits, heard, batch.labels, words, blank=special.pad)


def ctc_losses(
    logits: Float[Array, "B T V"],
    frames: Bool[Array, "B T"],
    tokens: Int[Array, "B N"],
    kept: Bool[Array, "B N"],
    blank: int,
) -> Float32[jax.Array, " B"]:
    """Computes the negative log-likelihood of every row's tokens under CTC, in nats per token.

    Args:
      tokens: int32; never the blank.
      kept: which tokens belong to the target; gaps are closed.

    Returns:
      float32, 0 for a row without frames or without tokens.
    """
    order = jnp.argsort(~jnp.asarray(kept), axis=-1, stable=True)  # closes the gaps
    targets = jnp.take_along_axis(jnp.asarray(tokens), order, axis=-1)
    padding = 1.0 - jnp.take_along_axis(jnp.asarray(kept), order, axis=-1).astype(jnp.float32)
    targets = jnp.where(padding > 0, blank, targets)
    missing = 1.0 - jnp.asarray(frames).astype(jnp.float32)
    loss = optax.ctc_loss(jnp.asarray(logits, jnp.float32), missing, targets, padding, blank_id=blank)
    length = jnp.sum(1.0 - padding, axis=-1)
    whole = (length > 0) & jnp.any(frames, axis=-1)
    return jnp.where(whole, loss / jnp.maximum(length, 1.0), 0.0)
