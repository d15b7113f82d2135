"""Pictures and sounds that stand inside a page: SVG that follows the page's colours, PNG and FLAC as data URIs."""

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import librosa
import numpy as np
import soundfile
from matplotlib import image, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

Series = tuple[Sequence[float], Sequence[float]]  # steps, values

_INK = "#010203"  # stands for the page's text colour until the SVG is inlined
_LINES = ("#2f7ed8", "#d9730d", "#2a9d6f", "#b0488f", "#8a7a00", "#7a6ff0")  # legible on light and on dark
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.prop_cycle": cycler(color=_LINES),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


def curves_svg(name: str, series: Mapping[str, Series], ylabel: str, xlabel: str = "step") -> str:
    """Curves over training steps as an `<svg>` element; `currentColor` is its ink, its ground is transparent.

    Args:
      name: unlike that of every other figure on the page; keeps their ids apart.
      series: label to (steps, values). Values all positive get a logarithmic axis.
      ylabel: what the values are.
      xlabel: what the steps are.
    """

    def draw(ax: Axes) -> None:
        for label, (steps, values) in series.items():
            ax.plot(steps, values, label=label, linewidth=1.4, marker="o" if len(steps) < 12 else None, markersize=3)
        if all(min(values) > 0 for _, values in series.values()):
            ax.set_yscale("log")
        if len(series) > 1:
            ax.legend()

    return _svg(name, xlabel, ylabel, draw)


def trade_svg(
    name: str, points: Mapping[str, tuple[float, float]], front: Sequence[str], xlabel: str, ylabel: str
) -> str:
    """Points with their labels as an `<svg>` element, and a line through those of the Pareto front.

    Args:
      name: as in `curves_svg`.
      points: label to (cost, value).
      front: labels of the points that the line joins, in its order.
      xlabel: what the cost is.
      ylabel: what the values are.
    """

    def draw(ax: Axes) -> None:
        ax.plot([points[one][0] for one in front], [points[one][1] for one in front], linewidth=1.2, alpha=0.6)
        for label, (x, y) in points.items():
            ax.plot([x], [y], marker="o", linestyle="none", markersize=5, label=label)
        ax.margins(0.1)
        ax.legend()

    return _svg(name, xlabel, ylabel, draw)


def _svg(name: str, xlabel: str, ylabel: str, draw: Callable[[Axes], None]) -> str:
    with rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(5.2, 3.0), layout="constrained")
        figure.patch.set_alpha(0)
        ax = figure.add_subplot()
        ax.patch.set_alpha(0)
        draw(ax)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        ax.grid(alpha=0.15, color=_INK)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    return re.sub(r' id="[\w.]+_\d+"', "", svg)  # names of groups, which would repeat on a page with several figures


def spectrogram_png(wave: np.ndarray, rate: int) -> str:
    """Log-mel spectrogram of a float wave `[samples]` at `rate` Hz, a PNG data URI; 10 ms and 1 of 80 bins a pixel."""
    mel = librosa.feature.melspectrogram(
        y=wave.astype(np.float32), sr=rate, n_mels=80, n_fft=round(0.032 * rate), hop_length=round(0.01 * rate)
    )
    return _picture(librosa.power_to_db(mel, ref=np.max, top_db=70), -70, 0)


def mel_png(mel: np.ndarray, loudest: float) -> str:
    """A log-mel `[M, bins]` as the model reads it (`audio.mel`: 40 dB are 1), a PNG data URI, one value a pixel.

    Its darkest colour is 70 dB below `loudest`.
    """
    return _picture(mel.T, loudest - 70 / 40, loudest)


def _picture(values: np.ndarray, least: float, most: float) -> str:
    """Values `[bins, frames]`, low bins below, as a PNG data URI."""
    out = io.BytesIO()
    image.imsave(out, values, cmap="magma", vmin=least, vmax=most, origin="lower", format="png")
    return _data_uri("image/png", out.getvalue())


def audio_flac(wave: np.ndarray, rate: int) -> str:
    """A float wave `[samples]` in [-1, 1] (cut to it) at `rate` Hz, as 16-bit FLAC in a data URI."""
    out = io.BytesIO()
    soundfile.write(out, np.clip(wave, -1.0, 1.0), rate, format="FLAC", subtype="PCM_16")
    return _data_uri("audio/flac", out.getvalue())


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
