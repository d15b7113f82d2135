"""Word and character error rates by the rules of the public tools."""
