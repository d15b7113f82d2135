"""The verdict on a call of each of the twelve scenarios, which may also serve as a reward for the call.

A scorer is a function of the script of the call and of what the assistant was heard to say. It assumes nothing of the
assistant: the replies may be those of a full-duplex model, of a half-duplex one behind a detector, or the script's own,
which succeed in every scenario.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from fac_jax.duplex.call import EventKind
from fac_jax.evaluation.calls.base import (
    ANSWER_WITHIN,
    GREET_WITHIN,
    STOP_WITHIN,
    Behaviour,
    Outcome,
    Reply,
    Scenario,
    Script,
    first_after,
    heard_at,
    piece_of,
    same,
    words,
)

Scorer: TypeAlias = Callable[[Script, Sequence[Reply]], Outcome]
WHOLE: Final = 0.9  # of the script's time, at which a reply of the same words has not been cut
WHOLE_OF_OTHER: Final = 0.6  # of the time that a reply of other words takes at the script's rate
FEW: Final = 1  # words that may follow a command to be silent

DEFINITIONS: Final[Mapping[Scenario, str]] = {
    "clean_turn": "the answer is first heard within 1.0 s of the user's end, and nothing before it",
    "pause": "nothing is heard before the user's end: not in the pause, and not over the last words",
    "unfinished": "nothing is heard before the question is finished, or before 3 s have passed where it never is",
    "interruption": "the reply stops within 0.8 s of the user's onset, and nothing is heard until the user's end",
    "stop": "the reply stops within 0.8 s of the command's onset, and nothing begins until its end",
    "backchannel": "the reply that is heard at its onset goes on, and no other begins",
    "noise": "the reply that is heard at its onset goes on, and no other begins",
    "side_talk": "the reply that is heard at its onset goes on, and no other begins",
    "echo": "the answer is first heard within 1.0 s of the user's end, is not cut, and no other reply begins",
    "greeting": "the greeting is heard within 1.0 s of the start of the call, in the right words",
    "silence": "nothing is heard in the call",
    "noise_only": "nothing is heard in the call",
}


def clean_turn(script: Script, replies: Sequence[Reply]) -> Outcome:
    """Scores a question and its answer; the latency is that of the answer."""
    failure, latency = _answered(script, replies)
    return Outcome(failure, latency, _right(script, replies, 0), None, len(replies))


def patience(script: Script, replies: Sequence[Reply]) -> Outcome:
    """Scores a question with a pause, or one that is left unfinished: to answer late is no failure here.

    The latency is that of the answer.
    """
    failure, latency = _answered(script, replies)
    early = failure if failure == "early" else ""
    return Outcome(early, latency, _right(script, replies, 0), None, len(replies))


def interruption(script: Script, replies: Sequence[Reply]) -> Outcome:
    """Scores an interruption by a question; the latency is that of the stop, the answer that to the new question."""
    event = script.event(EventKind.INTERRUPTION)
    failure, latency = _stopped(replies, event.onset, event.end)
    right, after = _right(script, replies, 1), first_after(replies, event.end)
    behaviour: Behaviour = "UNKNOWN"
    if right:
        behaviour = "RESPOND"
    elif failure == "goes on" or (after is not None and piece_of(after.text, script.replies[0].text)):
        behaviour = "RESUME"
    return Outcome(failure, latency, right, behaviour, len(replies))


def stop(script: Script, replies: Sequence[Reply]) -> Outcome:
    """Scores a command to be silent; the latency is that of the stop, and the right answer at most a word."""
    event = script.event(EventKind.STOP)
    failure, latency = _stopped(replies, event.onset, event.end)
    later = [reply for reply in replies if reply.start > event.onset]
    obeyed = failure not in ("not talking", "goes on") and sum(len(words(reply.text)) for reply in later) <= FEW
    resumed = failure == "goes on" or any(piece_of(reply.text, script.replies[0].text) for reply in later)
    behaviour: Behaviour = "RESPOND" if obeyed else "RESUME" if resumed else "UNKNOWN"
    return Outcome(failure, latency, obeyed, behaviour, len(replies))


def goes_on(script: Script, replies: Sequence[Reply]) -> Outcome:
    """Scores what changes no turn: a backchannel, noise, or other people; the latency is that of the answer before."""
    event = script.event(EventKind.BACKCHANNEL, EventKind.NOISE, EventKind.SIDE_TALK)
    right, heard = _right(script, replies, 0), heard_at(replies, event.onset)
    latency = _answered(script, replies)[1]
    if heard is None:
        return Outcome("not talking", latency, right, "UNKNOWN", len(replies))
    others = [reply for reply in replies if reply.start > event.onset]
    on = heard.end >= event.end + STOP_WITHIN or _whole(heard, script.replies[0])
    failure = "stops" if not on else "speaks again" if others else ""
    behaviour: Behaviour = "RESUME" if on and not others else "UNKNOWN"
    if others:
        behaviour = "RESUME" if piece_of(others[0].text, script.replies[0].text) else "RESPOND"
    return Outcome(failure, latency, right, behaviour, len(replies))


def echo(script: Script, replies: Sequence[Reply]) -> Outcome:
    """Scores an answer whose echo the user's microphone hears; the latency is that of the answer."""
    failure, latency = _answered(script, replies)
    if not failure and not _whole(replies[0], script.replies[0]):
        failure = "stops"
    if not failure and len(replies) > 1:
        failure = "speaks again"
    return Outcome(failure, latency, _right(script, replies, 0), None, len(replies))


