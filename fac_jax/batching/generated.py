"""Replies that the model made, id for id, as a part of a conversation (docs/generation.md, "Several turns")."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int

from fac_jax.batching.conversation import GeneratedReply
from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import Kind


def fill(fields: dict[str, np.ndarray], reply: GeneratedReply, special: SpecialIds) -> None:
    """Fills the blank fields of a reply's positions, one for each text id, with loss on all of them."""
    fed, ended, _ = _speech(reply, special)
    spoken = fed >= 0
    fields["text_ids"][:] = fields["labels"][:] = reply.text_ids
    fields["kind"][spoken] = Kind.JOINT
    fields["speech_ids"][spoken] = fields["speech_labels"][spoken] = reply.groups[fed[spoken]]
    fields["speech_labels"][ended] = special.speech_eos


def closed(reply: GeneratedReply, special: SpecialIds) -> GeneratedReply:
    """Ends a reply that has no end: a step limit cut it, or its text ended while it spoke.

    Speech ends with a group of eos and `audio_eos`, and every reply with the eos of the text.
    """
    _, _, speaking = _speech(reply, special)
    ids = reply.text_ids
    if not speaking:
        return reply if len(ids) and ids[-1] == special.eos else replace(reply, text_ids=_with(ids, special.eos))
    if ids[-1] == special.eos:  # the group that was made with it is spoken next to silence
        ids = _with(ids[:-1], special.sil)
    eos = np.full_like(reply.groups, special.speech_eos, shape=(1, reply.groups.shape[1]))
    return GeneratedReply(_with(ids, special.audio_eos, special.eos), np.concatenate([reply.groups, eos]))


def cut(reply: GeneratedReply, groups: int, special: SpecialIds) -> GeneratedReply:
    """Returns the beginning of a reply of which only some groups were heard, with an end of its own.

    The text that goes with later groups is forgotten. A reply that has no more groups stays whole.
    """
    fed, _, _ = _speech(reply, special)
    if groups > fed.max(initial=-1):
        return closed(reply, special)
    first = int(np.argmax(fed == 0)) - 1  # the position of `audio_bos`
    last = int(np.argmax(fed == groups - 1)) if groups else first
    return closed(GeneratedReply(reply.text_ids[: last + 1], reply.groups[:groups]), special)


def _speech(reply: GeneratedReply, special: SpecialIds) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"], bool]:
    """Follows the steps that made a reply (docs/model.md, section 9).

    Returns the number of the group that is fed back with each text id, -1 for none; whether the id is the one behind
    speech; and whether the reply still speaks at its end.
    """
    fed, ended = np.full(len(reply.text_ids), -1), np.zeros(len(reply.text_ids), bool)
    made, speaking = 0, False
    for position, text_id in enumerate(reply.text_ids):
        if speaking:
            fed[position] = made - 1
        speaking = speaking or text_id == special.audio_bos
        if speaking and made < len(reply.groups):
            if special.speech_eos in reply.groups[made]:
                speaking = False
                ended[position + 1 : position + 2] = True
            made += 1
    return fed, ended, bool(speaking)


def _with(ids: Int[np.ndarray, " n"], *more: int) -> Int[np.ndarray, " m"]:
    return np.concatenate([ids, np.array(more, np.int32)]).astype(np.int32)
