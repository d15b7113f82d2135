"""Reads the items that a client describes."""

from collections.abc import Sequence

from fac_jax.audio.io import resampled
from fac_jax.serving.config import Limits
from fac_jax.serving.realtime.client_events import ItemFields, PartFields, check_item
from fac_jax.serving.realtime.items import HEARD_RATE, Item, Items, Part, from_client
from fac_jax.serving.realtime.refused import RefusedError
from fac_jax.serving.realtime.settings import G711, Pcm
from fac_jax.serving.realtime.sound import from_base64, rate_of


def read_item(fields: ItemFields, path: str, form: Pcm | G711, limits: Limits) -> Item:
    """Returns an item with its audio decoded.

    Args:
      fields: of the item.
      path: of the item in its event, for messages.
      form: of audio.
      limits: of texts and audio.

    Raises:
      RefusedError: a field is missing, too large, or no audio.
    """
    if fields.type == "item_reference":
        raise RefusedError("A reference is no item of its own.", param=f"{path}.type")
    check_item(fields, path)
    parts = [_part(part, f"{path}.content[{n}]", form, limits) for n, part in enumerate(fields.content or ())]
    texts = [part.text for part in parts] + [fields.arguments, fields.output]
    if sum(len(text.encode()) for text in texts if text) > limits.text_bytes:
        raise RefusedError(f"The texts of an item have at most {limits.text_bytes} bytes.", param=path)
    return from_client(fields, parts)


def read_items(fields: Sequence[ItemFields], path: str, items: Items, form: Pcm | G711, limits: Limits) -> list[Item]:
    """Returns the items of a response's input; references are looked up in the conversation.

    Raises:
      RefusedError: as `read_item`; or there is no item of a reference, or there are too many.
    """
    if len(fields) > limits.items:
        raise RefusedError(f"There are at most {limits.items} items.", param=path)
    found: list[Item] = []
    for number, one in enumerate(fields):
        where = f"{path}[{number}]"
        if one.type != "item_reference":
            found.append(read_item(one, where, form, limits))
            continue
        item = None if one.id is None else items.find(one.id)
        if item is None:
            raise RefusedError(f"There is no item {one.id!r}.", param=f"{where}.id")
        found.append(item)
    return found


def _part(fields: PartFields, path: str, form: Pcm | G711, limits: Limits) -> Part:
    if fields.type in ("input_text", "output_text"):
        return Part(fields.type, fields.text)
    if fields.type == "output_audio":
        return Part(fields.type, fields.transcript)
    samples = from_base64(fields.audio or "", form, f"{path}.audio")
    if len(samples) > limits.turn_s * rate_of(form):
        raise RefusedError(f"The audio of a turn has at most {limits.turn_s:g} s.", param=f"{path}.audio")
    wave = resampled(samples, rate_of(form), HEARD_RATE) if len(samples) else None
    return Part(fields.type, fields.transcript, wave)
