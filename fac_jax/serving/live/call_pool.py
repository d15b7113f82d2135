"""The calls of a full-duplex model: a thread that runs a tick of all every 200 ms (docs/duplex.md, "Serving")."""

import dataclasses
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from jaxtyping import Int32

from fac_jax.api import Model
from fac_jax.duplex.call import SLOT_SECONDS
from fac_jax.generation.duplex.admission import Admission
from fac_jax.generation.duplex.calls import Calls
from fac_jax.generation.duplex.live_call import CallOptions
from fac_jax.generation.duplex.record import Step
from fac_jax.generation.duplex.state import Mode
from fac_jax.serving.engine.talks import spelled
from fac_jax.serving.engine.voices import Voices
from fac_jax.serving.live.pool_call import PoolCall, Refused, Sounded, Stepped, Told
from fac_jax.serving.metrics import Metrics
from fac_jax.text.chat import Turn
from fac_jax.types import InputError

SLICE_S: Final = 0.05  # of prompts and roll-overs between two ticks
MARGIN_S: Final = 0.02  # before a tick in which no slice begins
REST_S: Final = 0.005  # between two looks at calls none of which can run
TOO_LONG: Final = "context_length_exceeded"

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PoolConfig:
    """How a call pool is set up.

    Attributes:
      places: calls at once; their memory is reserved at the start, and a tick computes all of them.
      roll_after: slots after which a call is rolled over in a quiet second; None for never.
      admission: when another call is taken.
    """

    places: int = 8
    roll_after: int | None = None
    admission: Admission = Admission()


@dataclasses.dataclass(frozen=True, eq=False)
class _Speech:
    """A turn that is spoken."""

    call: PoolCall
    turn: int

    @property
    def voice(self) -> str | None:
        return self.call.voice


