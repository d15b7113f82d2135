"""Core-Cocktail's merge of two models on disk: alpha * A + (1 - alpha) * B on the Shared LLM, A elsewhere.

python -m experiments.merge A B --alpha=0.5 --out=C
python -m experiments.merge A B --subtree=backbone/=0.3 --subtree=encoder/=1 --out=C         (the first match counts)
"""

from pathlib import Path

import numpy as np
from absl import flags

from experiments import launch
from fac_jax.checkpoint.combine import combine_models
from fac_jax.checkpoint.export import load_config
from fac_jax.checkpoint.release import param_shapes
from fac_jax.progress import shown
from fac_jax.training.merge import SHARED_LLM, check_same, choose_alphas, combine
from fac_jax.types import InputError

ALPHA = flags.DEFINE_float("alpha", 0.5, "Share of A in the Shared LLM; 0 resets it to B.")
SUBTREE = flags.DEFINE_multi_string("subtree", [], "PATTERN=ALPHA in place of --alpha, as often as needed.")
OUT = flags.DEFINE_string("out", None, "Folder of the merged model; must not exist.", required=True)


def alphas() -> dict[str, float]:
    """Alpha by pattern, as the flags say.

    Raises:
      InputError: a --subtree that is not PATTERN=ALPHA.
    """
    if not SUBTREE.value:
        return {SHARED_LLM: ALPHA.value}
    found = {}
    for word in SUBTREE.value:
        pattern, _, alpha = word.rpartition("=")
        try:
            found[pattern] = float(alpha)
        except ValueError:
            raise InputError(f"--subtree={word}: write PATTERN=ALPHA, for example backbone/=0.5") from None
    return found


def main(a: str, b: str) -> None:
    """The command."""
    shapes = [{"/".join(path): s for path, s in param_shapes(load_config(Path(x))).items()} for x in (a, b)]
    check_same(*shapes)
    chosen = choose_alphas(list(shapes[0]), alphas())

    def mix(path: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.asarray(combine(first, second, chosen[path]))

    origin = {"merge": [a, b], "alphas": alphas(), "order": 0}
    combine_models(Path(a), Path(b), Path(OUT.value), mix, origin, shown("pieces"))
    print(f"{OUT.value}: " + ", ".join(f"{pattern} {alpha:g}" for pattern, alpha in alphas().items()))


if __name__ == "__main__":
    launch.run(main)
