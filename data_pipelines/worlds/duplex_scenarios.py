"""The splits of the duplex world: calls to train on, and twelve scenarios in each of which one thing happens.

A scenario has one kind of event, in every call and where a scorer knows of it, over a channel without noise or rooms.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from data_pipelines.augment.operations import Noise, Room
from data_pipelines.duplex.channel import ChannelConfig, Echo
from data_pipelines.duplex.dialogue import Dialogue
from data_pipelines.duplex.events import (
    Backchannel,
    Burst,
    EventsConfig,
    Greeting,
    Interruption,
    LogNormal,
    Pause,
    Quiet,
    ResponseGap,
    Unfinished,
    UserGap,
    without,
)
from data_pipelines.duplex.folder import write_calls
from data_pipelines.duplex.make import CallsConfig
from data_pipelines.worlds.duplex_world import Draw, DuplexWorldConfig, Question, draws, planned, speak

LONG: Final = 8  # least number that is counted to where a reply must last
CLEAN: Final = ChannelConfig(level=(-24.0, -20.0), room=Room(0.0), echo=Echo(0.0), noise=Noise(0.0))
ECHO: Final = dataclasses.replace(CLEAN, echo=Echo(1.0, gain=(0.1, 0.2)))
NOISY: Final = dataclasses.replace(CLEAN, noise=Noise(1.0, (0.0, 20.0), ("white", "pink", "brown")), pieces=0.0)
SHORT, USUAL, LONGER = (40, 40), (60, 60), (75, 75)  # slots


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What happens in the calls of a held-out split.

    Attributes:
      questions: draws the questions of a call.
      events: with one kind of event.
      channel: of the user.
      slots: of a call.
    """

    questions: Callable[[Draw], Sequence[Question]]
    events: EventsConfig
    channel: ChannelConfig = CLEAN
    slots: tuple[int, int] = SHORT


def _sum(draw: Draw) -> Sequence[Question]:
    return (draw.sum(),)


def _count(draw: Draw) -> Sequence[Question]:
    return (draw.count(LONG),)


def _count_and_sum(draw: Draw) -> Sequence[Question]:
    return draw.count(LONG), draw.sum()


def _during(burst: Burst) -> Burst:
    return dataclasses.replace(burst, probability=1.0, idle=0.0)


USUALLY: Final = EventsConfig()
# Of training: people wait less for each other, and what is hard happens more often.
EVENTS: Final = EventsConfig(
    user_gap=UserGap(LogNormal(0.35, 0.6, 0.1, 3.0), early=0.15),
    response_gap=ResponseGap((1.0,)),
    # Few late stops: a model that never sees one goes on for good when it has missed the first slots.
    interruption=Interruption(0.7, slots=(2, 3, 4, 5), shares=(0.2, 0.5, 0.25, 0.05)),
    side_talk=dataclasses.replace(USUALLY.side_talk, probability=0.6, idle=0.15),
)
SCENARIOS: Final[Mapping[str, Scenario]] = {
    "clean_turn": Scenario(_sum, without()),
    "pause": Scenario(_sum, without(pause=Pause(1.0, LogNormal(0.95, 0.3, 0.6, 1.5)))),
    "unfinished": Scenario(_sum, without(unfinished=Unfinished(1.0)), slots=USUAL),
    "interruption": Scenario(_count_and_sum, without(interruption=Interruption(1.0, command=0.0)), slots=LONGER),
    "stop": Scenario(_count, without(interruption=Interruption(1.0, command=1.0)), slots=USUAL),
    "backchannel": Scenario(_count, without(backchannel=Backchannel(1.0, idle=0.0)), slots=USUAL),
    "noise": Scenario(_count, without(noise=_during(USUALLY.noise)), slots=USUAL),
    "side_talk": Scenario(_count, without(side_talk=_during(USUALLY.side_talk)), slots=USUAL),
    "echo": Scenario(_count, without(), ECHO, USUAL),
    "greeting": Scenario(_sum, without(greeting=Greeting(1.0)), slots=USUAL),
    "silence": Scenario(_sum, without(quiet=Quiet(1.0, noise=0.0))),
    "noise_only": Scenario(_sum, without(quiet=Quiet(1.0, noise=1.0)), NOISY),
}
QUIET: Final = ("silence", "noise_only")
TRAINING: Final = ("train", "dev")


def split_dialogues(
    name: str, config: DuplexWorldConfig, calls: CallsConfig, processes: int
) -> tuple[Iterator[Dialogue], int, CallsConfig]:
    """Speaks the dialogues of one split, "train", "dev" or a scenario; raises as `draws` and `speak`.

    Args:
      calls: of training.
      processes: do not change the result.

    Returns:
      the dialogues, how many there are, and what their calls are made with: a scenario has events, a channel and slots
      of its own.
    """
    if name in TRAINING:
        count, draw = config.calls if name == "train" else config.dev_calls, draws(config)[name]
        asked = planned(draw, name, count, lambda draw: [draw.question() for _ in range(config.exchanges)])
        return speak(config, asked, processes), count, calls
    one = SCENARIOS[name]
    count = config.quiet_calls if name in QUIET else config.held_out_calls
    asked = planned(draws(config)["test"], name, count, one.questions)
    quiet = dataclasses.replace(one.events.quiet, seconds=config.quiet_seconds)
    events = dataclasses.replace(one.events, quiet=quiet)
    made = dataclasses.replace(calls, events=events, channel=one.channel, slots=one.slots)
    return speak(config, asked, processes), count, made


def write_split(
    name: str, config: DuplexWorldConfig, calls: CallsConfig, folder: Path, kind: str, processes: int
) -> list[str]:
    """Makes the calls of `split_dialogues` and writes them as `FOLDER/NAME`; `kind` and the result as `write_calls`."""
    dialogues, count, made = split_dialogues(name, config, calls, processes)
    return write_calls(folder / name, dialogues, count, made, kind, processes)
