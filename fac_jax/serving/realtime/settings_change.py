"""Changes settings by what a client sends: a deep merge of the fields that are there."""

from collections.abc import Mapping
from typing import Any, Final

from fac_jax.serving.config import Limits
from fac_jax.serving.realtime.fields import checked
from fac_jax.serving.realtime.refused import INVALID_TYPE, INVALID_VALUE, RefusedError
from fac_jax.serving.realtime.settings import NamedChoice, Settings, tools_bytes

_CLEARED: Final = ("turn_detection", "transcription", "noise_reduction")  # by null
_WHOLE: Final = ("tool_choice", "truncation", "voice", "noise_reduction")  # objects that replace what was there
_NO_SETTINGS: Final = ("type", "object", "id", "model", "expires_at")  # of a session; clients may repeat them


def changed(
    settings: Settings, patch: Mapping[str, Any], path: str, voices: tuple[str, ...], limits: Limits
) -> tuple[Settings, set[str]]:
    """Returns settings with the fields of a patch, and the paths of those that are not known here.

    A null clears what may be null, and is nothing elsewhere.

    Args:
      settings: as they are.
      patch: fields of `session.update`, or of `response.create`.
      path: of the patch in its event, for messages.
      voices: names that are known.
      limits: of texts and tools.

    Raises:
      RefusedError: a field is wrong; nothing is changed then.
    """
    ignored: set[str] = set()
    known = {key: value for key, value in patch.items() if key not in _NO_SETTINGS}
    made = checked(Settings, _merged(settings.model_dump(), known, path, ignored), path)
    _check(made, path, voices, limits)
    return made, ignored


def _merged(old: Mapping[str, Any], patch: Mapping[str, Any], path: str, ignored: set[str]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in patch.items():
        where = f"{path}.{key}"
        if key not in old:
            ignored.add(where)
        elif value is None:
            if key in _CLEARED:
                merged[key] = None
        elif isinstance(value, dict) and isinstance(old[key], dict) and not _replaces(key, old[key], value):
            merged[key] = _merged(old[key], value, where, ignored)
        elif isinstance(old[key], dict) and key not in _WHOLE and not isinstance(value, dict):
            raise RefusedError(f"Invalid '{where}': Input should be an object.", INVALID_TYPE, where)
        else:
            merged[key] = value
    return merged


def _replaces(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Returns whether an object takes the place of another one, of whose kind it is not."""
    return key in _WHOLE or new.get("type", old.get("type")) != old.get("type")


def _check(settings: Settings, path: str, voices: tuple[str, ...], limits: Limits) -> None:
    """Checks what a model of the fields cannot know."""

    def refuse(field: str, message: str) -> RefusedError:
        return RefusedError(f"Invalid '{path}.{field}': {message}.", INVALID_VALUE, f"{path}.{field}")

    voice = settings.audio.output.voice
    if settings.spoken and not voices:
        raise refuse("output_modalities", "this model cannot speak; ask for text")
    if voice is not None and voice not in voices:
        raise refuse("audio.output.voice", f"known voices: {', '.join(voices) or 'none'}")
    if settings.audio.output.speed != 1:
        raise refuse("audio.output.speed", "only the speed 1 is there")
    if len(settings.instructions.encode()) > limits.text_bytes:
        raise refuse("instructions", f"give at most {limits.text_bytes} bytes")
    if tools_bytes(settings.tools) > limits.tools_bytes:
        raise refuse("tools", f"give at most {limits.tools_bytes} bytes of JSON")
    names = [tool.name for tool in settings.tools]
    if len(set(names)) < len(names):
        raise refuse("tools", "two of them have the same name")
    if isinstance(settings.tool_choice, NamedChoice) and settings.tool_choice.name not in names:
        raise refuse("tool_choice", "there is no tool of this name")