def greeting(script: Script, replies: Sequence[Reply]) -> Outcome:
    """Scores a call that the assistant begins; latency is the greeting's, the answer that to the question after it."""
    right = _right(script, replies, 1)
    if not replies or replies[0].start >= script.asked(1)[0]:
        return Outcome("silent", None, right, None, len(replies))
    first = replies[0]
    failure = "" if same(first.text, script.replies[0].text) else "other words"
    return Outcome("late" if first.start > GREET_WITHIN else failure, first.start, right, None, len(replies))


def quiet(script: Script, replies: Sequence[Reply]) -> Outcome:
    """Scores a call in which nobody says anything."""
    return Outcome("speaks" if replies else "", None, None, None, len(replies))


SCORERS: Final[Mapping[Scenario, Scorer]] = {
    "clean_turn": clean_turn,
    "pause": patience,
    "unfinished": patience,
    "interruption": interruption,
    "stop": stop,
    "backchannel": goes_on,
    "noise": goes_on,
    "side_talk": goes_on,
    "echo": echo,
    "greeting": greeting,
    "silence": quiet,
    "noise_only": quiet,
}


def _answered(script: Script, replies: Sequence[Reply]) -> tuple[str, int | None]:
    """Returns why the first question was not answered in time, and the latency of an answer that did not come early."""
    end = script.asked(0)[1]
    if not replies:
        return "silent", None
    after = replies[0].start - end
    if after < 0:
        return "early", None
    return "late" if after > ANSWER_WITHIN else "", after


def _right(script: Script, replies: Sequence[Reply], turn: int) -> bool:
    """Returns whether the first reply after a question has the words of its answer."""
    after = first_after(replies, script.asked(turn)[1])
    return after is not None and same(after.text, script.replies[turn].text)


def _stopped(replies: Sequence[Reply], onset: int, end: int) -> tuple[str, int | None]:
    """Returns why no reply was stopped by a user who speaks from `onset` to `end`, and the latency of a stop."""
    heard = heard_at(replies, onset)
    if heard is None:
        return "not talking", None
    latency = heard.end - onset
    if latency > STOP_WITHIN:
        return "goes on", latency
    again = any(onset < reply.start < end for reply in replies)
    return "speaks again" if again else "", latency


def _whole(reply: Reply, scripted: Reply) -> bool:
    """Returns whether a reply was heard to its end, told from its time: its text runs ahead of its speech."""
    least = WHOLE if same(reply.text, scripted.text) else WHOLE_OF_OTHER
    rate = (scripted.end - scripted.start) / len(words(scripted.text))
    return reply.end - reply.start >= least * rate * max(1, len(words(reply.text)))
