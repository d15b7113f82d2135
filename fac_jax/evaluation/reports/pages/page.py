"""What all pages share: one template, figures and sounds inside it, files that appear complete."""

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
    """A float wave `[samples]` in [-1, 1] and its rate in Hz."""

    wave: np.ndarray
    rate: int = 16_000


def render_page(package: str, template: str, **values: Any) -> str:
    """A template of a package's folder `templates` as one HTML page that needs nothing beside it.

    It may extend and import the templates of this package.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package), jinja2.PackageLoader("fac_jax.evaluation.reports.pages")]
        ),
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
    }
    return environment.get_template(template).render(figure=figure, **values)


def write_with_figures(path: str | os.PathLike[str], page: str, values: Mapping[str, Any]) -> None:
    """Writes the page to `path` and its figures beside it as JSON, with the suffix `.json`; both appear complete.

    Raises:
      ValueError: a figure that is not a finite number.
    """
    write_text(Path(path).with_suffix(".json"), json.dumps(values, indent=2, allow_nan=False) + "\n")
    write_text(path, page)


def figure(name: str, value: float) -> str:
    """A metric for the eye: accuracies in per cent, other values with three digits."""
    return f"{100 * value:.1f} %" if name.endswith("_accuracy") else f"{value:,.3g}"


def label(name: str) -> str:
    """A metric's name for the eye: "s2s_heard_accuracy" is "S2S heard"."""
    words = name.removesuffix("_accuracy").split("_")
    return " ".join(w.upper() if w in {"s2s", "s2t", "t2s", "t2t", "qa", "wer", "dpo"} else w for w in words)


def duration(seconds: float) -> str:
    """Seconds for the eye: "41.2 s", "12 min 05 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
