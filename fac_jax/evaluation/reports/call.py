"""The page and the picture of one call: both channels on a time line, the assistant's turns, and how it decided."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fac_jax.evaluation.benchmarks.duplex.segments import Segment
from fac_jax.evaluation.reports.pages.figures import INK, STYLE, inline_svg
from fac_jax.evaluation.reports.pages.page import Sound, render_page

USER, ASSISTANT = "#2f7ed8", "#d9730d"  # legible on light and on dark
POINTS = 4000  # of a channel that are drawn, each the loudest of its stretch


@dataclasses.dataclass(frozen=True)
class TurnShown:
    """A turn of the assistant, in seconds of the call: when it begins, is first heard (None: never), and ends."""

    begin: float
    heard: float | None
    end: float
    text: str
    cut: bool


@dataclasses.dataclass(frozen=True, eq=False)
class CallShown:
    """What is shown of a call.

    Attributes:
      title: of the page.
      summary: a sentence below it.
      user: the user's channel.
      assistant: the assistant's channel, as long as the user's and of the same rate.
      rate: of both in Hz.
      speech: where the user speaks.
      turns: of the assistant.
      chances: probability, at the slot before each slot, that a turn begins or ends in it.
      slot: seconds of a slot.
      events: what happens to the user's side, by name.
    """

    title: str
    summary: str
    user: Float32[np.ndarray, " N"]
    assistant: Float32[np.ndarray, " N"]
    rate: int
    speech: Sequence[Segment]
    turns: Sequence[TurnShown]
    chances: Float[np.ndarray, " slots"]
    slot: float
    events: Sequence[tuple[str, Segment]] = ()


def call_page(call: CallShown) -> str:
    """Returns the page, without other files; its player has the user on the left and the assistant on the right."""
    values = {"call": call, "both": both_channels(call), "picture": call_svg("call", call)}
    return render_page("fac_jax.evaluation.reports", "call.html.jinja", **values)


def both_channels(call: CallShown) -> Sound:
    """Returns the sound of a player: the user on the left, the assistant on the right."""
    return Sound(np.stack([call.user, call.assistant], axis=1), call.rate)


def call_svg(name: str, call: CallShown) -> Markup:
    """Returns the time line as an `<svg>` element; `name` is one that no other figure of the page has."""
    with rc_context({**STYLE, "svg.hashsalt": name}):
        return Markup(inline_svg(_figure(call, transparent=True)))


def call_png(call: CallShown) -> bytes:
    """Returns the time line as a PNG file."""
    with rc_context(STYLE):
        out = io.BytesIO()
        _figure(call, transparent=False).savefig(out, format="png", dpi=110)
    return out.getvalue()


def _figure(call: CallShown, transparent: bool) -> Figure:
    seconds = len(call.user) / call.rate
    figure = Figure(figsize=(max(6.0, min(24.0, 0.6 * seconds)), 4.2), layout="constrained")
    user, assistant, chance = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1))
    _channel(user, call.user, seconds, USER, "user")
    for segment in call.speech:
        user.axvspan(segment.start, segment.end, color=USER, alpha=0.12, linewidth=0)
    for name, segment in call.events:
        user.axvspan(segment.start, max(segment.end, segment.start + call.slot / 4), 0.85, 1, color=INK, alpha=0.3)
        user.text(segment.start, 1.02, name, fontsize=8, clip_on=True)
    _channel(assistant, call.assistant, seconds, ASSISTANT, "assistant")
    for number, turn in enumerate(call.turns):
        assistant.axvspan(turn.begin, turn.end, color=ASSISTANT, alpha=0.12, linewidth=0)
        words = "".join(filter(str.isprintable, turn.text)) + (" (cut)" if turn.cut else "")
        height = 1.02 + 0.2 * (number % 2)  # words may be longer than their turn
        assistant.text(turn.begin, height, words, fontsize=8, clip_on=True, parse_math=False)
    times = call.slot * np.arange(len(call.chances) + 1)
    chance.stairs(call.chances, times, color=INK, linewidth=1)
    chance.set_xticks(times, minor=True)
    chance.set_ylim(0, 1.05)
    chance.set_ylabel("turn\nchanges")
    chance.set_xlabel("seconds")
    chance.set_xlim(0, seconds)
    if transparent:
        figure.patch.set_alpha(0)
        for plot in (user, assistant, chance):
            plot.patch.set_alpha(0)
    return figure


def _channel(plot: Axes, wave: np.ndarray, seconds: float, color: str, name: str) -> None:
    """Draws the loudness of a channel, up and down from its middle."""
    size = max(1, len(wave) // POINTS)
    loud = np.abs(wave[: len(wave) // size * size]).reshape(-1, size).max(axis=1)
    loud = loud / max(float(loud.max(initial=0)), 1e-4)
    times = np.linspace(0, seconds, len(loud))
    plot.fill_between(times, -loud, loud, color=color, linewidth=0)
    plot.set_ylim(-1.2, 1.4)
    plot.set_yticks([])
    plot.set_ylabel(name)
