"""The benchmarks by name: their rows, where they come from, and the files that are looked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from data_pipelines.benchmarks import (
    asr,
    bigbench_audio,
    loading,
    mmau,
    mmau_pro,
    mmsu,
    openaudiobench,
    predictions,
    speechfc,
    ultraeval,
    voicebench,
    vstyle,
)
from data_pipelines.benchmarks.base import DataSet
from data_pipelines.benchmarks.items import ItemSet
from data_pipelines.paths import AnyPath, local_path
from fac_jax.types import InputError

FAMILIES: Final = (openaudiobench, voicebench, ultraeval, mmau, mmau_pro, mmsu, asr, speechfc, vstyle, bigbench_audio)
BENCHMARKS: Final[Mapping[str, DataSet]] = {one.name: one for family in FAMILIES for one in family.BENCHMARKS}


def benchmark(name: str) -> DataSet:
    """The benchmark of this name.

    Raises:
      InputError: there is none; the message lists the names.
    """
    if name not in BENCHMARKS:
        raise InputError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def load(name: str, data: AnyPath) -> ItemSet:
    """Reads the rows of the benchmark `name` from the folder `data` (`--data`); raises as `loading.load_items`."""
    return loading.load_items(benchmark(name), _local(data))


def load_predictions(name: str, file: AnyPath, data: ItemSet | None = None) -> predictions.PredictionSet:
    """Reads a file of replies (`--predictions`) to the benchmark `name`; raises as `predictions.read`."""
    return predictions.read(benchmark(name), _local(file), data)


def _local(path: AnyPath) -> Path:
    return local_path(path, "benchmarks are read from a disk")
