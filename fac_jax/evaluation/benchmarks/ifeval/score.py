"""Scores replies by IFEval: which instructions each follows, and the four accuracies (docs/evaluation.md).

Rule sets: "official" is VoiceBench, "evalkit" is Kimi-Audio-Evalkit. "strict" reads replies as "evalkit" does, but each
row has the reply of its own, and a row that cannot be scored is one whose instructions are not followed.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fac_jax.evaluation.benchmarks.base import RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.ifeval.instructions import prepare

_TURNS: Final = ("<1>", "<2>", "<3>")
_USER: Final = "<|user|>"


@dataclasses.dataclass(frozen=True)
class Followed:
    """Which instructions of a row its reply follows.

    Attributes:
      strict: for each instruction, whether the reply follows it.
      loose: the same if any of eight variants of the reply may follow it.
      refused: why the row cannot be scored, and so follows nothing; only under "strict".
    """

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]
    refused: str | None = None


def follow(ids: Sequence[str], kwargs: Sequence[Mapping[str, Any]], reply: str, rules: Rules) -> Followed:
    """Returns which instructions of a row a reply follows.

    Args:
      ids: ids of the instructions.
      kwargs: what each of them is given.
      reply: text of the reply.
      rules: "official", "evalkit" or "strict".

    Raises:
      RowRefusedError: the official code stops at this row, or decides by a random number; not under "strict".
    """
    if rules == "official":
        reply = _without_tags(reply)
    try:
        checks = [prepare(id, given, rules) for id, given in zip(ids, kwargs, strict=True)]
        strict = tuple(check(reply) for check in checks)
        loose = tuple(any(map(check, _variants(reply))) for check in checks)
    except RowRefusedError as error:
        if rules != "strict":
            raise
        return Followed((False,) * len(ids), (False,) * len(ids), refused=str(error))
    return Followed(strict, loose)


def shared_replies(prompts: Sequence[str], replies: Sequence[str]) -> list[str]:
    """Returns the replies that "official" and "evalkit" score: rows with equal prompts share the last of theirs."""
    last = dict(zip(prompts, replies, strict=True))
    return [last[prompt] for prompt in prompts]


def accuracies(rows: Sequence[Followed]) -> dict[str, float]:
    """Returns the accuracies of at least one row, from 0 to 1.

    A prompt counts if all of its instructions are followed.

    Returns:
      "strict-prompt", "strict-instruction", "loose-prompt", "loose-instruction", and their mean as "final".
    """
    found: dict[str, float] = {}
    for name, lists in (("strict", [row.strict for row in rows]), ("loose", [row.loose for row in rows])):
        found[f"{name}-prompt"] = sum(map(all, lists)) / len(lists)
        found[f"{name}-instruction"] = sum(map(sum, lists)) / sum(map(len, lists))
    return {**found, "final": sum(found.values()) / len(found)}


def _without_tags(reply: str) -> str:
    """Removes, as VoiceBench does, the number of a turn before the reply and the tag of the user's turn behind it."""
    if reply.startswith(_TURNS):
        reply = reply[len(_TURNS[0]) :].strip()
    if reply.endswith(_USER):
        reply = reply.removesuffix(_USER).strip()
    return reply


def _variants(reply: str) -> list[str]:
    """Returns the reply without its first line, its last line, both or neither, each also without asterisks."""
    lines = reply.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    return [variant for text in (reply, *cut) for variant in (text, text.replace("*", ""))]
