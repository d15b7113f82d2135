"""What of a session outlives its connection, so that a client that has lost it can go on."""

import dataclasses
from collections.abc import Sequence

from fac_jax.serving.realtime.items import Item
from fac_jax.serving.realtime.settings import Settings


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """A session between two connections.

    Attributes:
      id: of the session.
      client: whose session it is (`security.Access`); nobody else resumes it.
      model: that answers.
      settings: of the session.
      items: of its conversation, all complete.
      expires_at: second of the day at which it ends.
      conversation_id: of its conversation.
      spoke: whether the model has spoken; then the voice is fixed.
      connection: number of its last connection, from 1.
    """

    id: str
    client: str
    model: str
    settings: Settings
    items: Sequence[Item]
    expires_at: int
    conversation_id: str
    spoke: bool
    connection: int
