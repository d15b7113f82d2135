"""The tables of plans in the docs: every plan in a process of its own, with the time and memory that it takes.

python -m experiments.planning.table [--chips=h100,v5e] [--new]     (minutes a plan, see `experiments.plan`)
python -m experiments.planning.table --of=adapters

The first is that of docs/scaling.md, the second that of docs/adapters.md. With `--chips` the plans for these are made
anew, with `--new` those that are not on the page yet, and all others stay as they stand there. Without them all are
made, which for docs/scaling.md takes libtpu and a jax with CUDA in one environment.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from absl import flags

from experiments.comparing.page import between, markdown
from fac_jax import cli
from fac_jax.io import write_text
from fac_jax.progress import shown
from fac_jax.types import InputError

CHIPS = flags.DEFINE_list("chips", [], "Chips whose plans are made anew; all if absent.")
NEW = flags.DEFINE_bool("new", False, "Make only plans that are not on the page yet.")
OF = flags.DEFINE_enum("of", "scaling", ("scaling", "adapters"), "Page of docs/ whose table is written.")

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- plans -->", "<!-- end of plans -->"
CONFIGS = Path(__file__).parents[1] / "configs"
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Row:
    """A plan: config, topology, mesh and more options as the command takes them."""

    config: str
    topology: str
    mesh: str
    options: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """What the first columns of the table say of it."""
        return " ".join((self.config, *self.options)), self.topology, self.mesh


ROWS = (
    Row("sft_8b", "v5e:8x8", "fsdp=64"),
    Row("sft_8b", "v6e:8x8", "fsdp=64"),
    Row("sft_8b", "v5p:4x4x4", "fsdp=64"),
    Row("dpo_8b", "v5e:8x16", "fsdp=64,tensor=2", ("--config.rules=fsdp_tensor",)),
    Row("dpo_8b", "v6e:8x8", "fsdp=64"),
    Row("dpo_8b", "v5p:4x4x4", "fsdp=64"),
    Row("sft_30b_a3b", "v6e:8x8", "fsdp=64"),
    Row("sft_30b_a3b", "v5p:4x4x4", "fsdp=64"),
    Row("dpo_30b_a3b", "v6e:8x8", "fsdp=64"),
    Row("dpo_30b_a3b", "v5p:4x4x4", "fsdp=64"),
    Row("dpo_30b_a3b", "v5p:2x2x4", "fsdp=16", ("--config.stages.dpo.micro_batches=4",)),
    Row("cocktail_8b", "v5p:4x4x4", "fsdp=64", ("--stage=pre_alignment",)),
    Row("cocktail_8b", "v5p:4x4x4", "fsdp=64", ("--stage=stage1",)),
    Row("duplex_8b", "v5p:4x4x4", "fsdp=64"),
    Row("sft_8b", "h100:8", "fsdp=8", ("--config.stages.sft.micro_batches=8",)),
    Row("dpo_8b", "h100:8", "fsdp=8", ("--config.stages.dpo.micro_batches=8",)),
    Row(
        *("cocktail_8b", "h100:8", "fsdp=8"),
        ("--stage=pre_alignment", "--config.stages.pre_alignment.micro_batches=8"),
    ),
    Row("cocktail_8b", "h100:8", "fsdp=8", ("--stage=stage1", "--config.stages.stage1.micro_batches=8")),
    Row("duplex_8b", "h100:8", "fsdp=8", ("--config.stages.duplex.micro_batches=8",)),
    Row("sft_30b_a3b", "h100:2x8", "fsdp=2,expert=8", ("--config.stages.sft.micro_batches=4",)),
)
ADAPTERS = (
    Row("qlora_8b", "rtx4090:1", "fsdp=1"),
    Row("qlora_8b", "rtx4090:1", "fsdp=1", ("--config.stages.lora.data.segments=1",)),
    Row("qlora_8b", "rtx4090:1", "fsdp=1", ("--config.stages.lora.micro_batches=4",)),
    Row("lora_8b", "rtx4090:1", "fsdp=1", ("--config.stages.lora.base.quantise=int8",)),
    Row("lora_8b", "rtx4090:1", "fsdp=1"),
    Row("lora_8b", "l40s:1", "fsdp=1"),
    Row("lora_8b", "l40s:1", "fsdp=1", ("--config.stages.lora.micro_batches=4",)),
    Row("lora_8b", "h100:1", "fsdp=1"),
    Row("lora_30b_a3b", "h100:1", "fsdp=1"),
)
PAGES = {"scaling": ROWS, "adapters": ADAPTERS}
HEADS = (
    "config",
    "topology",
    "mesh",
    "GiB of a chip",
    "has",
    "step, s",
    "MFU at most",
    "bound by",
    "expected, s",
    "MFU expected",
    "plan, CPU s",
    "host GiB",
)


def planned(row: Row) -> tuple[dict[str, Any], float, float]:
    """The plan, seconds of all threads of its process together, and the greatest memory of that process in GiB.

    Raises:
      InputError: the command refuses.
    """
    command = [sys.executable, "-m", "experiments.plan", f"--config={CONFIGS / row.config}.py", "--json"]
    command += [f"--topology={row.topology}", f"--mesh={row.mesh}", *row.options]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        told = out.read()
        if not told:
            raise InputError(f"{' '.join(command[1:])}: {err.read().splitlines()[-1]}")
    return json.loads(told), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / GIB


def cells(row: Row) -> list[str]:
    """A line of the table."""
    plan, seconds, host = planned(row)
    bounds, step = plan["bounds"], plan["estimated_step_seconds"]
    time_of = ["-"] * 5
    if plan["fits"]:
        time_of[:3] = f"{step:.2f}", f"{plan['estimated_mfu']:.0%}", max(bounds, key=bounds.get)
    if plan["fits"] and plan["expected_step_seconds"] is not None:
        time_of[3:] = f"{plan['expected_step_seconds']:.2f}", f"{plan['expected_mfu']:.0%}"
    memory = [f"{plan['per_chip_bytes']['peak'] / GIB:.1f}", f"{plan['hbm_bytes'] / GIB:.1f}"]
    return [*row.key, *memory, *time_of, f"{seconds:.0f}", f"{host:.1f}"]


def standing(page: str) -> dict[tuple[str, ...], list[str]]:
    """Returns the lines of the table that stand on a page, by config, topology and mesh."""
    lines = page.partition(BEGIN)[2].partition(END)[0].strip().splitlines()[2:]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {tuple(cells[:3]): cells for cells in found}


def main() -> None:
    """The command. The page is written anew, between its marks, after every plan."""
    page, rows = DOCS / f"{OF.value}.md", PAGES[OF.value]
    known = {row.topology.partition(":")[0] for row in rows}
    unknown = sorted(set(CHIPS.value) - known)
    if unknown:
        raise InputError(f"--chips={','.join(unknown)}: the plans of the table are for {', '.join(sorted(known))}")
    chosen = [row for row in rows if not CHIPS.value or row.topology.partition(":")[0] in CHIPS.value]
    between(page.read_text(), BEGIN, END, "")  # refused before minutes of work
    if NEW.value:
        chosen = [row for row in chosen if row.key not in standing(page.read_text())]
    made: dict[Row, list[str]] = {}
    for row in shown("plans")(chosen):
        made[row] = cells(row)
        text = page.read_text()
        lines = standing(text) | {row.key: line for row, line in made.items()}
        kept = [lines[row.key] for row in rows if row.key in lines]
        write_text(page, between(text, BEGIN, END, markdown([list(HEADS), *kept])))


if __name__ == "__main__":
    cli.run(main)
