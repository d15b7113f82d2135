"""Lays a call out as one row of a `Batch`: the prompt, then one position for every slot; and reads turns out of ids.

The layout is that of docs/duplex.md. Labels are not shifted, as in every row: the label of a slot is what the slot
before it predicts, and the prompt's last position predicts slot 0.

    slot     kind    text id            text label              speech ids    speech labels  user audio
    idle     SPEECH  the placeholder    sil                     pad           none           has_waveform
    opening  TEXT    audio_bos          audio_bos               pad           none           beside
    talking  JOINT   reply, then sil    the same                the group     the same       beside
    closing  TEXT    audio_eos          audio_eos               pad           all eos        beside
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from jaxtyping import Float, Int, Int32

from fac_jax.batching.conversation import StoredFeatures
from fac_jax.batching.grid import Example, ModelGrid
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.duplex.call import GROUP, SLOT, SLOT_FRAMES, SLOT_SECONDS, Call, EventKind, Turn
from fac_jax.text.chat import TextIds, TextPiece, render
from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import IGNORE, NO_FRAME, InputError, Kind, Moment

PAUSES: Final = (EventKind.PAUSE, EventKind.UNFINISHED, EventKind.RESUMED)  # of the user, who then goes on
Heard: TypeAlias = Float[np.ndarray, "_M bins"] | StoredFeatures


def prompt_ids(system: str, tokenizer: TextIds) -> tuple[int, ...]:
    """Returns the text ids before the clock starts: the system's turn of the chat template, and nothing after it."""
    return tuple(i for piece in render(system, (), tokenizer) if isinstance(piece, TextPiece) for i in piece.ids)


def lay_out(
    call: Call, heard: Sequence[Heard], tokenizer: TextIds, model: ModelGrid, sinks: int, offset: int = 0
) -> Example:
    """Lays a call out on the grid.

    The prompt ends at position `sinks - 1`, so that a position below `sinks` is one of the prompt.

    Args:
      call: its user's channel is not read.
      heard: log-mels or stored features of the user's channel: one of the whole of it, or one for every slot t of
        the trailing window that ends with t, whose last five frames are taken.
      tokenizer: tokenizer of the model.
      sinks: LLM positions that every slot sees (`DuplexConfig.sinks`), at least those of the prompt.
      offset: LLM positions that are left out between the prompt and slot 0, as if the call had begun earlier.

    Raises:
      InputError: turns overlap, leave the call, have more text than slots, another number of groups than slots, or ids
        outside the model's; the user's audio is not as long as the call; or the prompt exceeds the sinks. Names the
        row and every fault.
    """
    prompt = prompt_ids(call.system, tokenizer)
    found = [*_faults(call, model), *_unheard(call, heard, model)]
    if len(prompt) > sinks:
        found.append(f"the prompt has {len(prompt)} ids, more than the {sinks} sinks")
    if found:
        raise InputError(f"row {call.id}: {'; '.join(found)}")
    before, length = len(prompt), len(prompt) + call.slots
    special, grid = model.special, (length, model.group_size)
    kind = np.full(length, Kind.SPEECH, np.int32)
    text_ids = np.full(length, special.audio, np.int32)
    labels = np.full(length, special.sil, np.int32)
    speech_ids = np.full(grid, special.speech_pad, np.int32)
    speech_labels = np.full(grid, IGNORE, np.int32)
    kind[:before], text_ids[:before], labels[:before] = Kind.TEXT, prompt, IGNORE
    for turn in call.turns:
        opening, closing = turn.opening + before, turn.closing + before
        talking = slice(opening + 1, closing)
        kind[talking], text_ids[talking] = Kind.JOINT, special.sil
        text_ids[opening + 1 : opening + 1 + len(turn.text_ids)] = turn.text_ids
        speech_ids[talking] = special.speech_bos
        speech_ids[closing - len(turn.groups) : closing] = turn.groups
        speech_labels[talking] = np.where(speech_ids[talking] == special.speech_pad, IGNORE, speech_ids[talking])
        kind[opening], text_ids[opening] = Kind.TEXT, special.audio_bos
        if turn.closing < call.slots:
            kind[closing], text_ids[closing] = Kind.TEXT, special.audio_eos
            speech_labels[closing] = special.speech_eos
        turned = slice(opening, closing + 1)
        labels[turned] = text_ids[turned]
    slots = np.arange(length) >= before
    idle = slots & (kind == Kind.SPEECH)
    frame_index = np.full(grid, NO_FRAME, np.int32)
    frame_index[before:] = _frames(call.slots, heard, model)
    return Example(
        id=call.id,
        text_ids=text_ids,
        kind=kind,
        speech_ids=speech_ids,
        has_waveform=idle,
        frame_index=frame_index,
        labels=labels,
        speech_labels=speech_labels,
        mels=tuple(heard),
        audio_seconds=call.slots * SLOT_SECONDS + int((speech_ids < model.units).sum()) / TOKEN_RATE,
        beside=slots & ~idle,
        moments=np.concatenate([np.zeros(before, np.int32), moments(call)]),
        positions=(sinks - before + np.arange(length) + np.where(slots, offset, 0)).astype(np.int32),
        blocks=model.blocks,
    )


