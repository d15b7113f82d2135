"""The state of a session as JSON, with the waves of the user next to it."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Float32

from fac_jax.batching.conversation import GeneratedReply
from fac_jax.serving.realtime.items import Item, Made, Part
from fac_jax.serving.realtime.settings import Settings
from fac_jax.serving.realtime.state import State

Wave = Float32[np.ndarray, " N"]

VERSION: Final = 2
_ITEM: Final = ("id", "type", "role", "name", "call_id", "arguments", "output", "status", "sent_s", "forgotten")


def to_json(state: State) -> tuple[dict[str, Any], dict[str, Wave]]:
    """Returns a state as JSON, and its waves at 16 kHz by the names that the JSON has for them."""
    waves: dict[str, Wave] = {}
    made: list[Made] = []
    items = []
    for item in state.items:
        if item.made is not None and item.made not in made:
            made.append(item.made)
        fields = {name: getattr(item, name) for name in _ITEM}
        fields["made"] = None if item.made is None else made.index(item.made)
        fields["parts"] = [_part(part, waves) for part in item.parts]
        items.append(fields)
    told = {
        "version": VERSION,
        "id": state.id,
        "client": state.client,
        "model": state.model,
        "settings": state.settings.model_dump(),
        "items": items,
        "made": [_made(one) for one in made],
        "expires_at": state.expires_at,
        "conversation_id": state.conversation_id,
        "spoke": state.spoke,
        "connection": state.connection,
    }
    return told, waves


def from_json(told: Mapping[str, Any], waves: Mapping[str, Wave]) -> State:
    """Returns the state of `to_json`.

    Raises:
      LookupError: a field or a wave is missing.
      TypeError: a field is of another type.
      ValueError: the version is another one, or a setting is wrong.
    """
    if told["version"] != VERSION:
        raise ValueError(f"version {told['version']}, not {VERSION}")
    made = [_made_again(one) for one in told["made"]]
    items = []
    for fields in told["items"]:
        item = Item(**{name: fields[name] for name in _ITEM})
        item.made = None if fields["made"] is None else made[fields["made"]]
        item.parts = [_part_again(part, waves) for part in fields["parts"]]
        items.append(item)
    return State(
        id=told["id"],
        client=told["client"],
        model=told["model"],
        settings=Settings.model_validate(told["settings"]),
        items=items,
        expires_at=told["expires_at"],
        conversation_id=told["conversation_id"],
        spoke=told["spoke"],
        connection=told["connection"],
    )


def _part(part: Part, waves: dict[str, Wave]) -> dict[str, Any]:
    name = None
    if part.wave is not None:
        name = hashlib.sha256(part.wave.tobytes()).hexdigest()
        waves[name] = part.wave
    return {"type": part.type, "text": part.text, "wave": name}


def _part_again(fields: Mapping[str, Any], waves: Mapping[str, Wave]) -> Part:
    return Part(fields["type"], fields["text"], None if fields["wave"] is None else waves[fields["wave"]])


def _made(made: Made) -> dict[str, Any]:
    told = {"ids": None, "heard_s": made.heard_s, "items": made.items}
    if made.ids is None:
        return told
    text_ids, groups = made.ids.text_ids, made.ids.groups
    return told | {"ids": text_ids.tolist(), "groups": groups.tolist(), "group_size": groups.shape[1]}


def _made_again(fields: Mapping[str, Any]) -> Made:
    ids = None
    if fields["ids"] is not None:
        groups = np.array(fields["groups"], np.int32).reshape(-1, fields["group_size"])
        ids = GeneratedReply(np.array(fields["ids"], np.int32), groups)
    return Made(ids, True, fields["heard_s"], fields["items"])
