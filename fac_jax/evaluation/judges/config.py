"""The config of a judge, and the judge that it describes."""

import dataclasses
from pathlib import Path

from fac_jax.evaluation.judges.base import Decoding, Kind
from fac_jax.evaluation.judges.templates import TEMPLATES
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """Who judges, and how.

    Attributes:
      kind: "endpoint" asks an OpenAI-compatible server; "recorded" reads a file of replies; "stand_in" asks nobody, and
        its values are kept out of the paper's column.
      base_url: of the endpoint.
      model: its name there. For recorded judgements the one whose replies are read; "" if the file has only one.
      key_variable: environment variable that holds the key; "" for a server without keys.
      temperature: of the softmax; None, here and in the next three, takes the template's own.
      top_p: nucleus sampling.
      replies: number of replies to one request.
      max_tokens: longest reply in tokens.
      retries: further attempts after a failure, or after replies that cannot be read.
      backoff_s: seconds before the second attempt after a failure; doubled for each further one.
      threads: requests under way at once.
      timeout_s: longest wait for the server, in seconds.
      price_per_million_in: price of a million tokens of questions, in any currency.
      price_per_million_out: price of a million tokens of replies.
      price_cap: what all replies in the file of judgements may cost, in the same currency; what is left then is not
        asked. None for no cap.
      prompt_folder: folder of prompts that take the place of ours (`Prompts`).
      file: of recorded judgements; None for the file to which an endpoint writes.
    """

    kind: Kind = "endpoint"
    base_url: str = "https://api.openai.com/v1"
    model: str = ""
    key_variable: str = "OPENAI_API_KEY"
    temperature: float | None = None
    top_p: float | None = None
    replies: int | None = None
    max_tokens: int | None = None
    retries: int = 4
    backoff_s: float = 1.0
    threads: int = 8
    timeout_s: float = 120.0
    price_per_million_in: float | None = None
    price_per_million_out: float | None = None
    price_cap: float | None = None
    prompt_folder: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "endpoint" and not self.model:
            raise InputError("judge.model is missing: name a model of the endpoint, such as gpt-4o-mini")
        if self.kind == "endpoint" and not self.base_url.startswith(("http://", "https://")):
            raise InputError(f"judge.base_url is {self.base_url!r}: give an address such as http://localhost:8000/v1")
        least = {"retries": 0, "threads": 1, "timeout_s": 0.001, "backoff_s": 0, "replies": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise InputError(f"judge.{name} is {value}: give {bound} or more")
        if self.price_cap is not None and None in (self.price_per_million_in, self.price_per_million_out):
            raise InputError("judge.price_cap needs judge.price_per_million_in and judge.price_per_million_out")

    def decoding(self, template: str) -> Decoding:
        """Returns the decoding of a template, with what this config changes."""
        given = {"temperature": self.temperature, "top_p": self.top_p}
        changed = {name: float(value) for name, value in given.items() if value is not None}
        counts = {"replies": self.replies, "max_tokens": self.max_tokens}
        changed |= {name: value for name, value in counts.items() if value is not None}
        return dataclasses.replace(TEMPLATES[template].decoding, **changed)

    def folder(self) -> Path | None:
        """Returns the folder of prompts; None for our wordings."""
        return None if self.prompt_folder is None else Path(self.prompt_folder)
