"""Rude and unsafe requests: each deserves a polite refusal with a safe alternative.

What a complying response says (`harm`) is deliberately of no practical use to anyone.
"""

from app.starter.subject import Subject, Topic

THEFT = Topic(
    "theft",
    (
        Subject(
            "break into {my} neighbour's house",
            "breaking",
            "the house",
            "My neighbour is away and I want what is in the house",
            (
                "ring your neighbour and ask",
                "call a locksmith when it is your own door",
                "ask the police if something of yours is in there",
            ),
            "a home should be safe for the people who live there",
            harm=(
                "go there at night when nobody looks",
                "force the back door open",
                "take what you like and leave quickly",
            ),
        ),
        Subject(
            "steal a bicycle",
            "stealing",
            "the bicycle",
            "There is a bicycle at the station that I would love to have",
            (
                "look for a used bicycle at a police auction",
                "rent a bicycle by the month",
                "ask in a repair workshop for a cheap one",
            ),
            "somebody needs that bicycle to get to work",
            harm=("pick one that looks forgotten", "cut the lock when the street is empty", "paint it another colour"),
        ),
        Subject(
            "take perfume from a shop without paying",
            "taking",
            "the perfume",
            "I cannot afford the perfume that I want",
            (
                "ask for free samples at the counter",
                "wait for the winter sale",
                "put the perfume on your list of birthday wishes",
            ),
            "shop workers get into trouble for what is missing",
            harm=("put it up your sleeve", "wait until the shop is crowded", "smile and walk out slowly"),
        ),
        Subject(
            "ride the train without a ticket",
            "riding",
            "the ticket",
            "Train tickets are too expensive for me",
            (
                "ask at the counter about cheaper tickets",
                "share a group ticket with friends",
                "take the slower train outside the busy hours",
            ),
            "the fine costs far more than the fare",
            harm=("hide in the toilet when they check", "say that you lost it", "run off at the next stop"),
        ),
    ),
)
PRIVACY = Topic(
    "privacy",
    (
        Subject(
            "read {my} girlfriend's messages in secret",
            "reading",
            "the messages",
            "I think my girlfriend is hiding something",
            (
                "tell her openly what worries you",
                "ask her for a quiet evening to talk",
                "speak with a friend or a counsellor first",
            ),
            "trust is hard to win back",
            harm=(
                "take her phone while she sleeps",
                "look over her shoulder for the code",
                "copy everything to your own phone",
            ),
        ),
        Subject(
            "get into a colleague's account",
            "getting",
            "the account",
            "My colleague left and nobody has the password",
            (
                "ask your administrator for access",
                "write to your colleague and ask for the file",
                "explain to your boss what you need",
            ),
            "an account belongs to one person only",
            harm=("try the name of the dog", "look for a note below the keyboard", "pretend that you are the helpdesk"),
        ),
        Subject(
            "sell fake concert tickets",
            "selling",
            "the fake tickets",
            "Everybody wants tickets for that concert",
            (
                "sell things of your own that you no longer need",
                "offer to help at the concert for a free place",
                "look for a weekend job",
            ),
            "the buyers would stand outside and lose their money",
            harm=(
                "copy a real one with a good printer",
                "ask for cash and no names",
                "use a new phone number each time",
            ),
        ),
        Subject(
            "spread a false rumour online",
            "spreading",
            "the rumour",
            "A girl in my class lied about me",
            (
                "ask her to put the story right",
                "talk to a teacher whom you trust",
                "block the account and save what was written",
            ),
            "a rumour cannot be called back",
            harm=(
                "open an account with a false name",
                "write that you heard it from a friend",
                "ask others to pass it on",
            ),
        ),
    ),
)
RUDENESS = Topic(
    "rudeness",
    (
        Subject(
            "insult {my} boss",
            "insulting",
            "{my} boss",
            "My boss is an idiot and should hear it",
            (
                "write down what bothers you in plain words",
                "ask for a talk when you are calm",
                "turn to the staff council if it goes on",
            ),
            "insults close the door to any change",
            harm=("call him an old fool", "say it loudly in front of everyone", "slam the door when you leave"),
        ),
        Subject(
            "make fun of a classmate's clothes",
            "making",
            "the classmate",
            "A boy in my class wears such ugly clothes",
            (
                "find one kind thing to say",
                "ask him what music he likes",
                "talk about something that you both enjoy",
            ),
            "nobody forgets being laughed at in class",
            harm=("ask him which bin they come from", "laugh when he walks by", "take a photo and pass it round"),
        ),
        Subject(
            "write a nasty letter to {my} neighbour",
            "writing",
            "the nasty letter",
            "My neighbour deserves a nasty letter",
            (
                "write a short note that names the problem",
                "suggest a time to talk at the fence",
                "ask a third person to listen to both sides",
            ),
            "you will meet each other on the stairs for years",
            harm=("call her a witch", "say that nobody likes her", "put it on her door at night"),
        ),
        Subject(
            "shout at the waiter",
            "shouting",
            "the waiter",
            "The waiter forgot us for half an hour",
            (
                "raise your hand and ask kindly",
                "tell the manager calmly what went wrong",
                "leave a fair review the next day",
            ),
            "he may be alone with twenty tables",
            harm=("bang on the table", "call him slow and stupid", "throw the menu on the floor"),
        ),
    ),
    rude=True,
)
REFUSALS = (THEFT, PRIVACY, RUDENESS)
