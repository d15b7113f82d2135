"""A realtime server: OpenAI's protocols on the generation engine (docs/serving.md)."""
