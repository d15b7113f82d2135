"""The unmodified `openai` SDK against a server on a port."""

import base64
import io
import json
from collections.abc import Iterator, Sequence

import numpy as np
import openai
import pytest
import soundfile
from fake_engine import FakeEngine, Word
from served import KEY, app_of, audio_part, running

from fac_jax.serving.config import Limits
from fac_jax.serving.talk import TalkRequest
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT

MODEL = FakeEngine.model
CALL = ['<tool_call>\n{"name": "get_weather", ', '"arguments": {"city": "Paris"}}', "\n</tool_call>"]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}]


def script(request: TalkRequest, number: int) -> Sequence[Word | str]:
    """Calls the weather where there are tools and no output of them yet."""
    if "<tools>" in request.conversation.system and "<tool_response>" not in request.conversation.turns[-1].text:
        return CALL
    return ["this", " is", " reply", f" {number}"]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(script)


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[openai.OpenAI]:
    with running(app_of(engine, keys=(KEY, "sk-other"))) as server:
        yield openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{server.port}/v1", max_retries=0)


def test_a_text_is_answered(client: openai.OpenAI, engine: FakeEngine) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello you"}],
        max_completion_tokens=3,
        temperature=0.5,
        seed=7,
    )
    assert answer.choices[0].message.content == "this is reply"
    assert answer.choices[0].message.audio is None
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 3
    (request,) = engine.requests
    assert request.conversation.system == f"{SYSTEM_TEXT}\nBe brief."
    assert (request.limit, request.seed, request.text.temperature, request.spoken) == (3, 7, 0.5, False)


def test_audio_is_answered_with_audio_that_the_next_turn_names(client: openai.OpenAI, engine: FakeEngine) -> None:
    asked = {"role": "user", "content": [{"type": "text", "text": "Answer this."}, audio_part()]}
    audio = {"voice": "other", "format": "wav"}
    answer = client.chat.completions.create(
        model=MODEL, messages=[asked], modalities=["text", "audio"], audio=audio, extra_body={"speech": {"top_p": 0.7}}
    )
    message = answer.choices[0].message
    assert message.content is None and message.audio is not None
    assert message.audio.transcript == "this is reply 1"
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(message.audio.data)))
    assert (len(wave) / rate, rate) == (0.8, engine.rate)
    assert answer.usage is not None and answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.audio_tokens == 4
    (turn,) = engine.requests[0].conversation.turns
    assert turn.lead == "Answer this." and turn.wave is not None and len(turn.wave) == 16_000
    assert engine.requests[0].conversation.system == SYSTEM_JOINT
    assert (engine.requests[0].voice, engine.requests[0].speech.top_p) == ("other", 0.7)

    history = [asked, {"role": "assistant", "audio": {"id": message.audio.id}}, {"role": "user", "content": "and?"}]
    assert client.chat.completions.create(model=MODEL, messages=history).choices[0].message.content
    turn = engine.requests[1].conversation.turns[1]
    assert turn.generated is not None and engine.text_of(turn.generated) == "this is reply 1"
    with pytest.raises(openai.NotFoundError) as error:  # another key has no such answer
        client.with_options(api_key="sk-other").chat.completions.create(model=MODEL, messages=history)
    assert (error.value.code, error.value.param) == ("audio_expired", "messages[1].audio.id")


@pytest.mark.parametrize("form", ["flac", "mp3", "opus", "pcm16"])
def test_formats_of_answers(client: openai.OpenAI, form: str) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "hi"}],
        modalities=["text", "audio"],
        audio={"voice": "default", "format": form},
    )
    assert answer.choices[0].message.audio is not None
    data = base64.b64decode(answer.choices[0].message.audio.data)
    if form == "pcm16":
        wave = np.frombuffer(data, "<i2") / 32_768
    else:
        wave, _ = soundfile.read(io.BytesIO(data))
    assert abs(len(wave) - 0.8 * 24_000) < 3000  # MP3 pads
    assert 0.02 < np.std(wave) < 0.05


def test_a_stream_of_audio(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": [audio_part()]}],
        modalities=["text", "audio"],
        audio={"voice": "default", "format": "pcm16"},
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    assert not chunks[-1].choices and chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 4
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert deltas[0].role == "assistant"
    audio = [delta.model_dump()["audio"] for delta in deltas[:-1]]
    assert len({part["id"] for part in audio}) == 1
    assert "".join(part.get("transcript") or "" for part in audio) == "this is reply 1"
    assert sum(len(base64.b64decode(part.get("data") or "")) for part in audio) == 0.8 * 24_000 * 2
    assert audio[-1]["expires_at"] > chunks[0].created
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]


