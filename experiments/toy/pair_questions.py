"""How a model does on held-out preference pairs: which reply it prefers, and what it says itself."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.worlds.pairs import pair_conversations
from data_pipelines.worlds.preferences import OPENINGS
from data_pipelines.worlds.schema import PairRow
from experiments.run.references import score_pairs
from experiments.run.toy import Materials
from experiments.toy.questions import ROWS, TEXT, encode_prompts, joint
from fac_jax.batching.conversation import prompt
from fac_jax.batching.pairs import PairExample
from fac_jax.evaluation.speech.transcripts import exact_match, normalize
from fac_jax.generation.decode import prepare as prepare_model
from fac_jax.generation.respond import Response, respond
from fac_jax.losses import Preference
from fac_jax.types import PREFERENCE_TASKS, Params

JOINT_STEPS = 36  # a slow reply takes 25 groups of 5 ids


@dataclasses.dataclass(frozen=True)
class Judged:
    """A model on held-out pairs, by task.

    Attributes:
      margins: of every pair by its id: log-probability of the better reply over the worse one, streams weighed.
      likely: share of pairs whose better reply is the likelier one.
      right: the task's own metric, share of the model's replies that do what the better one does (`obeys`).
      exact: share of the model's replies that say what the better one says, word for word.
      answers: what it said to every pair's prompt, by its id.
    """

    margins: dict[str, float]
    likely: dict[str, float]
    right: dict[str, float]
    exact: dict[str, float]
    answers: dict[str, Response]


def judge(params: Params, materials: Materials, loss: Preference) -> Judged:
    """Scores and asks a model on the pairs of the test split.

    Args:
      params: parameters of `materials.model` (scanned layers).
      materials: of a config with pairs.
      loss: weights of the streams.
    """
    rows, pairs = materials.pair_rows["test"], materials.pairs("test")
    totals = score_pairs(materials.model, params, pairs, layout=materials.layout)
    stacked = np.concatenate([totals[pair.id] for pair in pairs])[:, None]
    found = np.asarray(loss.margins(stacked, np.zeros_like(stacked)))[:, 0]
    margins = {pair.id: float(margin) for pair, margin in zip(pairs, found, strict=True)}
    said = ask(params, materials, rows)
    right = {
        row.id: obeys(row, pair, said[row.id], materials.model.units) for row, pair in zip(rows, pairs, strict=True)
    }
    likely = {name: margin > 0 for name, margin in margins.items()}
    exact = {row.id: exact_match(row.chosen, said[row.id].text) for row in rows}
    return Judged(margins, by_task(rows, likely), by_task(rows, right), by_task(rows, exact), said)


def by_task(rows: Sequence[PairRow], values: Mapping[str, float]) -> dict[str, float]:
    """Means of values, one a row by its id, over the rows of every task."""
    return {
        task: float(np.mean([values[row.id] for row in rows if row.task == task]))
        for task in PREFERENCE_TASKS
        if any(row.task == task for row in rows)
    }


def preferred(before: Judged, after: Judged) -> dict[str, float]:
    """By pair, 1 if the better reply has gained on the worse one since `before`, 0.5 if nothing has moved, else 0."""
    return {name: 0.5 + 0.5 * float(np.sign(margin - before.margins[name])) for name, margin in after.margins.items()}


def ask(params: Params, materials: Materials, rows: Sequence[PairRow]) -> dict[str, Response]:
    """What a model replies to the prompts of the rows, by their ids."""
    model, decoder = prepare_model(materials.model, params, materials.layout)
    found: dict[str, Response] = {}
    for decoding, spoken in ((TEXT, False), (joint(JOINT_STEPS, materials.model), True)):
        chosen = [row for row in rows if (row.chosen_audio is not None) == spoken]
        if not chosen:
            continue
        examples = encode_prompts(materials, [prompt(pair_conversations(row)[0]) for row in chosen])
        replies = respond(model, decoder, examples, materials.tokenizer, decoding, ROWS, layout=materials.layout)
        found |= {row.id: reply for row, reply in zip(chosen, replies, strict=True)}
    return found


def obeys(row: PairRow, pair: PairExample, answer: Response, units: int) -> bool:
    """Whether a reply does what the better one does for its task.

    It says what the better one says, and, where both say the same, is nearer to its length; for empathy it opens as
    the better one opens, whatever result it gives.

    Args:
      row: the pair.
      pair: its replies in speech ids.
      answer: what the model said.
      units: of the codec; ids from there on are marks.
    """
    if row.task == "empathy":
        return normalize(answer.text).startswith(next(o for o in OPENINGS.values() if row.chosen.startswith(o)))
    if not exact_match(row.chosen, answer.text):
        return False
    if row.chosen != row.rejected:
        return True
    better, worse = (
        np.count_nonzero((side.speech_labels >= 0) & (side.speech_labels < units))
        for side in (pair.chosen, pair.rejected)
    )
    return bool(abs(len(answer.units) - better) < abs(len(answer.units) - worse))
