"""The end of a turn, the ids of a response and what a clock says are the template's, whatever a tokenizer's form."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from models.backbone import NEVER, load_language_model, project
from models.generation import sample_responses
from models.saving import save_language_model
from models.template_settings import set_template
from models.tokenization import (
    PromptError,
    decode_response,
    encode_prompts,
    encode_responses,
    prepare_tokenizer,
    taught_spans,
    try_prompts,
)
from models.turns import CLOCK, end_of_turn, render
from tests.models.directories import TEXTS, bare_tokenizer, write_directory
from training.records import conversation

ASKED = conversation(("user", "How do I boil an egg?"))
SYSTEM = conversation(("system", "Be kind."), ("user", "Hello"))
LATER = conversation(("user", "Hello"), ("assistant", "Put it in"), ("user", "Fix the lamp"))


def turns(opened: str, closed: str, last: str = "", prompt: str = "") -> str:
    return (
        "{% for message in messages %}{{ '" + opened + "' | replace('ROLE', message['role']) + message['content'] + '"
        + closed + "' }}{% endfor %}{% if add_generation_prompt %}{{ '"
        + (prompt or opened.replace("ROLE", "assistant")) + "' }}{% else %}{{ '" + last + "' }}{% endif %}"
    )  # fmt: skip


GEMMA = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + turns(
    "<start_of_turn>ROLE\n", "<end_of_turn>\n"
)
QWEN_3 = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
FORMS = {
    "gemma": (("<start_of_turn>", "<end_of_turn>"), GEMMA, "<end_of_turn>"),
    "phi-3": (("<|user|>", "<|assistant|>", "<|end|>"), turns("<|ROLE|>\n", "<|end|>\n", "<eos>"), "<|end|>"),
    "llama-3": (
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        turns("<|start_header_id|>ROLE<|end_header_id|>\n\n", "<|eot_id|>"),
        "<|eot_id|>",
    ),
    "qwen-3": (("<|im_start|>", "<|im_end|>", "<think>", "</think>"), QWEN_3, "<|im_end|>"),
    "llama-2": ((), turns("[ROLE] ", " <eos>", prompt="[assistant]"), "<eos>"),
    "gpt-oss": (
        ("<|start|>", "<|return|>", "<|end|>"),
        "{% for message in messages %}{{ '<|start|>' + message['role'] + ':' + message['content'] }}"
        "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start|>assistant:' }}{% endif %}",
        "<eos>",
    ),
    "always asked": (
        ("<user>", "<assistant>"),
        "{% for message in messages %}<user>{{ message['content'] }}{% endfor %}<assistant>",
        "<eos>",
    ),
}  # fmt: skip


def tokenizer_of(form: str) -> PreTrainedTokenizerFast:
    tokenizer = bare_tokenizer()
    added, template, _ = FORMS[form]
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("form", FORMS)
def test_the_end_is_what_the_template_writes_after_an_answer(form: str) -> None:
    """Listed among the model's ends or not, and where the template writes another token after the last turn."""
    tokenizer = tokenizer_of(form)
    prepare_tokenizer(tokenizer, len(tokenizer) + 1, [0])
    (response,) = encode_responses(tokenizer, ["Put it in cold water."])
    assert tokenizer.convert_ids_to_tokens(response[-1]) == FORMS[form][2]
    assert decode_response(tokenizer, response) == "Put it in cold water."


def test_an_end_that_only_the_last_turn_has_counts_where_the_model_lists_it() -> None:
    tokenizer = tokenizer_of("gpt-oss")
    ended = tokenizer.convert_tokens_to_ids("<|return|>")
    assert end_of_turn(tokenizer, [0]) is None
    assert end_of_turn(tokenizer, [0, ended]) == ended


def qwen(folder: Path) -> Path:
    """Padding is one of the ends that the generation config lists, and no token is spare."""
    write_directory("qwen2", folder)
    tokenizer = tokenizer_of("qwen-3")
    tokenizer.pad_token = "<eos>"
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer) + 5)
    with torch.no_grad():
        model.get_output_embeddings().weight[len(tokenizer) :] = 0.0  # rows that nobody trained
        model.get_output_embeddings().weight[: len(tokenizer)] -= 3.0
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [tokenizer.convert_tokens_to_ids("<|im_end|>"), 0]})
    )
    return folder


def test_what_stands_for_no_text_has_no_probability_in_sampling_and_training(tmp_path: Path) -> None:
    policy = load_language_model(qwen(tmp_path / "model"))
    assert policy.pad_id not in policy.eos_ids
    save_language_model(policy, tmp_path / "saved")
    for loaded in (policy, load_language_model(tmp_path / "saved")):
        rows = loaded.model.get_input_embeddings().num_embeddings
        unwritten = {loaded.pad_id, *range(len(loaded.tokenizer), rows)}
        assert len(unwritten) == 5
        with torch.no_grad():
            logits_V = project(loaded.model, torch.ones(1, loaded.width))[0]
        assert {place for place, logit in enumerate(logits_V.tolist()) if logit == NEVER} == unwritten
        assert float(torch.log_softmax(logits_V / 50, -1).exp()[list(unwritten)].sum()) == 0.0
        sampled = sample_responses(loaded, [[5, 6, 7]] * 40, max_new_tokens=8, temperature=5.0, seed=0)
        assert not unwritten & {token for response in sampled for token in response.token_ids}
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert set(theirs.generation_config.suppress_tokens) == unwritten, "their sampling leaves it out too"
    assert theirs.generation_config.eos_token_id == list(policy.eos_ids)


