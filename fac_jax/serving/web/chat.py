"""`POST /v1/chat/completions`: one answer to a history of texts and audio."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from fac_jax.generation.sampling import Sampling
from fac_jax.serving import logs
from fac_jax.serving.prompting import STEP_S, call_start
from fac_jax.serving.realtime.settings import Pcm
from fac_jax.serving.realtime.sound import Resampler, to_base64
from fac_jax.serving.security import Gate
from fac_jax.serving.server import Server
from fac_jax.serving.talk import TalkRequest
from fac_jax.serving.web.audio_out import PCM_RATE, can_write, encode
from fac_jax.serving.web.body import read
from fac_jax.serving.web.chat_request import Assistant, ChatRequest, Voice
from fac_jax.serving.web.clients import EventStream, while_there
from fac_jax.serving.web.errors import ApiError, invalid, model_not_found
from fac_jax.serving.web.kept import KeptReplies
from fac_jax.serving.web.messages import check, conversation
from fac_jax.serving.web.openapi import answers, takes
from fac_jax.serving.web.reply import Called, Heard, Running, Said, Usage
from fac_jax.types import InputError

DEFAULT_VOICE = "default"  # a name for the codec's own speaker at every server


def chat_router(server: Server, gate: Gate) -> APIRouter:
    """Returns the endpoint."""
    router, kept = APIRouter(), KeptReplies()

    @router.post("/v1/chat/completions", responses=answers(400, 404, 408, 413, 503), openapi_extra=takes(ChatRequest))
    async def complete(request: Request) -> Response:
        """Answers a history of messages, at once or as a stream."""
        client = gate.client(request.headers)
        asked = await read(request, ChatRequest)
        if asked.model not in server.engine.models:
            raise model_not_found(asked.model)
        check(asked, server.config.limits)
        completion = Completion(server, kept, client, asked)
        gate.check_room(client)
        with contextlib.ExitStack() as stack:
            stack.enter_context(gate.session(client))
            stack.callback(completion.close)
            await while_there(request.receive, completion.begin())
            if asked.stream:
                return EventStream(completion.chunks(), server.config.limits.send_s, stack.pop_all())
            return JSONResponse(await while_there(request.receive, completion.whole()))

    return router


class Completion:
    """One answer."""

    def __init__(self, server: Server, kept: KeptReplies, client: str, asked: ChatRequest) -> None:
        """Checks what does not need the conversation.

        Raises:
          ApiError: 400.
        """
        self._server, self._kept, self._client, self._asked = server, kept, client, asked
        self._id, self._audio_id = f"chatcmpl-{secrets.token_hex(12)}", f"audio_{secrets.token_hex(12)}"
        self._created, self._began = int(time.time()), time.monotonic()
        self._format, self._voice = self._output()
        self._running: Running | None = None

    async def begin(self) -> None:
        """Reads the messages, asks the engine and waits for its slot.

        Raises:
          ApiError: 400, 404, 500 or 503.
        """
        asked, engine, limits = self._asked, self._server.engine, self._server.config.limits
        named = {m.audio.id for m in asked.messages if isinstance(m, Assistant) and m.audio is not None}
        kept = {name: self._kept.get(name, self._client) for name in named}
        said = await asyncio.to_thread(conversation, asked, self._id, limits, engine.context * STEP_S, kept)
        try:
            room = engine.context - engine.positions(said)
            if room < 1:
                raise invalid("The messages do not fit the context.", "messages", "context_length_exceeded")
            forced = call_start(asked.offered, asked.must_call)
            wanted = asked.max_completion_tokens or asked.max_tokens or room
            self._running = Running(
                TalkRequest(
                    said,
                    asked.spoken and not forced,  # a call is not spoken
                    min(wanted, room, round(limits.reply_s / STEP_S)),
                    seed=(asked.seed or 0) & 0x7FFFFFFF,
                    text=Sampling(asked.temperature or 0.0, top_p=1.0 if asked.top_p is None else asked.top_p),
                    speech=Sampling(**asked.speech.model_dump()) if asked.speech else Sampling(),
                    voice=self._voice,
                    model=asked.model,
                    forced=forced,
                ),
                bool(asked.offered),
                asked.stops,
            )
            await self._running.begin(engine)
        except InputError as error:
            raise invalid(f"The messages cannot be answered: {error}.", "messages") from None

    def close(self) -> None:
        """Ends the answer, if it has not ended, and logs it."""
        fields: dict[str, Any] = {"id": self._id, "client": self._client, "spoken": self._asked.spoken}
        content = None
        if (running := self._running) is not None:
            running.cancel()
            content = {"text": running.text}
            usage = running.usage
            fields |= {"prompt": usage.prompt, "made": usage.made, "finish": running.finish or "cancelled"}
        logs.event("chat.answered", content, **fields, ms=round((time.monotonic() - self._began) * 1000))

    async def whole(self) -> dict[str, Any]:
        """Returns the answer as a ChatCompletion."""
        running, engine = self._begun(), self._server.engine
        deltas = [delta async for delta in running.deltas(engine.rate)]
        heard = [delta.samples for delta in deltas if isinstance(delta, Heard)]
        calls = [_call(delta) for delta in deltas if isinstance(delta, Called)]
        text = running.text
        message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
        if calls:
            message["tool_calls"] = calls
        if self._asked.spoken and (text or heard or not calls):
            wave = np.concatenate([np.zeros(0, np.float32), *heard])
            data = await asyncio.to_thread(encode, wave, engine.rate, self._format)
            audio = {"id": self._audio_id, "data": data, "transcript": text}
            message |= {"content": None, "audio": audio | {"expires_at": self._keep()}}
        elif not calls:
            message["content"] = text
        choice = {"index": 0, "message": message, "finish_reason": running.finish, "logprobs": None}
        return self._envelope("chat.completion", choice) | {"usage": _usage(running.usage)}

    async def chunks(self) -> AsyncGenerator[str, None]:
        """Hands the answer out as the data of ChatCompletionChunks."""
        kind = "chat.completion.chunk"
        try:
            async for delta in self._deltas():
                choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}
                yield json.dumps(self._envelope(kind, choice))
            running, options = self._begun(), self._asked.stream_options
            end = {"index": 0, "delta": {}, "finish_reason": running.finish, "logprobs": None}
            yield json.dumps(self._envelope(kind, end))
            if options is not None and options.include_usage:
                yield json.dumps(self._envelope(kind) | {"usage": _usage(running.usage)})
            yield "[DONE]"
        except ApiError as error:
            self._server.metrics.errors.labels(error.code).inc()
            yield json.dumps(error.body())

    async def _deltas(self) -> AsyncGenerator[dict[str, Any], None]:
        running, engine, spoken = self._begun(), self._server.engine, self._asked.spoken
        resampler = Resampler(engine.rate, PCM_RATE)
        name = {"id": self._audio_id}
        yield (
            {"role": "assistant", "audio": name | {"transcript": ""}}
            if spoken
            else {"role": "assistant", "content": ""}
        )
        async for delta in running.deltas(engine.rate):
            if isinstance(delta, Called):
                yield {"tool_calls": [{"index": delta.index} | _call(delta)]}
            elif isinstance(delta, Said):
                yield {"audio": name | {"transcript": delta.text}} if spoken else {"content": delta.text}
            elif (samples := resampler.push(delta.samples)).size:
                yield {"audio": name | {"data": to_base64(samples, Pcm())}}
        if spoken:
            if (rest := resampler.push(np.zeros(0, np.float32), last=True)).size:
                yield {"audio": name | {"data": to_base64(rest, Pcm())}}
            yield {"audio": name | {"expires_at": self._keep()}}

    def _begun(self) -> Running:
        assert self._running is not None, "begin comes first"
        return self._running

    def _output(self) -> tuple[str, str | None]:
        """Returns the format and the voice of the speech."""
        asked, voices = self._asked, self._server.engine.voices
        if not asked.spoken:
            return "", None
        if not voices:
            raise invalid("This model does not speak.", "modalities")
        audio = asked.audio
        form = (audio and audio.format) or ("pcm16" if asked.stream else "wav")
        if asked.stream and form != "pcm16":
            raise invalid("A stream has the audio format pcm16.", "audio.format")
        if not can_write(form):
            raise invalid(f"The format {form} cannot be written here.", "audio.format")
        voice = audio and (audio.voice.id if isinstance(audio.voice, Voice) else audio.voice)
        if voice not in (None, DEFAULT_VOICE, *voices):
            raise invalid(f"There is no such voice; known: {', '.join(voices)}.", "audio.voice")
        return form, None if voice in (None, DEFAULT_VOICE) else voice

    def _keep(self) -> int:
        reply = self._begun().reply
        assert reply is not None, "it has ended"
        return self._kept.put(self._audio_id, self._client, reply)

    def _envelope(self, kind: str, *choices: dict[str, Any]) -> dict[str, Any]:
        whole = {"id": self._id, "object": kind, "created": self._created, "model": self._asked.model}
        return whole | {"choices": list(choices)}


def _call(call: Called) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.made,
        "total_tokens": usage.prompt + usage.made,
        "prompt_tokens_details": {"audio_tokens": usage.prompt_audio, "cached_tokens": usage.cached},
        "completion_tokens_details": {"audio_tokens": usage.made_audio},
    }
