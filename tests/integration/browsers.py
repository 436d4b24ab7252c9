"""A real browser, headless, and what it reports about a page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.programs import program

PATIENCE_SECONDS = 20
"""How long something may take in a browser on a busy machine."""
_WATCH = """
window.seen = [];
window.shifted = 0;
addEventListener("securitypolicyviolation", (event) => seen.push(`policy: ${event.effectiveDirective}`));
new PerformanceObserver((list) => {
  for (const shift of list.getEntries()) if (!shift.hadRecentInput) shifted += shift.value;
}).observe({ type: "layout-shift" });
"""


@asynccontextmanager
async def browser_of() -> AsyncIterator[Browser]:
    """Debian's chromium, or Chrome."""
    path = program("chromium", "google-chrome")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """One tab, and all that went wrong in it."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context = context
        self.page = page
        self.requested: list[str] = []
        self._errors: list[str] = []
        page.on("console", lambda message: self._errors.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self._errors.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self._errors.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.requested.append(request.url))

    async def errors(self) -> list[str]:
        """All that went wrong so far."""
        return [*self._errors, *await self.page.evaluate("seen")]

    async def shifted(self) -> float:
        """How much of the screen has moved although nobody did anything: the sum of the shifts (Layout Instability)."""
        return float(await self.page.evaluate("shifted"))

    async def refresh(self) -> None:
        """Let the page ask for news now, as when somebody comes back to it; wait until it has them."""
        before = await self._made_at()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._made_at() == before:
                await self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
                await asyncio.sleep(0.1)

    async def _made_at(self) -> str | None:
        return await self.page.locator("#made-at").get_attribute("datetime")

    async def text(self, selector: str) -> str:
        return await self.page.locator(selector).inner_text()

    async def is_too_wide(self) -> bool:
        """Whether the page must be scrolled sideways."""
        return bool(await self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@asynccontextmanager
async def tab_of(browser: Browser, **options: Any) -> AsyncIterator[Tab]:
    """A new tab with cookies, sizes and colours of its own."""
    context = await browser.new_context(**{"viewport": {"width": 1100, "height": 800}} | options)
    try:
        await context.add_init_script(_WATCH)
        context.set_default_timeout(1000 * PATIENCE_SECONDS)
        yield Tab(context, await context.new_page())
    finally:
        await context.close()
