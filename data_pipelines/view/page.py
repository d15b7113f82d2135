"""The page of the viewer: what training will see of a data set."""

from collections.abc import Sequence

from data_pipelines.view.blocks import LINE, Block, blocks
from data_pipelines.view.samples import Reader, Sample
from fac_jax.batching.collate import collate, least_shapes
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import encode
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.evaluation.reports.pages.page import render_page


def laid_out(samples: Sequence[Sample], reader: Reader) -> list[Block]:
    """Samples through the pipeline of training (features, grid, collation), and apart again.

    Raises:
      InputError: a row that training would refuse; names it.
    """
    found = {"": [sample.conversation for sample in samples]}
    filled = add_features(found, reader.codec, reader.grid.user_audio)[""]
    examples = [encode(conversation, reader.tokenizer, reader.grid) for conversation in filled]
    seq_len, windows = least_shapes(examples, reader.grid)
    batch = collate(examples, len(examples), seq_len, windows, reader.grid)
    return blocks(batch, samples, reader)


def totals(found: Sequence[Block]) -> dict[str, str]:
    """What the rows come to, by the words that the page and the command print."""
    said, learnt = sum(b.said for b in found), sum(b.speech_learnt for b in found)
    positions, text = sum(b.positions for b in found), sum(b.text_learnt for b in found)
    heard_seconds, said_seconds = sum(b.heard_seconds for b in found), sum(b.said_seconds for b in found)
    return {
        "rows": f"{len(found)}",
        "audio": f"{heard_seconds:.1f} s heard, {said_seconds:.1f} s said",
        "positions": f"{positions} of the LLM, {text} with a text label",
        "speech": f"{said} tokens said, {learnt} speech labels",
    }


def render(title: str, found: Sequence[Block], reader: Reader) -> str:
    """Blocks as one HTML page that needs nothing beside it."""
    group = reader.grid.group_size
    rates = {"fine": TOKEN_RATE, "coarse": TOKEN_RATE / group, "group": group, "line": LINE}
    values = {"found": found, "totals": totals(found), **rates}
    return render_page("data_pipelines.view", "view.html.jinja", title=title, summary=reader.words, **values)
