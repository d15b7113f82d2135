"""Makes two-channel calls, and reports how natural their timing is (docs/duplex.md).

    python -m data_pipelines.duplex toy --out DIR [--splits train,dev] [--calls 2000] [--held_out_calls 200]
    python -m data_pipelines.duplex make SOURCE --out DIR [--format F] [--extras FOLDER] [--slots 100,600]
    python -m data_pipelines.duplex report PATH --out page.html [--format F] [--split NAME]

toy      speaks the toy world's calls and its twelve scenarios
make     makes a call of every spoken dialogue of SOURCE, a file or folder in any format of docs/data.md
report   writes the page of the realism report of PATH, calls in any format, and its figures as page.json

For toy and make: --events '{"pause": {"probability": 0.5}}' and --channel '{"level": [-26, -16]}' change what is drawn.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from absl import flags

from data_pipelines.duplex import realism
from data_pipelines.duplex.channel import ChannelConfig
from data_pipelines.duplex.dialogue import Dialogue
from data_pipelines.duplex.events import EventsConfig
from data_pipelines.duplex.folder import FORMATS, write_calls
from data_pipelines.duplex.make import CallsConfig
from data_pipelines.duplex.records import dialogues, extras_of
from data_pipelines.importers.registry import FORMATS as IMPORTERS
from data_pipelines.importers.registry import read
from data_pipelines.paths import check_output, check_output_file
from data_pipelines.records.reject import Rejected, formatted
from data_pipelines.records.validate import Limits, validate
from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.duplex_scenarios import EVENTS, SCENARIOS, TRAINING, write_split
from data_pipelines.worlds.duplex_world import DuplexWorldConfig
from fac_jax import cli
from fac_jax.config import from_tree, to_tree
from fac_jax.types import InputError

ENDLESS: Final = 2**31 - 1  # LLM positions
_OUT = flags.DEFINE_string("out", None, "folder of the calls, or the page of the report", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "seed of every draw", lower_bound=0)
_DELAY = flags.DEFINE_integer("delay_groups", 2, "groups of speech bos before a reply, as in the model", lower_bound=0)
_SLOTS = flags.DEFINE_list("slots", "60,160", "least and most slots (0.2 s) of a call")
_EVENTS = flags.DEFINE_string("events", "{}", "changes of the events as JSON (EventsConfig)")
_CHANNEL = flags.DEFINE_string("channel", "{}", "changes of ChannelConfig as JSON")
_AUDIO = flags.DEFINE_enum("audio", "wav", list(FORMATS), "format of the two channels")
_PROCESSES = flags.DEFINE_integer("processes", 2, "processes or threads that run at a time", lower_bound=1)
_SPLITS = flags.DEFINE_list("splits", [*TRAINING, *SCENARIOS], "toy: which splits are made")
_CALLS = flags.DEFINE_integer("calls", 2000, "toy: calls of train", lower_bound=1)
_HELD_OUT = flags.DEFINE_integer("held_out_calls", 200, "toy: calls of each scenario", lower_bound=1)
_QUIET = flags.DEFINE_integer("quiet_calls", 20, "toy: calls of silence, and of noise_only", lower_bound=1)
_QUIET_SECONDS = flags.DEFINE_float("quiet_seconds", 300.0, "toy: length of these calls", lower_bound=1.0)
_FORMAT = flags.DEFINE_string("format", None, f"make, report: one of {', '.join(IMPORTERS)}; recognised if absent")
_ROOT = flags.DEFINE_string("audio_root", None, "make, report: folder of relative audio paths")
_VIEW = flags.DEFINE_string("view", "asr", "make: the task, where SOURCE is a toy world: s2s")
_SPLIT = flags.DEFINE_string("split", None, "make, report: split of a folder with several")
_EXTRAS = flags.DEFINE_string("extras", None, "make: folder of backchannels, commands, side_talk and more")
_TOGETHER = flags.DEFINE_integer(
    "together", 1, "make: rows that one call is made of, as far as they fit", lower_bound=1
)
_REFERENCE = flags.DEFINE_string("reference", None, "report: page.json of other calls to compare offsets with")


def toy() -> None:
    """Makes the splits of the toy world."""
    check_output("--out", _OUT.value)
    unknown = [name for name in _SPLITS.value if name not in (*TRAINING, *SCENARIOS)]
    if unknown:
        raise InputError(f"--splits={unknown[0]}: known: {', '.join((*TRAINING, *SCENARIOS))}")
    world = DuplexWorldConfig(
        WorldConfig(seed=_SEED.value),
        _CALLS.value,
        held_out_calls=_HELD_OUT.value,
        quiet_calls=_QUIET.value,
        quiet_seconds=_QUIET_SECONDS.value,
    )
    calls = _calls(EVENTS)
    Path(_OUT.value).mkdir(parents=True, exist_ok=True)
    for name in _SPLITS.value:
        left_out = write_split(name, world, calls, Path(_OUT.value), _AUDIO.value, _PROCESSES.value)
        _summarise(name, left_out)


def make(source: str) -> None:
    """Makes a call of every spoken dialogue of SOURCE."""
    check_output("--out", _OUT.value)
    calls, extras = _calls(EventsConfig()), extras_of(None if _EXTRAS.value is None else Path(_EXTRAS.value))
    rows = validate(read(source, _FORMAT.value, _ROOT.value, _VIEW.value, _SPLIT.value), Limits(ENDLESS))
    found = _usable(dialogues(rows, extras, _TOGETHER.value))
    first = next(found, None)
    if first is None:
        raise InputError(f"{source}: no spoken dialogue to make calls of")
    every = itertools.chain([first], found)
    left_out = write_calls(Path(_OUT.value), every, None, calls, _AUDIO.value, _PROCESSES.value)
    _summarise(Path(source).name, left_out)


def _usable(rows: Iterable[Dialogue | Rejected]) -> Iterator[Dialogue]:
    """Yields dialogues, and prints why other rows have none."""
    for row in rows:
        if isinstance(row, Rejected):
            print(formatted(row))
        else:
            yield row


def report(path: str) -> None:
    """Writes the realism report of the calls of PATH."""
    check_output_file("--out", _OUT.value, ".html")
    rows = validate(read(path, _FORMAT.value, _ROOT.value, split=_SPLIT.value), Limits(ENDLESS))
    reference = None if _REFERENCE.value is None else realism.offsets_of(Path(_REFERENCE.value))
    for line in realism.write(Path(_OUT.value), Path(path).name, _SPLIT.value, rows, reference):
        print(line)


def _summarise(name: str, left_out: list[str]) -> None:
    for one in left_out:
        print(f"{one}: no call: not one of its exchanges fits the slots; give more --slots")
    print(f"{name}: {_OUT.value}")


def _calls(events: EventsConfig) -> CallsConfig:
    """Returns what calls are made with: these events with the changes of --events."""
    try:
        least, most = (int(word) for word in _SLOTS.value)
    except ValueError:
        raise InputError(f"--slots={','.join(_SLOTS.value)}: give two whole numbers, as 60,160") from None
    events = _changed(events, _EVENTS.value, "events")
    channel = _changed(ChannelConfig(), _CHANNEL.value, "channel")
    return CallsConfig(_SEED.value, (least, most), _DELAY.value, events, channel)


def _changed(config: Any, text: str, name: str) -> Any:
    """Returns a config with the changes of a flag."""
    try:
        changes = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--{name}={text}: not JSON ({error})") from error
    if not isinstance(changes, dict):
        raise InputError(f'--{name}={text}: give an object, as {{"room": {{"probability": 0}}}}')
    return from_tree(type(config), _merged(to_tree(config), changes), name)


def _merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(tree[key], value) if isinstance(value, dict) and isinstance(tree.get(key), dict) else value
        for key, value in changes.items()
    }
    return {**tree, **both}


COMMANDS = {"toy": toy, "make": make, "report": report}

if __name__ == "__main__":
    cli.run_commands(COMMANDS)
