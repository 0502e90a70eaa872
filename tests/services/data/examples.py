"""Rows of every format, and what they stand for."""

from dataclasses import dataclass
from typing import Any

from app.services.data.imports.rows import (
    Circumstances,
    Demonstration,
    ImportedRow,
    Response,
    Statement,
    Turn,
)

ASKED = "How do I dry sage?"
PROMPT: tuple[Turn, ...] = (("user", ASKED),)
HANG, BOIL = Response("Hang it."), Response("Boil it.")
FIRST = Statement((1, 2))
USER = {"role": "user", "content": ASKED}
GOOD = {"role": "assistant", "content": "Hang it."}
BAD = {"role": "assistant", "content": "Boil it."}
HUMAN = {"from": "human", "value": ASKED}


def row(line: int = 1, **fields: Any) -> ImportedRow:
    return ImportedRow(line, **{"prompt": PROMPT, **fields})


def pair(line: int = 1, **fields: Any) -> ImportedRow:
    return row(line, **{"responses": (HANG, BOIL), "statements": (FIRST,), **fields})


def shown(line: int = 1, text: str = "Hang it.", **fields: Any) -> ImportedRow:
    return row(line, demonstrations=(Demonstration(text),), **fields)


@dataclass(frozen=True)
class Example:
    """Rows of a file, the format that they are of, and what is read."""

    form: str
    rows: list[dict[str, Any]]
    read: list[ImportedRow]


