"""Sleep, exercise, everyday health and pets."""

from app.starter.subject import Subject, Topic

SLEEP = Topic(
    "sleep",
    (
        Subject(
            "fall asleep on a hot night",
            "falling",
            "hot nights",
            "It is so hot that I lie awake for hours",
            (
                "keep the curtains closed during the day",
                "take a lukewarm shower before bed",
                "put a damp towel in front of the open window",
                "swap the blanket for a thin [sheet|cotton sheet]",
            ),
            "the body has to cool down before it can sleep",
            ordered=False,
        ),
        Subject(
            "wake up earlier",
            "waking",
            "waking up",
            "I press snooze five times every morning",
            (
                "go to bed [fifteen|twenty] minutes earlier each week",
                "put the alarm at the other end of the room",
                "open the curtains as soon as you are up",
                "plan something nice for breakfast",
            ),
            "morning light sets the inner clock",
            ordered=False,
        ),
        Subject(
            "recover from jet lag",
            "recovering",
            "jet lag",
            "I flew home yesterday and feel tired all day",
            (
                "go outside in the morning light",
                "eat your meals at the local times",
                "keep naps shorter than [twenty|thirty] minutes",
                "stay up until a normal bedtime on the first day",
            ),
            "the inner clock moves about an hour a day",
            ordered=False,
        ),
    ),
)
EXERCISE = Topic(
    "exercise",
    (
        Subject(
            "start running",
            "starting",
            "running",
            "I get out of breath when I run for the bus",
            (
                "buy shoes that fit your feet well",
                "run for one minute and walk for two",
                "go out [three|two] times a week",
                "run so slowly that you can still talk",
            ),
            "joints and tendons need more time than the lungs",
        ),
        Subject(
            "learn to do a push-up",
            "learning",
            "push-ups",
            "I cannot do one single push-up",
            (
                "begin with your hands against a wall",
                "move on to the edge of a table",
                "do three sets of [eight|ten] every other day",
                "lower yourself slowly to the floor and push up again",
            ),
            "muscles grow in the days of rest",
        ),
        Subject(
            "stretch {my} stiff back",
            "stretching",
            "{my} back",
            "My back is stiff after sitting all day",
            (
                "lie down and pull both knees to your chest",
                "kneel and round your back like a cat",
                "hold every stretch for [twenty|thirty] seconds",
                "walk for five minutes every hour",
            ),
            "muscles stiffen when they hold one position",
            ordered=False,
        ),
    ),
)
HEALTH = Topic(
    "health",
    (
        Subject(
            "get over a cold",
            "getting",
            "{my} cold",
            "I have a runny nose and a sore throat",
            (
                "drink plenty of warm tea or water",
                "rest in bed for a day or two",
                "rinse your nose with [salt water|mild salt water]",
                "see a doctor if the fever stays for three days",
            ),
            "the body fights a cold best when it rests",
            ordered=False,
        ),
        Subject(
            "ease a headache",
            "easing",
            "{my} headache",
            "My head has been aching since lunch",
            (
                "drink a large glass of water",
                "rest your eyes in a dark room",
                "put a [cool|cold] cloth on your forehead",
                "see a doctor if the pain comes on very suddenly",
            ),
            "thirst and tense muscles are common causes",
            ordered=False,
        ),
        Subject(
            "treat a mild sunburn",
            "treating",
            "{my} sunburn",
            "I fell asleep in the sun and my shoulders are red",
            (
                "get out of the sun straight away",
                "cool the skin with a wet towel",
                "put on a light lotion with [aloe|no perfume]",
                "wear a loose shirt until the red is gone",
            ),
            "the skin goes on burning for a while after the sun",
        ),
    ),
)
PETS = Topic(
    "pets",
    (
        Subject(
            "teach {my} puppy to sit",
            "teaching",
            "{my} puppy",
            "My puppy jumps at everybody who visits",
            (
                "hold a treat just above the puppy's nose",
                "move the treat back until the puppy sits down",
                "give the treat and some praise at once",
                "practise for [five|three] minutes twice a day",
            ),
            "a puppy repeats what brings a reward",
        ),
        Subject(
            "stop {my} cat scratching the sofa",
            "stopping",
            "{my} cat",
            "My cat is ruining the sofa",
            (
                "put a tall scratching post next to the sofa",
                "rub some catnip on the post",
                "cover the corner of the sofa with [smooth|plastic] tape",
                "play with the cat every evening",
            ),
            "cats scratch to stretch and to leave their scent",
            ordered=False,
        ),
        Subject(
            "bath {my} dog",
            "bathing",
            "{my} dog",
            "My dog rolled in something that smells awful",
            (
                "brush the coat before it gets wet",
                "wet the dog with lukewarm water from the back forwards",
                "use a [mild|special] shampoo for dogs",
                "rinse well and rub the coat dry with a towel",
            ),
            "soap that stays in the coat makes it itch",
        ),
    ),
)
BODY = (SLEEP, EXERCISE, HEALTH, PETS)
