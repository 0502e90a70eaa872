"""What becomes of a question to an endpoint, whatever that does."""

import json
import threading
import time
from ipaddress import ip_network
from typing import Any

import pytest

from app.db.tables.served import Protocol
from app.services.served.client import MOST_BYTES, CapReached, Client, Endpoint, Spent
from app.services.served.protocol import Again, NoAnswer, Refused, said_in
from app.services.served.settings import Limits, Sampling
from tests.served_endpoint import KEY, Reply, ServedEndpoint, busy, cut, endpoint, of, says
from training.records import Message

__all__ = ["endpoint"]

PROMPT = [Message("user", "How do I boil an egg?")]


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.served.client.BACK_OFF_SECONDS", 0.0)


def client(
    endpoint: ServedEndpoint,
    *,
    protocol: Protocol = "chat",
    sampling: Sampling | None = None,
    spent: Spent | None = None,
    **limits: Any,
) -> Client:
    allowed = (ip_network("127.0.0.0/8"),)
    bounds = Limits(**{"retries": 2, "timeout_seconds": 30, **limits})
    return Client(Endpoint(endpoint.address, "m", protocol, KEY, sampling or Sampling(), bounds, allowed), spent)


async def test_a_chat_is_asked_with_the_settings_that_were_chosen_and_no_others(endpoint: ServedEndpoint) -> None:
    sampling = Sampling(temperature=0.7, max_tokens=64, stop=("END",), system="Be brief.")
    async with client(endpoint, sampling=sampling) as asking:
        answer = await asking.ask(PROMPT)
    (asked,) = endpoint.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "model": "m",
        "temperature": 0.7,
        "max_tokens": 64,
        "stop": ["END"],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How do I boil an egg?"},
        ],
    }
    assert (answer.text, answer.answered_by) == ("Answer 1 to How do I boil an egg?", "served-model-2026")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.counted) == (7, 5, True)
    assert answer.ended_by_itself is True


async def test_a_prompt_that_brings_a_system_message_keeps_its_own(endpoint: ServedEndpoint) -> None:
    async with client(endpoint, sampling=Sampling(system="Be brief.")) as asking:
        await asking.ask([Message("system", "Be kind."), *PROMPT])
    assert [turn["content"] for turn in endpoint.asked[0].body["messages"]] == ["Be kind.", "How do I boil an egg?"]


async def test_an_endpoint_without_chat_is_given_the_conversation_to_go_on_with(endpoint: ServedEndpoint) -> None:
    endpoint.reply = lambda _: says(" Gently.")
    turns = [*PROMPT, Message("assistant", "Boil it."), Message("user", "How long?")]
    async with client(endpoint, protocol="completions", sampling=Sampling(system="Be brief.")) as asking:
        assert (await asking.ask(turns)).text == "Gently."
    (asked,) = endpoint.asked
    assert asked.path == "/v1/completions"
    assert asked.body["prompt"] == (
        "Be brief.\n\nUser: How do I boil an egg?\n\nAssistant: Boil it.\n\nUser: How long?\n\nAssistant:"
    )
    assert asked.body["stop"] == ["\n\nUser:"]


async def test_a_response_that_was_cut_at_its_most_tokens_is_known_as_one(endpoint: ServedEndpoint) -> None:
    endpoint.reply = lambda _: says("Boil it and", reason="length")
    async with client(endpoint) as asking:
        answer = await asking.ask(PROMPT)
    assert (answer.finish_reason, answer.ended_by_itself) == ("length", False)


async def test_text_arrives_as_it_was_written(endpoint: ServedEndpoint) -> None:
    text = "    four spaces\r\n\u2028und Größe 👩‍👩‍👧 \ud83d\x00 end\n"
    endpoint.reply = lambda _: says(text)
    async with client(endpoint) as asking:
        assert (await asking.ask(PROMPT)).text == text


@pytest.mark.parametrize(
    "mistake",
    [
        busy(),
        busy("Sat, 28 Nov 2020 12:00:00 GMT"),
        of({"error": {"message": "overloaded"}}, 503),
        Reply(502, b"<html><title>x</title><body>Bad Gateway</body></html>"),
        cut(),
        Reply(200, b"{"),
        Reply(200, b"[" * 100_000),
        Reply(200, b'data: {"choices": []}'),
        of({"choices": []}),
        of({"choices": None}),
        of({"error": {"message": "model is loading"}}),
        of([]),
    ],
    ids=str,
)
async def test_what_may_pass_is_asked_again(endpoint: ServedEndpoint, mistake: Reply) -> None:
    endpoint.next = [mistake, mistake]
    async with client(endpoint) as asking:
        assert (await asking.ask(PROMPT)).text.startswith("Answer 3")
        assert asking.spent.requests == 3


async def test_patience_ends_with_what_the_endpoint_said_last(endpoint: ServedEndpoint) -> None:
    endpoint.reply = lambda _: busy()
    async with client(endpoint) as asking:
        with pytest.raises(NoAnswer, match=r"Asked 3 times\. The last time: .*busy \(429\): “Rate limit reached”"):
            await asking.ask(PROMPT)
    assert len(endpoint.asked) == 3


