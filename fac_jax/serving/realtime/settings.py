"""The settings of a session, which `session.update` changes and a response can override."""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from fac_jax.serving.detect.base import TurnSettings
from fac_jax.serving.detect.turns import semantic_settings
from fac_jax.serving.realtime.fields import Fields
from fac_jax.text.prompts import SYSTEM_JOINT

MOST_TOKENS: Final = 4096  # text positions of a reply that a client can ask for
MOST_PADDING_MS: Final = 10_000

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]


class Pcm(Fields):
    """16-bit samples, little endian."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24_000] = 24_000


class G711(Fields):
    """8-bit samples of telephones, at 8 kHz."""

    type: Literal["audio/pcmu", "audio/pcma"]


class ServerVad(Fields):
    """Turns end after a silence."""

    type: Literal["server_vad"] = "server_vad"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Field(ge=0, le=MOST_PADDING_MS)] = 300
    silence_duration_ms: Annotated[int, Field(ge=50, le=10_000)] = 500
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: Annotated[int, Field(ge=1_000, le=600_000)] | None = None

    @property
    def turns(self) -> TurnSettings:
        """Returns the settings of the detector."""
        return TurnSettings(self.threshold, self.prefix_padding_ms, self.silence_duration_ms)


class SemanticVad(Fields):
    """Turns end after a silence whose length follows from the eagerness to answer."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True

    @property
    def turns(self) -> TurnSettings:
        """Returns the settings of the detector."""
        return semantic_settings(self.eagerness)

    @property
    def idle_timeout_ms(self) -> None:
        """Returns that a silence of the user is left alone."""


class Transcription(Fields):
    """Who writes down what the user says; here it is always the model."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None


class FunctionTool(Fields):
    """A function that the model may call."""

    type: Literal["function"] = "function"
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None


class NamedChoice(Fields):
    """The function that has to be called."""

    type: Literal["function"]
    name: Name


class RetentionRatio(Fields):
    """How much of the context is kept when the oldest of it is forgotten."""

    type: Literal["retention_ratio"]
    retention_ratio: Annotated[float, Field(ge=0, le=1)]


def _kinds(kinds: Mapping[str, type[Fields]], inherit: str | None = None) -> BeforeValidator:
    """Returns a validator that picks the model of an object by its `type`; the path of an error stays that of JSON."""

    def pick(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kind = value.get("type", inherit)
        if not isinstance(kind, str) or kind not in kinds:
            raise PydanticCustomError("kind", "the type should be {kinds}", {"kinds": " or ".join(kinds)})
        return kinds[kind].model_validate(value)

    return BeforeValidator(pick)


def _tokens(value: Any) -> Any:
    if value != "inf" and not (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_TOKENS):
        raise PydanticCustomError("tokens", "give 1 to {most}, or inf", {"most": MOST_TOKENS})
    return value


def _voice(value: Any) -> Any:
    """Takes the object form of a voice too."""
    return value["id"] if isinstance(value, dict) and set(value) == {"id"} else value


Format: TypeAlias = Annotated[
    Pcm | G711, _kinds({"audio/pcm": Pcm, "audio/pcmu": G711, "audio/pcma": G711}, "audio/pcm")
]
TurnDetection: TypeAlias = Annotated[
    ServerVad | SemanticVad, _kinds({"server_vad": ServerVad, "semantic_vad": SemanticVad})
]


class InputSettings(Fields):
    """How the user's audio comes and is heard."""

    format: Format = Pcm()
    transcription: Transcription | None = None
    noise_reduction: None = None
    turn_detection: TurnDetection | None = ServerVad()

    @field_validator("noise_reduction", mode="before")
    @classmethod
    def _none(cls, value: Any) -> None:
        """Takes what a client sends; there is no noise reduction."""


class OutputSettings(Fields):
    """How replies sound."""

    format: Format = Pcm()
    voice: Annotated[str, BeforeValidator(_voice)] | None = None
    speed: float = 1.0


class AudioSettings(Fields):
    """Audio in both directions."""

    input: InputSettings = InputSettings()
    output: OutputSettings = OutputSettings()


class Settings(Fields):
    """All of a session that can change; a response reads a part of it."""

    output_modalities: Annotated[list[Literal["text", "audio"]], Field(min_length=1, max_length=1)] = ["audio"]
    instructions: str = SYSTEM_JOINT
    audio: AudioSettings = AudioSettings()
    tools: list[FunctionTool] = []
    tool_choice: Annotated[Literal["none", "auto", "required"] | NamedChoice, _kinds({"function": NamedChoice})] = (
        "auto"
    )
    max_output_tokens: Annotated[int | Literal["inf"], BeforeValidator(_tokens)] = "inf"
    truncation: Annotated[Literal["auto", "disabled"] | RetentionRatio, _kinds({"retention_ratio": RetentionRatio})] = (
        "auto"
    )

    @property
    def spoken(self) -> bool:
        """Returns whether replies are spoken."""
        return self.output_modalities == ["audio"]

    @property
    def offered(self) -> list[dict[str, Any]]:
        """Returns the functions that may be called, in the format of chat completions."""
        only = self.tool_choice.name if isinstance(self.tool_choice, NamedChoice) else None
        tools = [tool for tool in self.tools if only in (None, tool.name)] if self.tool_choice != "none" else []
        return [{"type": "function", "function": tool.model_dump(exclude={"type"})} for tool in tools]

    @property
    def must_call(self) -> str | None:
        """Returns the name of the function that has to be called, "" for any, None if the model decides."""
        if isinstance(self.tool_choice, NamedChoice):
            return self.tool_choice.name
        return "" if self.tool_choice == "required" else None

    def shown(self) -> dict[str, Any]:
        """Returns the settings as a session shows them."""
        session = self.model_dump()
        session["tools"] = [tool.model_dump(exclude_none=True) for tool in self.tools]
        if self.audio.input.transcription is not None:
            session["audio"]["input"]["transcription"] = self.audio.input.transcription.model_dump(exclude_none=True)
        return session


def tools_bytes(tools: Iterable[FunctionTool]) -> int:
    """Returns the size of tools as JSON in UTF-8."""
    return len(json.dumps([tool.model_dump() for tool in tools], ensure_ascii=False).encode())
