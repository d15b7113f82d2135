"""A judge whose replies lie in a file, as an endpoint left them; nobody is asked."""

import collections
import dataclasses
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from fac_jax.evaluation.appended import read_lines
from fac_jax.evaluation.judges.base import UNREADABLE, Accept, JudgeIdentity, Judgement, Request
from fac_jax.evaluation.judges.config import JudgeConfig
from fac_jax.evaluation.judges.store import Asked, parsed, sets_of
from fac_jax.evaluation.judges.templates import Prompts
from fac_jax.types import InputError


class RecordedJudge:
    """Finds replies by template, fields, decoding and audio of a request.

    The file may have been made with another wording than the one in use here: its SHA-256 says which it was.
    """

    def __init__(self, config: JudgeConfig, path: Path, prompts: Prompts) -> None:
        """Reads the file.

        Raises:
          InputError: there is no such file, a line is no judgement, or it is not clear which of several judges or
            wordings of one template is meant.
        """
        if not path.is_file():
            raise InputError(f"{path} not found: recorded judgements are read from it; judge.file names another")
        self._config, self._path, self._prompts = config, path, prompts
        self._replies: dict[Asked, list[str]] = collections.defaultdict(list)
        judges: dict[str, set[Asked]] = collections.defaultdict(set)
        for record in parsed(read_lines(path), path):
            if config.model in ("", record.asked.model):
                self._replies[record.asked].extend(record.replies)
                judges[record.asked.template].add(dataclasses.replace(record.asked, request_sha256=""))
        self._judges = {template: self._the_one(template, found) for template, found in judges.items()}

    def identity(self, template: str) -> JudgeIdentity:
        """Says who judged, by which prompt, as the file has it.

        Raises:
          InputError: the file holds no judgement of this template.
        """
        judge = self._judge(template)
        hashes, decoding = (judge.prompt_sha256, judge.system_sha256), self._config.decoding(template)
        return self._prompts.identity("recorded", template, judge.model, judge.base_url_host, hashes, decoding)

    def ask(self, requests: Sequence[Request], accept: Accept) -> Iterator[Judgement]:
        """Yields judgements in the order of the requests; see `Judge.ask`.

        Raises:
          InputError: the file holds too few replies to a request; names its row.
        """
        for request in requests:
            decoding = self._config.decoding(request.template)
            asked = dataclasses.replace(self._judge(request.template), request_sha256=request.sha256(decoding))
            sets = sets_of(self._replies.get(asked, ()), decoding.replies)
            if not sets:
                raise InputError(
                    f"{self._path}: no judgement of row {request.id} (template {request.template}, {decoding.replies} "
                    "to a request): what it holds was asked of other texts or with another decoding"
                )
            readable = next(filter(accept, sets), None)
            yield Judgement(request.id, readable or sets[-1], None if readable else UNREADABLE)

    def _judge(self, template: str) -> Asked:
        if template not in self._judges:
            raise InputError(f"{self._path}: no judgement of template {template}")
        return self._judges[template]

    def _the_one(self, template: str, found: Collection[Asked]) -> Asked:
        """Returns the only judge and wording of a template; among several wordings, the one that is in use here."""
        prompt = self._prompts[template]
        here = [one for one in found if (one.prompt_sha256, one.system_sha256) == (prompt.sha256, prompt.system_sha256)]
        chosen = list(found) if len(found) == 1 else here
        if len(chosen) != 1:
            names = sorted({f"{one.model} at {one.base_url_host}, prompt {one.prompt_sha256[:8]}" for one in found})
            raise InputError(
                f"{self._path}: judgements of template {template} by {'; '.join(names)}: choose by judge.model and "
                "judge.prompt_folder"
            )
        return chosen[0]
