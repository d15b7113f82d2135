"""A page to look at data before it is trained on: players, spectrograms with their tokens, text, loss masks.

python -m data_pipelines.view PATH --out page.html [--rows 20] [--split train] [--task s2s] [--model RUN/STAGE/model]
"""

from pathlib import Path

from absl import flags

from data_pipelines.view_page import laid_out, render, totals
from data_pipelines.view_source import reader_of, samples, stand_ins
from fac_jax import launch
from fac_jax.pages.page import write_page

OUT = flags.DEFINE_string("out", None, "The page to write.", required=True)
ROWS = flags.DEFINE_integer("rows", 20, "How many rows are shown.", lower_bound=1)
SPLIT = flags.DEFINE_string("split", "train", "Split of the data set.")
TASK = flags.DEFINE_string("task", "", "Only rows that have this task; without it, all, as what shows most of them.")
MODEL = flags.DEFINE_string("model", None, "A finished model whose tokenizer, codec and grid are used.")


def main(path: str) -> None:
    """The command.

    Args:
      path: folder of a data set.
    """
    chosen = samples(Path(path), SPLIT.value, TASK.value, ROWS.value)
    reader = reader_of(Path(MODEL.value)) if MODEL.value else stand_ins(chosen)
    found = laid_out(chosen, reader)
    write_page(OUT.value, render(f"{path}: {SPLIT.value}", found, reader))
    for name, value in totals(found).items():
        print(f"{name:10s} {value}")
    print(f"look: {OUT.value}")


if __name__ == "__main__":
    launch.run(main, "no page was written")
