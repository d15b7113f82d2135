"""What the user did not hear of a spoken reply is forgotten."""

from fac_jax.serving.realtime.items import Item
from fac_jax.serving.realtime.refused import RefusedError
from fac_jax.serving.talk import Engine
from fac_jax.text.tool_calls import OPENING

CLAMPED_MS = 200  # that a client may say it played beyond what was sent


def heard_ms(item: Item, content_index: int, audio_end_ms: int) -> int:
    """Returns how many ms of a reply the user heard, as a client says.

    Raises:
      RefusedError: the item has no audio of the model, or not so much.
    """
    if item.made is None or not item.parts or item.parts[0].type != "output_audio":
        raise RefusedError("Only spoken replies of the model can be truncated.", param="item_id")
    if content_index != 0:
        raise RefusedError("A reply has one part, of the index 0.", param="content_index")
    sent_ms = round(item.sent_s * 1000)
    if not 0 <= audio_end_ms <= sent_ms + CLAMPED_MS:
        message = f"The audio has {sent_ms} ms, not {audio_end_ms}."
        raise RefusedError(message, param="audio_end_ms")
    return min(audio_end_ms, sent_ms)


def cut_to_heard(item: Item, engine: Engine) -> None:
    """Cuts a reply to what was heard of it, once it has ended."""
    made = item.made
    if item.type == "message" and made is not None and made.heard_s is not None and made.ids is not None:
        made.ids = engine.cut(made.ids, made.heard_s)
        item.parts[0].text = engine.text_of(made.ids).partition(OPENING)[0]
