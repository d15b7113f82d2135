"""The calls of one model: who is in which place, and what runs between the ticks (docs/duplex.md, "Runtime")."""

import dataclasses
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import jax
import numpy as np
from jaxtyping import Float32

from fac_jax.duplex.call import SLOT
from fac_jax.generation.duplex.live_call import USUAL, CallOptions, LiveCall
from fac_jax.generation.duplex.programs import extend, join, leave, past, roll_over, tick
from fac_jax.generation.duplex.record import Record, Step, spoken_ids
from fac_jax.generation.duplex.side import CHUNK, Side, empty_side, text_chunk
from fac_jax.generation.duplex.state import Mode, Options, Slot, call_config, empty_calls, options, replayed
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.text import chat
from fac_jax.text.special_ids import SpecialIds
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import Params

_DONE: Final = object()
QUIET: Final = 5  # idle slots, a second, in which a call may be rolled over


class Calls:
    """Calls side by side; all methods are called by one thread.

    A prompt, and what a roll-over runs again, is work in slices of a few milliseconds, which `work` does between the
    ticks of the calls that run.

    Attributes:
      waiting: whether there is work.
    """

    def __init__(
        self,
        model: FunAudioChat,
        params: Params,
        tokenizer: Tokenizer,
        places: int,
        *,
        draws: bool = False,
        roll_after: int | None = None,
    ) -> None:
        """Makes the places, all of them free.

        Args:
          model: model and parameters of `prepared.prepare`.
          draws: whether calls may draw ids; without it all take the likeliest, whatever their options.
          roll_after: slots after which a call is rolled over in the next quiet second; None for never.

        Raises:
          InputError: the model takes no calls.
        """
        self._model, self._params, self._tokenizer, self._draws = model, params, tokenizer, draws
        self._roll_after = roll_after
        self._state = empty_calls(model, places)
        self._at: list[LiveCall | None] = [None] * places
        self._work: deque[Iterator[None]] = deque()

    @property
    def running(self) -> list[LiveCall]:
        """Returns the calls that have begun."""
        return [call for call in self._at if call is not None and call.next is not None]

    @property
    def special(self) -> SpecialIds:
        """Returns the special ids of the model."""
        return self._model.config.special

    @property
    def free(self) -> int:
        """Returns the number of free places."""
        return self._at.count(None)

    @property
    def waiting(self) -> bool:
        """Returns whether there is work."""
        return bool(self._work)

    def join(self, system: str, given: CallOptions = USUAL, history: Sequence[chat.Turn] = ()) -> LiveCall | None:
        """Gives a call a place, in which it begins when its prompt has been run; None if no place is free.

        Args:
          system: system prompt.
          given: how it is answered.
          history: turns of text before the call; the oldest that do not fit are left out.

        Raises:
          InputError: the system prompt is longer than the sinks.
        """
        if not self.free:
            return None
        call = LiveCall(self._at.index(None), system, given, Record(self.special), history=tuple(history))
        ids = self._prompt_ids(system, history)
        side = empty_side(self._model, len(ids))
        self._at[call.place] = call
        self._work.append(self._begin(call, side, ids))
        return call

    def instruct(self, call: LiveCall, system: str) -> None:
        """Gives a call another system prompt: it goes on with it as after a roll-over.

        Raises:
          InputError: the prompt is longer than the sinks; the call keeps the one that it has.
        """
        empty_side(self._model, len(self._prompt_ids(system, ())))
        call.system = system
        self._work.append(self._roll(call))

    def leave(self, call: LiveCall) -> None:
        """Ends a call; its place is free."""
        self._at[call.place] = None
        self._state = leave(self._state, call.place)

    def work(self, seconds: float = 0.0) -> None:
        """Does a slice of the work that waits, and more of it while the time lasts."""
        until = time.perf_counter() + seconds
        while self._work:
            work = self._work.popleft()
            if next(work, _DONE) is None:
                self._work.append(work)
            if time.perf_counter() >= until:
                return

    def tick(self, heard: Mapping[LiveCall, Float32[np.ndarray, " 3200"]]) -> dict[LiveCall, Step]:
        """Runs a slot of calls that have begun; the others are paused.

        Args:
          heard: what the user of each call says in the slot, at 16 kHz.

        Returns:
          what each does in the slot after it.
        """
        samples, active = np.zeros((len(self._at), SLOT), np.float32), np.zeros(len(self._at), bool)
        for call, block in heard.items():
            samples[call.place], active[call.place] = block, True
        self._state, slot = tick(self._model, self._params, self._state, samples, active, draws=self._draws)
        found = jax.device_get(slot)
        return {call: self._took(call, found, call.place) for call in heard}

    def warm_up(self) -> None:
        """Compiles everything, and runs four silent ticks."""
        call = self.join("warm")
        assert call is not None
        while self._work:
            self.work()
        for _ in range(4):
            self.tick({call: np.zeros(SLOT, np.float32)})
        self._work.append(self._roll(call))
        while self._work:
            self.work()
        self.leave(call)

    def _took(self, call: LiveCall, slot: Slot, row: int) -> Step:
        """Notes what a call does in the slot that comes."""
        if call.next is not None:
            call.slots, call.fresh = call.slots + 1, call.fresh + 1
        step = Step(
            call.slots,
            int(slot.text_ids[row]),
            np.asarray(slot.groups[row]),
            Mode(int(slot.mode[row])),
            float(slot.chance[row]),
            bool(slot.cut[row]),
        )
        call.next = step
        call.record.add(step)
        due = self._roll_after is not None and call.fresh >= self._roll_after
        if due and call.record.quiet >= QUIET and not call.rolling:
            self._work.append(self._roll(call))
        return step

    def _options(self, given: CallOptions) -> Options:
        config = call_config(self._model.config)
        biased = dataclasses.replace(
            config,
            start_bias=config.start_bias if given.start_bias is None else given.start_bias,
            stop_bias=config.stop_bias if given.stop_bias is None else given.stop_bias,
        )
        return options(jax.random.key(given.seed)[None], biased, given.text, given.speech)

    def _here(self, call: LiveCall) -> bool:
        return self._at[call.place] is call

    def _prompt(self, side: Side, ids: Sequence[int]) -> Iterator[Side]:
        """Runs a prompt, slice by slice; the last side that it yields holds all of it."""
        for start in range(0, len(ids), CHUNK):
            chunk = text_chunk(self._model, ids[start : start + CHUNK])
            side = extend(self._model, self._params, side, chunk)
            yield side

    def _begin(self, call: LiveCall, side: Side, ids: Sequence[int]) -> Iterator[None]:
        held = side
        for held in self._prompt(side, ids):
            jax.block_until_ready(held)
            yield
            if not self._here(call):
                return
        self._state, slot = join(
            self._model,
            self._params,
            self._state,
            held,
            call.place,
            self._options(call.options),
            call.options.greets,
            draws=self._draws,
        )
        self._took(call, jax.device_get(slot), 0)

    def _roll(self, call: LiveCall) -> Iterator[None]:
        """Runs the dialogue so far as text, and the last slots again, and lets the call go on with that."""
        call.rolling = True
        while call.next is None:  # its own prompt is still being run
            yield
        kept = replayed(call_config(self._model.config)) - CHUNK  # the rest is for slots that come meanwhile
        first = max(0, call.slots - kept)
        ids = self._prompt_ids(call.system, (*call.history, *self._said(call, first)))
        side = empty_side(self._model, len(ids))
        for held in self._prompt(side, ids):
            jax.block_until_ready(held)
            side = held
            yield
            if not self._here(call):
                return
        while first < call.slots:
            count = min(CHUNK, call.slots - first)
            side = extend(self._model, self._params, side, past(self._state, call.place, first, count))
            first += count
            jax.block_until_ready(side)
            yield
            if not self._here(call):
                return
        self._state = roll_over(self._model, self._state, side, call.place)
        call.fresh, call.rolling = 0, False

    def _said(self, call: LiveCall, first: int) -> list[chat.Turn]:
        """Returns what the assistant said aloud before a slot; what the user said is not known as text."""
        texts = []
        for number, turn in enumerate(call.record.turns):
            if turn.closing <= first:
                heard = spoken_ids(turn, call.played.get(number, len(turn.groups)), call.record.turns)
                texts.append(self._tokenizer.decode(turn.text_ids[:heard].tolist()).strip())
        return [chat.Turn("assistant", text) for text in texts if text]

    def _prompt_ids(self, system: str, turns: Sequence[chat.Turn]) -> tuple[int, ...]:
        """Returns a prompt with the last of some turns of text, as many as fit the sinks."""
        most = call_config(self._model.config).sinks
        for start in range(len(turns) + 1):
            pieces = chat.render(system, turns[start:], self._tokenizer)
            ids = tuple(i for piece in pieces if isinstance(piece, chat.TextPiece) for i in piece.ids)
            if len(ids) <= most:
                break
        return ids
