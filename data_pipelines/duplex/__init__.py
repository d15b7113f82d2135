"""Two-channel calls: made of half-duplex dialogues, or read from recordings."""
