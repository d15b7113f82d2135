"""Full duplex, `GET /v1/live/sessions`: a talk without turns, whose clock is the client's audio."""
