"""The prompts of requests in their slots: laid out, run piece by piece, and recorded with their replies."""

import dataclasses
from collections import deque
from collections.abc import Callable

import jax

from fac_jax.api import Model
from fac_jax.batching.conversation import Turn
from fac_jax.batching.grid import encode
from fac_jax.serving.engine.config import EngineConfig
from fac_jax.serving.engine.device import Device
from fac_jax.serving.engine.ears import Ears
from fac_jax.serving.engine.programs import asked
from fac_jax.serving.engine.prompts import continued, pieces
from fac_jax.serving.engine.sessions import Record, Sessions, record_of
from fac_jax.serving.engine.talks import Talk
from fac_jax.types import InputError


class Prompting:
    """Runs prompts, one after the other."""

    def __init__(
        self,
        model: Model,
        ears: Ears,
        device: Device,
        sessions: Sessions,
        config: EngineConfig,
        clock: Callable[[], float],
    ) -> None:
        """Prepares for the slots of a device, which sessions hold between their turns."""
        self._model, self._ears, self._device, self._sessions, self._clock = model, ears, device, sessions, clock
        self._sizes = config.sizes(device.length)

    def lay_out(self, talk: Talk) -> None:
        """Lays a prompt out and gives it a slot.

        Raises:
          InputError: the conversation has no prompt; no slot is taken then.
        """
        talk.began_at = self._clock()
        talk.conversation = self._ears.encode(talk.heard)
        prompt = encode(talk.conversation, self._model.tokenizer, self._model.config, add_generation_prompt=True)
        talk.prompt = continued(prompt, talk.made.forced)
        if len(talk.prompt) + talk.limit > self._device.length:  # a codec may hear one id more than is expected
            raise InputError(f"the conversation takes {len(talk.prompt)} LLM positions, too many for its reply")
        talk.slot, kept = self._sessions.claim(talk.session, talk.prompt, talk.adapter)
        talk.pieces = deque(pieces(len(talk.prompt), kept, self._sizes, self._device.length))
        talk.reused = talk.pieces[0].start

    def run(self, talk: Talk) -> jax.Array:
        """Runs the next piece of a prompt; returns what `programs.told` says, of the reply if it was the last."""
        assert talk.prompt is not None
        piece, request = talk.pieces.popleft(), talk.request
        limit = 0 if talk.pieces else talk.limit
        how = asked(request.seed, limit, request.spoken, talk.adapter, request.text, request.speech)
        told = self._device.take_up(talk.slot, talk.prompt, piece, how)
        talk.filled = piece.end
        return told

    def record(self, talk: Talk) -> Record:
        """Returns what the slot of a reply holds."""
        assert talk.prompt is not None and talk.conversation is not None
        config = self._model.config
        reply = talk.made.reply(config.special)
        if reply is None:
            return Record(talk.prompt, talk.filled - 1, talk.adapter)
        turns = (*talk.conversation.turns, Turn("assistant", generated=reply))
        said = dataclasses.replace(talk.conversation, turns=turns)
        example = encode(said, self._model.tokenizer, config)
        return record_of(example, len(talk.prompt), len(talk.made.text_ids), talk.adapter, config)
