"""Study, work, neighbours and gifts."""

from app.starter.subject import Subject, Topic

STUDY = Topic(
    "study",
    (
        Subject(
            "prepare for a maths exam",
            "preparing",
            "the maths exam",
            "My maths exam is in three weeks",
            (
                "collect old exams and try one without help",
                "mark the kinds of problems that you got wrong",
                "practise those problems [every|each] day",
                "solve a full exam against the clock",
            ),
            "solving teaches more than reading solutions",
        ),
        Subject(
            "calm {my} nerves before a test",
            "calming",
            "{my} nerves",
            "My mind goes blank in every test",
            (
                "collect old exams and try one without help",
                "pack your bag the evening before",
                "breathe out slowly for [six|eight] seconds",
                "begin with the question that looks easiest",
            ),
            "slow breathing tells the body that it is safe",
            held_out=True,
        ),
        Subject(
            "learn new vocabulary",
            "learning",
            "vocabulary",
            "I forget new words after a day",
            (
                "write each word on a card with a picture",
                "test yourself instead of reading the list",
                "repeat after one day, three days and a week",
                "use every word in a sentence about [yourself|your life]",
            ),
            "recall makes the memory stronger",
        ),
        Subject(
            "write an essay",
            "writing",
            "{my} essay",
            "I stare at an empty page and my essay is due",
            (
                "put your main point in one sentence",
                "list three arguments with an example each",
                "write a quick draft without stopping",
                "read the essay aloud and fix what sounds odd",
            ),
            "a bad draft is easier to mend than an empty page",
        ),
    ),
)
WORK = Topic(
    "work",
    (
        Subject(
            "write a polite reminder e-mail",
            "writing",
            "the reminder",
            "A customer has not answered my mail for two weeks",
            (
                "put the subject and the date in the first line",
                "thank the customer for reading",
                "say in one sentence what you need",
                "name a day by which an answer would [help|be useful]",
            ),
            "a clear request is answered sooner",
        ),
        Subject(
            "ask {my} boss for a pay rise",
            "asking",
            "the pay rise",
            "I have worked here three years for the same pay",
            (
                "list what you achieved in the last year",
                "find out what others earn for such work",
                "ask for a meeting of [twenty|thirty] minutes",
                "name a sum and then stay quiet",
            ),
            "facts persuade more than wishes",
        ),
        Subject(
            "prepare for a job interview",
            "preparing",
            "the interview",
            "I have an interview on Monday and feel nervous",
            (
                "read about the company and its products",
                "prepare two stories about things you did well",
                "practise your answers aloud with a [friend|mirror]",
                "write down three questions for the company",
            ),
            "stories stay in the memory longer than claims",
        ),
    ),
)
NEIGHBOURS = Topic(
    "neighbours",
    (
        Subject(
            "talk to {my} neighbour about loud music",
            "talking",
            "the loud music",
            "The people upstairs play loud music at night",
            (
                "ring the bell with a friendly word",
                "say at which hours it wakes you",
                "suggest a [time|rule] that suits both of you",
                "leave your number so that they can ask",
            ),
            "many people do not know how thin the walls are",
        ),
        Subject(
            "welcome a new neighbour",
            "welcoming",
            "the new neighbour",
            "A family has just moved in next door",
            (
                "ring the bell on a quiet afternoon",
                "bring [a cake|some biscuits] or a small plant",
                "tell the family when the bins are emptied",
                "offer help with heavy furniture",
            ),
            "small help in the first week is long remembered",
            ordered=False,
        ),
        Subject(
            "organise a street party",
            "organising",
            "the street party",
            "Our street has never had a party",
            (
                "ask two neighbours to join the planning",
                "put a note with the date in each letter box",
                "let everyone bring one dish and a chair",
                "share the cleaning afterwards",
            ),
            "people come when they have something to bring",
        ),
    ),
)
GIFTS = Topic(
    "gifts",
    (
        Subject(
            "plan a surprise birthday party",
            "planning",
            "the birthday party",
            "My sister turns thirty and loves surprises",
            (
                "choose a date close to the birthday",
                "invite the guests in a secret group",
                "find a friend who brings her [along|there]",
                "ask everybody to come half an hour early",
            ),
            "nobody expects a party on another day",
        ),
        Subject(
            "wrap a present nicely",
            "wrapping",
            "the present",
            "My presents always look as if a dog had wrapped them",
            (
                "cut the paper so that it goes round with a hand to spare",
                "fold the edges in before you tape them",
                "press every fold with your [thumb|nail]",
                "tie a ribbon and tuck in a small twig",
            ),
            "sharp folds make any paper look good",
        ),
        Subject(
            "write a birthday card",
            "writing",
            "the birthday card",
            "I never know what to write on a birthday card",
            (
                "begin with the name in your best writing",
                "recall one [funny|happy] day that you shared",
                "say what you like about the person",
                "end with a wish for the coming year",
            ),
            "one true memory is better than a long poem",
        ),
    ),
)
PEOPLE = (STUDY, WORK, NEIGHBOURS, GIFTS)
