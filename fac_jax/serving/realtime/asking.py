"""What the engine is asked for a response."""

from fac_jax.serving.prompting import STEP_S, call_start
from fac_jax.serving.realtime.prompt import ContextTooLongError, fitted
from fac_jax.serving.realtime.response import Response
from fac_jax.serving.server import Server
from fac_jax.serving.talk import TalkRequest
from fac_jax.types import InputError


def request_of(response: Response, server: Server, session_id: str, model: str) -> TalkRequest:
    """Returns the request; items that have no room in the context are forgotten.

    Args:
      response: whose items are settled.
      server: its engine and limits.
      session_id: under which the engine keeps what it computed of the conversation.
      model: that answers, one of `Engine.models`.

    Raises:
      ContextTooLongError: the prompt cannot be made to fit.
    """
    engine, settings = server.engine, response.settings
    most = round(server.config.limits.reply_s / STEP_S)
    try:
        prompt = fitted(response.id, settings, response.readable, engine.positions, engine.context, most)
    except InputError as error:
        raise ContextTooLongError(str(error)) from error
    written = response.conversation_id is not None
    for item in prompt.forgotten:
        item.forgotten = item.forgotten or written
    voice = settings.audio.output.voice
    forced = call_start(settings.offered, settings.must_call)
    return TalkRequest(
        prompt.conversation,
        settings.spoken and not forced,  # a call is not spoken
        prompt.limit,
        voice=None if voice in (None, *engine.voices[:1]) else voice,
        model=model,
        session=session_id if written else None,
        forced=forced,
    )
