"""What a browser without JavaScript would send: forms read out of pages."""

import re


def judgement_form(html: str) -> tuple[str, dict[str, str]]:
    """The address of the judgement's form and its hidden fields."""
    (form,) = re.findall(r'<form id="judgement".*?</form>', html, flags=re.DOTALL)
    (action,) = re.findall(r' action="([^"]+)"', form)
    return action, dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form))
