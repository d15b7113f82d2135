"""What is wrong with the tensors of an adapter, gathered to be told in one message."""

from typing import Final

SHOWN: Final = 8  # faults of a kind that are told one by one


class Faults:
    """Faults of tensors and modules, by kinds."""

    def __init__(self) -> None:
        self._kinds: dict[str, list[str]] = {}

    def add(self, kind: str, name: str, detail: str | None = None) -> None:
        """Notes a fault of a tensor or module: its kind, of which there may be many, and what is said of this one."""
        self._kinds.setdefault(kind, []).append(f"{name} {kind if detail is None else detail}")

    @property
    def count(self) -> int:
        """Number of faults."""
        return sum(map(len, self._kinds.values()))

    def told(self) -> list[str]:
        """Returns what is wrong; of a kind with many faults the first, and the number of the others."""
        found = []
        for kind, faults in self._kinds.items():
            found += faults[:SHOWN]
            if len(faults) > SHOWN:
                found.append(f"{len(faults) - SHOWN} more of the kind '{kind}'")
        return found
