"""A page in a headless browser: what it measures, and what its console says."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# Runs after the page has loaded: widths, what is cut off, text that stands out too little.
MEASURE = r"""
const width = window.innerWidth;
const found = {width, scroll: document.documentElement.scrollWidth, cut: [], faint: []};
const shown = e => e.getClientRects().length > 0;
const name = e => `${e.tagName}.${e.getAttribute('class') || ''} ${e.textContent.trim().slice(0, 40)}`;
const channels = text => {
  const n = (text.match(/[\d.]+(e-?\d+)?/g) || []).map(Number);
  const unit = text.startsWith('color(') ? 255 : 1;
  return [n[0] * unit, n[1] * unit, n[2] * unit, n.length > 3 ? n[3] : 1];
};
const over = (top, below) => [0, 1, 2].map(k => top[k] * top[3] + below[k] * (1 - top[3]));
const behind = e => {
  if (!e) return [255, 255, 255];
  const c = channels(getComputedStyle(e).backgroundColor);
  return c[3] === 1 ? c.slice(0, 3) : over(c, behind(e.parentElement));
};
const light = c => {
  const l = c.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * l[0] + .7152 * l[1] + .0722 * l[2];
};
for (const e of document.querySelectorAll('main *')) {
  if (!shown(e)) continue;
  const box = e.getBoundingClientRect(), drawing = e.closest('svg.chart');
  if (!e.closest('.scroll, pre') && (box.right > width + 1 || box.left < -1)) found.cut.push(name(e));
  if (drawing && e.tagName === 'text') {
    const frame = drawing.getBoundingClientRect();
    const beside = box.left < frame.left - 2 || box.right > frame.right + 2;
    if (beside || box.top < frame.top - 2 || box.bottom > frame.bottom + 2) found.cut.push(name(e));
  }
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || e.tagName === 'STYLE') continue;
  const style = getComputedStyle(e), ground = behind(e);
  const colour = channels(drawing ? style.fill : style.color);
  const pair = [light(over(colour, ground)), light(ground)].sort((a, b) => b - a);
  const ratio = (pair[0] + .05) / (pair[1] + .05);
  if (ratio < LEAST) found.faint.push(ratio.toFixed(2) + ' ' + name(e));
}
found.hidden = [...document.querySelectorAll('.scroll:has(table)')]
  .filter(e => shown(e) && e.scrollWidth > e.clientWidth + 1).map(e => e.getAttribute('aria-label'));
found.charts = [...document.querySelectorAll('svg.chart')].filter(shown).length;
found.dark = matchMedia('(prefers-color-scheme: dark)').matches;
const out = parent.document.createElement('pre');
out.className = 'measured';
out.textContent = JSON.stringify([NAME, found]);
parent.document.body.append(out);
"""


@dataclass(frozen=True)
class View:
    """A page in a window of so many pixels."""

    name: str
    page: str
    width: int
    dark: bool


def browser() -> str | None:
    """The path of a browser, None if there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def measure(views: list[View], folder: Path, *, contrast: float = 4.5) -> tuple[dict[View, Any], list[str]]:
    """Open copies of pages, each in a frame of its width: what `MEASURE` finds, and the console's messages.

    A headless window cannot be narrower than 500 pixels, a frame can.
    """
    program = browser()
    assert program is not None
    frames = []
    for k, view in enumerate(views):
        # The page allows no script but the viewer's; its copy allows the one that measures too.
        copy = re.sub(r" script-src 'sha256-[^']*';", "", view.page, count=1)
        copy = copy.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
        code = MEASURE.replace("LEAST", str(contrast)).replace("NAME", str(k))
        copy = copy.replace("</body>", f"<script>addEventListener('load', () => {{{code}}});</script></body>")
        scheme = "dark" if view.dark else "light"
        frames.append(
            f'<iframe srcdoc="{html.escape(copy)}" style="border: 0; color-scheme: {scheme}" '
            f'width="{view.width}" height="900"></iframe>'
        )
    file = folder / "frames.html"
    file.write_text("<!DOCTYPE html><meta charset='utf-8'>" + "".join(frames), encoding="utf-8")
    done = subprocess.run(
        [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-extensions", "--no-first-run",
            "--disable-background-networking", "--disable-dev-shm-usage", "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri(),
        ],
        capture_output=True, encoding="utf-8", timeout=120, check=True,
    )  # fmt: skip
    found = re.findall(r'<pre class="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    measured = dict(json.loads(html.unescape(text)) for text in found)
    assert len(measured) == len(views), done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return {view: measured[k] for k, view in enumerate(views)}, console