def test_an_unknown_token_that_texts_hold_is_no_padding() -> None:
    tokenizer = sentencepiece(unknown="<unk>")
    prepare_tokenizer(tokenizer, len(tokenizer) + 1)
    assert tokenizer.unk_token_id in encode_responses(tokenizer, ["ß"])[0]
    assert tokenizer.pad_token_id != tokenizer.unk_token_id


def sentencepiece(*, unknown: str | None = None) -> PreTrainedTokenizerFast:
    """Llama 2's file: the blank before a text is put there by the normaliser, anew after every special token."""
    tokenizer = Tokenizer(BPE(unk_token=unknown))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    letters = ["▁", "\n", *(chr(code) for code in range(33, 127))]
    special = ["<s>", "</s>", *([unknown] if unknown else [])]
    trainer = BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator([word for text in TEXTS for word in text.split()], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token=unknown)


CONTINUED = {
    "zephyr": turns("<|ROLE|>\n", "</s>\n"),
    "llama-2": turns("[ROLE] ", " </s>", prompt="[assistant]"),
    "none": None,
}


@pytest.mark.parametrize("template", CONTINUED)
def test_a_response_has_the_ids_that_continue_its_prompt(template: str) -> None:
    """Whether a blank of the tokenizer's own stands before it or, after a line's end, does not."""
    tokenizer = sentencepiece()
    tokenizer.chat_template = CONTINUED[template]
    prepare_tokenizer(tokenizer, len(tokenizer) + 1)
    (before,) = encode_prompts(tokenizer, [ASKED])
    rendered = render(tokenizer, [{"role": "user", "content": ASKED[0].content}])
    blank = "" if template == "zephyr" else " "
    for text in ("I wait.", "Put it in", "x"):
        (response,) = encode_responses(tokenizer, [text])
        whole = tokenizer.encode(f"{rendered}{blank}{text}", add_special_tokens=False)
        assert (*before, *response[:-1]) == tuple(whole)
        assert decode_response(tokenizer, response) == text


def test_a_template_that_asks_for_the_time_renders_the_same_tomorrow() -> None:
    tokenizer = bare_tokenizer()
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}: {{ messages[0]['content'] }}"
    prepare_tokenizer(tokenizer, len(tokenizer) + 1)
    assert tokenizer.decode(encode_prompts(tokenizer, [ASKED])[0]) == "26 Jul 2024: How do I boil an egg?"
    assert f"{CLOCK:%d %b %Y}" == "26 Jul 2024"


def test_variables_of_a_template_are_kept_with_the_model_for_every_tool(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("qwen-3")
    prepare_tokenizer(tokenizer, len(tokenizer) + 1)
    plain = tokenizer.chat_template
    set_template(tokenizer, {})
    assert tokenizer.chat_template == plain
    set_template(
        tokenizer, {"enable_thinking": False, "said": 'it\'s "{{ fine }}" %} 🙂\n', "deep": {"a": [None, 1.5]}}
    )
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    message = {"role": "user", "content": "Hello"}
    rendered = again.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    assert rendered == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    set_template(again, {"enable_thinking": True})
    assert "<think>" not in again.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    assert again.chat_template.count("settings of this model") == 1
    again.chat_template += "{{ said }}{{ deep['a'][1] }}"
    assert render(again, [message]).endswith('it\'s "{{ fine }}" %} 🙂\n1.5')


@pytest.mark.parametrize("name", ["messages", "two words", "x %}{{ 1 }}"])
def test_what_is_no_variable_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no variable of a chat template"):
        set_template(tokenizer_of("qwen-3"), {name: 1})


def test_a_system_turn_that_a_template_refuses_can_begin_the_first_users() -> None:
    tokenizer = tokenizer_of("gemma")
    prepare_tokenizer(tokenizer, len(tokenizer) + 1)
    refused, rendered = try_prompts(tokenizer, [SYSTEM, ASKED])
    assert isinstance(refused, PromptError)
    assert isinstance(rendered, tuple)
    set_template(tokenizer, {}, fold_system_turns=True)
    set_template(tokenizer, {"x": 1})  # which changes nothing of it
    assert encode_prompts(tokenizer, [SYSTEM, ASKED]) == [
        *encode_prompts(tokenizer, [conversation(("user", "Be kind.\n\nHello"))]),
        rendered,
    ]


@pytest.mark.parametrize("form", ["gemma", "phi-3", "llama-3", "qwen-3"])
def test_earlier_turns_of_the_assistant_are_found_with_their_ends(form: str) -> None:
    tokenizer = tokenizer_of(form)
    prepare_tokenizer(tokenizer, len(tokenizer) + 1)
    (ids,) = encode_prompts(tokenizer, [LATER])
    ((start, stop),) = taught_spans(tokenizer, LATER, ids)  # type: ignore[misc]
    assert ids[start:stop] == encode_responses(tokenizer, ["Put it in"])[0]


def test_a_turn_that_a_template_rewrites_or_does_not_end_is_not_learnt() -> None:
    rewriting = tokenizer_of("llama-3")
    rewriting.chat_template = rewriting.chat_template.replace(
        "message['content'] +", "(message['content'] if message['role'] == 'user' else 'Put') +"
    )
    endless = bare_tokenizer()
    for tokenizer in (rewriting, endless):
        prepare_tokenizer(tokenizer, len(tokenizer) + 1)
        (ids,) = encode_prompts(tokenizer, [LATER])
        assert taught_spans(tokenizer, LATER, ids) == [None]