async def test_an_endpoint_that_wants_us_back_in_an_hour_is_not_waited_for(endpoint: ServedEndpoint) -> None:
    endpoint.reply = lambda _: busy("3600")
    async with client(endpoint) as asking:
        with pytest.raises(NoAnswer, match="busy"):
            await asking.ask(PROMPT)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_a_refusal_of_everything_is_asked_once_and_said_in_the_endpoints_words(
    endpoint: ServedEndpoint, status: int
) -> None:
    endpoint.reply = lambda _: of({"error": {"message": "Incorrect API key"}}, status)
    async with client(endpoint) as asking:
        with pytest.raises(Refused, match=rf"\({status}.*Incorrect API key"):
            await asking.ask(PROMPT)
    assert len(endpoint.asked) == 1


async def test_a_refusal_of_one_prompt_is_no_refusal_of_all(endpoint: ServedEndpoint) -> None:
    endpoint.reply = lambda _: of({"message": "context too long"}, 400)
    async with client(endpoint) as asking:
        with pytest.raises(NoAnswer, match="context too long") as refused:
            await asking.ask(PROMPT)
    assert not isinstance(refused.value, Refused | Again)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (says(None), "empty"),
        (says("  \n"), "empty"),
        (says("", reason="length"), "Allow more"),
        (says(None, reason="content_filter"), "filter"),
        (says(None, tool_calls=[{"id": "1"}]), "tool"),
        (Reply(200, b"x" * (9 << 20)), "longer than 8 MB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_response_without_a_usable_text_is_none(endpoint: ServedEndpoint, reply: Reply, said: str) -> None:
    endpoint.reply = lambda _: reply
    async with client(endpoint) as asking:
        with pytest.raises(NoAnswer, match=said):
            await asking.ask(PROMPT)
    assert len(endpoint.asked) == 1


async def test_content_in_parts_is_put_together(endpoint: ServedEndpoint) -> None:
    parts: Any = [{"type": "text", "text": "Boil "}, {"type": "text", "text": "it."}, {"type": "image_url"}]
    endpoint.reply = lambda _: says(parts)
    async with client(endpoint) as asking:
        assert (await asking.ask(PROMPT)).text == "Boil it."


async def test_an_endpoint_that_wants_the_other_name_for_the_most_tokens_gets_it(endpoint: ServedEndpoint) -> None:
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    endpoint.reply = lambda asked: (
        says("Boil it.") if "max_completion_tokens" in asked.body else of({"error": {"message": said}}, 400)
    )
    async with client(endpoint) as asking:
        for _ in range(2):
            assert (await asking.ask(PROMPT)).text == "Boil it."
        assert asking.spent.requests == 3


async def test_an_endpoint_that_never_answers_is_given_up_in_time(endpoint: ServedEndpoint) -> None:
    never = threading.Event()
    endpoint.reply = lambda _: Reply(waits=never)
    try:
        async with client(endpoint, timeout_seconds=1, retries=0) as asking:
            with pytest.raises(NoAnswer, match="didn't answer within 1 s"):
                await asking.ask(PROMPT)
    finally:
        never.set()


async def test_tokens_that_the_endpoint_does_not_count_are_estimated(endpoint: ServedEndpoint) -> None:
    endpoint.reply = lambda _: says("x" * 40, tokens=None)
    async with client(endpoint) as asking:
        answer = await asking.ask(PROMPT)
        assert (answer.prompt_tokens, answer.completion_tokens, answer.counted) == (6, 10, False)
        assert asking.spent.tokens == 16


async def test_no_request_goes_out_beyond_a_cap_and_retries_count(endpoint: ServedEndpoint) -> None:
    endpoint.reply = lambda _: busy()
    async with client(endpoint, most_requests=2, retries=5) as asking:
        with pytest.raises(CapReached):
            await asking.ask(PROMPT)
    assert len(endpoint.asked) == 2


async def test_the_cap_on_tokens_ends_the_asking(endpoint: ServedEndpoint) -> None:
    async with client(endpoint, most_tokens=20) as asking:
        await asking.ask(PROMPT)
        await asking.ask(PROMPT)
        with pytest.raises(CapReached):
            await asking.ask(PROMPT)


async def test_the_key_is_in_no_error_whatever_the_endpoint_repeats(endpoint: ServedEndpoint) -> None:
    endpoint.reply = lambda asked: of({"error": asked.headers["authorization"] + " sk-ve***789"}, 401)
    async with client(endpoint) as asking:
        with pytest.raises(Refused) as refused:
            await asking.ask(PROMPT)
    assert str(refused.value) == "The endpoint refuses us (401): “Bearer … …”."


@pytest.mark.parametrize("piece", ["a", "<", "<style ", "*", "sk-", '{"error":'])
def test_an_error_of_megabytes_is_one_line_at_once(piece: str) -> None:
    """What looks for parts of keys and for mark-up takes no longer than the text is long."""
    large = piece * (MOST_BYTES // len(piece))
    begun = time.process_time()
    for content in (large.encode(), json.dumps({"error": {"message": large}}).encode()):
        assert len(said_in(content, key="sk-secret")) <= 300
    assert time.process_time() - begun < 2


def test_what_an_endpoint_says_becomes_one_bounded_line() -> None:
    page = b"<html><style>p{}</style><body><h1>Bad\n gateway</h1>\x1b[31m" + b"x" * 10_000
    said = said_in(page, key=None)
    assert said.startswith("Bad gateway [31mxxx")
    assert (len(said), said[-1]) == (300, "…")
    assert said_in(b"\xff\xfe", key=None) == "��"
    assert said_in(b"", key=None) == "–"
    assert said_in(b'{"object": "error", "message": "no such model", "code": 404}', key=None) == "no such model"
