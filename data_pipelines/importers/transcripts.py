"""Recordings with transcripts as records: what is heard is written down, or what is written is spoken."""

from typing import Literal, TypeAlias, get_args

from data_pipelines.records.record import Audio, Message, Record
from data_pipelines.records.reject import Reason, RejectedError
from fac_jax.text.prompts import TRANSCRIBE

View: TypeAlias = Literal["asr", "tts"]
VIEWS: tuple[View, ...] = get_args(View)


def transcribed(name: str, audio: Audio, text: str, file: str, line: int, view: View = "asr") -> Record:
    """A recording and its words as a conversation.

    Args:
      name: id of the row.
      audio: the recording.
      text: its transcript.
      file: file that holds the row.
      line: its line there.
      view: "asr" asks for what is heard, "tts" has the text said as it is recorded.

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
