"""Calls for a page: one of a scenario that succeeds, and one that fails."""

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np

from experiments.calls.predictions import Called, Predictions
from experiments.calls.scripted import Scripted
from fac_jax.api import Model
from fac_jax.audio.io import RATE, resampled
from fac_jax.duplex.call import SLOT, SLOT_SECONDS, EventKind, Turn
from fac_jax.evaluation.benchmarks.duplex.segments import Segment
from fac_jax.evaluation.calls.base import Outcome, Scenario
from fac_jax.evaluation.calls.scenarios import SCORERS
from fac_jax.evaluation.reports.call import CallShown, TurnShown
from fac_jax.evaluation.reports.calls import ShownCall
from fac_jax.generation.duplex.finished import spoken_channel

MOST_SLOTS: Final = 100  # of a call that are shown
BEFORE: Final = 10  # slots before the first turn, in a call that is longer
GAPS: Final = (EventKind.RESPONSE_GAP, EventKind.USER_GAP)  # which follow from what is drawn


def examples(model: Model, scripted: Sequence[Scripted], predictions: Predictions) -> dict[Scenario, list[ShownCall]]:
    """Returns for every scenario its first call that succeeds and its first that fails."""
    found: dict[Scenario, dict[bool, tuple[Scripted, Outcome]]] = {}
    for one in scripted:
        outcome = SCORERS[one.scenario](one.script, predictions.replies(one, model))
        found.setdefault(one.scenario, {}).setdefault(outcome.success, (one, outcome))
    return {name: [_shown(model, *call, predictions) for call in calls.values()] for name, calls in found.items()}


def _shown(model: Model, one: Scripted, outcome: Outcome, predictions: Predictions) -> ShownCall:
    called, slots = predictions.found[one.key], one.script.slots
    first, count = _window(called, slots)
    codec = model.codec
    turns = [turn for turn in called.turns if turn.opening >= first and turn.closing <= first + count]
    moved = [dataclasses.replace(turn, opening=turn.opening - first, closing=turn.closing - first) for turn in turns]
    user = resampled(one.user()[first * SLOT : (first + count) * SLOT], RATE, codec.rate)
    assistant = spoken_channel(moved, count, codec)
    user = np.pad(user[: len(assistant)], (0, max(0, len(assistant) - len(user))))
    events = [event for event in one.script.events if event.kind not in GAPS]
    placed = [(event.kind, _segment(event.onset, event.end, first, count)) for event in events]
    asked = " / ".join(event.text for event in one.script.events if event.kind == EventKind.SPEECH)
    call = CallShown(
        title=one.key,
        summary=asked or "nobody asks anything",
        user=user,
        assistant=assistant,
        rate=codec.rate,
        speech=[segment for kind, segment in placed if kind == EventKind.SPEECH],
        turns=[_turn_shown(turn, model) for turn in moved],
        chances=np.array(called.chances[first : first + count]),
        slot=SLOT_SECONDS,
        events=[(str(kind), segment) for kind, segment in placed if kind != EventKind.SPEECH],
    )
    return ShownCall(call, _verdict(outcome))


def _window(called: Called, slots: int) -> tuple[int, int]:
    """Returns the first slot that is shown, and how many are."""
    begins = called.turns[0].opening - BEFORE if called.turns and slots > MOST_SLOTS else 0
    first = max(0, min(begins, slots - MOST_SLOTS))
    return first, min(MOST_SLOTS, slots - first)


def _segment(onset: int, end: int, first: int, count: int) -> Segment:
    times = ((sample / RATE - first * SLOT_SECONDS) for sample in (onset, end))
    return Segment(*(min(max(0.0, time), count * SLOT_SECONDS) for time in times))


def _turn_shown(turn: Turn, model: Model) -> TurnShown:
    heard = turn.audible * SLOT_SECONDS if len(turn.groups) else None
    text = model.tokenizer.decode(turn.text_ids.tolist()).strip()
    return TurnShown(turn.opening * SLOT_SECONDS, heard, turn.closing * SLOT_SECONDS, text, turn.cut)


def _verdict(outcome: Outcome) -> str:
    words = ["success" if outcome.success else f"failure: {outcome.failure}"]
    if outcome.latency is not None:
        words.append(f"{outcome.latency / RATE:.2f} s")
    if outcome.answer is not None:
        words.append(f"the answer is {'right' if outcome.answer else 'wrong'}")
    return ", ".join(words)
