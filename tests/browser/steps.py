"""What a person does on the annotator's page, as one step each."""

from playwright.async_api import Page, expect


async def confirm(page: Page) -> None:
    """Press Enter on what is chosen and wait until this pair has gone."""
    form = page.locator("#judgement")
    address = await form.get_attribute("action")
    assert address is not None
    await page.keyboard.press("Enter")
    await expect(page.locator(f'#judgement[action="{address}"]')).to_have_count(0)
