"""The request of `POST /v1/chat/completions`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from fac_jax.serving.web.body import Body, JsonObject, Whole


class Text(Body):
    """A part of a message."""

    type: Literal["text"]
    text: str


class AudioData(Body):
    """Audio of a user; `data` is base64 of a file."""

    data: str
    format: Literal["wav", "mp3", "flac"]


class Audio(Body):
    """A part of a user's message that was spoken."""

    type: Literal["input_audio"]
    input_audio: AudioData


class Instructions(Body):
    """Messages to the model about its task; both roles mean the same."""

    role: Literal["system", "developer"]
    content: str | list[Text]


class User(Body):
    """A message of a user."""

    role: Literal["user"]
    content: str | list[Annotated[Text | Audio, Field(discriminator="type")]]


class CalledFunction(Body):
    """A function and its arguments as JSON."""

    name: str = Field(max_length=64)
    arguments: str


class Call(Body):
    """A call in the history."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AudioId(Body):
    """Names the audio of an earlier answer."""

    id: str


class Assistant(Body):
    """An answer in the history: texts and calls, or the audio of an answer by its id."""

    role: Literal["assistant"]
    content: str | list[Text] | None = None
    audio: AudioId | None = None
    tool_calls: list[Call] | None = None


class ToolOutput(Body):
    """What a function gave."""

    role: Literal["tool"]
    content: str | list[Text]
    tool_call_id: str


Message = Annotated[Instructions | User | Assistant | ToolOutput, Field(discriminator="role")]


class Function(Body):
    """A function that the model may call."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    description: str | None = None
    parameters: JsonObject | None = None


class Tool(Body):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    """Names a function."""

    name: str


class NamedTool(Body):
    """Asks for a call of one function."""

    type: Literal["function"]
    function: NamedFunction


class Voice(Body):
    """A voice by its id."""

    id: str


class AudioOutput(Body):
    """How the answer is spoken."""

    voice: str | Voice | None = None
    format: Literal["wav", "flac", "mp3", "opus", "pcm16"] | None = None


class StreamOptions(Body):
    """Options of a streamed answer."""

    include_usage: bool | None = None


class SpeechSampling(Body):
    """Our extension: how the ids of speech are picked."""

    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, gt=0, le=10)


class ChatRequest(Body):
    """What is answered, and how."""

    model: str
    messages: list[Message] = Field(min_length=1)
    modalities: list[Literal["text", "audio"]] | None = None
    audio: AudioOutput | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_completion_tokens: Whole | None = Field(None, ge=1)
    max_tokens: Whole | None = Field(None, ge=1)
    seed: Whole | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    stop: str | list[str] | None = None
    n: Literal[1] | None = None
    speech: SpeechSampling | None = None

    @property
    def spoken(self) -> bool:
        """Returns whether the answer is spoken; then it has a text as well."""
        return "audio" in (self.modalities or ())

    @property
    def stops(self) -> tuple[str, ...]:
        """Returns the texts before which the answer ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def offered(self) -> list[dict[str, Any]]:
        """Returns the tools that the model may call, in OpenAI's format: all, none, or the one that is asked for."""
        only = self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else None
        tools = [tool for tool in self.tools or () if only in (None, tool.function.name)]
        return [] if self.tool_choice == "none" else [tool.model_dump(exclude_none=True) for tool in tools]

    @property
    def must_call(self) -> str | None:
        """Returns the function that has to be called, "" for any of them; None leaves it to the model."""
        if isinstance(self.tool_choice, NamedTool):
            return self.tool_choice.function.name
        return "" if self.tool_choice == "required" else None