JUDGEMENT = {
    "judgement_id": 7,
    "annotator": "annotator-2",
    "prompt": [USER],
    "responses": ["Hang it.", "Boil it."],
    "task_id": 3,
    "kind": "human",
    "answer_type": "seven",
    "choice": 2,
    "preference": 2,
    "ranks": [1, 2],
    "criteria": '{"kind": -1}',
    "acceptable": ["yes", ""],
    "flags": '{"1": ["rude", "wrong"]}',
    "safe": ["yes", "no"],
    "less_harmful": "first",
    "rationale": "Shorter.",
    "shown_order": [1, 0],
    "guidelines_version": 1,
    "first_action_ms": 900,
    "active_ms": 4000,
    "visits": 1,
    "hurried": True,
    "better_response": "Hang it up.",
    "better_response_of": 0,
    "served_at": "",
    "submitted_at": "2026-11-28T10:00:00+00:00",
}
TOLD = Circumstances((1, 0), 900, 4000, 1, hurried=True, submitted_at="2026-11-28T10:00:00+00:00")
LOSSLESS = {
    **{name: value for name, value in JUDGEMENT.items() if name not in ("judgement_id", "task_id", "kind")},
    "task": 1,
    "topic": "herbs",
    "tags": "kitchen,dry",
    "models": ["policy-3", ""],
    "split": "validation",
}
EXAMPLES = [
    Example(
        "plumbline",
        [LOSSLESS],
        [
            row(
                responses=(Response("Hang it.", "policy-3"), BOIL),
                statements=(
                    Statement(
                        (1, 2),
                        strength=2,
                        answer_type="seven",
                        acceptable=(True, None),
                        criteria={"kind": -1},
                        flags={1: ("rude", "wrong")},
                        safe=(True, False),
                        less_harmful=1,
                        annotator="annotator-2",
                        rationale="Shorter.",
                        circumstances=TOLD,
                    ),
                ),
                demonstrations=(Demonstration("Hang it up.", 0),),
                split="validation",
                topic="herbs",
                tags=("kitchen", "dry"),
                task="1",
            )
        ],
    ),
    Example(
        "scored-responses",
        [
            {
                "instruction": ASKED,
                "generations": ["Boil it.", "Hang it.", "Eat it."],
                "ratings": [1, 4.5, None],
                "generation_models": ["b", "a", ""],
            }
        ],
        [
            row(
                responses=(Response("Boil it.", "b"), Response("Hang it.", "a"), Response("Eat it.")),
                statements=(Statement((2, 1, None)),),
            )
        ],
    ),
    Example(
        "openai-preference",
        [
            {
                "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
                "preferred_output": [GOOD],
                "non_preferred_output": [BAD],
            }
        ],
        [pair()],
    ),
    Example(
        "safe-rlhf",
        [
            {
                "prompt": ASKED,
                "response_0": "Boil it.",
                "response_1": "Hang it.",
                "is_response_0_safe": False,
                "is_response_1_safe": True,
                "better_response_id": 1,
                "safer_response_id": 1,
            },
            {"prompt": ASKED, "response_0": "Hang it.", "response_1": "Boil it.", "better_response_id": 0},
        ],
        [
            row(responses=(BOIL, HANG), statements=(Statement((2, 1), safe=(False, True), less_harmful=-1),)),
            pair(2),
        ],
    ),
    Example(
        "arena-table",
        [
            {
                "id": 1,
                "prompt": f'["Hello.", "{ASKED}"]',
                "response_a": '["Hi.", "Hang it."]',
                "response_b": '["Hi.", "Boil it."]',
                "model_a": "a",
                "model_b": "b",
                "winner_model_a": 0,
                "winner_model_b": 0,
                "winner_tie": 1,
            }
        ],
        [
            row(
                prompt=(("user", "Hello."), ("assistant", "Hi."), *PROMPT),
                responses=(Response("Hang it.", "a"), Response("Boil it.", "b")),
                statements=(Statement((1, 1)),),
            )
        ],
    ),
    Example(
        "hh-rlhf-prompt",
        [
            {
                "prompt": f"\n\nHuman: Hello.\n\nAssistant: Hi.\n\nHuman: {ASKED}\n\nAssistant:",
                "chosen": " Hang it.",
                "rejected": " So:\n\nHuman: a\n\nAssistant: b",
            }
        ],
        [
            pair(
                prompt=(("user", "Hello."), ("assistant", "Hi."), *PROMPT),
                responses=(HANG, Response("So:\n\nHuman: a\n\nAssistant: b")),
            )
        ],
    ),
    Example(
        "rankings",
        [
            {
                "prompt": ASKED,
                "responses": ["Hang it.", "Boil it."],
                "ranks": [2, 1],
                "models": ["a", ""],
                "annotator": "x",
            }
        ],
        [
            row(
                responses=(Response("Hang it.", "a"), BOIL),
                statements=(Statement((2, 1), annotator="x"),),
            )
        ],
    ),
    Example(
        "plumbline-judgements",
        [
            JUDGEMENT,
            {
                **JUDGEMENT,
                "judgement_id": 8,
                "answer_type": "best",
                "choice": 0,
                "preference": 0,
                "ranks": [0, 1],
                "criteria": "{}",
                "acceptable": ["", ""],
                "flags": "{}",
                "safe": ["", ""],
                "less_harmful": "",
                "rationale": "",
                "shown_order": [0, 1],
                "first_action_ms": -1,
                "active_ms": -1,
                "visits": -1,
                "hurried": False,
                "better_response": "",
                "better_response_of": -1,
                "submitted_at": "",
            },
        ],
        [
            row(
                responses=(HANG, BOIL),
                statements=(
                    Statement(
                        (1, 2),
                        strength=2,
                        answer_type="seven",
                        acceptable=(True, None),
                        criteria={"kind": -1},
                        flags={1: ("rude", "wrong")},
                        safe=(True, False),
                        less_harmful=1,
                        annotator="annotator-2",
                        rationale="Shorter.",
                        circumstances=TOLD,
                    ),
                ),
                demonstrations=(Demonstration("Hang it up.", edited_from=0),),
                task="3",
            ),
            row(
                2,
                responses=(HANG, BOIL),
                statements=(
                    Statement(
                        (None, 1),
                        answer_type="best",
                        annotator="annotator-2",
                        circumstances=Circumstances((0, 1)),
                    ),
                ),
                task="3",
            ),
        ],
    ),
    Example(
        "plumbline-raw",
        [
            {
                "prompt": [USER],
                "chosen": [GOOD],
                "rejected": [BAD],
                "judgement_id": 7,
                "strength": strength,
                "annotator": annotator,
                "chosen_safe": safe,
                "rejected_safe": safe and "no",
                "less_harmful": safe and "chosen",
            }
            for strength, annotator, safe in ((3, "annotator-2", "yes"), (0, "imported:Ada", ""), (2, "imported", None))
        ],
        [
            pair(
                statements=(Statement((1, 2), 3, annotator="annotator-2", safe=(True, False), less_harmful=1),),
            ),
            pair(2, statements=(Statement((1, 2), annotator="Ada"),)),
            pair(3),
        ],
    ),
    Example(
        "hh-rlhf",
        [
            {
                "chosen": f"\n\nHuman: {ASKED}\n\nAssistant: Hang it.",
                "rejected": f"\n\nHuman: {ASKED}\n\nAssistant: Boil it.",
            }
        ],
        [pair()],
    ),
    Example(
        "arena",
        [
            {
                "question_id": "q",
                "model_a": "m1",
                "model_b": "m2",
                "winner": winner,
                "judge": "arena_user_1",
                "conversation_a": [USER, GOOD],
                "conversation_b": [USER, BAD],
                "turn": 1,
                "language": "English",
            }
            for winner in ("model_b", "tie", "tie (bothbad)")
        ],
        [
            row(
                line,
                responses=(Response("Hang it.", "m1"), Response("Boil it.", "m2")),
                statements=(Statement(ranks, acceptable=acceptable, annotator="arena_user_1"),),
                topic="English",
            )
            for line, (ranks, acceptable) in enumerate((((2, 1), None), ((1, 1), None), ((1, 1), (False, False))), 1)
        ],
    ),
    Example(
        "helpsteer3",
        [
            {
                "domain": "general",
                "language": "english",
                "context": [USER],
                "response1": "Hang it.",
                "response2": "Boil it.",
                "overall_preference": -1,
                "individual_preference": [
                    {"score": -2, "reasoning": "1 is right", "feedback1": "", "feedback2": "Too wet."},
                    {"score": 0, "reasoning": "", "feedback1": "", "feedback2": ""},
                ],
            }
        ],
        [
            row(
                responses=(HANG, BOIL),
                statements=(
                    Statement((1, 2), 2, "seven", rationale="1 is right\n\nToo wet."),
                    Statement((1, 1), 0, "seven"),
                ),
                topic="general",
                tags=("english",),
            )
        ],
    ),
    Example(
        "helpsteer3",
        [
            {
                "prompt": f"Hello.\n<extra_id_1>Assistant\nHi.\n<extra_id_1>User\n{ASKED}",
                "response_1": "Hang it.",
                "response_2": "Boil it.",
                "preference_strength": 3,
                "preference_statement": "2 is quick.",
                "split": "validation",
            }
        ],
        [
            ImportedRow(
                1,
                (("user", "Hello."), ("assistant", "Hi."), ("user", ASKED)),
                (HANG, BOIL),
                (Statement((2, 1), 3, "seven", rationale="2 is quick."),),
                split="validation",
            )
        ],
    ),
    Example(
        "helpsteer2",
        [
            {"prompt": ASKED, "response": "Hang it.", "helpfulness": 4, "correctness": 4, "verbosity": 1},
            {"prompt": ASKED, "response": "Boil it.", "helpfulness": 1, "correctness": 0, "verbosity": 1},
            {"prompt": "Alone?", "response": "Yes.", "helpfulness": 3, "correctness": 3, "verbosity": 0},
        ],
        [
            pair(
                statements=(
                    Statement(
                        (1, 2),
                        criteria={"correctness": 1, "verbosity": 0},
                        rationale="helpfulness 4, correctness 4, verbosity 1\n"
                        "helpfulness 1, correctness 0, verbosity 1",
                    ),
                )
            ),
            ImportedRow(
                3,
                (("user", "Alone?"),),
                (Response("Yes."),),
                (Statement((None,), rationale="helpfulness 3, correctness 3, verbosity 0"),),
            ),
        ],
    ),
    Example(
        "ultrafeedback",
        [
            {
                "source": "evol",
                "instruction": ASKED,
                "models": ["a", "b", "c"],
                "completions": [
                    {"model": "a", "response": "Boil it.", "overall_score": 5, "annotations": {"honesty": {}}},
                    {"model": "b", "response": "Hang it.", "overall_score": 8.5, "annotations": {}},
                    {"model": "c", "response": "Ask.", "overall_score": 5.0, "annotations": {}},
                ],
            }
        ],
        [
            row(
                responses=(Response("Boil it.", "a"), Response("Hang it.", "b"), Response("Ask.", "c")),
                statements=(Statement((2, 1, 2)),),
                topic="evol",
            )
        ],
    ),
    Example(
        "oasst-trees",
        [
            {
                "message_tree_id": "t",
                "prompt": {
                    "text": ASKED,
                    "role": "prompter",
                    "lang": "en",
                    "replies": [
                        {"text": "Boil it.", "role": "assistant", "rank": 1, "replies": []},
                        {
                            "text": "Hang it.",
                            "role": "assistant",
                            "rank": 0,
                            "replies": [{"text": "Thanks.", "role": "prompter", "replies": []}],
                        },
                    ],
                },
            }
        ],
        [
            row(responses=(BOIL, HANG), statements=(Statement((2, 1)),), tags=("en",)),
            ImportedRow(1, (*PROMPT, ("assistant", "Hang it."), ("user", "Thanks.")), tags=("en",)),
        ],
    ),
    Example(
        "oasst-messages",
        [
            {
                "message_id": "1",
                "parent_id": None,
                "message_tree_id": "1",
                "text": ASKED,
                "role": "prompter",
                "lang": "en",
            },
            {
                "message_id": "2",
                "parent_id": "1",
                "message_tree_id": "1",
                "text": "Hang it.",
                "role": "assistant",
                "rank": 0,
            },
            {
                "message_id": "3",
                "parent_id": "1",
                "message_tree_id": "1",
                "text": "Boil it.",
                "role": "assistant",
                "rank": 1,
            },
            {
                "message_id": "4",
                "parent_id": None,
                "message_tree_id": "4",
                "text": "Next?",
                "role": "prompter",
                "lang": "de",
            },
        ],
        [pair(tags=("en",)), ImportedRow(4, (("user", "Next?"),), tags=("de",))],
    ),
    Example(
        "sharegpt-ranked",
        [
            {
                "conversations": [HUMAN],
                "chosen": {"from": "gpt", "value": "Hang it."},
                "rejected": {"from": "gpt", "value": "Boil it."},
                "system": "Be brief.",
            }
        ],
        [pair(prompt=(("system", "Be brief."), *PROMPT))],
    ),
    Example(
        "sharegpt-tagged",
        [{"conversations": [HUMAN, {"from": "gpt", "value": "Hang it."}], "kto_tag": True}],
        [row(responses=(HANG,), statements=(Statement((None,), acceptable=(True,)),))],
    ),
    Example(
        "sharegpt",
        [
            {
                "conversations": [
                    HUMAN,
                    {"from": "function_call", "value": '{"name": "herbs"}'},
                    {"from": "observation", "value": "dry"},
                    {"from": "gpt", "value": "Hang it."},
                ]
            }
        ],
        [shown(prompt=(*PROMPT, ("assistant", '{"name": "herbs"}'), ("tool", "dry")))],
    ),
    Example(
        "alpaca-ranked",
        [{"instruction": "Dry it.", "input": "sage", "chosen": "Hang it.", "rejected": "Boil it."}],
        [pair(prompt=(("user", "Dry it.\nsage"),))],
    ),
    Example(
        "alpaca-two-outputs",
        [{"instruction": ASKED, "input": "", "output": ["Hang it.", "Boil it."]}],
        [pair()],
    ),
    Example(
        "alpaca",
        [{"instruction": ASKED, "input": "", "output": "Hang it.", "history": [["Hello.", "Hi."]]}],
        [shown(prompt=(("user", "Hello."), ("assistant", "Hi."), *PROMPT))],
    ),
    Example("preference", [{"prompt": ASKED, "chosen": "Hang it.", "rejected": "Boil it."}], [pair()]),
    Example("preference", [{"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}], [pair()]),
    Example("preference", [{"chosen": [USER, GOOD], "rejected": [USER, BAD]}], [pair()]),
    Example(
        "preference",
        [
            {
                "prompt": ASKED,
                "chosen": [USER, GOOD],
                "rejected": [USER, BAD],
                "messages": [USER, GOOD],
                "score_chosen": 8.0,
                "score_rejected": 2.0,
            }
        ],
        [pair()],
    ),
    Example(
        "preference",
        [{"chosen": "The sky is blue.", "rejected": "The sky is green."}],
        [ImportedRow(1, (("user", "The sky is"),), (Response(" blue."), Response(" green.")), (FIRST,))],
    ),
    Example(
        "preference",
        [{"context_messages": [USER], "chosen": "Hang it.", "rejected": "Boil it.", "margin": 2}],
        [pair()],
    ),
    Example(
        "unpaired",
        [
            {"prompt": ASKED, "completion": "Hang it.", "label": True},
            {"prompt": [USER], "completion": [BAD], "label": False},
        ],
        [
            row(responses=(HANG,), statements=(Statement((None,), acceptable=(True,)),)),
            row(2, responses=(BOIL,), statements=(Statement((None,), acceptable=(False,)),)),
        ],
    ),
    Example(
        "judged-responses",
        [
            {"question": ASKED, "answer_a": "Hang it.", "answer_b": "Boil it.", "winner": winner, "annotator": "Ada"}
            for winner in ("a", "B", "tie", "answer_b")
        ],
        [
            row(line, responses=(HANG, BOIL), statements=(Statement(ranks, annotator="Ada"),))
            for line, ranks in enumerate(((1, 2), (2, 1), (1, 1), (2, 1)), 1)
        ],
    ),
    Example("responses", [{"prompt": ASKED, "responses": ["Hang it.", "Boil it."]}], [row(responses=(HANG, BOIL))]),
    Example(
        "responses",
        [
            {
                "question": ASKED,
                "response_1": "Hang it.",
                "response_2": "Boil it.",
                "response_3": "Ask.",
                "model_1": "m1",
                "split": "test",
                "topic": "herbs",
                "tags": "kitchen, garden",
            }
        ],
        [
            row(
                responses=(Response("Hang it.", "m1"), BOIL, Response("Ask.")),
                split="held_out",
                topic="herbs",
                tags=("kitchen", "garden"),
            )
        ],
    ),
    Example(
        "demonstrations",
        [
            {"prompt": ASKED, "completion": "Hang it."},
            {"prompt": [USER], "completion": [GOOD]},
            {"messages": [{"role": "developer", "content": "Be brief."}, USER, GOOD]},
        ],
        [shown(), shown(2), shown(3, prompt=(("developer", "Be brief."), *PROMPT))],
    ),
    Example(
        "conversations",
        [{"messages": [{"role": "system", "content": ""}, USER, GOOD, {"role": "user", "content": "Why?"}]}],
        [row(prompt=(*PROMPT, ("assistant", "Hang it."), ("user", "Why?")))],
    ),
    Example(
        "prompts",
        [{"prompt": ASKED, "system": "Be brief.", "split": "validation"}, {"prompt": "Name a river."}],
        [
            row(prompt=(("system", "Be brief."), *PROMPT), split="validation"),
            ImportedRow(2, (("user", "Name a river."),)),
        ],
    ),
    Example(
        "argilla",
        [
            {
                "id": "1",
                "status": "completed",
                "fields": {"prompt": ASKED, "response_1": "Boil it.", "response_2": "Hang it."},
                "metadata": {"topic": "herbs"},
                "suggestions": {},
                "responses": {
                    "ranking": [
                        {"value": ["response_2", "response_1"], "user_id": "ada"},
                        {"value": ["response_1", "response_2"], "user_id": "bob", "status": "draft"},
                    ],
                    "rationale": [{"value": "Dry.", "user_id": "ada"}],
                },
            }
        ],
        [
            row(
                responses=(BOIL, HANG),
                statements=(Statement((2, 1), answer_type="ranking", annotator="ada", rationale="Dry."),),
                topic="herbs",
            )
        ],
    ),
    Example(
        "argilla",
        [
            {
                "_server_id": "1",
                "instruction": ASKED,
                "response-1": "Hang it.",
                "response-2": "Boil it.",
                "best.responses": ["response-1", "tie"],
                "best.responses.users": ["ada", "bob"],
                "best.responses.status": ["submitted", "submitted"],
            }
        ],
        [
            pair(statements=(Statement((1, 2), annotator="ada"), Statement((1, 1), annotator="bob"))),
        ],
    ),
    Example(
        "label-studio",
        [
            {
                "id": 1,
                "data": {"prompt": ASKED, "answer1": "Hang it.", "answer2": "Boil it."},
                "annotations": [
                    {
                        "completed_by": {"id": 3, "email": "ada@example.org"},
                        "result": [
                            {
                                "from_name": "pw",
                                "to_name": "answer1,answer2",
                                "type": "pairwise",
                                "value": {"selected": "right"},
                            },
                            {
                                "from_name": "why",
                                "to_name": "answer1",
                                "type": "textarea",
                                "value": {"text": ["Quick."]},
                            },
                        ],
                    },
                    {"was_cancelled": True, "result": [{"type": "pairwise", "value": {"selected": "left"}}]},
                ],
            },
            {
                "id": 2,
                "data": {
                    "prompt": ASKED,
                    "answers": [{"id": "x", "body": "Boil it."}, {"id": "y", "body": "Hang it."}],
                },
                "annotations": [
                    {"completed_by": 3, "result": [{"type": "ranker", "value": {"ranker": {"rank": ["y", "x"]}}}]}
                ],
            },
            {"id": 3, "data": {"prompt": ASKED, "answer1": "Hang it.", "answer2": "Boil it."}, "annotations": []},
        ],
        [
            pair(statements=(Statement((2, 1), annotator="ada@example.org", rationale="Quick."),)),
            row(
                2,
                responses=(BOIL, HANG),
                statements=(Statement((2, 1), answer_type="ranking", annotator="3"),),
            ),
            row(3, responses=(HANG, BOIL)),
        ],
    ),
]
