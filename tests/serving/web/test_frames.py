"""Broken WebSocket frames: the connection ends with the code of RFC 6455, and nobody else notices."""

import contextlib
import json
from collections.abc import Iterator

import pytest
from fake_engine import FakeEngine
from frames import client_frame
from hypothesis import given, settings
from hypothesis import strategies as st
from served import STEADY, Started, app_of, running, until
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.sync.client import ClientConnection, connect

UPDATE = json.dumps({"type": "session.update", "session": {"type": "realtime"}}).encode()
PROTOCOL_ERROR, BAD_DATA, TOO_BIG = 1002, 1007, 1009


@pytest.fixture(scope="module")
def server() -> Iterator[Started]:
    with running(app_of(FakeEngine())) as started:
        yield started


@contextlib.contextmanager
def opened(server: Started) -> Iterator[ClientConnection]:
    """A connection; what is written to its socket goes out as it is."""
    with connect(f"ws://127.0.0.1:{server.port}/v1/realtime", max_size=None) as talk:
        assert json.loads(talk.recv(5))["type"] == "session.created"
        yield talk


def answers(talk: ClientConnection) -> None:
    while json.loads(talk.recv(5))["type"] != "session.updated":
        pass


BROKEN = {
    "the first reserved bit, which means compression": (client_frame(UPDATE, reserved=4), PROTOCOL_ERROR),
    "another reserved bit": (client_frame(UPDATE, reserved=1), PROTOCOL_ERROR),
    "no mask": (client_frame(UPDATE, masked=False), PROTOCOL_ERROR),
    "an opcode that is not there": (client_frame(UPDATE, 3), PROTOCOL_ERROR),
    "a control opcode that is not there": (client_frame(b"", 11), PROTOCOL_ERROR),
    "a control frame of more than 125 bytes": (client_frame(b"x" * 126, Opcode.PING), PROTOCOL_ERROR),
    "a control frame in pieces": (client_frame(b"x", Opcode.PING, fin=False), PROTOCOL_ERROR),
    "a piece of nothing": (client_frame(UPDATE, Opcode.CONT), PROTOCOL_ERROR),
    "a message within another one": (client_frame(b"{", fin=False) + client_frame(UPDATE), PROTOCOL_ERROR),
    "a close of one byte": (client_frame(b"x", Opcode.CLOSE), PROTOCOL_ERROR),
    "a close with a code that nobody may send": (client_frame(b"\x03\xee", Opcode.CLOSE), PROTOCOL_ERROR),
    "bad UTF-8": (client_frame(b'{"type": "\xff"}'), BAD_DATA),
    "half a character": (client_frame(b'{"type": "\xc3'), BAD_DATA),
    "bad UTF-8 in the second piece": (client_frame(b"{", fin=False) + client_frame(b"\xff", Opcode.CONT), BAD_DATA),
    "a length of 2 GB": (client_frame(b"x", length=2 << 30), TOO_BIG),
    "a length of 2 to the 63": (client_frame(b"x", length=1 << 63), TOO_BIG),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_frame_ends_its_connection_alone(server: Started, case: str) -> None:
    frame, code = BROKEN[case]
    with opened(server) as talk, opened(server) as other:
        talk.socket.sendall(frame)
        with pytest.raises(ConnectionClosed) as closed:
            talk.recv(5)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == code
        other.send(UPDATE.decode())
        answers(other)
    until(lambda: server._app.gate.sessions == 0)  # pyright: ignore[reportAttributeAccessIssue]


@settings(STEADY, max_examples=10)
@given(
    st.lists(st.integers(0, len(UPDATE)), max_size=6),
    st.lists(st.sampled_from([b"", b"x" * 125]), max_size=3),
    st.data(),
)
def test_a_message_may_come_in_pieces_with_pings_between(
    server: Started, cuts: list[int], pings: list[bytes], data: st.DataObject
) -> None:
    edges = [0, *sorted(cuts), len(UPDATE)]
    pieces = [UPDATE[begin:end] for begin, end in zip(edges, edges[1:], strict=False)]
    frames = [
        client_frame(piece, Opcode.CONT if n else Opcode.TEXT, fin=n == len(pieces) - 1)
        for n, piece in enumerate(pieces)
    ]
    for ping in pings:
        frames.insert(data.draw(st.integers(0, len(frames))), client_frame(ping, Opcode.PING))
    with opened(server) as talk:
        talk.socket.sendall(b"".join(frames))
        answers(talk)


@settings(STEADY, max_examples=8)
@given(
    st.lists(st.binary(max_size=60), max_size=4),
    st.booleans(),
    st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT, 5, 15]),
)
def test_random_bytes_end_nothing_but_their_connection(
    server: Started, pieces: list[bytes], framed: bool, opcode: int
) -> None:
    with opened(server) as talk:
        with contextlib.suppress(OSError):  # the server may close after the first of them
            for piece in pieces:
                talk.socket.sendall(client_frame(piece, opcode) if framed else piece)
        talk.socket.close()
    until(lambda: server._app.gate.sessions == 0)  # pyright: ignore[reportAttributeAccessIssue]
    with opened(server) as other:
        other.send(UPDATE.decode())
        answers(other)
