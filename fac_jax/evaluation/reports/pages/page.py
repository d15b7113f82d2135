"""The common parts of all pages: one template with figures and sounds inside, and files that appear complete."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from fac_jax.evaluation.reports.pages import figures
from fac_jax.io import write_text


@dataclasses.dataclass(frozen=True)
class Sound:
    """A float wave `[N]`, or `[N, channels]` where only a player shows it, in [-1, 1] and its sampling rate in Hz."""

    wave: np.ndarray
    rate: int = 16_000


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a run, such as "speech to text", with its wall-clock seconds, compilation included.

    `curves` has (steps, values) by name, such as {"text loss": ..}, and is empty for a stage without training.
    """

    name: str
    seconds: float
    curves: Mapping[str, figures.Series] = dataclasses.field(default_factory=dict)


def render_page(package: str, template: str, **values: Any) -> str:
    """Renders a template of a package's folder `templates` as one HTML page without other files.

    The template may extend and import the templates of this package.
    """
    folders = [jinja2.PackageLoader(name) for name in (package, "fac_jax.evaluation.reports.pages")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plot": lambda plot: Markup(figures.curves_svg(**plot)),
        "trade": lambda plot: Markup(figures.trade_svg(**plot)),
        "spectrogram": lambda sound: figures.spectrogram_png(sound.wave, sound.rate),
        "mel": figures.mel_png,
        "flac": lambda sound: figures.audio_flac(sound.wave, sound.rate),
        "duration": duration,
        "label": label,
        "signs": signs,
    }
    return environment.get_template(template).render(figure=figure, **values)


def write_with_figures(path: str | os.PathLike[str], page: str, values: Mapping[str, Any]) -> None:
    """Writes the page to `path`, and its figures as JSON to `path` with the suffix `.json`; both files appear complete.

    Raises:
      ValueError: a figure is not a finite number.
    """
    write_text(Path(path).with_suffix(".json"), json.dumps(values, indent=2, allow_nan=False) + "\n")
    write_text(path, page)


def figure(name: str, value: float) -> str:
    """Formats a metric: accuracies in per cent, other values with three digits."""
    return f"{100 * value:.1f} %" if name.endswith("_accuracy") else f"{value:,.3g}"


def signs(value: float) -> str:
    """Formats a number with four significant digits: "0.945", "0.0003", "1.016e+10"."""
    return f"{value:.4g}"


def label(name: str) -> str:
    """Formats the name of a metric: "s2s_heard_accuracy" becomes "S2S heard"."""
    words = name.removesuffix("_accuracy").split("_")
    return " ".join(w.upper() if w in {"s2s", "s2t", "t2s", "t2t", "qa", "wer", "dpo"} else w for w in words)


def duration(seconds: float) -> str:
    """Formats seconds: "41.2 s", "12 min 05 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
