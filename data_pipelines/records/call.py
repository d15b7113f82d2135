"""Records that are calls: the user's channel and a message for every turn of the assistant, on a clock."""

import numpy as np
from jaxtyping import Float32

from data_pipelines.records.record import Audio, Record
from data_pipelines.records.timing import Timing
from fac_jax.audio.mel import RATE
from fac_jax.batching.grid import ModelGrid
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.duplex.call import GROUP, SLOT, Call, Turn
from fac_jax.duplex.layout import prompt_ids
from fac_jax.text.chat import TextIds
from fac_jax.text.prompts import SYSTEM_DUPLEX


def system_of(record: Record) -> str:
    """Returns the row's system prompt, or the default one of calls."""
    return SYSTEM_DUPLEX if record.system is None else record.system


def call_positions(record: Record, timing: Timing, tokenizer: TextIds) -> int:
    """Returns the LLM positions of a call: those of its prompt, and its slots."""
    return len(prompt_ids(system_of(record), tokenizer)) + timing.slots


def call_faults(record: Record, timing: Timing, tokenizer: TextIds) -> list[str]:
    """Returns what does not fit together in a call, whose audio may be decoded or not, each fault in a few words."""
    roles = [message.role for message in record.messages]
    if roles != ["user", *["assistant"] * len(timing.turns)]:
        return [f"{len(timing.turns)} turns on the clock, but the messages are by {', '.join(roles)}"]
    found = []
    channel = record.messages[0].audio
    if channel is None or (channel.wave is not None and len(channel.wave) != timing.slots * SLOT):
        samples = 0 if channel is None or channel.wave is None else len(channel.wave)
        found.append(f"the user's channel has {samples / RATE:g} s, {timing.slots} slots have {timing.slots / 5:g} s")
    free = 0
    for number, (turn, message) in enumerate(zip(timing.turns, record.messages[1:], strict=True)):
        name, talking, heard = f"turn {number}", turn.closing - turn.opening - 1, timing.heard(turn)
        if not free <= turn.opening < turn.closing <= timing.slots:
            last = timing.slots - 1
            found.append(f"{name} takes the slots {turn.opening} to {turn.closing}; slots {free} to {last} are free")
        free = turn.closing + 1
        ids = len(tokenizer.encode(message.text))
        if not turn.cut and ids > talking:
            found.append(f"{name} has {ids} text ids for its {talking} slots")
        groups = None if message.audio is None else _groups(message.audio)
        if message.audio is None:
            found.append(f"{name} has no audio")
        elif groups is not None and (groups < heard if turn.cut else groups != heard):
            found.append(f"{name} has {groups} groups of speech, and is heard in {heard} slots")
    for event in timing.events:
        if not 0 <= event.onset <= event.end <= timing.slots * SLOT:
            found.append(f"the event {event.kind} from sample {event.onset} to {event.end} is not within the call")
        if event.turn is not None and not 0 <= event.turn < len(timing.turns):
            found.append(f"the event {event.kind} at sample {event.onset} names turn {event.turn}, which is not there")
    return found


def played(record: Record, timing: Timing) -> Float32[np.ndarray, " N"]:
    """Returns the assistant's channel of a call whose audio is decoded, `timing.slots * SLOT` samples."""
    channel = np.zeros(timing.slots * SLOT, np.float32)
    for turn, message in zip(timing.turns, record.messages[1:], strict=True):
        assert message.audio is not None and message.audio.wave is not None
        place = channel[timing.audible(turn) * SLOT : turn.closing * SLOT]
        wave = message.audio.wave[: len(place)]
        place[: len(wave)] = wave
    return channel


def to_call(record: Record, timing: Timing, tokenizer: TextIds, model: ModelGrid) -> Call:
    """Converts a checked call whose replies have tokens, cut on the borders of their groups, and its user a wave."""
    channel = record.messages[0].audio
    assert channel is not None and channel.wave is not None
    turns = []
    for turn, message in zip(timing.turns, record.messages[1:], strict=True):
        assert message.audio is not None and message.audio.tokens is not None
        ids = np.array(tokenizer.encode(message.text), np.int32)
        if turn.cut:
            ids = ids[: turn.closing - turn.opening - 1]
        groups = _cut(message.audio.tokens, timing.heard(turn), model)
        turns.append(Turn(turn.opening, turn.closing, ids, groups, turn.cut))
    return Call(record.id, system_of(record), timing.slots, channel.wave, tuple(turns), timing.events)


def _cut(tokens: np.ndarray, groups: int, model: ModelGrid) -> np.ndarray:
    """Returns the first groups `[groups, G]` of tokens, the last one filled with speech pad."""
    size = groups * GROUP
    filled = np.pad(tokens[:size], (0, max(0, size - len(tokens))), constant_values=model.special.speech_pad)
    return filled.reshape(groups, GROUP).astype(np.int32)


def _groups(audio: Audio) -> int | None:
    """Returns the groups of an audio's tokens; None where nothing tells yet."""
    if audio.tokens is None and audio.wave is None:
        return None
    tokens = len(audio.tokens) if audio.tokens is not None else len(audio.wave) * TOKEN_RATE // RATE  # pyright: ignore
    return -(-tokens // GROUP)
