"""Webhooks from the command line, of a project and of the whole site."""

import json

from tests.cli.served_site import HERE, _loopback_allowed, database_url, home
from tests.cli.test_loop_commands import Command, plumbline
from tests.seeded import seeded, seeded_template, seeded_url

__all__ = ["_loopback_allowed", "database_url", "home", "plumbline", "seeded", "seeded_template", "seeded_url"]

ADDRESS = "https://hooks.example/in"


def test_a_webhook_is_added_tested_looked_at_and_removed(plumbline: Command) -> None:
    added = json.loads(plumbline("webhook", "add", ADDRESS, *HERE, "--event", "run.ended", "--json").out)
    assert added["secret"].startswith("whsec_")
    number = str(added["id"])
    assert plumbline("webhook", "list", *HERE).out.split("\t") == [number, ADDRESS, "on", "run.ended\n"]
    assert plumbline("webhook", "list").err == "There is no webhook.\n", "none is of the whole site"
    assert plumbline("webhook", "test", number, *HERE).out.endswith(" is on its way.\n")
    (told,) = json.loads(plumbline("webhook", "log", number, *HERE, "--json").out)
    assert (told["kind"], told["state"]) == ("webhook.test", "waiting")
    assert plumbline("webhook", "redeliver", number, str(told["id"]), *HERE).out.startswith(told["message_id"])
    assert plumbline("webhook", "rotate", number, *HERE).out.startswith("whsec_")
    assert plumbline("webhook", "switch", number, "--off", *HERE).out == f"Webhook {number} is off.\n"
    assert plumbline("webhook", "test", number, *HERE).refusal == "This webhook is switched off."
    assert plumbline("webhook", "remove", number, *HERE).out == f"Webhook {number} is removed.\n"


def test_one_of_the_whole_site_is_no_projects(plumbline: Command) -> None:
    number = str(json.loads(plumbline("webhook", "add", ADDRESS, "--json").out)["id"])
    assert "judgements.created" in plumbline("webhook", "list").out
    assert plumbline("webhook", "list", *HERE).err == "There is no webhook.\n"
    assert plumbline("webhook", "log", number, *HERE).refusal
    assert plumbline("webhook", "log", number).err == "It was told nothing yet.\n"
    assert "There is no event" in plumbline("webhook", "add", ADDRESS, "--event", "run.began").refusal
