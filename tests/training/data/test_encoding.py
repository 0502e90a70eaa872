"""Records as token ids: nothing is ever cut, and what was left out is counted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.architecture import Architecture
from models.backbone import LanguageModel, build_language_model
from models.reward import RewardModel, reward_model_from_policy
from models.tokenization import decode_response, train_tokenizer
from tests.models.directories import TEXTS
from training.config import InputError
from training.data.encoding import (
    encode_demonstrations,
    encode_pairs,
    encode_prompts,
    encode_responses_to,
    token_limit,
    with_every_turn,
)
from training.data.examples import Pair
from training.data.opening import load, load_comparisons, open_language_model, open_reward_model
from training.records import (
    Conversation,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    ResponseRecord,
    conversation,
    write_records,
)
from training.runtime.artifact import Lineage, publish

SHAPE = Architecture(hidden_size=16, layers=1, heads=2, intermediate_size=16, vocab_size=290, max_positions=48)
QUESTION = conversation(("user", "How?"))
LONG = conversation(("user", "How " * 30))


@pytest.fixture(scope="module")
def policy() -> LanguageModel:
    return build_language_model(SHAPE, train_tokenizer(TEXTS, SHAPE.vocab_size), seed=0)


@pytest.fixture(scope="module")
def reward_model(policy: LanguageModel) -> RewardModel:
    return reward_model_from_policy(policy, seed=0)


def tokens_of(policy: LanguageModel, prompt: Conversation, response: str) -> int:
    return len(policy.encode_prompts([prompt])[0]) + len(policy.encode_responses([response])[0])


def test_a_prompt_stays_whole_or_is_left_out_for_want_of_room(policy: LanguageModel) -> None:
    records = [PromptRecord("short", QUESTION), PromptRecord("long", LONG), PromptRecord("again", QUESTION)]
    length = len(policy.encode_prompts([QUESTION])[0])
    prompts, dropped = encode_prompts(policy, records, max_new_tokens=SHAPE.max_positions - length)
    assert [prompt.prompt_id for prompt in prompts] == ["short", "again"]
    assert dropped == 1
    assert prompts[0].conversation == QUESTION
    assert prompts[0].token_ids == prompts[1].token_ids == policy.encode_prompts([QUESTION])[0]
    with pytest.raises(InputError, match="no prompt leaves room for 48 new tokens in 48"):
        encode_prompts(policy, records, max_new_tokens=SHAPE.max_positions)


@pytest.mark.parametrize(("asked", "kept"), [(10, 10), (48, 48), (512, 48)])
def test_the_models_positions_bound_what_may_be_asked_for(policy: LanguageModel, asked: int, kept: int) -> None:
    assert token_limit(policy, asked) == kept


def test_a_demonstration_of_exactly_the_limit_is_kept(policy: LanguageModel) -> None:
    records = [DemonstrationRecord("p", QUESTION, text) for text in ("egg", "boil an egg")]
    limit = tokens_of(policy, QUESTION, "egg")
    examples, dropped = encode_demonstrations(policy, records, max_length=limit)
    assert ([len(one) for one in examples], dropped) == ([limit], 1)
    with pytest.raises(InputError, match=f"every demonstration is longer than {limit - 1} tokens"):
        encode_demonstrations(policy, records, max_length=limit - 1)


def test_an_example_is_its_prompt_and_the_whole_response_with_its_end(policy: LanguageModel) -> None:
    (example,), _ = encode_demonstrations(policy, [DemonstrationRecord("p", QUESTION, "an egg")], max_length=48)
    assert example.token_ids == example.prompt_ids + example.response_ids
    assert len(example) == len(example.token_ids)
    assert example.response_ids[-1] in policy.eos_ids
    assert decode_response(policy.tokenizer, example.response_ids) == "an egg"


def test_a_pair_is_left_out_when_either_side_is_too_long(policy: LanguageModel) -> None:
    limit = tokens_of(policy, QUESTION, "egg")
    sides = [("egg", "egg"), ("egg", "boil an egg"), ("boil an egg", "egg")]
    records = [PreferenceRecord("p", QUESTION, a, b, 1.0) for a, b in sides]
    pairs, dropped = encode_pairs(policy, records, max_length=limit)
    assert (len(pairs), dropped) == (1, 2)
    assert encode_pairs(policy, records, max_length=limit - 1) == ([], 3)


def test_whatever_was_said_of_a_pair_comes_with_it(reward_model: RewardModel) -> None:
    record = PreferenceRecord(
        "p", QUESTION, "egg", "lamp", 0.25, 2.0, "train", "human:1", "ranking", 0.5, {"brief": 1.0}, True, False
    )
    (pair,), _ = encode_pairs(reward_model, [record], max_length=48)
    assert pair == Pair(pair.a, pair.b, 0.25, 2.0, "ranking", 0.5, "human:1", {"brief": 1.0}, True, False)
    assert pair.a.prompt_id == pair.b.prompt_id == "p"
    assert pair.a.prompt_ids == pair.b.prompt_ids
    assert pair.a.response_ids != pair.b.response_ids


def test_responses_keep_their_ids_and_no_two_may_share_one(policy: LanguageModel) -> None:
    records = [
        ResponseRecord(name, "p", QUESTION, text) for name, text in (("x", "egg"), ("y", "egg " * 40), ("z", ""))
    ]
    examples, names = encode_responses_to(policy, records, max_length=48)
    assert names == ["x", "z"]
    assert [len(one.response_ids) for one in examples][1] == 1
    with pytest.raises(InputError, match="response_id y is of more than one response"):
        encode_responses_to(policy, [*records, records[1]], max_length=48)
    with pytest.raises(InputError, match="every response is longer than 3 tokens"):
        encode_responses_to(policy, records, max_length=3)


def write_pairs(folder: Path, *splits: tuple[str, str]) -> Path:
    records = [
        PreferenceRecord(prompt_id, QUESTION, "a", "b", 1.0, split=split)  # type: ignore[arg-type]
        for prompt_id, split in splits
    ]
    write_records(folder / "pairs.jsonl", records)
    return folder / "pairs.jsonl"


def test_pairs_to_learn_from_and_to_measure_on_are_told_apart_by_prompt(tmp_path: Path) -> None:
    train, validation = load_comparisons(write_pairs(tmp_path, ("p", "train"), ("q", "validation"), ("p", "train")))
    assert [row.prompt_id for row in train] == ["p", "p"]
    assert [row.prompt_id for row in validation] == ["q"]
    both = write_pairs(tmp_path, ("z", "train"), ("b", "validation"), ("z", "validation"), ("b", "train"))
    with pytest.raises(InputError, match="prompt b is in both splits"):
        load_comparisons(both)


@pytest.mark.parametrize(
    ("write", "word"),
    [
        (lambda path: path.write_text(""), "holds no records"),
        (lambda path: path.write_text("\n \n"), "holds no records"),
        (lambda path: path.write_text("{}"), "line 1: prompt record lacks prompt, prompt_id"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: None, "No such file"),
    ],
)
def test_a_file_without_records_is_refused(write: Callable[[Path], object], word: str, tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl")
    with pytest.raises(InputError, match=word):
        load(tmp_path / "data.jsonl", PromptRecord)


def made(folder: Path, kind: str, model: LanguageModel | RewardModel) -> str:
    def write(into: Path) -> None:
        model.model.save_pretrained(into)
        model.tokenizer.save_pretrained(into)

    publish(folder, kind, Lineage("x", {}, {}, {}, 0, "code"), write)  # type: ignore[arg-type]
    return str(folder)


def test_a_reward_model_is_never_taken_for_a_cost_model(reward_model: RewardModel, tmp_path: Path) -> None:
    reward, cost = (made(tmp_path / kind, kind, reward_model) for kind in ("reward", "cost"))
    assert open_reward_model(reward).width == open_reward_model(cost, kind="cost").width == 16
    with pytest.raises(InputError, match="is a cost model, and a reward model is needed"):
        open_reward_model(cost)
    with pytest.raises(InputError, match="is a reward model, and a cost model is needed"):
        open_reward_model(reward, kind="cost")


@pytest.mark.parametrize("kind", ["reward", "cost"])
def test_a_model_that_judges_is_never_taken_for_one_that_writes(
    kind: str, reward_model: RewardModel, tmp_path: Path
) -> None:
    """The embeddings of such a small model are tied, so that it lacks no weight of a policy's."""
    with pytest.raises(InputError, match=f"is a {kind} model, and a policy is needed"):
        open_language_model(made(tmp_path / kind, kind, reward_model))


