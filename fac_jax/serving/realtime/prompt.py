"""Turns the items of a conversation into the prompt of a reply, and makes it fit the model's context."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.serving.prompting import call_text, output_text, system_prompt
from fac_jax.serving.realtime.items import Item
from fac_jax.serving.realtime.settings import RetentionRatio, Settings
from fac_jax.text.prompts import SYSTEM_JOINT

Exchange: TypeAlias = list["Said"]

NOTHING_SAID = Turn("user", " ")  # ends the prompt where a client asks for a reply to nothing new


class ContextTooLongError(Exception):
    """A conversation that does not fit the model's context."""


@dataclasses.dataclass(eq=False)
class Said:
    """A turn, and the items that it is made of."""

    turn: Turn
    items: list[Item]


@dataclasses.dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt that fits.

    Attributes:
      conversation: ends with a user's turn.
      limit: text ids that the reply may have.
      forgotten: items that had to be left out.
    """

    conversation: Conversation
    limit: int
    forgotten: list[Item]


def fitted(
    name: str,
    settings: Settings,
    items: Iterable[Item],
    positions: Callable[[Conversation], int],
    context: int,
    most: int,
) -> Prompt:
    """Returns the prompt of a reply.

    Args:
      name: of the conversation.
      settings: of the response.
      items: of the conversation, all settled.
      positions: counts the LLM positions of a conversation.
      context: LLM positions of a prompt and its reply.
      most: text ids that a reply may have.

    Raises:
      ContextTooLongError: it does not fit, and either nothing may be left out, or the last exchange alone is too long.
    """
    kept = [item for item in items if not item.forgotten]
    system = _system(settings, kept)
    exchanges = _exchanges(_said(kept))

    def conversation(first: int) -> Conversation:
        turns = [said.turn for exchange in exchanges[first:] for said in exchange]
        if not turns or turns[-1].role != "user":
            turns.append(NOTHING_SAID)
        return Conversation(name, system, tuple(turns))

    wanted = most if settings.max_output_tokens == "inf" else min(most, int(settings.max_output_tokens))
    room = context - min(wanted, context // 2)  # of the prompt
    first = 0
    if positions(conversation(0)) > room:
        if settings.truncation == "disabled":
            raise ContextTooLongError("The conversation does not fit the context, and truncation is disabled.")
        ratio = settings.truncation.retention_ratio if isinstance(settings.truncation, RetentionRatio) else 1.0
        first = _first(len(exchanges), lambda first: positions(conversation(first)) <= room * ratio)
        if positions(conversation(first)) > room:
            raise ContextTooLongError("The last message alone does not fit the context.")
    chosen = conversation(first)
    dropped = [item for exchange in exchanges[:first] for said in exchange for item in said.items]
    return Prompt(chosen, min(wanted, context - positions(chosen)), dropped)


def _first(count: int, fits: Callable[[int], bool]) -> int:
    """Returns the least number of exchanges to leave out so that it fits, or all but the last."""
    low, high = 1, max(count - 1, 0)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return high


def _system(settings: Settings, items: Iterable[Item]) -> str:
    """Returns the system prompt: instructions, and the system messages of the conversation behind them."""
    instructions = settings.instructions
    more = [item.text for item in items if item.role == "system" and item.text]
    if instructions == SYSTEM_JOINT and not (settings.spoken and more):
        instructions = ""
    text = "\n".join(filter(None, [instructions, *more]))
    return system_prompt(text, settings.spoken, settings.offered, settings.must_call)


def _said(items: Sequence[Item]) -> list[Said]:
    """Returns the turns of a conversation; the items of one reply are one turn, as are the outputs of its calls."""
    turns: list[Said] = []
    for _, group in itertools.groupby(items, lambda item: item.made or item):
        together = list(group)
        item = together[0]
        if item.role == "user":
            turns += [Said(turn, [item]) for turn in _user(item)]
        elif item.type == "function_call_output":
            _extend(turns, item, "user", output_text(item.output))
        elif item.role != "system":
            _reply(turns, together)
    return turns


def _user(item: Item) -> list[Turn]:
    """Returns the turns of a user's message: one for each audio with the texts around it, or one of text."""
    turns: list[Turn] = []
    lead: list[str] = []
    for part in item.parts:
        if part.wave is not None:
            turns.append(Turn("user", wave=part.wave, mel=part.features, lead="\n".join(lead)))
            lead = []
        elif part.text and turns:
            last = turns.pop()
            turns.append(dataclasses.replace(last, text=f"{last.text}\n{part.text}" if last.text else part.text))
        elif part.text:
            lead.append(part.text)
    return turns or ([Turn("user", "\n".join(lead))] if lead else [])


def _reply(turns: list[Said], items: list[Item]) -> None:
    """Adds a reply: id for id if the model made it and it is all there, else its texts and calls."""
    made = items[0].made
    whole = made is not None and len(items) == made.items and (made.heard_s is None or len(items) == 1)
    if whole and made is not None and made.ids is not None:
        turns.append(Said(Turn("assistant", generated=made.ids), items))
        return
    for item in items:
        text = call_text(item.name, item.arguments) if item.type == "function_call" else item.text
        _extend(turns, item, "assistant", text)


def _extend(turns: list[Said], item: Item, role: str, text: str) -> None:
    """Adds a text to the turn before it, if that is a text of the model, or of outputs; else a turn of its own."""
    last = turns[-1] if turns else None
    if not text:
        return
    if last is not None and last.turn.role == role and last.turn.generated is None and _joins(last.items[-1], item):
        last.turn = dataclasses.replace(last.turn, text=f"{last.turn.text}\n{text}")
        last.items.append(item)
    else:
        turns.append(Said(Turn("user" if role == "user" else "assistant", text), [item]))


def _joins(one: Item, other: Item) -> bool:
    """Returns whether an item goes on with the turn of another one: outputs, or a call of the same reply."""
    if other.type == "function_call_output":
        return one.type == "function_call_output"
    return other.type == "function_call"


def _exchanges(turns: Iterable[Said]) -> list[Exchange]:
    """Cuts a conversation before each turn of a user; outputs of functions belong to the calls before them."""
    exchanges: list[Exchange] = []
    for said in turns:
        begins = said.turn.role == "user" and said.items[0].type != "function_call_output"
        if begins or not exchanges:
            exchanges.append([])
        exchanges[-1].append(said)
    return exchanges
