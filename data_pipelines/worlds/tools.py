"""Spoken requests that a function call fulfils, two or three tools beside them: the toy world of function calling.

Every tool takes a word and a number, so that there are many more combinations than a model can know by heart. Held out
are combinations that no training row asks of their tool, spoken or written, though each of their values occurs with
others; and whole tools, which training calls after written requests only. Voices are held out as in the other worlds.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from data_pipelines.worlds.arithmetic import NUMBERS

Value: TypeAlias = int | str
ROOMS: Final = ("kitchen", "garden", "office", "hall", "bedroom", "library")
NAMES: Final = ("amanda", "peter", "george", "elizabeth", "oliver", "sophie")
THINGS: Final = ("apples", "cups", "flowers", "bananas", "tickets", "envelopes")
STYLES: Final = ("jazz", "opera", "techno", "disco", "country", "piano")
NUMBER: Final = tuple(range(1, 11))
THIRD: Final = 0.25  # share of the rows that offer three tools; the others offer two


@dataclasses.dataclass(frozen=True)
class Tool:
    """A function, and how people ask for it.

    Attributes:
      name: of the function.
      description: one sentence.
      values: possible values of every parameter; all parameters are required.
      requests: what is said, with the names of the parameters in braces; a number is said in words.
      spoken: whether training calls it after spoken requests; if not, it is held out as a whole.
    """

    name: str
    description: str
    values: Mapping[str, Sequence[Value]]
    requests: tuple[str, ...]
    spoken: bool = True

    @property
    def function(self) -> dict[str, Any]:
        """Returns its description in OpenAI's format."""
        kinds = {key: "integer" if isinstance(found[0], int) else "string" for key, found in self.values.items()}
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": {
                    "type": "object",
                    "properties": {key: {"type": kind} for key, kind in kinds.items()},
                    "required": list(self.values),
                },
            },
        }

    def asked(self, template: int, arguments: Mapping[str, Value]) -> str:
        """Returns the words of a request."""
        words = {key: NUMBERS[one] if isinstance(one, int) else one for key, one in arguments.items()}
        return self.requests[template].format(**words)

    def combinations(self) -> list[dict[str, Value]]:
        """Returns all arguments."""
        return [dict(zip(self.values, found, strict=True)) for found in itertools.product(*self.values.values())]


TOOLS: Final = (
    Tool(
        "set_light",
        "Dims a light.",
        {"room": ROOMS, "level": NUMBER},
        ("set the {room} light to {level}", "set the light in the {room} to {level}"),
    ),
    Tool(
        "set_heating",
        "Heats a room.",
        {"room": ROOMS, "degrees": NUMBER},
        ("heat the {room} to {degrees} degrees", "make the {room} {degrees} degrees"),
    ),
    Tool(
        "call_person",
        "Calls somebody.",
        {"name": NAMES, "hour": NUMBER},
        ("call {name} at {hour}", "at {hour} please call {name}"),
    ),
    Tool(
        "play_music",
        "Plays songs.",
        {"style": STYLES, "songs": NUMBER},
        ("play {songs} {style} songs", "play me {songs} songs of {style}"),
    ),
    Tool(
        "buy_things",
        "Buys things.",
        {"thing": THINGS, "count": NUMBER},
        ("buy {count} {thing}", "please buy me {count} {thing}"),
    ),
    Tool(
        "open_window", "Opens a window.", {"room": ROOMS, "hour": NUMBER}, ("open the {room} window at {hour}",), False
    ),
    Tool("wake_person", "Wakes somebody.", {"name": NAMES, "hour": NUMBER}, ("wake {name} at {hour}",), False),
    Tool("sell_things", "Sells things.", {"thing": THINGS, "count": NUMBER}, ("sell {count} {thing}",), False),
)


