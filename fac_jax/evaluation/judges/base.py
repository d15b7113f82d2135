"""What all judges share: what is asked, what is answered, and who the judge is (docs/evaluation.md, judges)."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, Protocol, TypeAlias

Kind: TypeAlias = Literal["endpoint", "recorded", "stand_in"]
Wording: TypeAlias = Literal["official prompt", "own wording", "other wording"]
Accept: TypeAlias = Callable[[tuple[str, ...]], bool]  # whether the replies of one request can be read

UNREADABLE: Final = "unreadable"
PRICE_CAP: Final = "price cap"
NO_SCALE: Final = "no stand-in"


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How a judge draws its replies; None leaves a setting to the server.

    Attributes:
      temperature: of the softmax; 0 is greedy.
      top_p: nucleus sampling.
      replies: number of replies to one request.
      max_tokens: longest reply in tokens.
    """

    temperature: float | None = None
    top_p: float | None = None
    replies: int = 1
    max_tokens: int | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """One question to a judge.

    Attributes:
      id: the row that it belongs to; judgements carry it.
      template: name of the prompt template, a key of `templates.TEMPLATES`.
      fields: texts that take the places of the template's placeholders.
      audio: WAV files as bytes, for judges that listen.
    """

    id: str
    template: str
    fields: Mapping[str, str]
    audio: tuple[bytes, ...] = ()

    def sha256(self, decoding: Decoding) -> str:
        """Hashes what is asked: template, fields, decoding and audio, but not the row."""
        audio = [hashlib.sha256(one).hexdigest() for one in self.audio]
        asked = {
            "template": self.template,
            "fields": dict(self.fields),
            "decoding": dataclasses.asdict(decoding),
            "audio": audio,
        }
        text = json.dumps(asked, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a judge answered to one request.

    Attributes:
      id: of the request.
      replies: as many as the decoding asks for; with the cause `UNREADABLE` the last ones that could not be read. None
        if the judge gave none.
      cause: why there is no readable reply, in a few words such as "timeout"; None if there is one.
    """

    id: str
    replies: tuple[str, ...] | None
    cause: str | None = None


@dataclasses.dataclass(frozen=True)
class JudgeIdentity:
    """Who judged, and by which prompt; every report that holds a judged value holds one of these.

    Attributes:
      kind: kind of the judge.
      template: name of the prompt template.
      model: name of the model at its host; None for a stand-in, as all that follows.
      host: of the endpoint, without port or key.
      prompt: "official prompt" only if the SHA-256 of the text in use is that of the official one.
      prompt_sha256: of the text in use.
      system: the same of the system prompt; None for a template without one.
      decoding: in use.
      official_model: the model of the official code.
      official_decoding: whether the decoding is the official one.
    """

    kind: Kind
    template: str
    model: str | None = None
    host: str | None = None
    prompt: Wording | None = None
    prompt_sha256: str | None = None
    system: Wording | None = None
    decoding: Decoding | None = None
    official_model: str | None = None
    official_decoding: bool = False

    @property
    def stand_in(self) -> bool:
        """Returns whether values of this judge must be kept out of the paper's column."""
        return self.kind == "stand_in"

    def describe(self) -> str:
        """Returns one line for a report, such as "gpt-4o-mini at api.openai.com, own wording"."""
        if self.stand_in:
            return "stand-in (no judge: normalised containment of the reference)"
        words = [f"{self.model} at {self.host}"]
        words += ["recorded"] if self.kind == "recorded" else []
        words += [str(self.prompt)]
        words += [f"system prompt: {self.system}"] if self.system not in (None, self.prompt) else []
        words += [] if self.official_decoding else ["decoding changed"]
        return ", ".join(words)


class Judge(Protocol):
    """Answers requests."""

    def ask(self, requests: Sequence[Request], accept: Accept) -> Iterator[Judgement]:
        """Yields one judgement for every request, in any order.

        Args:
          requests: questions; equal ones are asked once.
          accept: whether the replies of one request can be read. It depends on nothing else, and may be called by
            several threads at once.

        Raises:
          InputError: nothing can be asked, such as for want of a key or of a recorded judgement.
        """
        ...

    def identity(self, template: str) -> JudgeIdentity:
        """Says who judges requests of a template."""
        ...
