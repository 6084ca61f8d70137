"""What a server gives at most to one request, one client and all of them together."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Limits of a server; every one is above 0.

    Args:
        body_bytes: bytes of a request's body.
        header_bytes: bytes of a request's first line and headers.
        characters: characters of one text.
        texts: texts, or sequences, of one request.
        timesteps: timesteps of one sequence of numbers.
        explained_timesteps: timesteps of one explanation.
        explained_backward: the same where each timestep is read anew: a layer reads backward, an ensemble
            reads whole texts, or the padding before a text is read like its words.
        explained_values: numbers in the states and named values of one explanation.
        batch: texts that the kernels are given at once.
        queue: texts that wait for the kernels of one model.
        connections: open connections, streams included.
        streams: open streams (WebSocket connections).
        message_bytes: bytes of one message of a stream.
        rate: requests a second of one client, on average; None for no limit.
        burst: requests that a client may send at once before `rate` holds it back.
        clients: clients whose rate is remembered, the latest ones.
        header_seconds: time for a request's headers to arrive.
        body_seconds: time for a request's body to arrive.
        answer_seconds: time that a request waits for the kernels.
        keep_alive_seconds: time that a connection may stay open between two requests.
        write_seconds: time in which a client must read something of what waits for it.
        idle_seconds: time in which a stream's client must send something.
        ping_seconds: time between two pings of a stream, and in which each is answered.
        grace_seconds: time to finish what has begun when the server ends.
    """

    body_bytes: int = 1_048_576
    header_bytes: int = 32_768
    characters: int = 100_000
    texts: int = 256
    timesteps: int = 20_000
    explained_timesteps: int = 2000
    explained_backward: int = 500
    explained_values: int = 2_000_000
    batch: int = 64
    queue: int = 1024
    connections: int = 256
    streams: int = 128
    message_bytes: int = 16_384
    rate: float | None = None
    burst: int = 100
    clients: int = 4096
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    answer_seconds: float = 30.0
    keep_alive_seconds: int = 10
    write_seconds: float = 20.0
    idle_seconds: float = 120.0
    ping_seconds: float = 20.0
    grace_seconds: int = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "rate":
                continue
            whole = not isinstance(field.default, float) and field.name != "rate"
            kinds = int if whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < 2**53:
                kind = "an integer" if whole else "a number"
                raise ValueError(f"the limit {field.name} must be {kind} above 0, not {value!r}")
