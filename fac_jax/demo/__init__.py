"""A small trained model that ships with the package, so that there is something to talk to without training.

`model/README.md` says how it was made, and `model/NOTICE` what its licence asks for.
"""

from pathlib import Path
from typing import Final

MODEL: Final = Path(__file__).parent / "model"
