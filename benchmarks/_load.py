"""Clients of a server, which ask one after the other over connections that stay open."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Load:
    """What the clients met: seconds of each answer, and every status but 200."""

    seconds: list[float] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)
    wall: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.wall

    def percentile(self, share: float) -> float:
        """The seconds within which this share of the answers came."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def __str__(self) -> str:
        return (
            f"{self.rate:,.0f} requests/s, p50 {1e3 * self.percentile(0.5):.2f} ms, "
            f"p99 {1e3 * self.percentile(0.99):.2f} ms, {len(self.errors)} errors"
        )


def predict_request(text: str, path: str = "/predict") -> bytes:
    """Return a request for one text's prediction, as bytes."""
    body = json.dumps({"text": text}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def load(port: int, requests: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """Ask for some seconds with so many clients at once, each as soon as it has its answer."""
    return asyncio.run(_load(port, requests, clients, seconds))


async def _load(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    found = Load()
    begun = time.perf_counter()
    end = begun + seconds
    await asyncio.gather(*(_client(port, requests, client, end, found) for client in range(clients)))
    found.wall = time.perf_counter() - begun
    return found


async def _client(port: int, requests: Sequence[bytes], first: int, end: float, found: Load) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        place = first * 7919
        while (before := time.perf_counter()) < end:
            writer.write(requests[place % len(requests)])
            place += 1
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            found.seconds.append(time.perf_counter() - before)
            status = int(head[9:12])
            if status != 200:
                found.errors.append(status)
    finally:
        writer.close()
        await writer.wait_closed()
