"""Recordings of talks on the server's disk, where its operator asks for them."""
