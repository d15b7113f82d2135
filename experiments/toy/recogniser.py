"""A recogniser of the toy world for `--scoring.recogniser`: the reply of the world that a wave is nearest to."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from etils import epath

from experiments.run.setup import start
from experiments.toy.questions import renderings
from fac_jax.audio.io import load
from fac_jax.evaluation.speech.heard import Listener
from fac_jax.types import InputError


def recognise(rows: Iterable[Mapping[str, Any]], model: str) -> Iterator[dict[str, Any]]:
    """Yields the text of the nearest reply for the audio file of every row (`evaluation.speech.plugins`).

    Args:
      rows: objects with "id" and "audio".
      model: workdir of the run whose replies are known, such as runs/quickstart, with its data in it.

    Raises:
      InputError: the folder holds no run, or one without a codec.
    """
    workdir = epath.Path(model)
    config = workdir / "config.json"
    if not config.exists():
        raise InputError(f"scoring.recogniser.options.model={model}: holds no run: {config.name} is missing")
    run = start(json.loads(config.read_text()), workdir, workdir / "data")
    if run.codec is None:
        raise InputError(f"scoring.recogniser.options.model={model}: the run has no codec, so its model does not speak")
    listener = Listener(renderings(run), run.codec.heard_rate)
    for row in rows:
        yield {"id": row["id"], "text": listener.hear(load(row["audio"], run.codec.heard_rate))}
