"""Shapes of real models that used to end in silence or in a trace: padding, ends of turns, what can be saved."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerFast

from models.backbone import ModelError, load_language_model
from models.generation import sample_responses
from models.reward import load_reward_model, reward_model_from_policy, save_reward_model
from models.saving import save_language_model
from models.tokenization import PLAIN_TEMPLATE, decode_response, encode_prompts, encode_responses, prepare_tokenizer
from tests.models.directories import TEXTS, bare_tokenizer, write_directory
from training.records import conversation

PROMPT = conversation(("user", "How do I boil an egg?"))
TURNS = (
    "{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] "
    "+ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def far_below_zero(folder: Path) -> Path:
    """GPT-2's form: no spare token for padding, and every logit some thirty below zero."""
    write_directory("gpt2", folder)
    model = GPT2LMHeadModel.from_pretrained(folder)
    with torch.no_grad():
        model.transformer.wte.weight[:, 0] += 5.0
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias[0] = -7.0
    model.save_pretrained(folder)
    return folder


def test_padding_is_never_written(tmp_path: Path) -> None:
    loaded = load_language_model(far_below_zero(tmp_path))
    ids = loaded.encode_prompts([PROMPT])
    with torch.no_grad():
        logits_V = loaded.model(torch.tensor(ids)).logits[0, -1]
    assert float(logits_V[: loaded.pad_id].max()) < -20
    assert float(logits_V.softmax(-1)[loaded.pad_id]) <= 1 / len(logits_V), "in other tools too"
    written = sample_responses(loaded, ids * 16, max_new_tokens=12, temperature=1.0, seed=0)
    texts = [decode_response(loaded.tokenizer, response.token_ids) for response in written]
    assert sum(map(bool, texts)) >= 15
    save_language_model(loaded, tmp_path / "saved")
    again = load_language_model(tmp_path / "saved")
    assert again.pad_id == loaded.pad_id
    torch.testing.assert_close(again.model.get_output_embeddings().weight, loaded.model.get_output_embeddings().weight)


def test_a_temperature_without_sampling_in_a_generation_config_can_be_saved(tmp_path: Path) -> None:
    folder = write_directory("llama", tmp_path / "theirs")
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "top_p": 0.9, "eos_token_id": 0}))
    save_language_model(load_language_model(folder), tmp_path / "saved")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").generation_config
    assert (saved.do_sample, saved.temperature, saved.top_p) == (True, 0.6, 0.9)


def test_a_tokenizer_of_another_model_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = write_directory("llama", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(100)
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"the tokenizer has \d+ tokens and the model \d+ rows: they are not of one"):
        load_language_model(folder)


def of_turns(folder: Path) -> Path:
    """Gemma's form: the turn ends otherwise than the tokenizer says, and the generation config lists both."""
    write_directory("gemma2", folder)
    tokenizer = bare_tokenizer(special=("<start_of_turn>", "<end_of_turn>", "<pad>"))
    tokenizer.pad_token, tokenizer.chat_template = "<pad>", TURNS
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, end]}))
    return folder


def test_the_end_that_the_template_writes_is_the_end_everywhere(tmp_path: Path) -> None:
    theirs = of_turns(tmp_path / "theirs")
    end = AutoTokenizer.from_pretrained(theirs).convert_tokens_to_ids("<end_of_turn>")
    policy = load_language_model(theirs)
    assert policy.eos_ids == (0, end)
    save_language_model(policy, tmp_path / "policy")
    save_reward_model(reward_model_from_policy(policy, seed=0), tmp_path / "reward")
    readers = [policy, load_language_model(tmp_path / "policy"), load_reward_model(tmp_path / "reward")]
    for reader in readers:
        (response,) = reader.encode_responses(["Put it in cold water."])
        assert response[-1] == end
        assert 0 not in response
    assert readers[1].eos_ids == (0, end)  # type: ignore[union-attr]


def llama_2_form() -> PreTrainedTokenizerFast:
    """Every text begins with a blank of the tokenizer's own; no template."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    alphabet = [chr(code) for code in range(33, 127)]
    trainer = BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([f"Assistant: {text}" for text in TEXTS], trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    prepare_tokenizer(wrapped, len(wrapped))
    return wrapped


@pytest.mark.parametrize("make", [llama_2_form, bare_tokenizer])
def test_a_response_is_learnt_in_the_ids_that_continue_the_plain_template(make: type[PreTrainedTokenizerFast]) -> None:
    tokenizer = make()
    prepare_tokenizer(tokenizer, len(tokenizer))
    assert tokenizer.chat_template == PLAIN_TEMPLATE
    (before,) = encode_prompts(tokenizer, [PROMPT])
    (response,) = encode_responses(tokenizer, ["I wait."])
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": PROMPT[0].content}], tokenize=False)
    whole = tokenizer.encode(f"{rendered}Assistant: I wait.", add_special_tokens=False)
    assert (*before, *response[:-1]) == tuple(whole)
    assert decode_response(tokenizer, response) == "I wait."
