"""The loss of calls against sums that are written out label by label."""

import math
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
from initial import initial_params
from toy_training import MODEL, SPECIAL, make_batch

from fac_jax.batching.batch_stats import batch_stats
from fac_jax.config import from_tree
from fac_jax.losses import LOSSES, Duplex, Sft
from fac_jax.losses.base import Loss
from fac_jax.models.config import replace
from fac_jax.models.duplex import DuplexConfig
from fac_jax.models.fun_audio_chat import FunAudioChat, with_beside
from fac_jax.training.stage import StageConfig
from fac_jax.types import IGNORE, Batch, InputError, Kind, Moment, Params

CONFIG = replace(MODEL, duplex=DuplexConfig(sinks=2, loudest_floor=0.0))
LOSS = Duplex(text_weight=0.7, speech_weight=1.3)
BOS, EOS, SIL = SPECIAL.audio_bos, SPECIAL.audio_eos, SPECIAL.sil
# A call after two positions of prompt: kind, text id, group, weight of the text label, of its speech labels, groups.
PROMPT = (Kind.TEXT, 7, None, 0.0, 0.0, "")
IDLE = (Kind.SPEECH, SPECIAL.audio, None, 0.3, 0.0, "idle")
CALL = [
    *(PROMPT, PROMPT),
    *(IDLE, IDLE, (*IDLE[:5], "idle pauses"), IDLE),
    (Kind.TEXT, BOS, None, 5.0, 0.0, "bos"),
    (Kind.JOINT, 21, [SPECIAL.speech_bos] * 5, 1.0, 1.0, "text talking"),
    (Kind.JOINT, 22, [1, 2, 3, 4, 5], 1.0, 2.0, "text talking"),
    (Kind.JOINT, SIL, [6, 7, 8, 9, 10], 1.0, 1.0, "text talking backchannels"),
    (Kind.TEXT, EOS, [SPECIAL.speech_eos] * 5, 5.0, 2.0, "eos cuts"),
    IDLE,
]
MOMENTS = {"pauses": Moment.PAUSE, "cuts": Moment.CUT, "backchannels": Moment.BACKCHANNEL}


@pytest.fixture(scope="module")
def params() -> Params:
    params = with_beside(initial_params(MODEL, 5), CONFIG)
    return jax.tree.map(lambda leaf: 2 * leaf, params)  # so that chances are far from even


@pytest.fixture(scope="module")
def batch() -> Batch:
    """A call, and a conversation below it."""
    rows: Any = make_batch(0, rows=2, config=CONFIG)
    nowhere = np.zeros(rows.kind.shape, bool)
    batch = rows.replace(beside=nowhere, moments=nowhere.astype(np.int32))
    kind, ids, groups, _, _, names = zip(*CALL, strict=True)
    talks = np.array([group is not None for group in groups])
    speech = np.array([group or [SPECIAL.speech_pad] * 5 for group in groups])
    after = np.arange(len(CALL)) >= 2
    batch.kind[0], batch.text_ids[0] = kind, ids
    batch.labels[0] = np.where(after, np.where(batch.kind[0] == Kind.SPEECH, SIL, ids), IGNORE)
    batch.speech_ids[0] = np.where((batch.kind[0] == Kind.JOINT)[:, None], speech, SPECIAL.speech_pad)
    batch.speech_labels[0] = np.where(talks[:, None], speech, IGNORE)
    batch.has_waveform[0] = batch.kind[0] == Kind.SPEECH
    batch.beside[0] = after & ~batch.has_waveform[0]
    batch.frame_index[0] = np.arange(speech.size).reshape(speech.shape) % 20
    for name, moment in MOMENTS.items():
        batch.moments[0, [name in words for words in names]] = moment
    return batch


@jax.jit
def value(params: Params, batch: Batch, counts: Any) -> Any:
    return LOSS(FunAudioChat(CONFIG), params, batch, counts)


def gradients(loss: Loss, params: Params, batch: Batch) -> Any:
    model = FunAudioChat(CONFIG)
    return jax.jit(jax.value_and_grad(lambda p: loss(model, p, batch), has_aux=True))(params)