class CallPool:
    """Live calls of one model, and the thread that runs them.

    A tick takes what each client said in the last slot, and tells what the assistant does in the next one. The clock of
    the ticks rests while no call can run. It begins anew when the first block of one is due, so that the blocks of a
    client that talks alone wait for no longer than `line.JITTER_S`.
    """

    def __init__(self, model: Model, config: PoolConfig, metrics: Metrics) -> None:
        """Reads nothing and compiles nothing before `warm_up`.

        Raises:
          InputError: the model takes no calls, or has no codec.
        """
        self._model, self._config, self._metrics = model, config, metrics
        self._codec = model.codec
        self.rate = self._codec.rate
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._here: list[PoolCall] = []
        self._speeches: dict[PoolCall, _Speech] = {}
        self._seconds: deque[float] = deque(maxlen=config.admission.ticks)
        self._next = 0.0  # when the next tick is due
        self._runs = False  # whether the clock does: the last tick heard somebody
        self._stopping = False
        self._make()
        self._thread = threading.Thread(target=self._run, name="calls", daemon=True)

    def warm_up(self) -> None:
        """Compiles everything, and starts the thread."""
        self._calls.warm_up()
        self._voices.warm_up()
        self._thread.start()

    def stop(self) -> None:
        """Ends all calls, and the thread."""
        self._stopping = True
        self.do(lambda: None)
        self._thread.join()

    @property
    def calls(self) -> list[PoolCall]:
        """Returns the calls that have a place."""
        return [*self._here]

    def do(self, command: Callable[[], None]) -> None:
        """Has the thread do something, in any thread."""
        self._commands.put(command)

    def join(
        self,
        system: str,
        history: Sequence[Turn],
        options: CallOptions,
        voice: str | None,
        deliver: Callable[[Told], None],
    ) -> PoolCall:
        """Begins a call, if there is a place for it; `Refused` is delivered if there is none. Called in the loop.

        Args:
          system: system prompt.
          history: turns of text before the call.
          options: how it is answered.
          voice: name of the speaker; None for the codec's own.
          deliver: is told what happens, in the loop.
        """
        call = PoolCall(self, voice, deliver)
        self.do(lambda: self._join(call, system, history, options))
        return call

    def instruct(self, call: PoolCall, system: str) -> None:
        """See `PoolCall`; called by the thread."""
        if call.live is not None:
            try:
                self._calls.instruct(call.live, system)
            except InputError as error:
                call.tell(Refused(TOO_LONG, str(error)))

    def leave(self, call: PoolCall) -> None:
        """See `PoolCall`; called by the thread."""
        if call in self._here:
            self._here.remove(call)
            self._quiet(call)
        if call.live is not None:
            self._calls.leave(call.live)
            call.live = None

    def _make(self) -> None:
        model, config = self._model, self._config
        self._calls = Calls(
            model.module, model.params, model.tokenizer, config.places, draws=True, roll_after=config.roll_after
        )
        # One turn may begin while the last samples of another are made.
        self._voices: Voices[_Speech] = Voices(self._codec, 2 * config.places, self._metrics.codec.observe)

    def _join(self, call: PoolCall, system: str, history: Sequence[Turn], options: CallOptions) -> None:
        if not self._config.admission.admits([*self._seconds], len(self._here)):
            call.tell(Refused("server_full", "The server is too slow for another call."))
            return
        try:
            call.live = self._calls.join(system, options, history)
        except InputError as error:
            call.tell(Refused(TOO_LONG, str(error)))
            return
        if call.live is None:
            call.tell(Refused("server_full", "All places are taken."))
            return
        if not self._here:
            self._next, self._runs = time.monotonic(), False
            self._seconds.clear()
        self._here.append(call)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._obey()
                self._turn()
            except Exception as error:
                _log.exception("the calls failed")
                self._fail(f"The server failed ({type(error).__name__}).")
                self._make()
        self._fail("The server stops.")

    def _fail(self, message: str) -> None:
        """Ends all calls."""
        for call in self._here:
            call.live = None
            call.tell(Refused("engine_failed", message))
        self._here.clear()
        self._speeches.clear()

    def _obey(self) -> None:
        """Obeys all commands; waits for one until there is something else to do."""
        wait = max(0.0, self._next - time.monotonic()) if self._here else None
        try:
            command = self._commands.get_nowait() if self._busy else self._commands.get(timeout=wait)
            while True:
                command()
                command = self._commands.get_nowait()
        except queue.Empty:
            return

    @property
    def _busy(self) -> bool:
        return self._stopping or self._calls.waiting or self._voices.waiting

    def _turn(self) -> None:
        now = time.monotonic()
        if self._here and now >= self._next:
            self._tick(now)
        elif self._calls.waiting:
            free = self._next - now - MARGIN_S if self._here and self._runs else SLICE_S
            if free > 0:
                self._calls.work(min(SLICE_S, free))
        self._speak()

    def _tick(self, now: float) -> None:
        late = now - self._next > SLOT_SECONDS
        self._next = now + SLOT_SECONDS if late else self._next + SLOT_SECONDS
        heard = {}
        for call in self._here:
            if call.live is not None and call.live.next is not None:
                block = call.line.take(now)
                if block is not None:
                    heard[call] = block
                    if not call.live.slots:
                        call.tell(self._stepped(call, call.live.next))
        self._runs = bool(heard)
        if not heard:
            self._next = now + REST_S
            return
        began = time.perf_counter()
        steps = self._calls.tick({call.live: block for call, block in heard.items() if call.live is not None})
        seconds = time.perf_counter() - began
        self._seconds.append(seconds)
        self._metrics.step.observe(seconds)
        told = []
        for call in heard:
            assert call.live is not None
            step = steps[call.live]
            told.append((call, self._stepped(call, step)))
        self._speak()  # first, so that a codec that is done at once is heard in the slot that comes
        for call, stepped in told:
            call.tell(stepped)
            if stepped.step.mode == Mode.CLOSING:
                self._close(call, stepped.step.cut)

    def _stepped(self, call: PoolCall, step: Step) -> Stepped:
        """Has a slot spoken, and returns what is told of it."""
        special = self._model.config.special
        if step.mode == Mode.OPENING:
            call.turn, call.ids, call.characters = call.turn + 1, [], 0
            self._speeches[call] = _Speech(call, call.turn)
        elif step.mode == Mode.TALKING:
            if step.text_id != special.sil:
                call.ids.append(step.text_id)
                self._metrics.tokens.labels("text").inc()
            ids = self._units(step)
            if ids.size:
                self._voices.push(self._speeches[call], ids)
                self._metrics.tokens.labels("speech").inc(ids.size)
        whole = spelled(self._model.tokenizer, call.ids, step.mode != Mode.TALKING)
        text, call.characters = whole[call.characters :], len(whole)
        return Stepped(step, text, self._units(step))

    def _units(self, step: Step) -> Int32[np.ndarray, " T"]:
        return step.group[step.group < self._model.config.units]

    def _close(self, call: PoolCall, cut: bool) -> None:
        """Ends the speech of a turn: all of it is said, unless the turn was cut."""
        speech = self._speeches.pop(call)
        if cut:
            self._voices.stop(speech)
        if cut or not self._voices.end(speech):
            call.tell(Sounded(speech.turn, np.zeros(0, np.float32), True))

    def _quiet(self, call: PoolCall) -> None:
        """Stops what is spoken of a call."""
        for speech in [one for one in self._voices.keys() if one.call is call]:  # noqa: SIM118
            self._voices.stop(speech)
        self._speeches.pop(call, None)

    def _speak(self) -> None:
        for said in self._voices.speak():
            said.talk.call.tell(Sounded(said.talk.turn, said.wave, said.last))
