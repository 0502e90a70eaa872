"""What axe-core has against a page as it stands, in both themes and on both kinds of screen."""

from itertools import product
from typing import Any, Literal

from playwright.async_api import Page

from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.serving import ROOT

AXE = (ROOT / "tests" / "browser" / "vendor" / "axe" / "axe.min.js").read_text()
ALIKE = (ROOT / "tests" / "browser" / "alike.js").read_text()
MANY = 700
"""Elements. A page of more has long lists, of which one thing of each kind is looked at."""
# By name, since by default axe leaves out target-size, which WCAG 2.2 has at AA.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RULES_OF_COLOUR = ["color-contrast", "link-in-text-block"]
SCREENS = {"desktop": DESKTOP, "phone": PHONE}
# A theme changes colours and nothing else.
THEMES: dict[Literal["light", "dark"], list[str]] = {"light": TAGS, "dark": RULES_OF_COLOUR}

RUN = """async (only) => {
  // What the page does about a new size is done after the next layout, and that comes after the next frame's callbacks.
  for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
  const { violations } = await axe.run(document, { runOnly: only, resultTypes: ["violations"], preload: false });
  return violations;
}"""


async def violations(page: Page, state: str) -> list[str]:
    """One line for each rule that is broken; it names `state`. The page is left light, on a desktop."""
    # Evaluated by the browser's debugger, which the page's own policy doesn't hold back as it does a script element.
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)
        await page.evaluate(f"() => {{ {ALIKE} }}")
    found = []
    await page.evaluate("most => alike.takeAway(most)", MANY)
    for (screen, size), (theme, rules) in product(SCREENS.items(), THEMES.items()):
        await page.set_viewport_size(size)
        await page.emulate_media(color_scheme=theme)
        found += [f"{state}, {screen}, {theme}: {_line(rule)}" for rule in await page.evaluate(RUN, rules)]
    await page.evaluate("alike.putBack()")
    await page.set_viewport_size(DESKTOP)
    await page.emulate_media(color_scheme="light")
    return found


def _line(rule: dict[str, Any]) -> str:
    where = " and ".join(str(node["target"][0]) for node in rule["nodes"])
    checks = [check["message"] for kind in ("any", "all", "none") for check in rule["nodes"][0][kind]]
    return f"{rule['id']}: {where}: {'; '.join(checks)}"