def test_every_label_has_its_weight_and_every_metric_its_labels(params: Params, batch: Batch, figures: Any) -> None:
    loss, metrics = value(params, batch, None)

    def logits(model: FunAudioChat) -> tuple[jax.Array, jax.Array]:
        out = model(batch)
        return model.text_logits(out.hidden), model.speech_logits(out.speech_hidden)

    found = jax.jit(nn.apply(logits, FunAudioChat(CONFIG)))({"params": params})
    text, speech = (np.asarray(each, np.float64) for each in found)
    text = text - np.log(np.exp(text).sum(-1, keepdims=True))
    speech = speech - np.log(np.exp(speech).sum(-1, keepdims=True))
    sums: dict[str, list[tuple[float, float]]] = {}  # (value, weight) of every label

    def note(name: str, one: float, weight: float = 1.0) -> None:
        sums.setdefault(name, []).append((one, weight))

    def corrected(logs: np.ndarray, which: int, odds: float) -> float:
        shifted = logs - math.log(odds) * (np.arange(len(logs)) == which)
        return float(np.exp(shifted[which]) / np.exp(shifted).sum())

    for row, place in np.argwhere(np.asarray(batch.labels)[:, 1:] != IGNORE):
        label, logs = int(batch.labels[row, place + 1]), text[row, place]
        weight, names = (CALL[place + 1][3], CALL[place + 1][5]) if row == 0 else (1.0, "")
        note("text_loss", -logs[label], weight)
        note("text_accuracy", float(logs.argmax() == label))
        if row == 1:
            note("conversations/text_loss", -logs[label])
            continue
        note("calls/talking", float("talking" in names))
        group = next(name for name in ("idle", "bos", "eos", "text") if name in names)
        note(f"calls/{group}_loss", -logs[label])
        start, stop = corrected(logs, BOS, 5.0 / 0.3), corrected(logs, EOS, 5.0)
        for name, where, chance in (
            ("bos_at_starts", "bos", start),
            ("bos_in_pauses", "pauses", start),
            ("bos_in_idle", "idle", start),
            ("eos_at_cuts", "cuts", stop),
            ("eos_in_backchannels", "backchannels", stop),
        ):
            if where in names:
                note(f"calls/{name}", chance)
    for row, place, token in np.argwhere(np.asarray(batch.speech_labels)[:, 1:] != IGNORE):
        label, logs = int(batch.speech_labels[row, place + 1, token]), speech[row, place, token]
        note("speech_loss", -logs[label], CALL[place + 1][4] if row == 0 else 1.0)
        note("speech_accuracy", float(logs.argmax() == label))
        note("conversations/speech_loss" if row else "calls/speech_loss", -logs[label])

    wanted = {
        name: np.average(*np.transpose(values)[:1], weights=np.transpose(values)[1]) for name, values in sums.items()
    }
    labels = {"text_labels": len(sums["text_accuracy"]), "speech_labels": len(sums["speech_accuracy"])}
    assert set(metrics) == set(wanted) | set(labels)
    for name, mean in {**wanted, **labels}.items():
        np.testing.assert_allclose(metrics[name], mean, rtol=2e-5, atol=1e-7, err_msg=name)
    whole = 0.7 * wanted["text_loss"] + 1.3 * wanted["speech_loss"]
    figures("loss of a call and a conversation, relative", abs(loss / whole - 1), 1e-5)
    assert len({wanted[f"calls/bos_{where}"] for where in ("at_starts", "in_pauses", "in_idle")}) == 3


def test_conversations_alone_have_the_loss_of_half_duplex_training(params: Params) -> None:
    rows: Any = make_batch(0, config=CONFIG)
    nowhere = np.zeros(rows.kind.shape, bool)
    alone = rows.replace(beside=nowhere, moments=nowhere.astype(np.int32))
    (loss, metrics), grads = gradients(LOSS, params, alone)
    (wanted, theirs), slopes = gradients(Sft(text_weight=0.7, speech_weight=1.3), params, alone)
    assert loss == wanted and all(metrics[name] == theirs[name] for name in theirs)
    jax.tree.map(np.testing.assert_array_equal, grads, slopes)
    assert all(mean == 0 for name, mean in metrics.items() if name.startswith("calls/"))


def test_micro_batches_add_up(params: Params, batch: Batch) -> None:
    parts = [jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], batch) for row in (0, 1)]
    # The call hears both windows, so that both parts have both.
    parts = [part.replace(mel_windows=batch.mel_windows, mel_lengths=batch.mel_lengths) for part in parts]
    counts = jax.tree.map(lambda *one: sum(one), *(LOSS.counts(part, CONFIG) for part in parts))
    loss, metrics = value(params, batch, None)
    losses, shares = zip(*(value(params, part, counts) for part in parts), strict=True)
    np.testing.assert_allclose(sum(losses), loss, rtol=1e-5)
    for name, whole in metrics.items():
        np.testing.assert_allclose(sum(share[name] for share in shares), whole, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_half_duplex_model_and_bad_weights_are_refused() -> None:
    with pytest.raises(InputError, match=r'stages.calls.loss.kind is "duplex", .* set model.duplex'):
        LOSS.check(MODEL, None, "stages.calls")
    LOSS.check(CONFIG, None, "stages.calls")
    with pytest.raises(InputError, match="duplex loss: text_weight is 0; it must be positive where speech_weight is 0"):
        Duplex(text_weight=0, speech_weight=0)
    assert LOSSES["duplex"] is Duplex
    stage = from_tree(StageConfig, {"name": "calls", "steps": 1, "loss": {"kind": "duplex", "chunk": 64}})
    assert stage.loss == Duplex(chunk=64)
    quiet = {block.part for block in Duplex(speech_weight=0).blocks(CONFIG, batch_stats(make_batch(0)))}
    assert "refined head" not in quiet and "text logits" in quiet
