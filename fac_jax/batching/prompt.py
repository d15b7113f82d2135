"""A conversation as a prompt, with room in the context for its reply."""

from typing import Protocol

from fac_jax.batching.conversation import Conversation
from fac_jax.batching.grid import Example, ModelGrid, encode
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError


class PromptedModel(ModelGrid, Protocol):
    """The properties of a model that a prompt depends on; `context` is the number of LLM positions it may have."""

    @property
    def context(self) -> int: ...


def prompt_of(conversation: Conversation, tokenizer: Tokenizer, model: PromptedModel, max_steps: int) -> Example:
    """Lays a conversation out for generation.

    Args:
      conversation: that ends with a user's turn.
      tokenizer: of the model.
      model: its grid and its context.
      max_steps: most text ids of the reply, each of which takes an LLM position.

    Raises:
      InputError: it leaves no room for the reply in the context; names the row.
    """
    room = model.context - max_steps
    if max_steps < 1:
        raise InputError(f"max_steps={max_steps}: give at least 1")
    if room < 1:
        raise InputError(f"max_steps={max_steps} leaves no room in the context of {model.context} positions")
    example = encode(conversation, tokenizer, model, add_generation_prompt=True)
    over = len(example) - room
    if over > 0:
        seconds = example.audio_seconds
        most = max(0.0, seconds - over * model.group_size / TOKEN_RATE)
        shorten = f": {seconds:.1f} s of audio, at most {most:.1f} s fit" if seconds else ""
        raise InputError(
            f"row {conversation.id}: takes {len(example)} LLM positions, the context has {room} for it with "
            f"max_steps={max_steps}{shorten}"
        )
    return example
