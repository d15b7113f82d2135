"""A tiny model, endless synthetic conversations and a two-stage recipe for the tests of training."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from fac_jax.batching.batch_stats import batch_stats
from fac_jax.batching.loaded import Loaded
from fac_jax.losses import Ctc
from fac_jax.models.config import DecoderConfig, EncoderConfig, ModelConfig
from fac_jax.text.special_ids import SpecialIds
from fac_jax.training.evals import EvalBatches
from fac_jax.training.mesh_data import Data
from fac_jax.training.optimizer import OptimizerConfig
from fac_jax.training.recipe import Recipe
from fac_jax.training.stage import StageConfig
from fac_jax.types import IGNORE, NO_FRAME, NO_TEXT, Batch, Kind, Params

SPECIAL = SpecialIds(
    pad=0, eos=1, audio=2, audio_bos=3, audio_eos=4, sil=5, speech_bos=16, speech_eos=17, speech_pad=19
)
MODEL = ModelConfig(
    text=DecoderConfig(width=32, depth=2, mlp_width=48, num_heads=2, num_kv_heads=1, head_dim=16),
    audio=EncoderConfig(width=16, depth=1, num_heads=2, mlp_width=32, n_window=20, mel_bins=16),
    head=DecoderConfig(width=16, depth=1, mlp_width=32, num_heads=2, num_kv_heads=1, head_dim=8),
    vocab_size=40,
    codebook_size=20,
    special=SPECIAL,
    tie_embeddings=True,
)
HEARD, SPOKEN = 2, 4  # groups of the user's audio and of the reply
ROWS = 3


def conversation(rng: np.random.Generator, config: ModelConfig = MODEL) -> dict[str, np.ndarray]:
    """One conversation, unbatched: 3 text positions, the user's audio, 2 text positions, a spoken reply, its end."""
    group, length = config.group_size, 3 + HEARD + 2 + SPOKEN + 1
    text = rng.integers(6, config.vocab_size, length).astype(np.int32)
    kind = np.full(length, Kind.TEXT, np.int32)
    speech = np.full((length, group), SPECIAL.speech_pad, np.int32)
    frames = np.full((length, group), NO_FRAME, np.int32)
    labels, speech_labels = np.full(length, IGNORE, np.int32), np.full((length, group), IGNORE, np.int32)
    heard, spoken = slice(3, 3 + HEARD), slice(5 + HEARD, 5 + HEARD + SPOKEN)
    kind[heard], text[heard] = Kind.SPEECH, NO_TEXT
    frames[heard] = np.arange(HEARD * group).reshape(HEARD, group)
    kind[spoken] = Kind.JOINT
    speech[spoken] = speech_labels[spoken] = rng.integers(0, config.units, (SPOKEN, group))
    text[-1], speech_labels[-1] = SPECIAL.audio_eos, SPECIAL.speech_eos
    labels[5 + HEARD - 1 :] = text[5 + HEARD - 1 :]
    return {
        "text_ids": text,
        "kind": kind,
        "speech_ids": speech,
        "has_waveform": kind == Kind.SPEECH,
        "frame_index": frames,
        "segment_ids": np.ones(length, np.int32),
        "positions": np.arange(length, dtype=np.int32),
        "labels": labels,
        "speech_labels": speech_labels,
    }


def make_batch(seed: int, rows: int = ROWS, config: ModelConfig = MODEL) -> Batch:
    """`rows` conversations, one window of mel each."""
    rng = np.random.default_rng(seed)
    parts = [conversation(rng, config) for _ in range(rows)]
    for row, part in enumerate(parts):
        index = part["frame_index"]
        part["frame_index"] = np.where(index == NO_FRAME, NO_FRAME, index + row * config.audio.frames)
    mel = rng.standard_normal((rows, config.audio.mel_frames, config.audio.mel_bins)).astype(np.float32)
    grid = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    return Batch(**grid, mel_windows=mel, mel_lengths=np.full(rows, config.audio.mel_frames, np.int32))


def unlike_halves() -> tuple[Batch, list[Batch]]:
    """Four rows with unlike numbers of labels, and the same as two batches."""
    halves = [make_batch(seed, rows=2) for seed in (1, 2)]
    few = np.where(np.arange(halves[0].labels.shape[1]) < 9, halves[0].labels, IGNORE)
    fine = np.where((few != IGNORE)[..., None], halves[0].speech_labels, IGNORE)
    halves[0] = halves[0].replace(labels=few, speech_labels=fine)
    shift = 2 * MODEL.audio.frames
    moved = halves[1].replace(frame_index=np.where(halves[1].frame_index < 0, -1, halves[1].frame_index + shift))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), halves[0], moved), halves


def loaded(batch: Any, number: int = 0, rows: int = ROWS) -> Loaded:
    """A batch as data give it."""
    counted = batch if isinstance(batch, Batch) else batch.batch
    names = [f"toy/{number}/{row}" for row in range(rows)]
    return Loaded(batch, names, 1.5, int(counted.segment_ids.sum()), batch_stats(counted))


class ToyData:
    """Four batches, over and over."""

    def __init__(self) -> None:
        self._next, self.closed = 0, False

    def __next__(self) -> Loaded:
        number, self._next = self._next, self._next + 1
        return self.make(number)

    def make(self, number: int) -> Loaded:
        """The batch with a number."""
        return loaded(make_batch(number % 4), number)

    def get_state(self) -> dict[str, Any]:
        return {"next": self._next}

    def set_state(self, state: dict[str, Any]) -> None:
        self._next = state["next"]

    def close(self) -> None:
        self.closed = True


class ToyRun:
    """`RunData` of a function that makes the data of a stage, and of held-out batches."""

    def __init__(
        self, make: Callable[[StageConfig], Data] = lambda _: ToyData(), held_out: Mapping[str, EvalBatches] = {}
    ) -> None:
        self._make, self._held_out = make, held_out

    def train_data(self, stage: StageConfig, params: Params, directory: epath.Path) -> Data:
        return self._make(stage)

    def eval_data(self, stage: StageConfig, params: Params, directory: epath.Path) -> Mapping[str, EvalBatches]:
        return self._held_out


def stage(name: str = "joint", **changes: Any) -> StageConfig:
    optimizer = OptimizerConfig(peak=1e-2, floor=1e-3, warmup=0.1)
    plain: dict[str, Any] = {"steps": 20, "optimizer": optimizer}
    return StageConfig(name, **(plain | {"checkpoint_every": 7} | changes))


def warmup(name: str = "warmup", **changes: Any) -> StageConfig:
    """The stage that compiles fastest."""
    return stage(name, **({"loss": Ctc(), "trainable": ("encoder/",), "steps": 9, "checkpoint_every": 4} | changes))


def recipe() -> Recipe:
    return Recipe(MODEL, (warmup(), stage()))
