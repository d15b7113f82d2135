"""All recorded scorers by name."""

from typing import Final

from experiments.scoring.recorded import answers, instructions, speechfc, understanding, voicebench, wer
from experiments.scoring.recorded.base import Recorded

SCORERS: Final[dict[str, Recorded]] = {
    one.name: one
    for family in (answers, instructions, speechfc, understanding, voicebench, wer)
    for one in family.SCORERS
}
