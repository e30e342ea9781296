"""The report in a browser: pictures load, nothing overflows at any width, and it prints."""

import json
import re
import shutil
import subprocess

import pytest
from report_data import make_data

from classify.report import report

pytestmark = pytest.mark.browser

WIDTHS = (360, 768, 1280)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--allow-file-access-from-files",  # so that the frames can be looked into
)
# Frames, because a headless window cannot be as narrow as a phone.
LOOK = """
<!DOCTYPE html><body>FRAMES<script>
addEventListener("load", () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, width = frame.clientWidth;
    for (const folded of page.querySelectorAll("details")) folded.open = true;
    const elements = [...page.body.querySelectorAll("*")];
    const texts = elements.filter(e => [...e.childNodes].some(n => n.nodeType === 3
      && n.data.trim()));
    found[frame.name] = {
      pictures: page.images.length,
      broken: [...page.images].filter(p => !p.complete || !p.naturalWidth).map(p => p.alt),
      invisible: [...page.images].filter(p => p.getBoundingClientRect().width < 40).map(p => p.alt),
      page_width: page.documentElement.scrollWidth,
      overflowing: elements.filter(e => !e.closest(".scroll table")
        && e.getBoundingClientRect().right > width + 1).map(e => e.tagName + "." + e.className),
      smallest_text: Math.min(...texts.map(
        e => parseFloat(frame.contentWindow.getComputedStyle(e).fontSize))),
      fetched: frame.contentWindow.performance.getEntriesByType("resource").map(e => e.name)
        .filter(name => !name.startsWith("data:")),
    };
  }
  document.body.textContent = JSON.stringify(found);
});
</script></body>
"""
BROKEN = """<!DOCTYPE html><body style="margin:0"><p style="font-size:5px">small</p>
<div class="scroll" style="overflow-x:auto"><table><tr><td style="min-width:2000px">.</td></tr>
</table></div><div class="wide" style="width:500px">.</div>
<img alt="torn" src="data:image/png;base64,AAAA"><img alt="gone" src="http://localhost:9/gone.png"></body>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write_report(path, make_data(train_zooms=("1", "1+2"), test_zooms=("1", "2", "3")))
    return path


@pytest.fixture(scope="module")
def seen(page):
    """What is seen of the report at each width."""
    return look({str(width): (page.name, width) for width in WIDTHS}, page.parent)


def look(frames, folder):
    tags = "".join(
        f'<iframe name="{name}" src="{source}" style="width:{width}px;height:800px;border:0">'
        "</iframe>"
        for name, (source, width) in frames.items()
    )
    wrapper = folder / "look.html"
    wrapper.write_text(LOOK.replace("FRAMES", tags))
    dumped = browse(folder, "--dump-dom", wrapper.as_uri())
    return json.loads(re.search(r"\{.*\}", dumped, re.DOTALL).group())


def browse(folder, *arguments):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.fail(f"none of {', '.join(BROWSERS)} is on the PATH; install Chromium")
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_picture_loads(seen):
    for of_width in seen.values():
        assert of_width["pictures"] >= 5 + 3 * 5
        assert of_width["broken"] == of_width["invisible"] == []


def test_nothing_overflows(seen):
    for width, of_width in seen.items():
        assert of_width["overflowing"] == []
        assert of_width["page_width"] <= int(width)


def test_text_is_legible_and_nothing_is_fetched(seen):
    for of_width in seen.values():
        assert of_width["smallest_text"] >= 11
        assert of_width["fetched"] == []


def test_faults_would_be_seen(tmp_path):
    (tmp_path / "broken.html").write_text(BROKEN)
    found = look({"360": ("broken.html", 360)}, tmp_path)["360"]
    assert found["broken"] == ["torn", "gone"]
    assert "DIV.wide" in found["overflowing"]
    assert "TD." not in found["overflowing"]
    assert found["page_width"] == 500
    assert found["smallest_text"] == 5
    assert found["fetched"] == ["http://localhost:9/gone.png"]


def test_it_prints(page, tmp_path):
    printed = tmp_path / "report.pdf"
    browse(tmp_path, f"--print-to-pdf={printed}", page.as_uri())
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", printed.read_bytes()))
    assert 4 <= pages <= 30
