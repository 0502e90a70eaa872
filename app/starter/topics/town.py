"""Travel, bicycles, money and computers."""

from app.starter.subject import Subject, Topic

TRAVEL = Topic(
    "travel",
    (
        Subject(
            "pack a small suitcase",
            "packing",
            "{my} suitcase",
            "My suitcase is always too heavy",
            (
                "write a list before you pack",
                "roll the shirts tightly and lay them at the bottom",
                "stuff socks and chargers into the shoes",
                "wear your heaviest shoes and coat on the way",
            ),
            "rolled clothes take less room and crease less",
        ),
        Subject(
            "find a cheap flight",
            "finding",
            "the flight",
            "The flight I want costs far too much",
            (
                "compare prices on two or three search sites",
                "look at flights on a Tuesday or Wednesday",
                "check a second airport [nearby|close by]",
                "set a price alert and book when it drops",
            ),
            "prices follow demand and change every day",
            ordered=False,
        ),
        Subject(
            "avoid being seasick",
            "avoiding",
            "the boat trip",
            "I feel sick as soon as a boat moves",
            (
                "sit in the middle of the boat",
                "look at the horizon",
                "eat a [light|dry] snack before you leave",
                "chew some ginger on the way",
            ),
            "eyes and ears send the brain different messages",
            ordered=False,
        ),
    ),
)
BICYCLES = Topic(
    "bicycles",
    (
        Subject(
            "fix a flat tyre",
            "fixing",
            "the tyre",
            "I rode over glass and my tyre is flat",
            (
                "take the wheel off and lift the tyre with levers",
                "pump some air in and listen for the hole",
                "press the patch on for a minute",
                "check the tyre for glass and pump it up again",
            ),
            "the glue needs a rough and dry surface",
        ),
        Subject(
            "oil {my} bicycle chain",
            "oiling",
            "{my} chain",
            "My bicycle chain makes a grinding noise",
            (
                "wipe the chain with a dry rag",
                "put one drop of oil on every link",
                "turn the pedals backwards for [one minute|a while]",
                "wipe off the oil that is left outside",
            ),
            "dust sticks to oil on the outside",
        ),
        Subject(
            "lock {my} bicycle safely",
            "locking",
            "{my} bicycle",
            "Two bicycles were stolen in our street",
            (
                "use two locks of different kinds",
                "pass one lock through the frame and the back wheel",
                "choose a stand that is fixed to the [ground|pavement]",
                "park where many people walk by",
            ),
            "thieves look for the quickest one",
            ordered=False,
        ),
    ),
)
MONEY = Topic(
    "money",
    (
        Subject(
            "make a monthly budget",
            "making",
            "{my} budget",
            "My money is gone by the twentieth",
            (
                "write down what comes in every month",
                "list rent and other fixed costs",
                "set an amount for [food|groceries] and one for fun",
                "note what you spend for four weeks",
            ),
            "most people guess their small spending far too low",
        ),
        Subject(
            "save for a holiday",
            "saving",
            "{my} holiday savings",
            "I would like to go away next summer but have saved nothing",
            (
                "work out what the whole trip will cost",
                "divide the sum by the months that are left",
                "open a separate account for the trip",
                "move the money on the day you are [paid|given your pay]",
            ),
            "money that you never see is easy to save",
        ),
        Subject(
            "lower {my} electricity bill",
            "lowering",
            "{my} electricity bill",
            "My electricity bill has doubled",
            (
                "switch to lamps that use less power",
                "turn devices off at the wall at night",
                "wash clothes at [thirty|forty] degrees",
                "read the meter once a week",
            ),
            "heat and standby take more power than light",
            ordered=False,
        ),
    ),
)
COMPUTERS = Topic(
    "computers",
    (
        Subject(
            "speed up {my} old laptop",
            "speeding",
            "{my} laptop",
            "My laptop needs ten minutes to start",
            (
                "restart the laptop and install the updates",
                "remove programs that you never use",
                "switch off what starts by itself",
                "free up [a fifth|some] of the disk",
            ),
            "many programs run unseen and share the memory",
        ),
        Subject(
            "choose a strong password",
            "choosing",
            "{my} password",
            "I use the same password everywhere",
            (
                "string four random words together",
                "use another password for every account",
                "keep all passwords in a password manager",
                "turn on the second step with your [phone|key]",
            ),
            "length is harder to guess than odd signs",
            ordered=False,
        ),
        Subject(
            "back up {my} photos",
            "backing",
            "{my} photos",
            "All my photos are on one old phone",
            (
                "buy a disk that is large enough for all of them",
                "copy the photos and open a few to check",
                "keep a second copy in [another place|the cloud]",
                "set a reminder for each month",
            ),
            "every disk fails one day",
        ),
    ),
)
TOWN = (TRAVEL, BICYCLES, MONEY, COMPUTERS)