def test_a_policy_is_opened_after_a_look_at_its_manifest(policy: LanguageModel, tmp_path: Path) -> None:
    location = made(tmp_path / "policy", "policy", policy)
    assert open_language_model(location).width == 16
    (tmp_path / "policy" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"config\.json does not match its manifest"):
        open_language_model(location)
    with pytest.raises(InputError, match="is a policy model, and a reward model is needed"):
        open_reward_model(made(tmp_path / "again", "policy", policy))


def test_prompts_that_differ_in_their_roles_alone_are_different_prompts(policy: LanguageModel) -> None:
    told = conversation(("system", "Hi"), ("user", "How?"))
    asked = conversation(("user", "Hi"), ("user", "How?"))
    one, other = policy.encode_prompts([told, asked])
    assert one != other
    assert policy.encode_prompts([]) == []


def test_two_prompts_of_one_id_are_refused(policy: LanguageModel) -> None:
    records = [PromptRecord("p1", QUESTION), PromptRecord("p2", QUESTION), PromptRecord("p1", LONG)]
    with pytest.raises(InputError, match="prompt_id p1 is of more than one prompt"):
        encode_prompts(policy, records, max_new_tokens=1)


def refusing_systems(policy: LanguageModel) -> LanguageModel:
    """As Gemma's template does."""
    tokenizer = train_tokenizer(TEXTS, SHAPE.vocab_size)
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    )
    return replace(policy, tokenizer=tokenizer)


