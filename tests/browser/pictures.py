"""Pictures of pages as small PNG files: at most 256 colours, which is all that a page of text has use for."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

from playwright.sync_api import Page

# The commonest colours, of those that are nearly the same the commonest alone; every other one becomes the nearest of them.
TO_PALETTE = """async (encoded) => {
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const surface = new OffscreenCanvas(image.width, image.height).getContext("2d");
  surface.drawImage(image, 0, 0);
  const pixels = surface.getImageData(0, 0, image.width, image.height).data;
  const colour = (at) => (pixels[at] << 16) | (pixels[at + 1] << 8) | pixels[at + 2];
  const seen = new Map();
  for (let at = 0; at < pixels.length; at += 4) {
    const one = seen.get(colour(at)) ?? { count: 0, rgb: [pixels[at], pixels[at + 1], pixels[at + 2]] };
    one.count += 1;
    seen.set(colour(at), one);
  }
  const taken = new Set();
  const isNew = ({ rgb }) => {
    const before = taken.size;
    return taken.add(rgb.map((part) => part >> 3).join()).size > before;
  };
  const sorted = [...seen.values()].sort((a, b) => b.count - a.count);
  const palette = sorted.filter(isNew).slice(0, 256).map((one) => one.rgb);
  const off = (a, b) => (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2;
  for (const one of seen.values()) {
    one.index = palette.reduce((best, rgb, at) => (off(rgb, one.rgb) < off(palette[best], one.rgb) ? at : best), 0);
  }
  const rows = new Uint8Array(pixels.length / 4);
  for (let at = 0; at < pixels.length; at += 4) rows[at / 4] = seen.get(colour(at)).index;
  let text = "";
  for (let at = 0; at < rows.length; at += 8192) text += String.fromCharCode(...rows.subarray(at, at + 8192));
  return { width: image.width, height: image.height, palette: palette.flat(), rows: btoa(text) };
}"""


def take(page: Page, path: Path) -> None:
    """What the window shows, into this file."""
    shot = page.screenshot(animations="disabled", caret="hide")
    made = page.evaluate(TO_PALETTE, base64.b64encode(shot).decode())
    width, height, pixels = made["width"], made["height"], base64.b64decode(made["rows"])
    rows = b"".join(b"\0" + pixels[at : at + width] for at in range(0, width * height, width))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + _part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _part(b"PLTE", bytes(made["palette"]))
        + _part(b"IDAT", zlib.compress(rows, 9))
        + _part(b"IEND", b"")
    )


def _part(kind: bytes, data: bytes) -> bytes:
    """A chunk: its length, its name, its bytes, their checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
