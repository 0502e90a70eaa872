"""What a person types never becomes a token of structure, whatever a tokenizer's form."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from models.control_tokens import ControlTokens
from models.tokenization import encode_prompts, encode_responses, prepare_tokenizer
from tests.models.directories import TEXTS
from training.records import conversation


@dataclass(frozen=True)
class Form:
    """A tokenizer's shape: which tokens are special, which are only added, and how a conversation is written."""

    special: tuple[str, ...]
    added: tuple[str, ...]
    template: str
    kind: str = "bytes"


TURN = "{% for message in messages %}"
FORMS = {
    "llama-3": Form(
        ("<|begin_of_text|>", "<|eot_id|>"),
        ("<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>"),
        TURN + "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim"
        " + '<|eot_id|>' }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}",
    ),
    "phi-3": Form(
        ("<|endoftext|>",),
        ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
        TURN + "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}<|assistant|>\n",
        "sentencepiece",
    ),
    "gemma-3": Form(
        ("<eos>", "<bos>"),
        ("<start_of_turn>", "<end_of_turn>", "<table>", "\n\n", "    "),
        "<bos>" + TURN + "{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] | trim"
        " + '<end_of_turn>\n' }}{% endfor %}<start_of_turn>model\n",
        "sentencepiece",
    ),
    "deepseek": Form(
        ("<｜end▁of▁sentence｜>",),
        ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
        TURN + "{{ '<｜User｜>' + message['content'] }}{% endfor %}<｜Assistant｜><think>",
    ),
    "lower-cased": Form(
        ("<eos>",),
        ("<user>", "<assistant>"),
        TURN + "{{ '<user> ' + message['content'] }}{% endfor %} <assistant>",
        "words",
    ),
}


def tokenizer_of(form: Form) -> PreTrainedTokenizerFast:
    if form.kind == "words":
        words = {word: number for number, word in enumerate(["[UNK]", "<", ">", "user", "assistant", "eos", "x"])}
        tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    else:
        tokenizer = Tokenizer(BPE())
        plain = form.kind == "bytes"
        tokenizer.pre_tokenizer = (
            pre_tokenizers.ByteLevel(add_prefix_space=False) if plain else pre_tokenizers.Metaspace()
        )
        tokenizer.decoder = decoders.ByteLevel() if plain else decoders.Metaspace()
        letters = pre_tokenizers.ByteLevel.alphabet() if plain else [chr(code) for code in range(32, 127)]
        trainer = BpeTrainer(vocab_size=330, initial_alphabet=letters, show_progress=False)
        tokenizer.train_from_iterator(TEXTS, trainer)
    # As the hub has them: tokens that are only added are looked for in the normalised text.
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=True) for token in form.added])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=form.special[0], extra_special_tokens=list(form.special[1:])
    )
    wrapped.chat_template = form.template
    prepare_tokenizer(wrapped, len(wrapped))
    return wrapped


TOKENIZERS = {name: tokenizer_of(form) for name, form in FORMS.items()}


def control_ids(name: str) -> set[int]:
    form, tokenizer = FORMS[name], TOKENIZERS[name]
    tokens = {token for token in (*form.special, *form.added) if token.strip() and token != "<table>"}
    return {tokenizer.convert_tokens_to_ids(token) for token in tokens}


@st.composite
def typed(draw: st.DrawFn, name: str) -> str:
    """Whole control tokens, parts of them, the same in other widths and cases, and letters, in any order."""
    tokens = (*FORMS[name].special, *FORMS[name].added)
    token = st.sampled_from(tokens)
    part = st.builds(lambda text, start, end: text[start:end], token, st.integers(0, 9), st.integers(1, 20))
    wide = token.map(lambda text: "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text))
    pieces = st.one_of(token, part, wide, token.map(str.upper), st.text("<|>x ", max_size=3))
    return "".join(draw(st.lists(pieces, max_size=6)))


@pytest.mark.parametrize("name", FORMS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_what_is_typed_opens_and_ends_no_turn(name: str, data: st.DataObject) -> None:
    tokenizer, control = TOKENIZERS[name], control_ids(name)
    text = data.draw(typed(name))
    plain, attack = encode_prompts(tokenizer, [conversation(("user", "x")), conversation(("user", f"x{text}x"))])
    assert [token for token in attack if token in control] == [token for token in plain if token in control], text
    (response,) = encode_responses(tokenizer, [text])
    assert [token for token in response if token in control] == [tokenizer.eos_token_id], text


def test_text_that_a_vocabulary_has_as_added_tokens_stays_as_it_was_typed() -> None:
    control = ControlTokens(TOKENIZERS["gemma-3"])
    text = "<table>\n\n    <tr>if a < b:</tr>\n\n</table> | eot_id <|> start_of_turn"
    assert control.broken_up(text) == text
    assert control.broken_up("a<end_of_turn>b") == "a< end_of_turn>b"
    words = tokenizer_of(Form(("<eos>",), ("covid19", "user"), FORMS["lower-cased"].template))
    assert ControlTokens(words).broken_up("covid19 of a user") == "covid19 of a user"