def moments(call: Call) -> Int32[np.ndarray, " slots"]:
    """Returns what happens in every slot of a call, values of `Moment`.

    A slot belongs to a pause if the user is silent when it begins; to a backchannel if that lies in it in part.
    """
    found = np.full(call.slots, Moment.NONE, np.int32)
    for event in call.events:
        if event.kind in PAUSES:
            found[event.slot + 1 : (event.end - 1) // SLOT + 1] = Moment.PAUSE
    for turn in call.turns:
        found[turn.opening : turn.closing + 1] = Moment.NONE  # whoever talks is in no pause of the user
    for event in call.events:
        if event.kind == EventKind.BACKCHANNEL and event.turn is not None:
            turn = call.turns[event.turn]
            under = slice(max(event.slot, turn.opening + 1), min((event.end - 1) // SLOT + 1, turn.closing))
            found[under] = Moment.BACKCHANNEL
    for turn in call.turns:
        if turn.cut and turn.closing < call.slots:
            found[turn.closing] = Moment.CUT
    return found


def read_turns(
    text_ids: Int[np.ndarray, " slots"], groups: Int[np.ndarray, "slots G"], special: SpecialIds
) -> tuple[Turn, ...]:
    """Reads the turns of a call out of the ids of its slots: the inverse of `lay_out`, and of what a runtime makes.

    Args:
      text_ids: of every slot; whatever is not between `audio_bos` and the next `audio_eos` is idle.
      groups: of every slot; read in talking slots only.

    Returns:
      turns in order, of which nothing tells whether they were cut.
    """
    turns, opening = [], None
    for slot in np.flatnonzero(np.isin(text_ids, (special.audio_bos, special.audio_eos))):
        if text_ids[slot] == special.audio_bos:
            opening = slot if opening is None else opening
        elif opening is not None:
            turns.append(_turn(int(opening), int(slot), text_ids, groups, special))
            opening = None
    if opening is not None:
        turns.append(_turn(int(opening), len(text_ids), text_ids, groups, special))
    return tuple(turns)


def _turn(opening: int, closing: int, text_ids: np.ndarray, groups: np.ndarray, special: SpecialIds) -> Turn:
    text, spoken = text_ids[opening + 1 : closing], groups[opening + 1 : closing]
    return Turn(
        opening,
        closing,
        text[text != special.sil].astype(np.int32),
        spoken[(spoken != special.speech_bos).all(axis=1)].astype(np.int32),
    )


def _faults(call: Call, model: ModelGrid) -> list[str]:
    """Returns what is wrong with the turns of a call."""
    found, free = [], 0
    if model.group_size != GROUP:
        found.append(f"a slot has {GROUP} speech tokens, a group of the model {model.group_size}")
    for number, turn in enumerate(call.turns):
        name, talking = f"turn {number}", turn.closing - turn.opening - 1
        heard = max(0, talking - model.delay_groups)
        if not free <= turn.opening < turn.closing <= call.slots:
            found.append(
                f"{name} takes the slots {turn.opening} to {turn.closing}; slots {free} to {call.slots - 1} are free"
            )
        if len(turn.text_ids) > talking:
            found.append(f"{name} has {len(turn.text_ids)} text ids for its {talking} slots")
        if len(turn.groups) != heard:
            found.append(
                f"{name} has {len(turn.groups)} groups of speech; its slots hold {heard} after "
                f"{model.delay_groups} of delay"
            )
        outside = turn.groups[((turn.groups < 0) | (turn.groups >= model.units)) & (turn.groups != _pad(model))]
        if outside.size:
            found.append(f"{name} has the speech id {outside[0]}, outside the codec's {model.units} units")
        if turn.text_ids.max(initial=0) >= model.vocab_size:
            found.append(f"{name} has the text id {turn.text_ids.max()}, outside the vocabulary of {model.vocab_size}")
        free = turn.closing + 1
    return found


def _pad(model: ModelGrid) -> int:
    return model.special.speech_pad


def _unheard(call: Call, heard: Sequence[Heard], model: ModelGrid) -> list[str]:
    """Returns what is wrong with the user's audio."""
    found = []
    if len(call.user) != call.slots * SLOT:
        found.append(f"the user's channel has {len(call.user)} samples, {call.slots} slots have {call.slots * SLOT}")
    if (model.n_window * 2) % SLOT_FRAMES:
        found.append(f"a window of {2 * model.n_window} log-mel frames is no whole number of slots of {SLOT_FRAMES}")
    if [len(one) for one in heard] not in _lengths(call.slots, model):
        found.append(f"the user's features are those of {sum(map(len, heard)) / SLOT_FRAMES:g} slots, not {call.slots}")
    return found


def _lengths(slots: int, model: ModelGrid) -> tuple[list[int], list[int]]:
    """Returns the log-mel frames of the whole channel, and those of the trailing window of every slot."""
    longest = 2 * model.n_window // SLOT_FRAMES
    return [slots * SLOT_FRAMES], [min(slot + 1, longest) * SLOT_FRAMES for slot in range(slots)]


def _frames(slots: int, heard: Sequence[Heard], model: ModelGrid) -> Int32[np.ndarray, "slots G"]:
    """Returns the index of every encoder frame of the slots in the frames of the windows of `heard`."""
    fine = np.arange(slots * GROUP).reshape(slots, GROUP)
    if len(heard) != slots:
        return fine.astype(np.int32)
    last = np.minimum(np.arange(slots), 2 * model.n_window // SLOT_FRAMES - 1)  # block of a slot in its own window
    return (np.arange(slots)[:, None] * (model.n_window // 2) + last[:, None] * GROUP + np.arange(GROUP)).astype(
        np.int32
    )
