"""The toy world of the benchmarks: rows to train on, preference pairs, and held-out rows in the official layouts.

`python -m data_pipelines.benchmark_world` makes it.

OUT/train/SET.jsonl        conversations of a set, in the release's format
OUT/train/SET_pairs.jsonl  its preference pairs
OUT/train/audio/           what their users say
OUT/test/                  held-out rows as the benchmarks are distributed (`worlds.official_layouts`)

OUT appears when it is complete; one that is there is left as it is.
"""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from data_pipelines.importers.release import PLACEHOLDER
from data_pipelines.worlds import official_layouts
from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.asked import Asked, Draw
from data_pipelines.worlds.audio_questions import audio_questions
from data_pipelines.worlds.espeak import SAMPLE_RATE
from data_pipelines.worlds.sounds import Sound
from data_pipelines.worlds.spoken_tasks import answers, choices, instructions, refusals
from data_pipelines.worlds.synthesis import speak_all
from data_pipelines.worlds.tools import TOOLS, Tool, brief, requests, wrong_reply
from fac_jax.evaluation.benchmarks.benchmark import TRANSCRIBE
from fac_jax.text.chat import with_tools
from fac_jax.text.prompts import SYSTEM_TEXT

PARTS: Final = ("tools", "other_tools", "instructions", "refusals", "choices", "audio_questions", "answers")
PREFERENCE: Final = {
    "tools": "instruction",
    "instructions": "instruction",
    "refusals": "instruction",
    "choices": "understanding",
    "audio_questions": "understanding",
}
Spoken = dict[str, list[Asked]]
SPOKEN: Final = tuple(tool for tool in TOOLS if tool.spoken)
OTHERS: Final = tuple(tool for tool in TOOLS if not tool.spoken)


@dataclasses.dataclass(frozen=True)
class BenchmarkWorld:
    """How many rows there are of every kind.

    Attributes:
      world: voices and sums; its seed is that of all draws.
      tools: spoken requests for a function call.
      written_tools: written ones, for held-out tools too.
      practice: written ones for every tool, with the tools on one line.
      heard_tools: spoken requests for the other tools, which are written down.
      sums: spoken sums that are written down.
      instructions: see `spoken_tasks`.
      refusals: see `spoken_tasks`.
      choices: see `spoken_tasks`.
      audio_questions: see `audio_questions`.
      held_out: rows of every kind to judge by.
    """

    world: WorldConfig = WorldConfig()
    tools: int = 1440
    written_tools: int = 300
    practice: int = 1200
    heard_tools: int = 120
    sums: int = 240
    instructions: int = 400
    refusals: int = 240
    choices: int = 300
    audio_questions: int = 500
    held_out: int = 96


def tool_rows(
    config: BenchmarkWorld, tools: Sequence[Tool], count: int, part: int, held_out: bool = False, written: bool = False
) -> Iterator[Asked]:
    """Yields requests for tools in turn.

    Args:
      config: voices and seed.
      tools: that are asked for.
      count: of rows.
      part: number of the draw.
      held_out: whether the arguments are those that are held out.
      written: whether the requests are read, not heard.
    """
    draw = Draw(config.world, held_out, part)
    for number, one in enumerate(requests(config.world.seed, tools, held_out, count, part + 100 * held_out)):
        fields = {
            "utterance": one.words,
            "function": json.dumps(one.functions),
            "ground_truth": json.dumps(one.ground_truth),
            "category": "held_out_values" if one.tool.spoken else "held_out_tool",
            "brief": f"{SYSTEM_TEXT}\n\n# Tools\n\n{brief(one.offered)}",
        }
        yield Asked(
            f"tools-{part}-{number}",
            one.words,
            one.reply,
            wrong_reply(one, draw.rng),
            None if written else draw.voice(),
            with_tools(SYSTEM_TEXT, one.functions),
            fields=fields,
        )


def train_rows(config: BenchmarkWorld) -> Spoken:
    """Returns the rows to train on by set.

    `brief_tools` has the requests of `tools` with the tools on one line, `practice` written ones for all tools.
    `transcripts` writes down what is said in the other sets, `other_transcripts`, under a list of tools, requests for
    the tools that are held out as a whole.
    """

    def draw(name: str) -> Draw:
        return Draw(config.world, False, 2 * PARTS.index(name))

    found = {
        "tools": list(tool_rows(config, SPOKEN, config.tools, 0)),
        "written_tools": list(tool_rows(config, TOOLS, config.written_tools, 1, written=True)),
        "instructions": list(instructions(draw("instructions"), config.instructions, "instructions")),
        "refusals": list(refusals(draw("refusals"), config.refusals, "refusals")),
        "choices": list(choices(draw("choices"), config.choices, "choices")),
        "audio_questions": list(audio_questions(draw("audio_questions"), config.audio_questions, "audio_questions")),
    }
    others = list(tool_rows(config, OTHERS, config.heard_tools, 2))
    practised = tool_rows(config, TOOLS, config.practice, 3, written=True)
    said = [*found["tools"], *found["instructions"], *found["refusals"]]
    said += answers(draw("answers"), config.sums, "sums")
    return {
        **found,
        "brief_tools": [_brief(one) for one in found["tools"]],
        "practice": [_brief(one) for one in practised],
        "transcripts": [_transcript(one) for one in said],
        "other_transcripts": [_transcript(_brief(one), one.fields["brief"]) for one in others],
    }


