"""Recorded runs of varied small models, made by the numpy reference: the arrays of an `io.npz`."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from reference_model import IGNORE, Arrays, Reference, cross_entropy

BOS, USER, ASSISTANT = 1, 2, 3  # words that open a turn
WORDS = (5, 200)  # range of ids that mean nothing else


@dataclasses.dataclass(frozen=True)
class Row:
    """One row on the LLM grid.

    Attributes:
      x: inputs `[S, H]`.
      text: text embeddings as the refined head adds them `[S, H]`.
      audios: (audio, group, text id or None) at audio positions, None elsewhere.
    """

    x: np.ndarray
    text: np.ndarray
    audios: list[tuple[int, int, int | None] | None]


def rows_of(model: Reference, arrays: Arrays, groups: Sequence[np.ndarray]) -> Iterator[Row]:
    """The joint sequence (section 4), padding left out."""
    config, text = model.c, model.text
    places = iter([(a, g) for a, rows in enumerate(groups) for g in range(len(rows))])
    halved = "text_ids" in arrays
    for ids, mask in zip(arrays["input_ids"], arrays["attention_mask"], strict=True):
        x, e, audios = [], [], []
        for token in ids[: mask.sum()]:
            x.append(model.words[token])
            e.append(model.words[token])
            audios.append(None)
            if token != config["audio_token_index"]:
                continue
            audio, g = next(places)
            spoken, word = groups[audio][g], None
            if halved and arrays["text_attention_mask"][audio]:
                reply = arrays["text_ids"][audio]
                word = int(reply[g]) if g < len(reply) else text["sil_index"]
                if word in (text["pad_token_id"], text["eos_token_id"]):
                    word = text["sil_index"]
                e[-1] = model.words[word]
                x[-1] = (e[-1] + spoken) / 2
            else:
                x[-1] = spoken / 2 if halved else spoken
                e[-1] = 0 * spoken if halved else e[-1]
            audios[-1] = (audio, g, word)
        yield Row(np.array(x), np.array(e), audios)


def labels_of(model: Reference, arrays: Arrays, row: Row, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Text labels `[S]` and speech labels `[S, G]` of a row (section 7)."""
    text, speech = given.copy(), np.full((len(given), model.group_size), IGNORE)
    speech[given == model.text["audio_eos_index"]] = model.audio["eos_token_id"]
    for at, audio in enumerate(row.audios):
        if audio is None:
            continue
        number, g, word = audio
        text[at] = IGNORE
        if word is not None and given[at] != IGNORE:
            text[at] = word
            span = slice(g * model.group_size, (g + 1) * model.group_size)
            valid = arrays["speech_attention_mask"][number][span] > 0
            speech[at] = np.where(valid, arrays["speech_ids"][number][span], IGNORE)
    return text, speech


def training(model: Reference, arrays: Arrays) -> dict[str, np.ndarray]:
    """What is recorded of a training batch, gradients left out (sections 6 and 7)."""
    size, (count, length) = model.group_size, arrays["input_ids"].shape
    groups, out = model.groups(arrays)
    hidden = np.zeros((count, length, model.words.shape[1]))
    text_logits = np.zeros((count, length, len(model.words)))
    speech_logits = np.zeros((count, length * size, len(model.sounds)))
    text_losses, speech_losses, routed = [], [], []
    for b, row in enumerate(rows_of(model, arrays, groups)):
        n, decoder = len(row.x), model.decoder()
        hidden[b, :n] = decoder(row.x)
        routed += decoder.routed
        text_logits[b, :n] = hidden[b, :n] @ model.unembed.T
        text, speech = labels_of(model, arrays, row, arrays["labels"][b])
        flat = speech.reshape(-1)
        before = np.roll(np.where(flat == IGNORE, model.audio["pad_token_id"], flat), 1 - size)[: n * size]
        speech_logits[b, : n * size] = model.head()(model.condition(hidden[b, :n], row.text) + model.sounds[before])
        text_losses += [cross_entropy(text_logits[b, s - 1], text[s]) for s in range(1, n) if text[s] != IGNORE]
        speech_losses += [
            cross_entropy(speech_logits[b, p - size], flat[p]) for p in range(size, n * size) if flat[p] != IGNORE
        ]
    text_loss, speech_loss = np.mean(text_losses), np.mean(speech_losses)
    if model.text.get("output_router_logits"):
        picks, probs = (np.concatenate(each).mean(0) for each in zip(*routed, strict=True))
        out["train/aux_loss"] = np.array(len(picks) * (picks * probs).sum())
        text_loss = text_loss + model.text["router_aux_loss_coef"] * out["train/aux_loss"]
    losses = {"text_loss": text_loss, "speech_loss": speech_loss, "loss": text_loss + speech_loss}
    grids = {"last_hidden": hidden, "text_logits": text_logits, "speech_logits": speech_logits}
    return out | {f"train/{name}": np.asarray(value) for name, value in (losses | grids).items()}


