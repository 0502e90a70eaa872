"""The starter's prompts, their split, and what training gets to see of them."""

from collections import Counter

import pytest

from app.starter import demonstrations, prompts
from app.starter.prompts import StarterPrompt, catalogue, normalised
from app.starter.responses import grades_for
from app.starter.subject import Subject, Topic, choices
from app.starter.topics import TOPICS


def split(name: str) -> list[StarterPrompt]:
    return [prompt for prompt in prompts() if prompt.split == name]


def test_there_are_a_few_hundred_prompts_over_more_than_sixteen_topics() -> None:
    assert 600 <= len(prompts()) <= 760
    assert len({prompt.topic for prompt in split("train")}) >= 16
    assert {prompt.kind for prompt in prompts()} == {"question", "task", "rude", "unsafe"}


def test_no_two_prompts_are_the_same_but_for_case_and_punctuation() -> None:
    assert len({normalised(prompt.text) for prompt in prompts()}) == len(prompts())


def test_about_fifteen_percent_of_the_prompts_inside_known_topics_are_held_out() -> None:
    inside = [prompt for prompt in prompts() if not prompt.topic_held_out]
    assert 0.12 <= sum(prompt.split == "held_out" for prompt in inside) / len(inside) <= 0.2


def test_two_whole_topics_are_held_out_and_one_of_them_calls_for_refusal() -> None:
    held_out = {prompt.topic for prompt in prompts() if prompt.topic_held_out}
    assert held_out == {"camping", "cheating"}
    assert not any(prompt.topic in held_out for prompt in split("train"))
    assert all(prompt.split == "held_out" for prompt in prompts() if prompt.topic_held_out)


def test_every_known_subject_has_prompts_in_train_and_some_subjects_have_none() -> None:
    seen = {subject.do for prompt, subject in catalogue() if prompt.split == "train"}
    unseen = {subject.do for topic in TOPICS if not topic.held_out for subject in topic.subjects} - seen
    assert unseen == {subject.do for topic in TOPICS for subject in topic.subjects if subject.held_out}
    assert len(unseen) == 3


def test_every_wording_that_a_held_out_prompt_uses_occurs_in_train_too() -> None:
    """Held-out prompts inside known topics are new combinations, so their first two words are always familiar."""
    own_words = {normalised(subject.problem) for topic in TOPICS for subject in topic.subjects}
    familiar = {tuple(normalised(prompt.text).split()[:2]) for prompt in split("train")}
    for prompt in split("held_out"):
        text = normalised(prompt.text)
        if not any(text.startswith(problem) for problem in own_words):
            assert tuple(text.split()[:2]) in familiar


def phrases(subject: Subject) -> list[str]:
    """Everything that only this subject says."""
    told = [reading for phrase in (*subject.steps, *subject.harm) for reading in choices(phrase)]
    named = [phrase.format(my="your") for phrase in (subject.do, subject.doing, subject.thing)]
    return [*told, *named, *filter(None, [subject.reason])]


def test_training_text_says_nothing_about_the_held_out_topics() -> None:
    told = " ".join(f"{prompt.text} {response.text}" for prompt, response in demonstrations(seed=0, per_prompt=10))
    told = told.casefold()
    for topic in TOPICS:
        if topic.held_out:
            for subject in topic.subjects:
                assert not [phrase for phrase in phrases(subject) if phrase.casefold() in told]


def test_training_text_does_not_even_name_the_unfamiliar_subjects_in_a_response() -> None:
    told = " ".join(response.text for _, response in demonstrations(seed=0, per_prompt=10)).casefold()
    unfamiliar = [subject for topic in TOPICS for subject in topic.subjects if not subject.familiar]
    assert len(unfamiliar) >= 40
    for subject in unfamiliar:
        named = [phrase.format(my="your") for phrase in (subject.do, subject.doing)]
        assert not [phrase for phrase in named if phrase.casefold() in told]


@pytest.mark.parametrize("topic", TOPICS, ids=[topic.name for topic in TOPICS])
def test_every_subject_has_enough_to_say(topic: Topic) -> None:
    assert len(topic.subjects) >= 3
    assert len(topic.subjects) >= 3
    for subject in topic.subjects:
        if subject.familiar:
            assert len(subject.steps) >= (3 if subject.refusal_due else 4)
            assert len(set(subject.steps)) == len(subject.steps)
            assert subject.reason
        assert subject.problem
        assert "helpful" in grades_for(subject) or "refusal" in grades_for(subject)


def test_no_step_is_told_by_many_subjects() -> None:
    """Else a step could hardly be wrong for its subject."""
    told = Counter(step for topic in TOPICS for subject in topic.subjects for step in subject.steps)
    assert max(told.values()) <= 2


def test_prompts_speak_for_the_person_who_asks() -> None:
    for prompt in prompts():
        assert "your" not in prompt.text.split()
        assert "{" not in prompt.text
        assert prompt.text[0].isupper()
        assert prompt.text[-1] in ".?"
