"""Makes the toy world's data set: spoken sums, facts as text, and preference pairs, stored by tensorflow-datasets."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow_datasets as tfds
from filelock import FileLock

from data_pipelines.augment.effects import add_noise
from data_pipelines.worlds import arithmetic
from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.espeak import SAMPLE_RATE
from data_pipelines.worlds.preferences import PairsConfig, PairSpec, pair_specs
from data_pipelines.worlds.schema import PAIR_SPLITS, RowSpec
from data_pipelines.worlds.storage import AUDIOS, FULL_SCALE, QUIET, features
from data_pipelines.worlds.synthesis import Job, speak_all

KEY: Final = 12  # hexadecimal digits of the folder's name
Waves = Mapping[Job, np.ndarray]
GROUP: Final = SAMPLE_RATE // 5  # samples of a group of five speech tokens
NOTHING: Final = np.empty(0, np.int16)


class ToyWorld(tfds.core.GeneratorBasedBuilder):
    """Speaks the rows of `worlds.arithmetic` and the pairs of `worlds.preferences`, in their order."""

    VERSION = tfds.core.Version("2.0.0")

    def __init__(self, world: WorldConfig, pairs: PairsConfig | None, processes: int = 2, **kwargs: Any) -> None:
        self._world, self._pairs, self._processes = world, pairs, processes
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=f"Spoken sums and differences, and facts of a wider world: {_json(self._world, self._pairs)}",
            features=features(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, dict]]]:
        asked = arithmetic.rows(self._world)
        pairs = {} if self._pairs is None else pair_specs(self._world, self._pairs)
        rows = self._spoken(asked)
        return rows | self._spoken({PAIR_SPLITS[split]: specs for split, specs in pairs.items()})

    def _spoken(self, specs: Mapping[str, Sequence[RowSpec | PairSpec]]) -> dict[str, Iterator[tuple[int, dict]]]:
        """Speaks the rows of one kind; what is spoken together defines the waves, so pairs leave the rows unchanged."""
        jobs = sorted({job for part in specs.values() for spec in part for job in _jobs(spec).values()})
        waves = dict(zip(jobs, speak_all(jobs, self._processes) if jobs else [], strict=True))
        return {split: self._generate_examples(part, waves) for split, part in specs.items()}

    def _generate_examples(
        self, specs: Sequence[RowSpec | PairSpec], waves: Waves
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, spec in enumerate(specs):
            yield number, _columns(spec, waves, self._world)


def _json(world: WorldConfig, pairs: PairsConfig | None) -> str:
    return json.dumps([config and dataclasses.asdict(config) for config in (world, pairs)], sort_keys=True)


def _jobs(spec: RowSpec | PairSpec) -> dict[str, Job]:
    """Returns what is spoken for a row, by the column that it is stored in."""
    spoken = {"user_audio": (spec.question, spec.user_voice)}
    if isinstance(spec, RowSpec):
        spoken["reply_audio"] = spec.reply, spec.assistant_voice
    else:
        spoken["reply_audio"] = spec.chosen, spec.chosen_voice
        spoken["rejected_audio"] = spec.rejected, spec.rejected_voice
    return {name: (text, voice) for name, (text, voice) in spoken.items() if voice}


def _columns(spec: RowSpec | PairSpec, waves: Waves, world: WorldConfig) -> dict[str, Any]:
    """Returns the stored columns of a row."""
    spoken = {name: waves[job] for name, job in _jobs(spec).items()}
    for name in spoken.keys() - {"user_audio"}:
        spoken[name] = ended(spoken[name], world.reply_silence)
    columns: dict[str, Any] = {
        "id": spec.id,
        "question": spec.question,
        "voice": spec.user_voice.name if spec.user_voice else "",
        "snr_db": np.float32(QUIET),
        **{name: spoken.get(name, NOTHING) for name in AUDIOS},
    }
    if isinstance(spec, RowSpec):
        return {**columns, "kind": spec.kind, "instruction": "", "reply": spec.reply, "rejected": ""}
    if spec.snr_db is not None:
        rng = np.random.default_rng((world.seed, zlib.crc32(spec.id.encode())))
        noisy = add_noise(columns["user_audio"] / FULL_SCALE, spec.snr_db, spec.colour, rng)
        columns["user_audio"] = np.rint(noisy * 32767).astype(np.int16)
        columns["snr_db"] = np.float32(spec.snr_db)
    texts = {"kind": spec.task, "instruction": spec.instruction, "reply": spec.chosen, "rejected": spec.rejected}
    return {**columns, **texts}


def ended(wave: np.ndarray, silence: float) -> np.ndarray:
    """Returns a reply with at least so many seconds of silence behind it, in whole groups of 0.2 s."""
    samples = len(wave) + round(silence * SAMPLE_RATE)
    return np.pad(wave, (0, -(-samples // GROUP) * GROUP - len(wave)))


def build(
    world: WorldConfig,
    pairs: PairsConfig | None,
    data_dir: str | os.PathLike[str],
    processes: int = 2,
    builder: Callable[..., tfds.core.GeneratorBasedBuilder] = ToyWorld,
) -> Path:
    """Makes the data set of a world once, and returns its folder, which `worlds.views.read` reads.

    The folder lies in `data_dir`, in a folder named by the hash of `world` and `pairs`. It appears when it is complete;
    of runs that start together one makes it and the others wait.

    Raises:
      InputError: the rows cannot be made (`arithmetic.rows`, `preferences.pair_specs`), or a voice does not exist.
    """
    key = hashlib.sha256(_json(world, pairs).encode()).hexdigest()[:KEY]
    folder = Path(data_dir) / key

    def existing() -> tfds.core.GeneratorBasedBuilder:
        return builder(world=world, pairs=pairs, processes=processes, data_dir=folder)

    found = existing()
    if not found.data_path.exists():
        tfds.disable_progress_bar()
        folder.mkdir(parents=True, exist_ok=True)
        # tfds prints that it downloads, which it does not. A builder knows the splits that existed when it was
        # constructed, so a run that waited for another constructs it anew.
        with FileLock(folder / "making.lock"), contextlib.redirect_stdout(io.StringIO()):
            existing().download_and_prepare()
    return Path(found.data_path)