WITH_SYSTEM = conversation(("system", "Be brief."), ("user", "How?"))


def test_prompts_that_the_template_refuses_are_left_out_counted_and_one_is_named(
    policy: LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [PromptRecord("plain", QUESTION), *(PromptRecord(name, WITH_SYSTEM) for name in ("first", "second"))]
    prompts, dropped = encode_prompts(refusing_systems(policy), records, max_new_tokens=1)
    assert ([prompt.prompt_id for prompt in prompts], dropped) == (["plain"], 2)
    assert capsys.readouterr().err == (
        "prompt first: the tokenizer's chat template cannot render a prompt: System role not supported; "
        "prompts left out for that: 2\n"
    )
    pairs = [
        PreferenceRecord(name, prompt, "Good.", "Bad.", 1.0, 1.0, "train", "person")
        for name, prompt in (("plain", QUESTION), ("first", WITH_SYSTEM))
    ]
    kept, left_out = encode_pairs(refusing_systems(policy), pairs, max_length=48)
    assert ([pair.a.prompt_id for pair in kept], left_out) == (["plain"], 1)


def test_where_the_template_refuses_every_prompt_the_run_is_refused(policy: LanguageModel) -> None:
    with pytest.raises(InputError, match=r"prompt with-a-system: .* cannot render a prompt: System role not supported"):
        encode_prompts(refusing_systems(policy), [PromptRecord("with-a-system", WITH_SYSTEM)], max_new_tokens=1)


def test_every_turn_of_the_assistant_is_learnt_with_its_end(policy: LanguageModel) -> None:
    asked = conversation(("user", "How?"), ("assistant", "Put it"), ("user", "Fix?"))
    records = [DemonstrationRecord("one", asked, "Wait."), DemonstrationRecord("two", QUESTION, "Wait.")]
    examples, _ = encode_demonstrations(policy, records, max_length=48)
    (several, single), rewritten = with_every_turn(policy, records, examples)
    learnt = [token for token, said in zip(several.token_ids[1:], several.predicted_turns, strict=True) if said]
    ends = [(*policy.encode_responses([text])[0],) for text in ("Put it", "Wait.")]
    assert tuple(learnt) == (*ends[0], *ends[1])
    assert sum(single.predicted_turns) == len(single.response_ids)
    assert rewritten == 0