def answer(
    model: Reference, arrays: Arrays, steps: int, joint: bool, text_penalty: float = 1.0, speech_penalty: float = 1.0
) -> dict[str, np.ndarray]:
    """A greedy answer to one prompt (section 9, prefill of the release)."""
    size, audio_bos, end = model.group_size, model.text["audio_bos_index"], model.audio["eos_token_id"]
    groups, _ = model.groups(arrays)
    (row,) = rows_of(model, arrays, groups)
    decoder, head = model.decoder(), model.head()
    hidden = decoder(row.x)
    last_sound = model.sounds[model.audio["bos_token_id"]]
    if joint:
        pieces = model.condition(hidden, row.text)
        whole = len(pieces) - (size - 1)
        logits, thrown = head(pieces[:whole] + last_sound)[-1], []
        for piece in (*pieces[whole:], None):
            thrown.append(pick(logits, thrown, speech_penalty))
            last_sound = model.sounds[thrown[-1]]
            if piece is not None:
                logits = head((piece + last_sound)[None])[-1]
    prompt = arrays["input_ids"][0].tolist()
    ids = [audio_bos if joint else pick(hidden[-1] @ model.unembed.T, prompt, text_penalty)]
    spoken: list[int] = []
    speaking, started, picked = False, False, ids[0]
    while len(ids) < steps and picked != model.text["eos_token_id"]:
        if ids[-1] == audio_bos and not speaking:
            speaking, started = True, False
        word = model.words[ids[-1]]
        x = (word + model.discrete(np.array(spoken[-size:]))[0]) / 2 if speaking and started else word
        hidden = decoder(x[None])
        group: list[int] = []
        for piece in model.condition(hidden, word[None]) if joint else ():
            group.append(pick(head((piece + last_sound)[None])[-1], spoken + group, speech_penalty))
            last_sound = model.sounds[group[-1]]
        picked = pick(hidden[-1] @ model.unembed.T, prompt + ids, text_penalty)
        ids.append(picked)
        if speaking:
            started = end not in group
            if not started:
                group, ids[-1], speaking = [end] * size, model.text["audio_eos_index"], False
            spoken += group
    return {"text_ids": np.array([ids]), "speech_ids": np.array([spoken], np.int64)}


def pick(logits: np.ndarray, history: Sequence[int], penalty: float) -> int:
    """The likeliest id after the penalty; so clearly the likeliest that float32 picks it too."""
    logits = logits.copy()
    for seen in set(history):
        logits[seen] *= penalty if logits[seen] < 0 else 1 / penalty
    second, first = np.sort(logits)[-2:]
    assert first - second > 1e-4, "two ids are about as likely: take another seed"
    return int(logits.argmax())


def batch(rng: np.random.Generator, config: dict[str, Any], users: Sequence[int], replies: Sequence[int]) -> Arrays:
    """A training batch: a conversation a user, who speaks `users[i]` mel frames and hears `replies[i]` speech ids."""
    text, audio = config["text_config"], config["audio_config"]
    size, eos, placeholder = audio["group_size"], text["eos_token_id"], config["audio_token_index"]
    around = (text["audio_bos_index"], text["audio_eos_index"])
    rows, labels, speech, words, mels = [], [], [], [], []
    for frames, reply in zip(users, replies, strict=True):
        heard = rng.integers(0, audio["bos_token_id"], frames // 4)
        said = rng.integers(0, audio["bos_token_id"], reply)
        said[: 2 * size] = audio["bos_token_id"]
        inside = [[placeholder] * -(-len(ids) // size) for ids in (heard, said)]
        opening = [BOS, *rng.integers(*WORDS, 4), eos, USER, around[0], *inside[0], around[1], eos, ASSISTANT]
        closing = [around[0], *inside[1], around[1], eos]
        rows.append(opening + closing)
        labels.append([IGNORE] * len(opening) + closing)
        speech += [heard, said]
        words += [np.zeros(0, int), rng.integers(*WORDS, len(inside[1]) // 2)]
        mels.append(rng.standard_normal((128, frames)).astype(np.float32))
    longest = -(-max(map(len, speech)) // size) * size
    made = {
        "input_ids": padded(rows, text["pad_token_id"]),
        "labels": padded(labels, IGNORE),
        "attention_mask": padded([[1] * len(row) for row in rows], 0),
        "speech_ids": padded(speech, audio["pad_token_id"], longest),
        "speech_attention_mask": padded([[1] * len(ids) for ids in speech], 0, longest),
        "text_ids": padded(words, text["pad_token_id"]),
        "text_attention_mask": np.array([False, True] * len(users)),
        "feature_exist_mask": np.array([True, False] * len(users)),
        "feature_attention_mask": padded([[1] * mel.shape[1] for mel in mels], 0),
    }
    most = made["feature_attention_mask"].shape[1]
    return made | {"input_features": np.stack([np.pad(mel, ((0, 0), (0, most - mel.shape[1]))) for mel in mels])}


def prompt(rng: np.random.Generator, config: dict[str, Any], user: int) -> Arrays:
    """A prompt of one spoken question of `user` mel frames, up to the assistant's opening."""
    arrays = batch(rng, config, [user], [10 * config["audio_config"]["group_size"]])
    end = arrays["input_ids"][0].tolist().index(ASSISTANT) + 1
    size = config["audio_config"]["group_size"]
    tokens = -(-(user // 4) // size) * size
    return {
        **{name: arrays[name][:, :end] for name in ("input_ids", "attention_mask")},
        **{name: arrays[name][:1, :tokens] for name in ("speech_ids", "speech_attention_mask")},
        **{name: arrays[name] for name in ("input_features", "feature_attention_mask")},
        "feature_exist_mask": np.array([True]),
    }


def padded(rows: Sequence[Any], fill: int, length: int = 0) -> np.ndarray:
    """Rows of one length, int64."""
    length = length or max(map(len, rows))
    return np.array([[*row, *[fill] * (length - len(row))] for row in rows], np.int64)
