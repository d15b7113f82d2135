"""Built-in plug-ins: Whisper through faster-whisper or Transformers, and DNSMOS. Their packages are extras.

Each comes twice: as a function that makes a function of one wave, and as a plug-in over questions (`plugins.py`).
"""

import contextlib
import dataclasses
import importlib
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from jaxtyping import Float32

from fac_jax.audio.io import RATE, load
from fac_jax.types import InputError

Rows: TypeAlias = Iterable[Mapping[str, Any]]
Wave: TypeAlias = Float32[np.ndarray, " N"]  # at 16 kHz


def faster_whisper(
    model: str, language: str | None = None, device: str = "auto", compute_type: str = "default"
) -> Callable[[Wave], str]:
    """Returns a recogniser of faster-whisper.

    Args:
      model: folder of CTranslate2, or a name that faster-whisper knows and fetches.
      language: code such as "en"; None lets the model find it out.
      device: "cpu", "cuda" or "auto".
      compute_type: number type of CTranslate2, such as "float32".

    Raises:
      InputError: the package is not installed, or there is no such model.
    """
    package = _imported("faster_whisper")
    try:
        recogniser = package.WhisperModel(model, device=device, compute_type=compute_type)
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"faster_whisper, model {model}: {' '.join(str(error).split())}") from error
    return lambda wave: "".join(part.text for part in recogniser.transcribe(wave, language=language)[0]).strip()


def whisper_transformers(model: str, device: str | None = None) -> Callable[[Wave], str]:
    """Returns a recogniser of Transformers as UltraEval-Audio runs it: with time stamps, its language not set.

    Args:
      model: folder, or a name on Hugging Face; UltraEval's is openai/whisper-large-v3.
      device: of torch; None takes a GPU in float16 if there is one.

    Raises:
      InputError: the packages are not installed, or there is no such model.
    """
    torch, transformers = _imported("torch"), _imported("transformers")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float32 if device == "cpu" else torch.float16
    try:
        pipe = transformers.pipeline("automatic-speech-recognition", model=model, device=device, dtype=dtype)
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"whisper_transformers, model {model}: {' '.join(str(error).split())}") from error
    return lambda wave: pipe({"raw": wave, "sampling_rate": RATE}, return_timestamps=True)["text"].strip()


def dnsmos() -> Callable[[Wave], float]:
    """Returns DNSMOS P.835's overall score (1 to 5) of a wave; raises InputError if speechmos is not installed."""
    run = _imported("speechmos.dnsmos").run
    return lambda wave: float(run(np.clip(wave, -1, 1), sr=RATE)["ovrl_mos"])


def _faster_whisper(rows: Rows, model: str, **options: Any) -> Iterator[dict[str, Any]]:
    return _each(rows, "text", faster_whisper(model, **options))


def _whisper_transformers(rows: Rows, model: str, **options: Any) -> Iterator[dict[str, Any]]:
    return _each(rows, "text", whisper_transformers(model, **options))


def _dnsmos(rows: Rows) -> Iterator[dict[str, Any]]:
    return _each(rows, "score", dnsmos())


def _each(rows: Rows, kind: str, function: Callable[[Wave], Any]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {"id": row["id"], kind: function(load(row["audio"]))}


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        extra = "torch" if name in ("torch", "transformers") else "listen"
        raise InputError(f"{name} cannot be imported ({error}): pip install -e '.[{extra}]'") from error


@dataclasses.dataclass(frozen=True)
class BuiltIn:
    """A built-in plug-in: its function of questions and options, and the distribution that it runs."""

    function: Callable[..., Iterable[Mapping[str, Any]]]
    distribution: str


BUILT_IN: Final[Mapping[str, BuiltIn]] = {
    "faster_whisper": BuiltIn(_faster_whisper, "faster-whisper"),
    "whisper_transformers": BuiltIn(_whisper_transformers, "transformers"),
    "dnsmos": BuiltIn(_dnsmos, "speechmos"),
}


def package_version(entry: str | None) -> str:
    """Returns the distribution of a built-in plug-in with its version; "" for others, and where it is not installed."""
    if entry not in BUILT_IN:
        return ""
    name = BUILT_IN[entry].distribution
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return f"{name} {importlib.metadata.version(name)}"
    return ""
