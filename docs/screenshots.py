"""Full-page pictures of a running app, for the README and for looking at.

python docs/screenshots.py OUT --url http://127.0.0.1:8501 --pages data,train --widths 1400,800 --scheme light
writes OUT/data-1400-light.png and so on. A page may carry query parameters: "mistakes?run=a".
"""

import argparse
import base64
import re
import sys
from pathlib import Path

from selenium.webdriver.chrome.webdriver import WebDriver

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a script, from any folder

from tests.browser import open_browser, resize, set_scheme, visit, wait_idle

# Streamlit scrolls inside the page, so a full-page picture needs a window as tall as the content.
_CONTENT_HEIGHT = """
const main = document.querySelector('[data-testid="stMain"]')
return Math.ceil(main.scrollHeight + main.getBoundingClientRect().top)
"""
_TALLEST = 12_000


def main() -> None:
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    with open_browser() as driver:
        set_scheme(driver, args.scheme)
        for page in args.pages.split(","):
            for width in map(int, args.widths.split(",")):
                name = re.sub(r"\W+", "-", page).strip("-") or "front"
                file = args.out / f"{name}-{width}-{args.scheme}.png"
                file.write_bytes(full_page_png(driver, f"{args.url.rstrip('/')}/{page}", width))
                print(file)


def full_page_png(driver: WebDriver, url: str, width: int) -> bytes:
    """Open `url` in a window `width` CSS pixels wide and picture it from top to bottom, once its script has run."""
    resize(driver, width, 900)
    visit(driver, url)
    for _ in range(2):  # a taller window can make room for taller content, once
        resize(driver, width, min(max(900, driver.execute_script(_CONTENT_HEIGHT)), _TALLEST))
        wait_idle(driver)
    driver.execute_async_script("setTimeout(arguments[0], 600)")  # charts animate and fonts arrive after the script
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return base64.b64decode(shot["data"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8501")
    parser.add_argument("--pages", default="", help="addresses, comma-separated; default: the front page")
    parser.add_argument("--widths", default="1400,800", help="in CSS pixels, comma-separated")
    parser.add_argument("--scheme", default="light", choices=("light", "dark"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
