"""Slots: replies are the same alone and beside others that come, go and are cancelled; nothing compiles in between."""

import dataclasses
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_model import golden

from fac_jax.checkpoint.release.batch import release_batch
from fac_jax.evaluation.parity.model import under
from fac_jax.generation.decode import generate
from fac_jax.generation.engine import advance, insert, prefill, release
from fac_jax.generation.prepared import prepare
from fac_jax.generation.sampling import Sampling
from fac_jax.generation.slots import Decoding, Request, Slots, requests
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import Batch, Params

SLOTS, STEPS = 8, 12
DRAWN = Sampling(temperature=0.9, top_k=20, top_p=0.95, repetition_penalty=1.1)
KINDS = {
    "spoken": Decoding("joint", STEPS),
    "penalties": Decoding("joint", STEPS, Sampling(repetition_penalty=1.2), Sampling(repetition_penalty=1.2)),
    "drawn": Decoding("joint", STEPS, speech=DRAWN),
    "both drawn": Decoding("joint", STEPS, DRAWN, DRAWN, force_audio_bos=False),
    "written": Decoding("text", STEPS),
}


@dataclasses.dataclass(frozen=True)
class Ready:
    """A model, and a spoken and a written prompt on the same grid."""

    model: FunAudioChat
    params: Params
    prompts: tuple[Batch, Batch]

    @property
    def length(self) -> int:
        return self.prompts[0].text_ids.shape[1]

    def begin(self, prompt: Batch, request: Request, length: int) -> Slots:
        with jax.default_matmul_precision("highest"):
            return prefill(
                self.model, self.params, prompt, request, length=length, max_steps=STEPS, joint=True, draws=True
            )

    def steps(self, slots: Slots, most: int, until_free: bool = False) -> Slots:
        with jax.default_matmul_precision("highest"):
            return advance(self.model, self.params, slots, most, until_free, draws=True)


@pytest.fixture(scope="module")
def ready() -> Ready:
    g = golden("dense")
    model, params = prepare(g.config, g.params)
    spoken = release_batch(under(g.arrays, "s2s/in/"), g.config)
    words = np.asarray(spoken.text_ids).copy()
    words[:, :11] = np.asarray(g.arrays["text/input_ids"])[:1, :11]
    kept = np.arange(words.shape[1]) < 11
    written = release_batch({"input_ids": words, "attention_mask": kept[None].astype(np.int64)}, g.config)
    return Ready(
        model, params, (spoken, written.replace(mel_windows=spoken.mel_windows, mel_lengths=spoken.mel_lengths))
    )


def keys(seed: int) -> jax.Array:
    return jax.random.key(seed)[None]


def reply(slots: Slots, slot: int) -> tuple[list[int], list[list[int]]]:
    assert slots.speech is not None
    text = slots.ids[slot, : slots.count[slot]].tolist()
    return text, slots.speech.ids[slot, : slots.speech.count[slot]].tolist()


@pytest.fixture(scope="module")
def alone(ready: Ready) -> dict[tuple[str, int, int], tuple[list[int], list[list[int]]]]:
    """Replies by kind, prompt and limit, each the only one of its batch."""
    found = {}
    for kind, decoding in KINDS.items():
        for number, prompt in enumerate(ready.prompts):
            for limit in (STEPS, 5):
                begun = ready.begin(prompt, requests(decoding, keys(number), limit), ready.length + STEPS)
                found[kind, number, limit] = reply(ready.steps(begun, STEPS), 0)
    return found


def live_bytes() -> int:
    """What all arrays hold."""
    return sum(array.nbytes for array in jax.live_arrays())


def empty(ready: Ready) -> Slots:
    """Eight slots of which none is alive."""
    rows = jax.tree.map(lambda leaf: np.concatenate([leaf] * SLOTS), ready.prompts[1])
    request = requests(KINDS["spoken"], jax.random.split(jax.random.key(9), SLOTS), 0)
    windows = {"mel_windows": rows.mel_windows, "mel_lengths": rows.mel_lengths}
    return ready.begin(rows.replace(**windows), request, ready.length + STEPS)


def test_replies_are_those_of_a_batch(ready: Ready, alone) -> None:
    """`generate` makes fewer: only what its stream needs, and no sorting where nothing is drawn."""
    for kind in ("spoken", "written", "drawn"):
        decoding = KINDS[kind]
        with jax.default_matmul_precision("highest"):
            made = generate(ready.model, ready.params, ready.prompts[0], keys(0), STEPS, decoding)
        text, speech = alone[kind, 0, STEPS]
        assert made.text_ids[0, : int(made.text_count[0])].tolist() == text
        if made.speech_ids is not None and made.speech_count is not None:
            assert made.speech_ids[0, : int(made.speech_count[0])].tolist() == speech
        else:
            assert speech == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [30, 1000])
def test_a_reply_is_the_same_beside_others_that_come_and_go(ready: Ready, alone, count: int) -> None:
    """Requests at random moments in random slots; a few are cancelled, and nothing is compiled."""
    rng = random.Random(0)
    slots = ready.steps(release(empty(ready), 0), 1)
    running: dict[int, tuple[str, int, int]] = {}
    finished = cancelled = 0
    compiled, held = None, 0
    for number in range(count):
        free = [slot for slot in range(SLOTS) if slot not in running]
        place = rng.choice(free) if number else 7
        asked = (rng.choice(list(KINDS)), rng.randrange(2), rng.choice((STEPS, 5)))
        request = requests(KINDS[asked[0]], keys(asked[1]), asked[2])
        begun = ready.begin(ready.prompts[asked[1]], request, ready.length)
        slots = insert(slots, begun, jnp.asarray([place]))
        running[place] = asked
        while len(running) == SLOTS or (running and rng.random() < 0.5):
            slots = ready.steps(slots, rng.randrange(1, 4), rng.random() < 0.5)
            for slot in [slot for slot in running if not slots.alive[slot]]:
                assert reply(slots, slot) == alone[running.pop(slot)]
                finished += 1
            if running and rng.random() < 0.1:
                gone = rng.choice(list(running))
                slots, _ = release(slots, gone), running.pop(gone)
                assert not slots.alive[gone]
                cancelled += 1
        sizes = [function._cache_size() for function in (prefill, insert, advance, release)]
        if number == 20:
            compiled, held = sizes, live_bytes()
        assert number <= 20 or sizes == compiled
    assert finished > count // 2 and cancelled > count // 20
    assert live_bytes() == held  # nothing of those that have gone is kept


def test_a_slot_that_is_not_alive_changes_nothing(ready: Ready) -> None:
    """All but the places of its caches behind its position, which nobody reads before they are written."""
    begun = ready.begin(ready.prompts[0], requests(KINDS["drawn"], keys(0)), ready.length + STEPS)
    slots = insert(empty(ready), begun, jnp.asarray([3]))
    other = ready.begin(ready.prompts[1], requests(KINDS["spoken"], keys(1)), ready.length)
    slots = ready.steps(insert(slots, other, jnp.asarray([5])), 2)
    paused = dataclasses.replace(slots, alive=slots.alive.at[3].set(False))
    before = jax.device_get((paused.position, paused.last, paused.ids, paused.count, paused.speech.last))
    moved = ready.steps(paused, 3)
    after = jax.device_get((moved.position, moved.last, moved.ids, moved.count, moved.speech.last))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a[3], b[3])
    resumed = ready.steps(dataclasses.replace(moved, alive=moved.alive.at[3].set(True)), STEPS)
    assert reply(resumed, 3) == reply(ready.steps(begun, STEPS), 0)
