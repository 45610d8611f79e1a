"""The status page in a real browser, beside the real daemon that drains a node of the simulator."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from controller.report.access import TOKEN_FILE
from tests.e2e.lab import CLUSTER, SECRET, Lab
from tests.programs import program

pytestmark = pytest.mark.e2e

PHONE = {"width": 360, "height": 740}
MINE = "window.mine = true"
"""Gone when the page is loaded anew."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    try:
        lab.simulate(CLUSTER.replace("memory: 4GiB", "memory: 24GiB"), speed=5)
        lab.cluster(capacity={"tolerateNodeFailures": 1})
        lab.settings()
        yield lab
    finally:
        lab.close()


class Watched:
    """A page whose every complaint is written down."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.page: Page = browser.new_context(**options).new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type != "log" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
        )

    def fits(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    def close(self) -> None:
        assert self.complaints == []
        self.page.context.close()


def accessible(page: Page) -> None:
    """axe-core finds nothing to complain about. It is started with the debugger's rights, as the page forbids foreign scripts."""
    found = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:120], v["nodes"][0]["failureSummary"]) for v in found] == []


def test_a_drain_is_seen_as_it_happens_by_day_by_night_and_on_a_phone(lab: Lab, browser: Browser) -> None:
    lab.run("--speed", "5")
    lab.until(lambda: lab.guests() == {101: "pve2", 102: "pve2", 103: "pve1"}, "the first look")
    desk = Watched(browser, viewport={"width": 1280, "height": 900})
    page = desk.page
    page.goto(lab.address)
    expect(page.locator("h1")).to_have_text("Every guest is where it should be")
    expect(page.locator("#heard")).to_have_text("live")
    page.evaluate(MINE)
    page.locator("#find").focus()
    page.keyboard.type("db")

    lab.label("pve2", "true")
    expect(page.locator("h1")).to_contain_text("pve2 is being drained")
    expect(page.locator("#announce")).to_contain_text("pve2 is being drained")
    moves = page.get_by_role("region", name="Moves under way")
    expect(moves).to_contain_text(re.compile(r"VM 101 db\s+pve2 →\s*to pve[13]"), timeout=20_000)
    expect(moves).to_contain_text(
        re.compile(r"[\d.]+ [MG]iB of [\d.]+ GiB · [\d.]+ [MG]iB/s · .* left"), timeout=20_000
    )
    bar = moves.get_by_role("progressbar", name="Progress of VM 101 db")
    first = int(bar.get_attribute("value") or 0)
    expect(page.locator(".lanes text", has_text="db")).to_be_visible()
    expect(page.locator("#c-default-n-pve2 .chip.moving", has_text="db")).to_contain_text("→ pve")

    phone = Watched(browser, viewport=PHONE, color_scheme="dark", has_touch=True)
    phone.page.goto(lab.address)
    expect(phone.page.locator("h1")).to_contain_text("pve2 is being drained")
    assert phone.fits()
    assert phone.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 25)"
    accessible(phone.page)
    phone.close()
    accessible(page)

    # More of it without loading anew; nobody is pushed out of what they were typing.
    page.wait_for_function("first => document.querySelector('.moves progress')?.value !== first", arg=first)
    assert page.evaluate("window.mine && document.activeElement.id") == "find"
    assert page.locator("#find").input_value() == "db"

    expect(page.locator("h1")).to_have_text(re.compile("pve2 is drained"), timeout=40_000)
    expect(page.locator("#c-default-drain-pve2")).to_contain_text("100 %")
    expect(page.locator("#events")).to_contain_text("MoveSucceeded")
    assert page.evaluate("window.mine")
    assert desk.fits()
    page.keyboard.press("Enter")
    expect(page.get_by_role("table")).to_contain_text("VM 101 db")
    expect(page.locator("main")).not_to_contain_text("web")
    assert SECRET not in page.content()
    desk.close()


def test_a_lost_connection_is_said_and_taken_up_again_and_selected_text_stays(lab: Lab, browser: Browser) -> None:
    daemon = lab.run("--speed", "5")
    lab.until(lambda: len(lab.guests()) == 3, "the first look")
    watched = Watched(browser)
    page = watched.page
    page.clock.install()
    page.goto(lab.address)
    expect(page.locator("#heard")).to_have_text("live")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.cluster h2')); window.mine = true")
    lab.label("pve2", "cordon")
    expect(page.locator("#heard")).to_have_text("waiting while text is selected")
    assert page.evaluate("getSelection().toString()") == "default"
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("h1")).to_contain_text("pve2 is cordoned")
    daemon.terminate()
    daemon.wait()
    page.clock.fast_forward(14_000)
    expect(page.locator("#heard")).to_have_text(re.compile(r"last update 1\ds ago, reconnecting"))
    expect(page.locator("#announce")).to_contain_text("Connection to Drover lost")
    lab.run("--speed", "5")
    page.clock.fast_forward(4_000)
    expect(page.locator("#heard")).to_have_text("live")
    assert page.evaluate("window.mine")
    assert all("ERR_" in complaint for complaint in watched.complaints), watched.complaints
    page.context.close()


def test_bound_elsewhere_the_page_asks_for_the_token(lab: Lab, browser: Browser) -> None:
    file = lab.folder / "drover.toml"
    file.write_text(file.read_text().replace('listen = "127.0.0.1:', 'listen = "0.0.0.0:'))
    lab.run()
    lab.address = lab.address.replace("0.0.0.0", "127.0.0.1")
    assert json.loads(lab.get("/apis/drover.dev/v1alpha1/guests") or "")["reason"] == "Unauthorized"
    token = (lab.folder / "state" / TOKEN_FILE).read_text().strip()
    watched = Watched(browser)
    page = watched.page
    page.goto(lab.address)
    page.get_by_label("Token").fill("not the token")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    accessible(page)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".cluster h2")).to_have_text("default")
    expect(page.locator("#heard")).to_have_text("live")
    assert token not in page.content()
    assert lab.drover("status").returncode == 0, "a verb on the same machine reads the token where the daemon keeps it"
    assert token not in lab.log
    page.context.close()
