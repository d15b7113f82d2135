"""The HTTP endpoints of the server, and what all of its connections pass through."""