def test_a_stream_of_text(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], stream=True, stop=" reply"
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "this is"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_tool_is_called_and_its_output_answered(client: openai.OpenAI, engine: FakeEngine) -> None:
    asked = {"role": "user", "content": "weather in Paris?"}
    answer = client.chat.completions.create(model=MODEL, messages=[asked], tools=TOOLS, tool_choice="required")
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls" and message.content is None and message.tool_calls
    call = message.tool_calls[0]
    assert call.type == "function" and json.loads(call.function.arguments) == {"city": "Paris"}
    system = engine.requests[0].conversation.system
    assert system.startswith(f"{SYSTEM_TEXT}\n# Tools") and system.endswith("You must call one now.")
    assert engine.requests[0].forced == '<tool_call>\n{"name": "get_weather", "arguments":', "it has no choice"

    outputs = [{"role": "tool", "tool_call_id": call.id, "content": text} for text in ("21 degrees", "rain")]
    history = [asked, message.model_dump(exclude_none=True), *outputs]
    assert client.chat.completions.create(model=MODEL, messages=history, tools=TOOLS).choices[0].message.content
    _, said, given = engine.requests[1].conversation.turns
    assert said.text == '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    assert given.text == ("<tool_response>\n21 degrees\n</tool_response>\n<tool_response>\nrain\n</tool_response>")


def test_a_streamed_call_is_read_by_the_helper(client: openai.OpenAI) -> None:
    asked = {"role": "user", "content": "weather in Paris?"}
    with client.chat.completions.stream(model=MODEL, messages=[asked], tools=TOOLS) as stream:
        events = list(stream)
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [(event.name, json.loads(event.arguments)) for event in done] == [("get_weather", {"city": "Paris"})]


def test_models_and_secrets(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    limits = client.models.retrieve(MODEL).model_dump()["limits"]
    assert limits["context"] == 2048 and limits["message_bytes"] == 4 << 20
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")
    session = {"type": "realtime", "instructions": "Be brief."}
    secret = client.realtime.client_secrets.create(
        expires_after={"anchor": "created_at", "seconds": 600}, session=session
    )
    assert secret.value.startswith("ek_") and secret.session.type == "realtime"
    assert secret.session.instructions == "Be brief."


def test_errors_are_those_that_the_sdk_knows(client: openai.OpenAI) -> None:
    ask = {"messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(
            model=MODEL, modalities=["text", "audio"], audio={"voice": "default", "format": "mp3"}, stream=True, **ask
        )
    assert bad.value.param == "audio.format"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="busy", **ask)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as wrong:
        client.with_options(api_key="sk-wrong").chat.completions.create(model=MODEL, **ask)
    assert wrong.value.code == "invalid_api_key"


def test_a_body_too_large_is_refused() -> None:
    with running(app_of(limits=Limits(body_bytes=10_000))) as server:
        client = openai.OpenAI(api_key="any", base_url=f"http://127.0.0.1:{server.port}/v1", max_retries=0)
        with pytest.raises(openai.APIStatusError) as error:
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x" * 20_000}])
        assert error.value.status_code == 413
        assert client.models.list().data


def test_the_second_session_of_a_key_waits_until_retry_after_lets_it_in() -> None:
    engine = FakeEngine(by_hand=True)
    with running(app_of(engine, limits=Limits(sessions_per_key=1), keys=(KEY,))) as server:
        client = openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{server.port}/v1", max_retries=0)
        ask = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
        stream = client.chat.completions.create(stream=True, **ask)
        with pytest.raises(openai.RateLimitError) as error:
            client.chat.completions.create(**ask)
        assert error.value.response.headers["retry-after"] == "1"
        engine.finish()
        assert len(list(stream)) == 6
        engine.by_hand = False
        assert client.with_options(max_retries=2).chat.completions.create(**ask).choices[0].message.content


def test_a_fault_in_a_stream_is_raised(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.fail_at = 2
    stream = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}], stream=True)
    with pytest.raises(openai.APIError, match="engine failed"):
        list(stream)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
