"""The status page of a real worker, in a real browser."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
from structlog.testing import capture_logs

from asset_worker.runtime.redaction import REDACTED
from asset_worker.simulator.lifecycles import Lifecycle, Rendition
from asset_worker.telemetry.admin import serving
from asset_worker.telemetry.page.endpoints import StatusPage
from asset_worker.telemetry.page.facts import Facts
from asset_worker.telemetry.snapshot import Snapshot
from tests.doubles.facts import facts, facts_saying
from tests.integration.admin import admin_of
from tests.integration.browsers import browser_of, tab_of
from tests.integration.processes import KEY, eventually

HOSTILE = "</title><script>alert('name')</script><img src=x onerror=alert(1)>\u202egpj.mp4"
REASON = "\"><svg onload=alert('reason')> because & so on"
TOKEN = "0123456789abcdef-token"


async def test_a_person_sees_what_the_worker_does_and_that_it_has_died(serve, worker, reserved_port):
    """The news come without a reload, where the person has scrolled and opened something."""
    simulator = await serve()
    done = Lifecycle(hls=Rendition(), thumbnail=Rendition())
    ids = [simulator.store.add(done, filename=f"clip-{number}.mp4") for number in range(12)]
    failed = simulator.store.add(Lifecycle(ends_in="failed", reason=REASON), filename=f"{HOSTILE} {KEY}")
    waiting = simulator.store.add(Lifecycle(ends_after=10_000), filename=HOSTILE)
    worker.submit(*ids, failed, waiting)
    port = str(reserved_port)
    run = worker.run("--admin-port", port, base_url=simulator.base_url)
    admin = await admin_of(run)
    await eventually(lambda: len(worker.events()) == 13, otherwise=lambda: run.stderr)

    async with browser_of() as browser, tab_of(browser) as tab:
        page = tab.page
        await page.goto(f"{admin}/")
        assert (await tab.text("h1")).split() == ["✓", "All", "is", "well"]
        assert "1 asset pending." in await tab.text("#top")
        assert await page.title() == "✓ All is well – asset-worker on " + await tab.text("#top strong")
        row = await tab.text("#pending tbody tr")
        assert waiting in row
        assert "<img src=x onerror=alert(1)>\\u202egpj.mp4" in row
        assert "processing" in row
        await page.locator("#earlier summary").click()
        everything = await tab.text("#finished")
        assert REASON in everything
        assert f"\\u202egpj.mp4 {REDACTED}" in everything
        assert KEY not in await page.content()
        link = page.locator(f'a[href="https://media.example/{ids[0]}/hls/index.m3u8"]')
        assert await link.get_attribute("rel") == "noreferrer noopener"
        assert str(worker.events_file) in await tab.text("#sinks")
        assert "queue file" in await tab.text("#inputs")
        assert "What the schedule has learned" in await tab.text("#schedule")

        # News: another asset is done, and the key is refused.
        await page.evaluate("scrollTo(0, 700)")
        simulator.store.change(waiting, Lifecycle())
        await eventually(lambda: len(worker.events()) == 14, otherwise=lambda: run.stderr)
        simulator.key = "another"
        worker.submit(simulator.store.add(Lifecycle(), filename="next.mp4"))
        await run.until("api.key_refused")
        await tab.refresh()
        assert (await tab.text("h1")).split() == ["✕", "1", "problem"]
        assert "Replace the key." in await tab.text("#key_refused .advice")
        assert "401" in await tab.text("#key_refused .error")
        assert (await page.title()).startswith("✕ the API refuses the key")
        assert await page.locator("#icon").get_attribute("href") == "page/problem.svg"
        assert await page.locator("#earlier").evaluate("element => element.open")
        assert await page.evaluate("scrollY") >= 700  # the browser holds what is read in its place
        assert await page.locator("#finished tbody tr").first.locator("code").inner_text() == waiting
        assert await tab.errors() == []
        assert {url.removeprefix(admin) for url in tab.requested} == {
            "/", "/page/page.css", "/page/page.js", "/page/well.svg", "/page/problem.svg",
        }  # fmt: skip

        # The worker dies, and is started again.
        run.send(signal.SIGKILL)
        await run.end()
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await page.locator("#silence").wait_for(state="visible")
        assert (await tab.text("#silence")).startswith("The worker does not answer since ")
        assert (await page.title()).startswith("✕ no answer")
        simulator.key = None
        again = worker.run("--admin-port", port, base_url=simulator.base_url)
        await again.until("admin.serving")
        await tab.refresh()
        assert await page.locator("#silence").is_hidden()
        assert (await page.title()).startswith("✓ All is well")
    assert not again.logs("admin.refused")
    assert not [line for line in again.logs() if line["level"] in {"warning", "error"}]


async def test_a_browser_gets_the_page_with_the_token_as_password(serve, worker, tmp_path):
    simulator = await serve()
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    run = worker.run("--admin-port", "0", base_url=simulator.base_url, ADMIN__TOKEN_FILE=str(token_file))
    admin = await admin_of(run)
    async with browser_of() as browser:
        async with tab_of(browser) as tab:
            assert (await tab.context.request.get(f"{admin}/")).status == 401
        async with tab_of(browser, http_credentials={"username": "ada", "password": TOKEN}) as tab:
            await tab.page.goto(f"{admin}/")
            assert "All is well" in await tab.text("h1")
            await tab.refresh()
            assert await tab.page.locator("#silence").is_hidden()
            assert not run.logs("admin.refused")
            token_file.write_text(f"another-{TOKEN}")
            run.send(signal.SIGHUP)
            await run.until("admin.token_changed")
            await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            await tab.page.locator("#silence").wait_for(state="visible")
            assert (await tab.text("#silence")).startswith("The token is not accepted any more: reload the page")
    assert TOKEN not in run.stderr


@asynccontextmanager
async def shown(read: Callable[[], Facts]) -> AsyncIterator[str]:
    """The page of made-up facts, served as the worker serves it."""
    page = StatusPage(read, redact=lambda value: value, now=time.monotonic)
    with capture_logs() as logs:
        async with serving(Snapshot, host="127.0.0.1", port=0, page=page.routes()):
            yield f"http://{logs[0]['addresses'][0]}/"


_CONTRASTS = """
() => {
  const channels = (text) => text.match(/[0-9.]+/g).map(Number);
  const linear = (value) => value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const groundOf = (element) => {
    const ground = channels(getComputedStyle(element).backgroundColor);
    return ground.length < 4 || ground[3] > 0 ? ground : groundOf(element.parentElement);
  };
  const found = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.getClientRects().length) continue;
    const pair = [luminance(channels(getComputedStyle(element).color)), luminance(groundOf(element))];
    const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (contrast < 4.5) found[walker.currentNode.data.trim().slice(0, 40)] = contrast;
  }
  return found;
}
"""
"""The texts whose contrast with what is behind them is below what WCAG 2.2 asks for (AA), with that contrast."""

LONG = "0123456789abcdef" * 4


async def test_the_page_can_be_read_on_every_screen_in_light_and_dark():
    wrong = facts_saying(LONG)
    stopping = msgspec.structs.replace(wrong, is_stopping=True, state=Snapshot(sinks=wrong.state.sinks))
    reads: list[Callable[[], Facts]] = [lambda: wrong, lambda: stopping, facts]
    async with browser_of() as browser, AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(shown(read)) for read in reads]
        for colours, ground in (("light", "rgb(246, 247, 249)"), ("dark", "rgb(17, 21, 27)")):
            async with tab_of(browser, color_scheme=colours) as tab:
                for address in (*addresses, f"{addresses[0]}docs/runbook.md"):
                    await tab.page.goto(address)
                    await tab.page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
                    assert await tab.page.evaluate(_CONTRASTS) == {}, colours
                    assert await tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
                    assert await tab.errors() == []
        async with tab_of(browser) as tab:
            for width in (320, 360, 720, 1100):
                await tab.page.set_viewport_size({"width": width, "height": 740})
                for address in (f"{addresses[0]}docs/runbook.md", addresses[0]):
                    await tab.page.goto(address)
                    assert not await tab.is_too_wide(), (width, address)
            await tab.page.locator("#sink_down .advice a").click()
            await tab.page.wait_for_url(f"{addresses[0]}docs/runbook.md#sink_down")
            assert await tab.page.locator(":target").inner_text() == "sink_down"


async def test_the_first_screen_of_a_phone_says_what_is_wrong_since_when_and_what_to_do():
    async with (
        browser_of() as browser,
        shown(lambda: facts_saying("the sink hooks is down")) as url,
        tab_of(browser, viewport={"width": 360, "height": 740}, is_mobile=True) as tab,
    ):
        await tab.page.goto(url)
        for selector in ("h1", "#made", "#sink_down h3", "#sink_down .advice", "#sink_down dl"):
            box = await tab.page.locator(selector).bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= 740, selector


async def test_news_of_the_same_things_move_nothing():
    """What flickers at night is not read."""
    given = [facts_saying("x")]
    async with browser_of() as browser, shown(lambda: given[-1]) as url, tab_of(browser) as tab:
        await tab.page.goto(url)
        await tab.page.locator("#sinks").evaluate("element => element.marked = true")
        for seconds in (7, 9):
            given.append(msgspec.structs.replace(given[0], now=given[0].now + seconds))
            await tab.refresh()
        assert await tab.page.locator("#sinks").evaluate("element => element.marked")
        assert await tab.shifted() < 0.001  # such as a word after a number that has become longer
        given.append(msgspec.structs.replace(given[0], now=given[0].now + 11, waiting=[*given[0].waiting] * 2))
        await tab.refresh()
        assert await tab.page.locator("#pending tbody tr").count() == 2
        assert await tab.errors() == []
