"""Records of recordings with transcripts: for recognition ("asr") or for synthesis ("tts")."""

from typing import Literal, TypeAlias, get_args

from data_pipelines.records.record import Audio, Message, Record
from data_pipelines.records.reject import Reason, RejectedError
from fac_jax.text.prompts import TRANSCRIBE

View: TypeAlias = Literal["asr", "tts"]
VIEWS: tuple[View, ...] = get_args(View)


def transcribed(name: str, audio: Audio, text: str, file: str, line: int, view: View = "asr") -> Record:
    """The record of a recording and its transcript.

    Args:
      name: id of the row.
      audio: the recording.
      text: its transcript.
      file: file that holds the row.
      line: line number in the file.
      view: "asr" asks for the transcript, "tts" asks the assistant to speak the text.

    Raises:
      RejectedError: the transcript is empty.
    """
    if not text.strip():
        raise RejectedError(Reason.EMPTY_TEXT, "the transcript is empty")
    if view == "asr":
        messages = (Message("user", TRANSCRIBE, audio), Message("assistant", text))
    else:
        messages = (Message("user", text), Message("assistant", text, audio))
    return Record(name, None, messages, None, file, line)
