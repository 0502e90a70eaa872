"""Cooking, cleaning, small repairs and the garden."""

from app.starter.subject import Subject, Topic

COOKING = Topic(
    "cooking",
    (
        Subject(
            "cook rice",
            "cooking",
            "rice",
            "My rice always turns out sticky",
            (
                "rinse the rice until the water runs clear",
                "use two cups of water for each cup of rice",
                "cover the pot and let the rice simmer for [twelve|fifteen] minutes",
                "let the rice rest before you fluff it with a fork",
            ),
            "rinsing takes away the starch that makes the grains stick",
        ),
        Subject(
            "bake bread",
            "baking",
            "bread",
            "My bread comes out flat and heavy",
            (
                "mix flour, yeast, salt and warm water in a large bowl",
                "knead the dough for ten minutes until it is smooth",
                "let the dough rise in a warm place until it has doubled",
                "bake the loaf in a hot oven until it sounds hollow",
            ),
            "yeast needs time and warmth to do its work",
        ),
        Subject(
            "make pancakes",
            "making",
            "pancakes",
            "My pancakes always stick to the pan",
            (
                "whisk flour, milk and eggs into a thin batter",
                "let the batter stand for half an hour",
                "heat a little butter in a flat pan",
                "turn the pancake when the edges begin to [brown|curl]",
            ),
            "a rested batter gives soft pancakes",
        ),
    ),
)
CLEANING = Topic(
    "cleaning",
    (
        Subject(
            "descale {my} kettle",
            "descaling",
            "{my} kettle",
            "My kettle is full of limescale",
            (
                "pour in half water and half [white|clear] vinegar",
                "boil the vinegar and let it stand for an hour",
                "pour the vinegar away and rinse well",
                "boil fresh water once and throw it out",
            ),
            "hard water leaves a layer of chalk on the metal",
        ),
        Subject(
            "clean {my} coffee machine",
            "cleaning",
            "{my} coffee machine",
            "My coffee machine drips slowly and smells",
            (
                "pour in half water and half [white|clear] vinegar",
                "run one full cycle without any coffee",
                "pour the vinegar away and rinse well",
                "wash the filter basket by hand",
            ),
            "old coffee oil makes every cup taste bitter",
            held_out=True,
        ),
        Subject(
            "clean {my} oven",
            "cleaning",
            "{my} oven",
            "My oven smokes whenever I use it",
            (
                "take out the racks and soak them in hot water",
                "spread a paste of baking soda and water inside",
                "leave the paste on [overnight|for a night]",
                "wipe the paste off with a damp cloth",
            ),
            "burnt fat is what makes the smoke",
        ),
        Subject(
            "wash {my} windows",
            "washing",
            "{my} windows",
            "My windows are full of streaks",
            (
                "brush the dust off the frame first",
                "wash the glass with warm water and a drop of soap",
                "pull the water off from top to bottom",
                "dry the edges with a [soft|clean] cloth",
            ),
            "streaks appear when soap dries in the sun",
        ),
    ),
)
REPAIRS = Topic(
    "repairs",
    (
        Subject(
            "fix a dripping tap",
            "fixing",
            "the tap",
            "My kitchen tap drips all night",
            (
                "turn off the water under the sink",
                "pull out the worn washer and look at its size",
                "put in a new washer of the [same|right] size",
                "turn the water on again slowly and look for drips",
            ),
            "a worn washer no longer closes tightly",
        ),
        Subject(
            "silence a squeaky door",
            "silencing",
            "the door",
            "My bedroom door squeaks horribly",
            (
                "move the door to find the hinge that squeaks",
                "knock out the pin of the hinge with a nail",
                "wipe the pin clean and rub it with [wax|soap]",
                "push the pin back in and try the door",
            ),
            "dry metal makes the noise",
        ),
        Subject(
            "fill a hole in the wall",
            "filling",
            "the wall",
            "There is a hole in the wall from an old screw",
            (
                "brush the loose dust out of the hole",
                "press filler in with a flat knife",
                "let the filler dry for [a day|several hours]",
                "sand the spot until it is level with the wall",
            ),
            "filler shrinks a little while it dries",
        ),
    ),
)
GARDENING = Topic(
    "gardening",
    (
        Subject(
            "grow tomatoes on {my} balcony",
            "growing",
            "tomatoes",
            "I have a sunny balcony and would like some tomatoes",
            (
                "choose a deep pot with holes in the bottom",
                "put the plants in the sunniest corner",
                "water the soil every [morning|day] in summer",
                "tie the stems to a stick as they grow",
            ),
            "tomatoes need sun for most of the day",
        ),
        Subject(
            "grow basil in {my} kitchen",
            "growing",
            "basil",
            "My basil dies after two weeks",
            (
                "choose a deep pot with holes in the bottom",
                "put the pot on a bright window sill",
                "pinch off the tips for a bushy plant",
                "pour water into the saucer and not on the leaves",
            ),
            "crowded plants fight for light and water",
            held_out=True,
        ),
        Subject(
            "start a compost heap",
            "starting",
            "the compost",
            "I want to make use of my kitchen scraps",
            (
                "find a shady corner with bare soil",
                "mix green scraps with dry leaves",
                "keep the heap as damp as a wrung [sponge|cloth]",
                "turn the heap with a fork once a month",
            ),
            "small creatures in the soil need air and moisture",
        ),
        Subject(
            "prune {my} roses",
            "pruning",
            "{my} roses",
            "My roses have grown tall and hardly flower",
            (
                "wait until the last hard frost is over",
                "cut out all the dead and crossing stems",
                "shorten the rest to [three|four] strong buds",
                "make each cut just above a bud that points outwards",
            ),
            "light in the middle of the bush brings more flowers",
        ),
    ),
)
HOME = (COOKING, CLEANING, REPAIRS, GARDENING)
