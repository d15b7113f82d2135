"""What a model must be able to do before it can prefer to do it: rows for "sft" from the sounds of training pairs.

They ask in words of their own, so that what DPO asks for is met in DPO alone, but for "who is speaking":

openings_spoken   both openings of replies to sad and to happy questions: what says either and prefers neither
paces_spoken      a reply read aloud "slowly" or "quickly"
speakers          whether a man or a woman spoke
word_counts       how many words were said
noisy_asr         questions written down through noise
moods_asr         questions asked in a sad or a happy voice, written down
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from data_pipelines.worlds.pairs import pair_conversations
from data_pipelines.worlds.preferences import HOW_MANY, PACES, WHO
from data_pipelines.worlds.schema import PairRow
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT, TRANSCRIBE

READ: Final = "say {}: {}"
PHRASES: Final = {
    # A model that never met the question prefers one of its two answers whatever it hears, so strongly that an anchor
    # on the right ones moves this bias first: half of the pairs then count as lost.
    WHO: (WHO, "describe the voice"),
    HOW_MANY: ("count the words",),
}


def _openings(rows: Sequence[PairRow]) -> list[Conversation]:
    return [conversation for row in _of(rows, "empathy") for conversation in pair_conversations(row)]


def _paces(rows: Sequence[PairRow]) -> list[Conversation]:
    found = []
    for row in _of(rows, "instruction"):
        asked, other = sorted(PACES, key=lambda pace: PACES[pace] != row.instruction)
        for pace, text, wave in ((asked, row.chosen, row.chosen_audio), (other, row.rejected, row.rejected_audio)):
            turns = (Turn("user", READ.format(pace, text)), Turn("assistant", text, wave=wave))
            found.append(Conversation(f"{row.id}:{pace}", SYSTEM_JOINT, turns))
    return found


def _understood(instruction: str, rows: Sequence[PairRow]) -> list[Conversation]:
    asked = [row for row in _of(rows, "understanding") if row.instruction == instruction]
    phrases = PHRASES[instruction]
    return [_written(row, phrases[i // 2 % len(phrases)], row.chosen) for i, row in enumerate(asked)]


def _transcribed(task: str, rows: Sequence[PairRow]) -> list[Conversation]:
    return [_written(row, TRANSCRIBE, row.question) for row in _of(rows, task)]


def _of(rows: Sequence[PairRow], task: str) -> list[PairRow]:
    return [row for row in rows if row.task == task]


def _written(row: PairRow, instruction: str, reply: str) -> Conversation:
    turns = (Turn("user", instruction, wave=row.user_audio), Turn("assistant", reply))
    return Conversation(f"{row.id}:{instruction}", SYSTEM_TEXT, turns)


CAPABILITIES: Final[Mapping[str, Callable[[Sequence[PairRow]], list[Conversation]]]] = {
    "openings_spoken": _openings,
    "paces_spoken": _paces,
    "speakers": partial(_understood, WHO),
    "word_counts": partial(_understood, HOW_MANY),
    "noisy_asr": partial(_transcribed, "robustness"),
    "moods_asr": partial(_transcribed, "empathy"),
}
