"""Settings of rounds over REST: read with defaults and bounds, changed as a whole or not at all."""

from tests.api.conftest import As

HERE = "/api/v1/projects/everyday-help/round-settings"


async def test_a_program_reads_changes_and_resets_settings(calling: As) -> None:
    groups = {group["name"]: group["entries"] for group in (await calling("reviewer").get(HERE)).json()}
    (kl_target,) = (setting for setting in groups["ppo"] if setting["name"] == "kl_target")
    assert (kl_target["kind"], kl_target["default"], kl_target["above"]) == ("number", 4.0, 0.0)
    assert kl_target["meaning"].startswith("Nats per response")
    changed = await calling("owner").patch(f"{HERE}/ppo", json={"values": {"kl_target": 6.5, "alarms.kl": 9.0}})
    assert {setting["name"]: setting["value"] for setting in changed.json()["entries"]}["kl_target"] == 6.5
    refused = await calling("owner").patch(
        f"{HERE}/ppo", json={"values": {"kl_target": 0, "iterations": 3}, "reset": ["alarms.kl"]}
    )
    assert refused.status_code == 422
    assert refused.json()["detail"] == "kl_target: must be above 0, not 0."
    now = {group["name"]: group["entries"] for group in (await calling("owner").get(HERE)).json()}["ppo"]
    values = {setting["name"]: setting["value"] for setting in now}
    assert (values["kl_target"], values["alarms.kl"]) == (6.5, 9.0)
    assert values["iterations"] == {setting["name"]: setting["value"] for setting in groups["ppo"]}["iterations"]


async def test_values_that_no_database_holds_are_refused_in_words(calling: As) -> None:
    for group, body in (
        ("policy_gate", '{"values": {"kl": Infinity}}'),
        ("reward", '{"values": {"base": "a\\u0000b"}}'),
        ("ppo", '{"values": {"iterations": {"a": [1]}}}'),
        ("ppo", '{"values": {"alarms": 1}}'),
    ):
        answer = await calling("owner").patch(
            f"{HERE}/{group}", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (404, 422), body
