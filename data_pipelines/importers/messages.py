"""Messages with audio placeholders in their text, of any format."""

from collections.abc import Iterable, Iterator
from typing import Any

from data_pipelines.records.reject import Reason, RejectedError


def split(content: str, placeholder: str) -> tuple[str, str | None]:
    """The words before a placeholder and those after it, without the line break between; None without a placeholder.

    Raises:
      RejectedError: there are several: the chat template allows one audio in a message.
    """
    parts = content.split(placeholder)
    if len(parts) == 1:
        return content, None
    if len(parts) > 2:
        raise RejectedError(
            Reason.LAYOUT, f"a message holds {len(parts) - 1} audios; the chat template has room for one"
        )
    return parts[0], parts[1].removeprefix("\n")


class Entries:
    """The audio entries of a row, taken one by one for the placeholders of its messages."""

    def __init__(self, entries: Iterable[Any], contents: Iterable[str], placeholder: str) -> None:
        """Raises `RejectedError` if the numbers of placeholders in `contents` and of entries differ."""
        found = list(entries)
        placeholders = sum(content.count(placeholder) for content in contents)
        if placeholders != len(found):
            raise RejectedError(
                Reason.PLACEHOLDERS, f"{placeholders} audio placeholders but {len(found)} audio entries"
            )
        self._left: Iterator[Any] = iter(found)

    def take(self) -> Any:
        """The next entry."""
        return next(self._left)
