"""Half duplex, `GET /v1/realtime`: talks in turns, by the realtime protocol of OpenAI."""
