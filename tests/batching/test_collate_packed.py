"""Many conversations in one row: the same logits, losses and gradients as each in a row of its own."""

from collections.abc import Sequence

import jax
import numpy as np
import pytest
from examples import example
from golden_model import golden

from fac_jax.batching.collate import collate, collate_packed
from fac_jax.batching.conversation import Turn
from fac_jax.batching.grid import Example, lay_out, windows_of
from fac_jax.batching.packing import Budget, ItemSize, pack
from fac_jax.losses import Sft
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.text.chat import AudioPiece, TextPiece
from fac_jax.types import IGNORE

SEQ_LEN = 48


def spoken(name: str, seed: int, mel_frames: int, tokens: int) -> Example:
    """A heard question and a spoken reply."""
    rng = np.random.default_rng(seed)
    model = golden("dense").config
    mel = rng.standard_normal((mel_frames, 128)).astype(np.float32)
    turns = [
        Turn("user", wave=np.zeros(mel_frames * 160, np.float32), mel=mel),
        Turn("assistant", speech=rng.integers(0, model.units, tokens).astype(np.int32)),
    ]
    words = tuple(map(int, rng.integers(0, 200, 4)))
    ends = TextPiece((model.special.audio_eos, model.special.eos), True)
    return lay_out(
        name,
        [TextPiece((1, 2), False), AudioPiece(0, False, (), False), AudioPiece(1, True, words, True), ends],
        turns,
        model,
    )


def conversations() -> list[Example]:
    lengths = ((70, 23), (130, 11), (24, 40), (205, 17), (110, 8))
    heard = [spoken(f"s{i}", i, mel, tokens) for i, (mel, tokens) in enumerate(lengths)]
    return [heard[0], example("b"), *heard[1:], example("a", 130)]


def windows(examples: Sequence[Example]) -> int:
    return sum(windows_of(mel, golden("dense").config.audio.n_window) for e in examples for mel in e.mels)


@pytest.mark.parametrize("case", (pytest.param("dense", marks=pytest.mark.slow), "moe_mixed"))
def test_packed_equals_unpacked(case: str) -> None:
    g, examples = golden(case), conversations()
    sizes = [ItemSize(len(e), windows([e])) for e in examples]
    packed_rows, rest = pack(sizes, Budget(6, SEQ_LEN, windows(examples)))
    rows = [[examples[i] for i in row] for row in packed_rows if row]
    assert not rest
    assert max(map(len, rows)) > 1 and len(rows) < len(examples)
    model, count = FunAudioChat(g.config), windows(examples)
    packed = collate_packed(rows, len(rows), SEQ_LEN, count, g.config)
    # Windows lie in the order of the rows, as they do in the packed batch.
    alone = collate([e for row in rows for e in row], len(examples), SEQ_LEN, count, g.config)

    def everything(params, batch):
        (loss, metrics), grads = jax.value_and_grad(lambda p: Sft(chunk=16)(model, p, batch), has_aux=True)(params)
        out = model.apply({"params": params}, batch)
        text = model.apply({"params": params}, out.hidden, method="text_logits")
        speech = model.apply({"params": params}, out.speech_hidden, method="speech_logits")
        return loss, metrics, grads, text, speech

    with jax.default_matmul_precision("highest"):
        ours, theirs = (jax.jit(everything)(g.params, batch) for batch in (packed, alone))
    for a, b in zip(jax.tree.leaves(ours[:2]), jax.tree.leaves(theirs[:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(ours[2]), jax.tree.leaves(theirs[2]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    there, here = (np.asarray(batch.segment_ids) > 0 for batch in (packed, alone))
    np.testing.assert_allclose(ours[3][there], theirs[3][here], atol=1e-5)
    # A position's last pieces read past their conversation's end; nothing is to be predicted there.
    kept = [(np.asarray(batch.speech_labels) != IGNORE).any(-1) for batch in (packed, alone)]
    before = [np.roll(flags, -1, axis=1) for flags in kept]
    np.testing.assert_allclose(ours[4][before[0]], theirs[4][before[1]], atol=1e-5)
