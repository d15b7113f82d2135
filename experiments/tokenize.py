"""Turns recordings into ids of a codec.

python -m experiments.tokenize --codec DIR a.wav [b.wav ..] [--out FOLDER]
"""

from pathlib import Path

import numpy as np
from absl import flags

from experiments import launch
from fac_jax.audio import io
from fac_jax.codec.base import load_codec
from fac_jax.progress import shown
from fac_jax.types import InputError

CODEC = flags.DEFINE_string("codec", None, "Folder of a codec.", required=True)
OUT = flags.DEFINE_string("out", None, "Folder that gets NAME.npy of every recording; otherwise ids are printed.")


def main(*files: str) -> None:
    """The command."""
    codec = load_codec(CODEC.value)
    waves = [io.load(file, codec.heard_rate) for file in shown("recordings")(files)]
    try:
        found = codec.encode_batch(waves)
    except InputError as error:
        raise InputError(f"{', '.join(files)}: {error}") from error
    for file, ids in zip(files, found, strict=True):
        if OUT.value is None:
            print(f"{file}: {' '.join(map(str, ids))}")
            continue
        out = Path(OUT.value) / f"{Path(file).stem}.npy"
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, ids)
        print(f"{out}: {len(ids)} ids")


if __name__ == "__main__":
    launch.run(main)
