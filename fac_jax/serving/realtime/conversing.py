"""What clients do to the items of a conversation."""

from fac_jax.serving.realtime.client_events import CreateItem, DeleteItem, RetrieveItem, TruncateItem
from fac_jax.serving.realtime.desk import Desk
from fac_jax.serving.realtime.item_input import read_item
from fac_jax.serving.realtime.items import Item, Items
from fac_jax.serving.realtime.refused import RefusedError
from fac_jax.serving.realtime.server_events import (
    item_added,
    item_deleted,
    item_done,
    item_retrieved,
    item_truncated,
)
from fac_jax.serving.realtime.truncation import cut_to_heard, heard_ms


class Conversing:
    """The items of a session, as clients see and change them."""

    def __init__(self, desk: Desk, items: Items) -> None:
        self._desk, self._items = desk, items
        self._retrieved: list[Item] = []  # whose audio is not there yet

    def create(self, event: CreateItem) -> None:
        """Puts an item into the conversation."""
        form = self._desk.settings.audio.input.format
        item = read_item(event.item, "item", form, self._desk.server.config.limits)
        previous = self._items.create(item, event.previous_item_id)
        self._desk.emit(item_added(item.shown(), previous))
        self._desk.emit(item_done(item.shown(), previous))

    def retrieve(self, event: RetrieveItem) -> None:
        """Shows an item with its audio, once it is there."""
        self._retrieved.append(self._find(event.item_id, "retrieve"))
        self.show_retrieved()

    def show_retrieved(self) -> None:
        """Shows the items that were asked for and are there now."""
        asked, self._retrieved = self._retrieved, []
        for item in asked:
            if item.ready:
                self._desk.emit(item_retrieved(item.shown(self._desk.settings.audio.input.format)))
            else:
                self._retrieved.append(item)

    def truncate(self, event: TruncateItem) -> None:
        """Forgets what the user did not hear of a reply."""
        item = self._find(event.item_id, "truncate")
        ms = heard_ms(item, event.content_index, event.audio_end_ms)
        assert item.made is not None
        item.made.heard_s = ms / 1000
        item.sent_s = min(item.sent_s, ms / 1000)
        cut_to_heard(item, self._desk.server.engine)
        self._desk.emit(item_truncated(item.id, event.content_index, ms))

    def delete(self, event: DeleteItem) -> None:
        """Takes an item out of the conversation."""
        item = self._find(event.item_id, "delete")
        self._items.remove(item)
        self._desk.emit(item_deleted(item.id))

    def _find(self, item_id: str, what: str) -> Item:
        item = self._items.find(item_id)
        if item is None:
            raise RefusedError(f"There is no item {item_id[:128]!r}.", f"item_{what}_invalid_item_id", "item_id")
        return item
