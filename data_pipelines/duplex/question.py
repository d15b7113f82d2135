"""Places a question and its reply: spoken at once, with pauses, left unfinished, or resumed when a turn has opened."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from data_pipelines.duplex.dialogue import Exchange, Extras, Reply, Said
from data_pipelines.duplex.events import EventsConfig
from data_pipelines.duplex.timeline import Timeline, between, choice, one_of, samples
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT, EventKind

Stretch: TypeAlias = tuple[int, int, str]  # first sample, sample after the last, words


def converse(
    line: Timeline, exchange: Exchange, onset: int, events: EventsConfig, extras: Extras, rng: np.random.Generator
) -> Timeline:
    """Places a question from a sample on, perhaps with one of the events of questions, and its reply."""
    parts = exchange.asked.parts
    if not parts:
        return at_once(line, exchange, onset, events, rng)
    if rng.random() < events.unfinished.probability:
        return _unfinished(line, exchange, onset, events, extras, rng)
    if rng.random() < events.resumed.probability:
        resumed = _resumed(line, exchange, onset, events, rng)
        if resumed is not None:
            return resumed
    drawn = [rng.random() < events.pause.probability for _ in parts[1:]]
    if not any(drawn):
        return at_once(line, exchange, onset, events, rng)
    gaps = [samples(events.pause.seconds.draw(rng)) * paused for paused in drawn]
    line, stretches = _say(line, parts, onset, gaps)
    line = _assistant_backchannel(line, stretches, events, extras, rng)
    for (_, end, _), (start, _, _) in zip(stretches, stretches[1:], strict=False):
        line = line.note(EventKind.PAUSE, end, start, turn=len(line.turns))
    return _reply(line, stretches, exchange.reply, events, rng)


def at_once(line: Timeline, exchange: Exchange, onset: int, events: EventsConfig, rng: np.random.Generator) -> Timeline:
    """Places a question without a pause, and its reply."""
    line, stretches = _say(line, (exchange.asked.whole,), onset)
    return _reply(line, stretches, exchange.reply, events, rng)


def _unfinished(
    line: Timeline, exchange: Exchange, onset: int, events: EventsConfig, extras: Extras, rng: np.random.Generator
) -> Timeline:
    *begun, last = exchange.asked.parts
    line, first = _say(line, begun, onset)
    stopped = first[-1][1]
    if rng.random() >= events.unfinished.silent:
        resumed = stopped + between(rng, *events.unfinished.seconds)
        line, second = _say(line, (last,), resumed)
        line = line.note(EventKind.UNFINISHED, stopped, resumed, turn=len(line.turns))
        return _reply(line, [*first, *second], exchange.reply, events, rng)
    asked = stopped + samples(events.unfinished.asked_after)
    turn = len(line.turns) if extras.asked_back else None
    line = _noted(line, first, turn).note(EventKind.UNFINISHED, stopped, asked, turn=turn).wait(asked)
    return line.answer(one_of(rng, extras.asked_back), max(line.free, asked // SLOT)) if extras.asked_back else line


def _resumed(
    line: Timeline, exchange: Exchange, onset: int, events: EventsConfig, rng: np.random.Generator
) -> Timeline | None:
    """Returns None if the turn would be heard before the user can go on."""
    *begun, last = exchange.asked.parts
    line, first = _say(line, begun, onset)
    stopped = first[-1][1]
    opening = max(line.free, _slot_after(stopped))
    opened = line.answer(exchange.reply, opening)
    least, most = (stopped + samples(seconds) for seconds in events.resumed.seconds)
    least, most = max(least, opening * SLOT), min(most, opened.turns[-1].onset - 1)
    if most < least:
        return None
    resumed = int(rng.integers(least, most + 1))
    low, high = events.resumed.slots
    closing, turn = resumed // SLOT + int(rng.integers(low, high + 1)), len(line.turns)
    closing = min(max(opening + 1, closing), opened.turns[-1].closing - 1)
    line, second = _say(opened.cut(closing), (last,), resumed)
    line = line.note(EventKind.RESUMED, stopped, resumed, turn=turn)
    return _reply(line, [*first, *second], exchange.reply, events, rng)


def _assistant_backchannel(
    line: Timeline, stretches: Sequence[Stretch], events: EventsConfig, extras: Extras, rng: np.random.Generator
) -> Timeline:
    """Lets the assistant say a word in the first pause of a long question."""
    drawn, ends = events.assistant_backchannel, stretches[-1][1]
    known = [reply for reply in extras.assistant_backchannels if reply.groups <= drawn.slots]
    if not known or ends - stretches[0][0] <= drawn.longer * RATE or rng.random() >= drawn.probability:
        return line
    said = line.answer(one_of(rng, known), _slot_after(stretches[0][1]) - 1 - line.delay)
    turn = said.turns[-1]
    if turn.opening < line.free or turn.closing > ends // SLOT:
        return line
    number = len(line.turns)
    return said.note(EventKind.ASSISTANT_BACKCHANNEL, turn.onset, turn.spoken, turn.reply.text, number)


def _say(line: Timeline, parts: Sequence[Said], onset: int, gaps: Sequence[int] = ()) -> tuple[Timeline, list[Stretch]]:
    """Says parts with gaps between them; returns also the stretches without one."""
    stretches: list[Stretch] = []
    for part, gap in zip(parts, [0, *gaps] if gaps else [0] * len(parts), strict=True):
        onset += gap
        line = line.say(onset, part)
        if stretches and not gap:
            start, _, text = stretches.pop()
            stretches.append((start, onset + len(part), f"{text} {part.text}"))
        else:
            stretches.append((onset, onset + len(part), part.text))
        onset += len(part)
    return line, stretches


def _reply(
    line: Timeline, stretches: Sequence[Stretch], reply: Reply, events: EventsConfig, rng: np.random.Generator
) -> Timeline:
    """Places the reply to a question after a gap of whole slots."""
    end, number = stretches[-1][1], len(line.turns)
    gap = choice(rng, events.response_gap.shares)
    line = line.answer(reply, max(line.free, _slot_after(end) + gap))
    return _noted(line, stretches, number).note(EventKind.RESPONSE_GAP, end, line.turns[-1].onset, turn=number)


def _noted(line: Timeline, stretches: Sequence[Stretch], turn: int | None) -> Timeline:
    for start, end, text in stretches:
        line = line.note(EventKind.SPEECH, start, end, text, turn)
    return line


def _slot_after(end: int) -> int:
    """Returns the slot after the one in which something ends."""
    return (end - 1) // SLOT + 1
