"""Makes docs/pictures/page.png and app.png: what a browser shows of a run's page, and of the app with a part hidden.

    python tools/screens.py RUN RECORDING        # RUN: as `heschl demo` leaves it; RECORDING: of a word, for the app

Needs Chromium, as the browser tests do.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))
PICTURES, WIDTH = HERE / "docs" / "pictures", 1180
# the score, and the first clip of what was explained
SHORT = """
(() => { const keep = new Set(["good", "relied"]);
  document.querySelectorAll("main > section, footer").forEach((part) => { if (!keep.has(part.id)) part.remove(); });
  document.querySelectorAll("#good > p, #good > details").forEach((part) => part.remove());
  let seen = false;
  [...document.querySelector("#relied").children].forEach((part) => { if (seen) part.remove(); seen ||= part.matches(".seen"); });
  return document.querySelector(".seen").getBoundingClientRect().bottom + scrollY + 20; })()
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("recording", type=Path)
    given = parser.parse_args()
    from tests.browser import Browser

    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(Path(profile))
        try:
            tab = browser.tab()
            tab.size(WIDTH)
            tab.go((given.run / "report.html").resolve().as_uri())
            shot(tab, "page", tab.ask(SHORT))
            of_the_app(browser.tab(), given.recording.resolve())
        finally:
            browser.close()


def of_the_app(tab: Any, recording: Path) -> None:
    from heschl.app.answering import open_models
    from heschl.app.web import launch

    app, address, _ = launch(open_models(["words"]), prevent_thread_lock=True, quiet=True)
    try:
        tab.size(WIDTH)
        tab.go(address)
        tab.until("!!document.querySelector('#given input[type=file]')", 60)
        tab.upload("#given input[type=file]", recording)
        tab.until("document.querySelector('#said').innerText.includes('It hears')", 120)
        picture = "document.querySelector('#picture .brush.desk')"
        tab.ask(f"{picture}.scrollIntoView({{block: 'center'}})")
        x, y, wide, high = tab.ask(
            f"(r => [r.x, r.y, r.width, r.height])({picture}.querySelector('svg').getBoundingClientRect())"
        )
        for kind, along, down in (("Pressed", 0.4, 0.3), ("Moved", 0.5, 0.6), ("Released", 0.58, 0.84)):
            at = {"x": x + along * wide, "y": y + down * high}
            tab.call(
                "Input.dispatchMouseEvent", type=f"mouse{kind}", button="left", buttons=1, clickCount=1, **at
            )
        tab.until("!!document.querySelector('#hidden audio')", 120)
        time.sleep(1)  # gradio fades its answers in
        tab.ask("scrollTo(0, 0)")
        shot(
            tab, "app", tab.ask("document.querySelector('#hidden audio').getBoundingClientRect().bottom + 20")
        )
    finally:
        app.blocks.close(verbose=False)


def shot(tab: Any, name: str, height: float) -> None:
    from heschl.files import write_bytes

    part = {"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1}
    held = tab.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=part)
    write_bytes(PICTURES / f"{name}.png", base64.b64decode(held["data"]))


if __name__ == "__main__":
    main()
