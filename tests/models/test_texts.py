"""Any text through any tokenizer: it comes back, and no text can speak with the tokenizer's own voice."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from models.tokenization import (
    EOS_TOKEN,
    PAD_TOKEN,
    PLAIN_TEMPLATE,
    ROLE_TOKENS,
    TokenizerError,
    decode_response,
    encode_prompts,
    encode_response_texts,
    encode_responses,
    prepare_tokenizer,
    same_tokenizer,
    train_tokenizer,
)
from tests.models.directories import TEXTS, bare_tokenizer
from training.records import Conversation, Message, conversation


def plain_tokenizer() -> PreTrainedTokenizerBase:
    """One that brought neither padding nor template."""
    tokenizer = bare_tokenizer()
    prepare_tokenizer(tokenizer, len(tokenizer) + 8)
    return tokenizer


TOKENIZERS = {"trained": train_tokenizer(TEXTS, 320), "plain": plain_tokenizer()}
SPECIALS = (PAD_TOKEN, EOS_TOKEN, *ROLE_TOKENS)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
attacks = st.lists(
    st.sampled_from([*SPECIALS, "<", "|", "|>", "<|", "user", "end", " ", "<eos>", "eos>"]), max_size=8
).map("".join)
no_time_limit = settings(max_examples=60, deadline=None)
each_tokenizer = pytest.mark.parametrize("name", TOKENIZERS)


@each_tokenizer
@given(text=texts)
@no_time_limit
def test_any_text_comes_back_from_its_token_ids(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    assume(not any(special in text for special in tokenizer.all_special_tokens))
    (ids,) = encode_responses(tokenizer, [text])
    assert decode_response(tokenizer, ids) == text


@each_tokenizer
@given(text=attacks)
@no_time_limit
def test_no_text_is_read_as_a_special_token(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    specials = set(tokenizer.all_special_ids)
    (body,) = encode_response_texts(tokenizer, [text])
    assert not specials & set(body)
    (ids,) = encode_responses(tokenizer, [text])
    assert specials & set(ids) == {tokenizer.eos_token_id}
    assert ids.index(tokenizer.eos_token_id) == len(ids) - 1


@given(text=attacks, role=st.sampled_from(["system", "user", "assistant"]))
@no_time_limit
def test_no_turn_can_be_opened_or_closed_by_what_is_said_in_one(text: str, role: str) -> None:
    tokenizer = TOKENIZERS["trained"]
    attacked: Conversation = (Message(role, text), Message("user", "Hi"))  # type: ignore[arg-type]
    innocent: Conversation = (Message(role, ""), Message("user", "Hi"))  # type: ignore[arg-type]
    ids, expected = encode_prompts(tokenizer, [attacked, innocent])
    specials = set(tokenizer.all_special_ids)
    assert [one for one in ids if one in specials] == [one for one in expected if one in specials]


@each_tokenizer
@given(first=texts, second=texts)
@no_time_limit
def test_different_questions_are_different_token_ids(name: str, first: str, second: str) -> None:
    specials = TOKENIZERS[name].all_special_tokens
    assume(first != second)
    assume(not any(special in text for special in specials for text in (first, second)))
    one, other = encode_prompts(TOKENIZERS[name], [conversation(("user", first)), conversation(("user", second))])
    assert one != other


@each_tokenizer
def test_texts_are_encoded_alike_alone_and_together(name: str) -> None:
    told = ["", " ", "egg", "  an egg \n", "你好", "🙂" * 3]
    together = encode_responses(TOKENIZERS[name], told)
    assert together == [encode_responses(TOKENIZERS[name], [text])[0] for text in told]
    assert encode_responses(TOKENIZERS[name], []) == []
    assert encode_response_texts(TOKENIZERS[name], []) == []


@each_tokenizer
def test_a_response_continues_its_prompt_as_one_text_would_be_read(name: str) -> None:
    """Ids put together say what the texts put together say."""
    tokenizer = TOKENIZERS[name]
    (prompt,) = encode_prompts(tokenizer, [conversation(("user", "How do I boil an egg?"))])
    (response,) = encode_responses(tokenizer, ["Put it in water."])
    said = tokenizer.decode([*prompt, *response[:-1]])
    opening = (
        "User: How do I boil an egg?\n\nAssistant: "
        if name == "plain"
        else "<|user|>How do I boil an egg?<|end|><|assistant|>"
    )
    assert said == f"{opening}Put it in water."


def test_a_turn_may_be_empty_and_a_prompt_may_be_asked_twice() -> None:
    prompts = [conversation(("user", "")), conversation(("system", ""), ("user", "")), conversation(("user", ""))]
    found = encode_prompts(TOKENIZERS["trained"], prompts)
    assert found[0] == found[2] != found[1]


def test_special_tokens_that_a_policy_wrote_are_no_part_of_its_text() -> None:
    tokenizer = TOKENIZERS["trained"]
    ids = [tokenizer.convert_tokens_to_ids(token) for token in SPECIALS]
    (body,) = encode_response_texts(tokenizer, ["an egg"])
    assert decode_response(tokenizer, [*ids, *body, *ids]) == "an egg"
    assert decode_response(tokenizer, ids) == ""
    assert decode_response(tokenizer, []) == ""


def test_half_of_a_character_that_a_policy_wrote_is_readable_all_the_same() -> None:
    tokenizer = TOKENIZERS["trained"]
    (body,) = encode_response_texts(tokenizer, ["🙂"])
    assert len(body) > 1
    assert decode_response(tokenizer, body[:1]).encode()


def test_the_plain_template_writes_each_role_out() -> None:
    tokenizer = TOKENIZERS["plain"]
    assert tokenizer.chat_template == PLAIN_TEMPLATE
    turns = conversation(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"))
    (ids,) = encode_prompts(tokenizer, [turns])
    assert tokenizer.decode(ids) == "System: Be kind.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: Bye\n\nAssistant:"


def test_a_beginning_of_its_own_opens_the_plain_template() -> None:
    tokenizer = bare_tokenizer(special=("<s>",))
    tokenizer.bos_token = "<s>"
    prepare_tokenizer(tokenizer, len(tokenizer) + 1)
    (ids,) = encode_prompts(tokenizer, [conversation(("user", "Hi"))])
    assert tokenizer.decode(ids) == "<s>User: Hi\n\nAssistant:"


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no system here') }}", "{{ messages[7]['content'] }}", "{% for", "{{ nothing() }}"]
)
def test_a_template_that_cannot_render_a_prompt_is_told_in_one_line(template: str) -> None:
    tokenizer = plain_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(TokenizerError, match="the tokenizer's chat template cannot render a prompt: ") as refusal:
        encode_prompts(tokenizer, [conversation(("user", "Hi"))])
    assert "\n" not in str(refusal.value)


def test_equal_vocabularies_with_other_templates_are_not_the_same() -> None:
    one, other = train_tokenizer(TEXTS, 320), train_tokenizer(TEXTS, 320)
    assert same_tokenizer(one, other)
    other.chat_template = PLAIN_TEMPLATE
    assert not same_tokenizer(one, other)


def test_padding_that_begins_a_text_is_replaced() -> None:
    tokenizer = bare_tokenizer(special=("<s>",))
    tokenizer.bos_token = tokenizer.pad_token = "<s>"
    prepare_tokenizer(tokenizer, len(tokenizer) + 1)
    assert tokenizer.pad_token_id not in (tokenizer.bos_token_id, tokenizer.eos_token_id)


def test_a_tokenizer_that_is_prepared_again_stays_as_it_is() -> None:
    tokenizer = bare_tokenizer()
    rows = prepare_tokenizer(tokenizer, len(tokenizer))
    before = tokenizer.get_vocab(), tokenizer.pad_token_id, tokenizer.chat_template
    assert prepare_tokenizer(tokenizer, rows) == rows
    assert (tokenizer.get_vocab(), tokenizer.pad_token_id, tokenizer.chat_template) == before


@pytest.mark.parametrize("size", [270, 300, 400])
def test_a_tokenizer_has_at_most_as_many_tokens_as_were_asked_for(size: int) -> None:
    tokenizer = train_tokenizer(TEXTS, size)
    assert len(tokenizer) <= size
    assert tokenizer.get_vocab() == train_tokenizer(TEXTS, size).get_vocab()
