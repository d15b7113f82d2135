"""Encoder features of what users say, made once for all stages that do not train the encoder's layers.

DATA_DIR/features/KEY/            a store (`fac_jax/batching/feature_store.py`) of one copy of the waves
DATA_DIR/features/KEY/ROWS.done   all waves of these rows are in it

A key is a digest of the encoder's parameters and of all that is done to a wave before it.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from filelock import FileLock
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from data_pipelines.augment.wave import WaveAugmentConfig, augment_wave
from data_pipelines.loading.encode import user_waves
from experiments.run.sets import PreparedRows
from fac_jax.audio.mel import host_log_mel
from fac_jax.batching.conversation import StoredFeatures, Turn
from fac_jax.batching.feature_store import FeatureStore, digest
from fac_jax.batching.features import as_heard
from fac_jax.checkpoint.store import params_digest
from fac_jax.duplex.call import GROUP, SLOT_FRAMES
from fac_jax.duplex.ears import slide_windows, window_slots
from fac_jax.duplex.hearing import call_mels
from fac_jax.io import write_text
from fac_jax.models.audio_encoder import FEATURE_PARAMS
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel import hosts
from fac_jax.progress import bar
from fac_jax.training.trainable import split
from fac_jax.types import InputError, Params

FEATURES: Final = "features"  # folder in the data's
BATCH: Final = 32  # windows encoded together on one device
CHUNK: Final = 256  # waves of one file
Change: TypeAlias = Callable[[np.ndarray], np.ndarray]
UNCHANGED: Final = WaveAugmentConfig()


@dataclasses.dataclass(frozen=True)
class Encoder:
    """What makes features of waves.

    Attributes:
      model: of the run.
      params: {"encoder": ..}, in numpy.
      key: digest of the parameters that features depend on, and of the model's way to hear.
    """

    model: ModelConfig
    params: Params
    key: str

    @classmethod
    def of(cls, model: ModelConfig, params: Params) -> "Encoder":
        """Takes the encoder out of a model's parameters, which may lie on a mesh."""
        encoder = {"encoder": params["encoder"]}
        made_of, _ = split(encoder, (FEATURE_PARAMS,))
        heard = [params_digest(made_of), dataclasses.asdict(model.audio), model.front_end, model.dtype]
        if model.duplex is not None:
            heard += [model.duplex.stream, model.duplex.loudest_floor]
        return cls(model, hosts.everywhere(encoder), hashlib.sha256(json.dumps(heard).encode()).hexdigest())

    def calls(self, waves: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields the features float16 `[W, F, C]` of users' channels of calls, as the model hears them slot by slot."""
        heard, again = itertools.tee(call_mels(wave, self.model) for wave in waves)
        found = self.features(itertools.chain.from_iterable(heard), self.model.blocks)
        for clips in again:
            made = [next(found) for _ in clips]
            yield made[0] if self.model.blocks else slide_windows(last_frames(made, clips), window_slots(self.model))

    def features(self, mels: Iterable[np.ndarray], blocks: bool = False) -> Iterator[np.ndarray]:
        """Yields the features float16 `[W, F, C]` of log-mels `[M, bins]`, each of which fills windows of its own.

        Args:
          blocks: whether the windows are heard block by block (`AudioEncoder.states`).
        """
        size, devices = 2 * self.model.n_window, jax.local_devices()
        local = Mesh(np.array(devices), ("windows",))
        batched, whole = (NamedSharding(local, PartitionSpec(*axes)) for axes in (("windows",), ()))
        params, rows = jax.device_put(self.params, whole), BATCH * len(devices)
        waiting: list[tuple[np.ndarray, int]] = []  # windows, and how many frames of each are an audio's
        counts: list[int] = []  # windows of each audio that is not complete

        def encoded(chosen: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
            windows = np.zeros((rows, size, self.model.mel_bins), np.float32)
            for row, (window, _) in enumerate(chosen):
                windows[row, : len(window)] = window
            lengths = np.array([n for _, n in chosen] + [0] * (rows - len(chosen)), np.int32)
            found = _encode(self.model, blocks, params, *jax.device_put((windows, lengths), batched))
            kept = np.asarray(found)[: len(chosen)]
            if not np.isfinite(kept).all():
                raise InputError("the encoder's features leave the range of float16: set data.feature_copies to None")
            return kept

        made = np.zeros((0, self.model.n_window // 2, self.model.audio.width), np.float16)
        for mel in mels:
            parts = [mel[start : start + size] for start in range(0, len(mel), size)]
            waiting += [(part, len(part)) for part in parts]
            counts.append(len(parts))
            while len(waiting) >= rows:
                made = np.concatenate([made, encoded(waiting[:rows])])
                waiting = waiting[rows:]
                while counts and counts[0] <= len(made):
                    yield made[: counts[0]]
                    made, counts = made[counts[0] :], counts[1:]
        if waiting:
            made = np.concatenate([made, encoded(waiting)])
        for count in counts:
            yield made[:count]
            made = made[count:]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _encode(
    model: ModelConfig, blocks: bool, params: Params, mel_windows: jax.Array, mel_lengths: jax.Array
) -> jax.Array:
    heard = (mel_windows, mel_lengths, jnp.ones(len(mel_lengths), bool) if blocks else None)
    found: Any = FunAudioChat(model).apply({"params": params}, *heard, method="audio_features")
    return found.astype("float16")


def last_frames(made: Sequence[np.ndarray], clips: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the features `[slots, G, C]` of the last slot of each clip.

    Args:
      made: features `[1, F, C]` of each.
      clips: log-mels of whole slots.
    """
    ends = [len(clip) // SLOT_FRAMES * GROUP for clip in clips]
    return np.stack([one[0, end - GROUP : end] for one, end in zip(made, ends, strict=True)])


def stored_features(
    encoder: Encoder, rows: PreparedRows, waves: WaveAugmentConfig, copies: int, seed: int, data_dir: Path, threads: int
) -> tuple[FeatureStore, ...]:
    """Returns the features of all that users say in rows, by copy; makes and stores those that are missing.

    The first copy has the waves as they are, the others changed ones, each with draws of its own.

    Raises:
      InputError: an audio cannot be read; names its row.
    """
    found, places = [], None
    for copy in range(copies if waves.operations() else 1):
        used = dataclasses.asdict(waves) if copy else {}
        key = hashlib.sha256(json.dumps([encoder.key, used, seed * bool(copy), copy]).encode()).hexdigest()[:16]
        folder = data_dir / FEATURES / key
        done = folder / f"{rows.key}.done"
        if not hosts.of_first(done.exists()):
            change = functools.partial(_heard, encoder.model, waves if copy else UNCHANGED, seed, copy)
            if places is None:
                places = _places(rows, threads)
            folder.mkdir(parents=True, exist_ok=True)
            with _first_of_several_runs(folder):
                _fill(FeatureStore(folder), encoder, rows, places, change, threads)
                hosts.wait(f"features {key}")  # all have written their shares
                if hosts.is_first():
                    write_text(done, "")
            hosts.wait(f"features {key} are there")
        found.append(FeatureStore(folder))
    return tuple(found)


def _first_of_several_runs(folder: Path) -> contextlib.AbstractContextManager[Any]:
    """Lets one of the runs that share a store fill it; the others find it filled."""
    return FileLock(folder / "making.lock") if hosts.is_first() else contextlib.nullcontext()


def _heard(model: ModelConfig, waves: WaveAugmentConfig, seed: int, copy: int, wave: np.ndarray) -> np.ndarray:
    changed = augment_wave(wave, waves, seed, copy, digest(wave))
    heard = as_heard(Turn("user", wave=changed), model).wave
    assert heard is not None
    return heard


def _places(rows: PreparedRows, threads: int) -> dict[str, tuple[int, int]]:
    """Returns (row, number of the user's turn) of every wave by its digest, equal waves once.

    Rows that are too long for the model are among them, so that the store serves any model.

    Raises:
      InputError: an audio cannot be read; names its row.
    """
    records, found = rows.records, dict[str, tuple[int, int]]()
    numbers = range(len(rows.lengths.length))

    def digests(row: int) -> list[str]:
        return [digest(wave) for wave in user_waves(records[row])]

    with ThreadPoolExecutor(threads) as pool:
        for row, names in zip(numbers, pool.map(digests, numbers), strict=True):
            for turn, name in enumerate(names):
                found.setdefault(name, (row, turn))
    return found


def _fill(
    store: FeatureStore,
    encoder: Encoder,
    rows: PreparedRows,
    places: Mapping[str, tuple[int, int]],
    change: Change,
    threads: int,
) -> None:
    """Encodes this host's share of the waves of rows that a store does not have."""
    # By name, since hosts may see what others have written already.
    mine = {name: place for name, place in places.items() if int(name, 16) % jax.process_count() == jax.process_index()}
    missing, records = [place for name, place in mine.items() if name not in store], rows.records

    def prepare(wave: np.ndarray) -> tuple[np.ndarray, int]:
        changed = change(wave)
        return host_log_mel(changed, encoder.model.mel_bins), len(changed)

    with ThreadPoolExecutor(threads) as pool, bar("encoding what users say", len(missing)) as advance:
        for start in range(0, len(missing), CHUNK):
            some = [(records[row], turn) for row, turn in missing[start : start + CHUNK]]
            waves = [user_waves(record)[turn] for record, turn in some if record.timing is None]
            ready, given = itertools.tee(pool.map(prepare, waves))
            windows = encoder.features(mel for mel, _ in given)
            made = {
                digest(wave): StoredFeatures(one, samples)
                for wave, (_, samples), one in zip(waves, ready, windows, strict=True)
            }
            channels = [user_waves(record)[turn] for record, turn in some if record.timing is not None]
            for channel, one in zip(channels, encoder.calls(channels), strict=True):
                made[digest(channel)] = StoredFeatures(one, len(channel))
            store.write(made)
            advance(len(made))
