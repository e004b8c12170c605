"""The page about a run: as text, and as a real browser shows it."""

import html
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import runs
from hostenv_demo import picture, report
from hostenv_demo.evidence import Evidence
from hostenv_demo.summary import summarise

RUNS = {"passed": runs.PASSED, "failed": runs.FAILED, "nothing": runs.NOTHING}
each_run = pytest.mark.parametrize("evidence", RUNS.values(), ids=RUNS.keys())


def drawn(evidence: Evidence, width: int) -> ElementTree.Element:
    return ElementTree.fromstring(picture.draw(evidence, summarise(evidence), width))


@each_run
@pytest.mark.parametrize("width", [picture.WIDE, picture.NARROW])
def test_everything_drawn_is_inside_the_picture(evidence: Evidence, width: int) -> None:
    image = drawn(evidence, width)
    _, _, right, bottom = map(float, image.attrib["viewBox"].split())
    assert right == width
    for shape in image.iter("rect"):
        x, y, wide, high = (float(shape.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= right
        assert 0 <= y <= y + high <= bottom


def test_the_picture_tells_who_did_what() -> None:
    texts = [text.text for text in drawn(runs.PASSED, picture.WIDE).iter("text")]
    for expected in ("backup 3.0 s", "restore 6.0 s", "activate 5.0 s", "verify 0.5 s", "deactivate 3.0 s"):
        assert expected in texts
    assert {"webhook", "node-b takes over", "frozen: writes refused 12.0 s"} <= set(texts)


def test_a_failed_action_is_marked() -> None:
    image = drawn(runs.FAILED, picture.WIDE)
    bars = [rect for rect in image.iter("rect") if rect.attrib["class"] == "bad" and "rx" in rect.attrib]
    assert len(bars) == 1
    assert "restore 6.0 s, failed" in [text.text for text in image.iter("text")]


def test_columns_count_requests_by_outcome() -> None:
    told = [title.text for title in drawn(runs.PASSED, picture.WIDE).iter("title")]
    assert "+3 s: 1 refused" in told
    assert "+16 s: 1 bad" in told
    assert "+18 s: 1 node-b" in told


@each_run
def test_the_page_loads_nothing_and_shows_foreign_text_as_text(evidence: Evidence) -> None:
    page = report.render(evidence)
    assert "<script" not in page
    assert not re.search(r"""(?:src|href)\s*=|url\(|@import""", page)
    assert ("&lt;b&gt;the job failed" in page) == (evidence is runs.FAILED)


def test_the_verdict_comes_first() -> None:
    passed, failed = report.render(runs.PASSED), report.render(runs.FAILED)
    assert re.search(
        r'<main><header class="verdict passed"><h1>✓ The site moved from node-a to node-b', passed
    )
    assert re.search(r'<main><header class="verdict failed"><h1>✗ The site did not move', failed)


def test_a_share_is_never_rounded_up_to_all() -> None:
    many = (*runs.REQUESTS, *(runs.request(20, "read", "node-a", 200, "ok"),) * 5000)
    page = report.render(Evidence(setting=runs.PASSED.setting, requests=many))
    assert "99.9 %" in page
    assert "100 %" not in page


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """<script>
addEventListener("load", () => {
  const pictures = [...document.querySelectorAll("svg.picture")];
  const shown = pictures.filter(each => each.getBoundingClientRect().height > 50);
  const said = {
    verdict: document.querySelector("header.verdict h1").textContent,
    pictures: shown.map(each => each.getAttribute("viewBox").split(" ")[2]),
    sideways: document.documentElement.scrollWidth > innerWidth,
    paper: getComputedStyle(document.body).backgroundColor,
  };
  document.title = "said " + JSON.stringify(said);
});
</script>"""


needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="chromium is not installed (apt-get install chromium)"
)


def shown(page: str, width: int, folder: Path, *flags: str) -> Any:
    """What the probe in a page says of it, in a browser's window of that width."""
    assert BROWSER
    (folder / "report.html").write_text(page)
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder}/profile",
            f"--window-size={width},900",
            "--enable-logging=stderr",
            *flags,
            "--dump-dom",
            (folder / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r"<title>said (.*?)</title>", done.stdout)
    assert found, done.stdout[:500]
    return json.loads(found[1])


@needs_browser
@each_run
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "picture_width"), [(1280, "960"), (500, "360")], ids=["wide", "narrow"])
def test_a_browser_shows_it(
    evidence: Evidence, dark: bool, width: int, picture_width: str, tmp_path: Path
) -> None:
    page = report.render(evidence).replace(f'content="{report.POLICY}"', 'content=""')
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    said = shown(page.replace("</body>", f"{PROBE}</body>"), width, tmp_path, scheme)
    assert summarise(evidence).headline in str(said["verdict"])
    assert said["pictures"] == [picture_width]
    assert not said["sideways"]
    assert said["paper"] == ("rgb(17, 21, 27)" if dark else "rgb(246, 247, 249)")


@needs_browser
def test_a_long_word_does_not_make_a_telephone_scroll_sideways(tmp_path: Path) -> None:
    long = "no_snapshot" * 40
    move = runs.FAILED.jobs[1]
    broken = replace(move, actions=(*move.actions[:-1], replace(move.actions[-1], message=long)), reason=long)
    evidence = replace(runs.FAILED, jobs=(runs.FAILED.jobs[0], broken))
    # a window is never as narrow as a telephone; a frame is
    page = f"""<iframe width="360" height="900" srcdoc="{html.escape(report.render(evidence))}"></iframe>
<script>
onload = () => {{
  const inner = frames[0].document.documentElement;
  document.title = "said " + JSON.stringify([inner.scrollWidth, inner.textContent.includes("no_snapshot")]);
}};
</script>"""
    width, there = shown(page, 800, tmp_path)
    assert there
    assert width <= 360
