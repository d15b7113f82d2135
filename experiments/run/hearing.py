"""What a run trains a model to hear: how long, and how loud."""

from typing import Final

import numpy as np

from data_pipelines.loading.encode import user_waves
from experiments.run.data import Run
from experiments.run.sets import RecordSet
from fac_jax.audio.front_end import level
from fac_jax.audio.mel import HOP, RATE
from fac_jax.audio.remarks import Heard

ROWS: Final = 50  # of a set, whose levels are measured


def heard_in(run: Run) -> Heard | None:
    """Returns what the waves of training are like; None for a run in which no user speaks, or tokens are heard."""
    model = run.config.model
    heard = {name: one.train.lengths.windows * run.trained_rows(name) for name, one in run.sets.items()}
    windows = max((int(many.max(initial=0)) for many in heard.values()), default=0)
    if model.user_audio == "tokens" or not windows:
        return None
    seconds = windows * model.audio.mel_frames * HOP / RATE
    if model.front_end == "levelled":
        return Heard(seconds)
    found = [db for name, one in run.sets.items() for db in _levels(one, heard[name])]
    return Heard(seconds, (min(found), max(found)) if found else None)


def _levels(one: RecordSet, windows: np.ndarray) -> list[float]:
    """Returns the levels of waves of a set's rows with `windows`, in dB of full scale, with the gain of its changes."""
    rows = np.flatnonzero(windows)
    chosen = rows[:: max(1, len(rows) // ROWS)]
    records = one.train.records
    measured = [level(wave) for row in chosen.tolist() for wave in user_waves(records[row])]
    gains = one.waves.gain.gain_db if one.waves.gain is not None else (0.0, 0.0)
    return [db + gain for db in measured if db is not None for gain in (0.0, *gains)]
