"""One response: what was asked, how far it is, and how it is shown."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from fac_jax.serving.realtime.items import Item
from fac_jax.serving.realtime.output import Output
from fac_jax.serving.realtime.server_events import usage
from fac_jax.serving.realtime.settings import Settings
from fac_jax.serving.talk import Began, Step

Status: TypeAlias = Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]


@dataclasses.dataclass(eq=False)
class Times:
    """When a response got how far, on the session's clock.

    Attributes:
      speech_stopped: end of the user's speech that it answers; None where a client asked for it.
      first_text: its first text.
      first_units: its first speech ids.
      first_audio: its first audio.
      played: when all audio that was sent will have been played.
    """

    speech_stopped: float | None = None
    first_text: float | None = None
    first_units: float | None = None
    first_audio: float | None = None
    played: float = 0.0


@dataclasses.dataclass(eq=False)
class Response:
    """A response.

    Attributes:
      id: of the response.
      settings: that it goes by.
      output: its items.
      reads: items of its prompt.
      conversation_id: that it is written to; None for none.
      metadata: as the client gave it.
      status: how it is, or ended.
      details: why it ended so.
      began: what the engine said of its prompt.
      steps: LLM steps that were made.
      spoken_steps: those of them with speech.
      times: how far it got when.
    """

    id: str
    settings: Settings
    output: Output
    reads: list[Item]
    conversation_id: str | None
    metadata: Mapping[str, str] | None
    times: Times
    status: Status = "in_progress"
    details: dict[str, Any] | None = None
    began: Began | None = None
    steps: int = 0
    spoken_steps: int = 0

    @property
    def used(self) -> int:
        """Returns the LLM positions of its prompt and its reply."""
        return self.steps + (0 if self.began is None else self.began.positions)

    @property
    def readable(self) -> list[Item]:
        """Returns the items of its prompt that have not been deleted."""
        return [item for item in self.reads if not item.deleted]

    def count(self, step: Step, now: float) -> None:
        """Counts a step."""
        self.steps += 1
        if step.text and self.times.first_text is None:
            self.times.first_text = now
        if len(step.units):
            self.spoken_steps += 1
            if self.times.first_units is None:
                self.times.first_units = now

    def end(self, status: Status, reason: str | None = None, error: Mapping[str, str] | None = None) -> None:
        """Ends it, with the reason of a cancelled or incomplete one, or the error of a failed one."""
        self.status = status
        if status != "completed":
            more = {"reason": reason, "error": error}
            self.details = {"type": status, **{key: value for key, value in more.items() if value is not None}}

    def timing(self, ms: Callable[[float | None], int | None]) -> dict[str, int | None]:
        """Returns the fields of `fac.timing`; `ms` turns times of the clock into those of the session."""
        began = self.began
        return {
            "speech_stopped": ms(self.times.speech_stopped),
            "queued": None if began is None else round(began.queued_s * 1000),
            "prefill": None if began is None else round(began.prefill_s * 1000),
            "first_text": ms(self.times.first_text),
            "first_units": ms(self.times.first_units),
            "first_audio": ms(self.times.first_audio),
        }

    def shown(self) -> dict[str, Any]:
        """Returns it as the protocol shows it."""
        ended = self.status != "in_progress"
        output = self.settings.audio.output
        audio = self.began.audio_positions if self.began else 0
        positions, reused = (self.began.positions, self.began.reused) if self.began else (0, 0)
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": self.details,
            "output": [item.shown() for item in self.output.items] if ended else [],
            "conversation_id": self.conversation_id,
            "output_modalities": self.settings.output_modalities,
            "max_output_tokens": self.settings.max_output_tokens,
            "audio": {"output": {"format": output.format.model_dump(), "voice": output.voice}},
            "usage": usage(positions, audio, reused, self.steps, self.spoken_steps) if ended else None,
            "metadata": self.metadata,
        }
