"""Small real files: attachments (text, PDF, PNG), recordings (WAV) and transcripts (JSON, text)."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from consumers.samples.people import Subject

SAMPLE_RATE = 8000  # Hz, 16 bits, one channel: what a telephone line carries


@dataclass(frozen=True, slots=True)
class File:
    """An attachment. ``text`` is what a reader of it would recognise; ``preview`` a picture of its first page."""

    name: str
    suffix: str
    content_type: str
    content: bytes
    text: str
    preview: bytes | None


def attachment(person: Subject, order: str, rng: Random) -> File:
    """A file that ``person`` might send about ``order``, with their data in it."""
    who = person.name.replace(" ", "_")
    text = f"Order {order}\n{person.name}\n{person.street}\n{person.postcode} {person.city}\n{person.email}\n"
    match rng.choice(("txt", "pdf", "png")):
        case "txt":
            return File(f"log_{order}.txt", ".txt", "text/plain", (text + "E104: no carrier\n").encode(), text, None)
        case "pdf":
            return File(f"{who}_{order}.pdf", ".pdf", "application/pdf", pdf(text), text, png(rng, text))
        case _:
            return File(f"{who}.png", ".png", "image/png", png(rng, text), text, None)


def pdf(text: str) -> bytes:
    """A one-page PDF with ``text`` on it, as UTF-8 in a comment too so that the file can be searched."""
    shown = "".join(f"({_latin(line)}) ' " for line in text.splitlines())
    stream = f"BT /F1 11 Tf 14 TL 50 780 Td {shown}ET".encode("latin-1")
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    body, offsets = b"%PDF-1.4\n" + b"".join(b"%% %s\n" % line.encode() for line in text.splitlines()), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    tail = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + tail


def _latin(line: str) -> str:
    plain = line.encode("latin-1", "replace").decode("latin-1")
    return plain.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def png(rng: Random, text: str) -> bytes:
    """An 8 x 8 picture that carries ``text`` as its description, the way cameras and scanners do."""
    pixels = zlib.compress(b"".join(b"\0" + rng.randbytes(8) for _ in range(8)))
    described = b"Description\0\0\0\0\0" + text.encode()
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"iTXt", described), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def recording(caller: str, rng: Random) -> bytes:
    """A quarter to half a second of a telephone line: two tones, and the caller's number in the file's information."""
    frames = _tone(rng.choice((350, 425, 440, 480)), rng.choice((2000, 3000, 4000)))
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, SAMPLE_RATE * 2, 2, 16)
    comment = caller.encode() + b"\0" * (2 - len(caller) % 2)
    info = b"INFOICMT" + struct.pack("<I", len(comment)) + comment
    body = (
        b"WAVE"
        + form
        + struct.pack("<4sI", b"data", len(frames))
        + frames
        + struct.pack("<4sI", b"LIST", len(info))
        + info
    )
    return struct.pack("<4sI", b"RIFF", len(body)) + body


_tones: dict[tuple[int, int], bytes] = {}


def _tone(hertz: int, frames: int) -> bytes:
    """``frames`` 16-bit samples; each of the few tones is computed once."""
    if (hertz, frames) not in _tones:
        step = 2 * math.pi * hertz / SAMPLE_RATE
        _tones[hertz, frames] = b"".join(struct.pack("<h", int(9000 * math.sin(step * n))) for n in range(frames))
    return _tones[hertz, frames]


def transcript(lines: Sequence[tuple[str, str]], language: str, caller: str, as_json: bool) -> bytes:
    """Who said what: ``lines`` are (speaker, words)."""
    if not as_json:
        return "".join(f"{speaker}: {words}\n" for speaker, words in lines).encode()
    turns = [
        {"at": round(2.5 * number, 1), "speaker": speaker, "text": words}
        for number, (speaker, words) in enumerate(lines)
    ]
    return json.dumps({"language": language, "caller": caller, "turns": turns}, ensure_ascii=False).encode()
