"""The codec's commands of `experiments.convert`: the released voice into ours, and a proof that it is the same."""

from pathlib import Path

from absl import flags

from experiments.figures import show_figures
from fac_jax.checkpoint.codec_convert import TOKENIZER, convert_codec
from fac_jax.checkpoint.onnx_tokenizer import SHA256
from fac_jax.evaluation.recorded_codec import compare_codec
from fac_jax.progress import shown

SPEAKERS = flags.DEFINE_string("speakers", None, "codec: speaker embeddings (.pt or .npz), if they are not in SRC.")
SPEAKER = flags.DEFINE_string("speaker", None, "codec: the speaker that decodes; the first if not given.")


def codec(src: str, dst: str) -> None:
    """Released voice `src` -> codec of ours `dst`."""
    speakers = Path(SPEAKERS.value) if SPEAKERS.value else None
    made = convert_codec(Path(src), Path(dst), speakers, SPEAKER.value, wrap=shown("parts"))
    if made.published:
        print(f"{TOKENIZER} is the published file (sha256 {SHA256})")
    else:
        print(f"{TOKENIZER} is NOT the published file, whose sha256 is {SHA256}")
    for part, count in made.counts.items():
        print(f"{part}: {count:,} parameters")
    print(f"{dst}: speaks as {made.speaker}; speakers: {', '.join(made.speakers)}")


def verify_codec(folder: str) -> None:
    """The codec against recorded runs in `folder`; exits 1 if a figure exceeds its limit."""
    show_figures(compare_codec(Path(folder)))