@dataclasses.dataclass(frozen=True)
class Request:
    """A request with the tools that are offered, the right one among them.

    Attributes:
      tool: the right one.
      arguments: the right ones.
      words: what is said.
      offered: all tools of the row, in their order.
    """

    tool: Tool
    arguments: Mapping[str, Value]
    words: str
    offered: tuple[Tool, ...]

    @property
    def functions(self) -> list[dict[str, Any]]:
        """Returns the offered tools in OpenAI's format."""
        return [tool.function for tool in self.offered]

    @property
    def reply(self) -> str:
        """Returns the request in words, as replies of the toy world restate it, and the right call."""
        return f"{self.words}\n{call(self.tool.name, self.arguments)}"

    @property
    def ground_truth(self) -> list[dict[str, dict[str, list[Value]]]]:
        """Returns the right call as SpeechFC writes it: every parameter with its possible answers."""
        return [{self.tool.name: {key: [one] for key, one in self.arguments.items()}}]


def call(name: str, arguments: Mapping[str, Value]) -> str:
    """Returns a function call as the released model writes it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': dict(arguments)})}\n</tool_call>"


def brief(tools: Sequence[Tool]) -> str:
    """Returns the tools on one line, by their names and parameters: a short list to learn calls from."""
    return ", ".join(f"{tool.name}({', '.join(tool.values)})" for tool in tools)


def split_arguments(tool: Tool, seed: int) -> tuple[list[dict[str, Value]], list[dict[str, Value]]]:
    """Returns the arguments that training asks for and those that are held out, each in an order drawn by `seed`.

    Every word has one held-out number, and no two words have the same: a model that has learnt which words never come
    with a number hears others in their place. Of a tool that is held out as a whole all arguments are in both.
    """
    every = tool.combinations()
    rng = np.random.default_rng((seed, *tool.name.encode()))
    order = [every[int(i)] for i in rng.permutation(len(every))]
    if not tool.spoken:
        return order, order
    words, numbers = tool.values.values()
    drawn = rng.permutation(len(numbers))[: len(words)]
    held = [dict(zip(tool.values, (one, numbers[int(i)]), strict=True)) for one, i in zip(words, drawn, strict=True)]
    return [one for one in order if one not in held], held


def offered_with(tool: Tool, rng: np.random.Generator) -> tuple[Tool, ...]:
    """Draws the tools of a row, `tool` among them, in any order."""
    others = [one for one in TOOLS if one is not tool]
    count = 3 if rng.random() < THIRD else 2
    drawn = [tool, *(others[int(i)] for i in rng.permutation(len(others))[: count - 1])]
    return tuple(drawn[int(i)] for i in rng.permutation(count))


def requests(seed: int, tools: Sequence[Tool], held_out: bool, count: int, part: int) -> Iterator[Request]:
    """Yields requests for tools in turn, each tool's arguments and phrasings in turn too.

    `part` numbers the draw, so that two calls draw other tools beside the right one.
    """
    rng = np.random.default_rng((seed, part))
    ways = {
        tool.name: itertools.cycle(itertools.product(split_arguments(tool, seed)[held_out], range(len(tool.requests))))
        for tool in tools
    }
    for tool in itertools.islice(itertools.cycle(tools), count):
        arguments, template = next(ways[tool.name])
        yield Request(tool, arguments, tool.asked(template, arguments), offered_with(tool, rng))


def wrong_reply(request: Request, rng: np.random.Generator) -> str:
    """Returns a reply with another value in the call, or with a call of another of the offered tools."""
    return f"{request.words}\n{_wrong_call(request, rng)}"


def _wrong_call(request: Request, rng: np.random.Generator) -> str:
    if rng.integers(2):
        key = list(request.arguments)[int(rng.integers(len(request.arguments)))]
        others = [one for one in request.tool.values[key] if one != request.arguments[key]]
        return call(request.tool.name, {**request.arguments, key: others[int(rng.integers(len(others)))]})
    others = [one for one in request.offered if one is not request.tool]
    other = others[int(rng.integers(len(others)))]
    every = other.combinations()
    return call(other.name, every[int(rng.integers(len(every)))])
