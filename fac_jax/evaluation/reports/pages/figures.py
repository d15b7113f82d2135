"""Pictures and sounds inside a page: SVG in the page's colours, PNG and FLAC as data URIs."""

import base64
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import librosa
import numpy as np
import soundfile
from matplotlib import image, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Series = tuple[Sequence[float], Sequence[float]]  # steps, values
Style = dict[str, Any]  # colour, line style and marker of one label, as matplotlib names them

INK = "#010203"  # replaced by the page's text colour when the SVG is inlined
_LINES = ("#2f7ed8", "#d9730d", "#2a9d6f", "#b0488f", "#8a7a00", "#7a6ff0")  # legible on light and on dark
_DASHES, _MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D")  # tell labels of the same colour apart
_WIDE = 30  # letters of a label that takes a row of the legend by itself
_ROW = 0.2  # inches of a row of the legend
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """Returns a style for each label. Figures that share the mapping show a label in the same colour."""
    found = {}
    for i, label in enumerate(labels):
        turn = i // len(_LINES)
        found[label] = {
            "color": _LINES[i % len(_LINES)],
            "linestyle": _DASHES[turn % len(_DASHES)],
            "marker": _MARKERS[turn % len(_MARKERS)],
        }
    return found


def curves_svg(
    name: str, series: Mapping[str, Series], ylabel: str, xlabel: str = "step", shown: Mapping[str, Style] | None = None
) -> str:
    """Draws curves over training steps as an `<svg>` element with a transparent ground and `currentColor` as its ink.

    Args:
      name: name that no other figure of the page has; it keeps their ids apart.
      series: label to (steps, values). The axis is logarithmic if all values are positive.
      shown: style of each label; None for `styles` of the series.
    """
    shown = shown or styles(series)

    def draw(ax: Axes) -> None:
        for label, (steps, values) in series.items():
            style = shown[label] if len(steps) < 12 else {**shown[label], "marker": None}
            ax.plot(steps, values, label=label, linewidth=1.4, markersize=3, **style)
        if all(min(values) > 0 for _, values in series.values()):
            ax.set_yscale("log")

    return _svg(name, xlabel, ylabel, draw, legend=list(series) if len(series) > 1 else [])


def trade_svg(
    name: str,
    points: Mapping[str, tuple[float, float]],
    front: Sequence[str],
    xlabel: str,
    ylabel: str,
    shown: Mapping[str, Style] | None = None,
) -> str:
    """Draws labelled points (cost, value) as an `<svg>` element, and a line through the `front` in its order.

    `name`, the labels of the axes and `shown` are as for `curves_svg`.
    """
    shown = shown or styles(points)

    def draw(ax: Axes) -> None:
        line = [points[one] for one in front]
        ax.plot([x for x, _ in line], [y for _, y in line], color=INK, linewidth=1.2, alpha=0.4)
        for label, (x, y) in points.items():
            ax.plot([x], [y], label=label, markersize=5, **{**shown[label], "linestyle": "none"})
        ax.margins(0.1)

    return _svg(name, xlabel, ylabel, draw, legend=list(points))


def _svg(name: str, xlabel: str, ylabel: str, draw: Callable[[Axes], None], legend: Sequence[str]) -> str:
    """Draws one figure, with a legend below the axes so that it covers no curve."""
    columns = 1 if any(len(label) > _WIDE for label in legend) else 2
    rows = -(-len(legend) // columns)
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(5.2, 3.0 + _ROW * rows), layout="constrained")
        figure.patch.set_alpha(0)
        ax = figure.add_subplot()
        ax.patch.set_alpha(0)
        draw(ax)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        ax.grid(alpha=0.15, color=INK)
        if legend:
            lines = [line for line in ax.get_lines() if line.get_label() in legend]
            labels = [textwrap.shorten(str(line.get_label()), 2 * _WIDE, placeholder=" ..") for line in lines]
            figure.legend(lines, labels, loc="outside lower left", ncols=columns, fontsize=9)
        return inline_svg(figure)


def inline_svg(figure: Figure) -> str:
    """Writes a figure as an `<svg>` element for a page; what is drawn in `INK` takes the colour of the page's text."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r' id="[\w.]+_\d+"', "", svg)  # names of groups would repeat on a page with several figures


def spectrogram_png(wave: np.ndarray, rate: int) -> str:
    """Draws the log-mel spectrogram of a float wave `[N]` at `rate` Hz as a PNG data URI.

    A pixel is 10 ms wide and one of 80 mel bins high.
    """
    mel = librosa.feature.melspectrogram(
        y=wave.astype(np.float32), sr=rate, n_mels=80, n_fft=round(0.032 * rate), hop_length=round(0.01 * rate)
    )
    return _picture(librosa.power_to_db(mel, ref=np.max, top_db=70), -70, 0)


def mel_png(mel: np.ndarray, loudest: float) -> str:
    """Draws a log-mel `[M, bins]` of `audio.mel`, where 1 is 40 dB, as a PNG data URI with a pixel for each value.

    The darkest colour is 70 dB below `loudest`.
    """
    return _picture(mel.T, loudest - 70 / 40, loudest)


def _picture(values: np.ndarray, least: float, most: float) -> str:
    """Draws values `[bins, frames]` as a PNG data URI, with low bins at the bottom."""
    out = io.BytesIO()
    image.imsave(out, values, cmap="magma", vmin=least, vmax=most, origin="lower", format="png")
    return _data_uri("image/png", out.getvalue())


def audio_flac(wave: np.ndarray, rate: int) -> str:
    """Encodes a float wave `[N]` or `[N, channels]` at `rate` Hz, clipped to [-1, 1], as 16-bit FLAC in a data URI."""
    out = io.BytesIO()
    soundfile.write(out, np.clip(wave, -1.0, 1.0), rate, format="FLAC", subtype="PCM_16")
    return _data_uri("audio/flac", out.getvalue())


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
