"""Compressed log files: members, their headers and their order stay; what is broken is told and left."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from consumers.stores import logfiles_gzip
from consumers.stores.logfiles import Outcome
from tests.stores.loglines import ANNA, BYSTANDERS, HERS, erase, line, log, names, read, remaining, rewrite


def member(data: bytes, *, name: bytes = b"", mtime: int = 0, comment: bytes = b"", level: int = 6) -> bytes:
    """A gzip member with every optional part of its header."""
    flags = (8 if name else 0) | (16 if comment else 0) | 4 | 2
    header = b"\x1f\x8b\x08" + bytes([flags]) + mtime.to_bytes(4, "little") + bytes([2 if level == 9 else 0, 3])
    header += b"\x05\x00extra" + (name + b"\0" if name else b"") + (comment + b"\0" if comment else b"")
    header += (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little")
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(data) + packer.flush()
    return header + body + zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")


def members(data: bytes) -> list[tuple[bytes, bytes]]:
    """Header and text of each member."""
    found: list[tuple[bytes, bytes]] = []
    for text, begins in logfiles_gzip.gunzipped(data, iter(())):
        if begins is not None:
            found.append((begins.header, b""))
        else:
            found[-1] = (found[-1][0], found[-1][1] + text)
    return found


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_gzip_framing_stays(folder, monkeypatch, chunk):
    monkeypatch.setattr(logfiles_gzip, "CHUNK", chunk)
    half = len(HERS) // 2
    parts = [
        BYSTANDERS[0] + HERS[:half],  # her line spans three members
        HERS[half : half + 9],
        HERS[half + 9 :] + BYSTANDERS[1][:5],  # and a bystander's two
        BYSTANDERS[1][5:] + HERS,
        b"",
        BYSTANDERS[3],
    ]
    raw = b"".join(
        member(part, name=b"app.jsonl", mtime=1000 + n, comment=b"c" * n, level=9 if n else 6)
        for n, part in enumerate(parts)
    )
    path = folder / "app-1.jsonl.gz"
    path.write_bytes(raw + b"\0" * 8)
    store = log(folder)
    (result,) = [r for r in erase(store, ANNA) if r.name == path.name]
    assert result.outcome is Outcome.CHANGED
    after = path.read_bytes()
    assert after.endswith(b"\0" * 8)
    assert [header for header, _ in members(after)][:6] == [header for header, _ in members(raw)]
    new = json.dumps({**json.loads(HERS), "email": "[erased]", "ip": "0.0.0.0"}).encode() + b"\n"
    assert [text for _, text in members(after)][:6] == [
        BYSTANDERS[0] + new,
        b"",
        BYSTANDERS[1][:5],
        BYSTANDERS[1][5:] + new,
        b"",
        BYSTANDERS[3],
    ]
    assert gzip.decompress(after) == b"".join([BYSTANDERS[0], new, BYSTANDERS[1], new, BYSTANDERS[3]])
    assert remaining(store) == {}


@pytest.mark.parametrize("level", [1, 6, 9])
def test_untouched_members_are_packed_as_they_were(folder, level):
    others = gzip.compress(b"".join(line(user_id=n, n=n * n) for n in range(2000)), level, mtime=9)
    path = folder / "app-1.jsonl.gz"
    path.write_bytes(others + gzip.compress(HERS, level))
    erase(log(folder), ANNA)
    assert path.read_bytes().startswith(others)
    assert b"anna" not in read(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:-9],
        lambda raw: raw[:6],
        lambda raw: raw[:-8] + b"\0\0\0\0" + raw[-4:],
        lambda raw: raw + b"garbage",
        lambda raw: raw[:20] + b"\xff\xff\xff" + raw[23:],
    ],
)
def test_broken_gzip_is_told_and_left(folder, spoil):
    path = folder / "app-1.jsonl.gz"
    path.write_bytes(spoil(gzip.compress(HERS * 3)))
    before = path.read_bytes()
    store = log(folder)
    (plan,) = [plan for plan in store.plan([ANNA]) if plan.name == path.name]
    assert not plan.readable
    assert rewrite(store, plan).outcome is Outcome.UNREADABLE
    assert path.read_bytes() == before
    assert names(folder) == [path.name, "app.jsonl"]
