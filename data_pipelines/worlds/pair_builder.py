"""A data set of spoken preference pairs, beside that of the conversations of the same world."""

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.augment.noise import add_noise
from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.builder import prepared, records
from data_pipelines.worlds.preferences import PairsConfig, PairSpec, pair_specs
from data_pipelines.worlds.schema import PairRow
from data_pipelines.worlds.synthesis import Job, speak_all

TEXTS = ("id", "task", "question", "instruction", "chosen", "rejected", "voice")
AUDIOS = ("user_audio", "chosen_audio", "rejected_audio")  # int16 at 16 kHz, empty when absent
QUIET = 1000.0  # dB, the signal-to-noise ratio that stands for no noise


class SpokenPairs(tfds.core.GeneratorBasedBuilder):
    """Speaks the pairs of `worlds.preferences`, and lays noise beside the questions that ask for it."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, world: WorldConfig, pairs: PairsConfig, processes: int = 2, **kwargs: Any) -> None:
        self._specs = pair_specs(world, pairs)
        self._seed = world.seed
        self._processes = processes
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features: dict[str, Any] = {name: tfds.features.Text() for name in TEXTS}
        features |= {name: tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes") for name in AUDIOS}
        return self.dataset_info_from_configs(
            description="Pairs of replies to spoken sums: a better and a worse one.",
            features=tfds.features.FeaturesDict({**features, "snr_db": np.float32}),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, dict]]]:
        jobs = sorted({job for specs in self._specs.values() for spec in specs for job in _jobs(spec).values()})
        waves = dict(zip(jobs, speak_all(jobs, self._processes), strict=True))
        return {split: self._generate_examples(specs, waves) for split, specs in self._specs.items()}

    def _generate_examples(
        self, specs: Sequence[PairSpec], waves: Mapping[Job, np.ndarray]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for spec in specs:
            found = {name: waves[job] for name, job in _jobs(spec).items()}
            audios = {name: found.get(name, np.empty(0, np.int16)) for name in AUDIOS}
            if spec.snr_db is not None:
                rng = np.random.default_rng((self._seed, zlib.crc32(spec.id.encode())))
                noisy = add_noise(audios["user_audio"] / np.float32(32768), spec.snr_db, spec.colour, rng)
                audios["user_audio"] = np.rint(noisy * 32767).astype(np.int16)
            texts = {name: getattr(spec, name) for name in TEXTS if name != "voice"}
            snr = QUIET if spec.snr_db is None else spec.snr_db
            yield spec.id, {**texts, "voice": spec.user_voice.name, **audios, "snr_db": np.float32(snr)}


def _jobs(spec: PairSpec) -> dict[str, Job]:
    """What is spoken, by the audio that it becomes."""
    spoken = {
        "user_audio": (spec.question, spec.user_voice),
        "chosen_audio": (spec.chosen, spec.chosen_voice),
        "rejected_audio": (spec.rejected, spec.rejected_voice),
    }
    return {name: (text, voice) for name, (text, voice) in spoken.items() if voice}


def build_pairs(
    world: WorldConfig, pairs: PairsConfig, data_dir: str | os.PathLike[str], processes: int = 2
) -> dict[str, list[PairRow]]:
    """Makes the pairs of a world, or finds those made before, and reads them: "train" and "test".

    Raises:
      InputError: see `pair_specs`; or a voice that does not exist.
    """
    builder = prepared(SpokenPairs, {"world": world, "pairs": pairs}, data_dir, processes)
    return {split: [pair_of(record) for record in records(builder, split)] for split in ("train", "test")}


def pair_of(record: Mapping[str, Any]) -> PairRow:
    """A record as the pair that it was written from."""
    fields: dict[str, Any] = {name: record[name].decode() for name in TEXTS}
    fields |= {name: record[name].astype(np.float32) / 32768 if len(record[name]) else None for name in AUDIOS}
    snr = float(record["snr_db"])
    return PairRow(**fields, snr_db=None if snr == QUIET else snr)