def held_out_rows(config: BenchmarkWorld) -> Spoken:
    """Returns the rows to judge by, by kind."""

    def draw(name: str) -> Draw:
        return Draw(config.world, True, 2 * PARTS.index(name))

    count = config.held_out
    return {
        "tools": list(tool_rows(config, SPOKEN, count, 0, held_out=True)),
        "new_tools": list(tool_rows(config, OTHERS, count // 2, 2, held_out=True)),
        "instructions": list(instructions(draw("instructions"), count, "instructions")),
        "refusals": list(refusals(draw("refusals"), count // 2, "refusals")),
        "choices": list(choices(draw("choices"), count, "choices")),
        "audio_questions": list(audio_questions(draw("audio_questions"), 2 * count, "audio_questions")),
        "answers": list(answers(draw("answers"), count, "answers")),
    }


def _brief(one: Asked) -> Asked:
    """Returns a row with its tools on one line."""
    return dataclasses.replace(one, id=f"{one.id}-brief", system=one.fields["brief"])


def _transcript(one: Asked, system: str | None = None) -> Asked:
    """Returns a row that writes down what is said."""
    assert isinstance(one.heard, str)
    return dataclasses.replace(
        one, id=f"{one.id}-transcript", reply=one.heard, rejected="", system=system, instruction=TRANSCRIBE
    )


def spoken(rows: Sequence[Asked], processes: int) -> dict[Any, np.ndarray]:
    """Returns the waves float32 `[N]` at 16 kHz of all that is heard in rows, by (words, voice) or by the sound."""
    jobs = sorted({(one.heard, one.voice) for one in rows if isinstance(one.heard, str) and one.voice is not None})
    said = zip(jobs, speak_all(jobs, processes) if jobs else [], strict=True)
    waves: dict[Any, np.ndarray] = {job: (wave / np.float32(32768)).astype(np.float32) for job, wave in said}
    return waves | {one.heard: one.heard.wave() for one in rows if isinstance(one.heard, Sound)}


def _key(one: Asked) -> Any:
    """Returns the key of what is heard in a row; None for words that are read."""
    if isinstance(one.heard, Sound):
        return one.heard
    return None if one.voice is None else (one.heard, one.voice)


def build(config: BenchmarkWorld, out: Path, processes: int = 2) -> None:
    """Makes the folder, unless it is there.

    Raises:
      InputError: a voice does not exist, or so many sums cannot be held out.
    """
    if out.exists():
        return
    train, held_out = train_rows(config), held_out_rows(config)
    waves = spoken([one for rows in (*train.values(), *held_out.values()) for one in rows], processes)
    trained = [_key(one) for rows in train.values() for one in rows]
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    write_train(part / "train", train, {key: waves[key] for key in dict.fromkeys(trained) if key is not None})
    heard = {name: [(one, waves[_key(one)]) for one in rows] for name, rows in held_out.items()}
    official_layouts.write(part / "test", heard)
    part.rename(out)


def write_train(folder: Path, train: Spoken, waves: Mapping[Any, np.ndarray]) -> None:
    """Writes the rows of every set, and the preference pairs of those that have them."""
    (folder / "audio").mkdir(parents=True)
    files = {key: f"audio/{number}.wav" for number, key in enumerate(waves)}
    for key, wave in waves.items():
        soundfile.write(folder / files[key], wave, SAMPLE_RATE, subtype="PCM_16")
    for name, rows in train.items():
        lines = [row_of(one, files) for one in rows]
        _write_lines(folder / f"{name}.jsonl", lines)
        if name in PREFERENCE:
            pairs = [_pair_of(one, line, PREFERENCE[name]) for one, line in zip(rows, lines, strict=True)]
            _write_lines(folder / f"{name}_pairs.jsonl", pairs)


def row_of(one: Asked, files: Mapping[Any, str]) -> dict[str, Any]:
    """Returns a row in the release's format."""
    file = files.get(_key(one))
    audio = [] if file is None else [json.dumps({"path": file, "text": ""})]
    content = one.heard if file is None else PLACEHOLDER + (f"\n{one.instruction}" if one.instruction else "")
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": one.reply}]
    system = {} if one.system is None else {"system": one.system}
    return {"id": one.id, **system, "messages": messages, "audio": audio}


def _pair_of(one: Asked, row: Mapping[str, Any], task: str) -> dict[str, Any]:
    user, chosen = row["messages"]
    rejected = {"role": "assistant", "content": one.rejected}
    return {**row, "messages": [user], "chosen": chosen, "rejected": rejected, "task": task}


def _write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
