"""Two processes that find each other."""

import socket


def clusters(*options: str) -> list[list[str]]:
    """Flags of each of two processes that find each other."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    cluster = ("--cluster=flags", f"--coordinator=localhost:{port}", "--processes=2", *options)
    return [[*cluster, f"--process={number}"] for number in range(2)]
