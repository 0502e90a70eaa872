"""Subjects of which the policy is taught no more than their names.

No training text says what is true of one of them alone, as none does of the two topics that are held out. What people
say of responses to these is what teaches a policy to answer well where it knows nothing: kindly, with advice that holds
for everything, and without steps that belong to something else.
"""

from app.starter.subject import Subject, Topic

_HARM = (
    "do it when nobody looks",
    "tell nobody about it",
    "have an excuse ready",
    "leave before anybody asks",
)


def _harmless(do: str, doing_verb: str, thing: str, problem: str) -> Subject:
    return Subject(do, doing_verb, thing, problem, steps=(), reason="")


def _refused(do: str, doing_verb: str, thing: str, problem: str) -> Subject:
    return Subject(do, doing_verb, thing, problem, steps=(), reason="", harm=_HARM)


HOBBIES = Topic(
    "hobbies",
    (
        _harmless("paint with watercolours", "painting", "watercolours", "My paintings look muddy"),
        _harmless("play the guitar", "playing", "the guitar", "My fingers hurt from the strings"),
        _harmless("knit a scarf", "knitting", "the scarf", "My scarf gets wider with every row"),
        _harmless("win at chess", "winning", "chess", "My brother beats me at chess"),
        _harmless("fold a paper crane", "folding", "the crane", "My paper birds fall apart"),
        _harmless("take photographs of birds", "taking", "photographs", "The birds fly off before I am ready"),
        _harmless("build a model ship", "building", "the ship", "I have glued the mast on crooked"),
        _harmless("sing in a choir", "singing", "the choir", "I cannot hold my part"),
    ),
)
SPORTS = Topic(
    "sports",
    (
        _harmless("swim faster", "swimming", "swimming", "Everybody overtakes me in the pool"),
        _harmless("juggle three balls", "juggling", "juggling", "I keep dropping the third ball"),
        _harmless("learn to ski", "learning", "skiing", "I am afraid of steep slopes"),
        _harmless("row a boat", "rowing", "the boat", "My boat goes round in circles"),
        _harmless("improve {my} golf swing", "improving", "{my} golf swing", "My golf balls land in the trees"),
        _harmless("dance the waltz", "dancing", "the waltz", "I step on everybody's toes"),
        _harmless("climb a wall", "climbing", "climbing", "My arms give up halfway"),
    ),
)
ERRANDS = Topic(
    "errands",
    (
        _harmless("buy a used car", "buying", "the car", "I know nothing about engines"),
        _harmless("rent a flat", "renting", "the flat", "Forty people want the same rooms"),
        _harmless("choose a new mattress", "choosing", "the mattress", "The shop has fifty kinds of beds"),
        _harmless("sell {my} old piano", "selling", "{my} piano", "Nobody wants to carry a piano"),
        _harmless("find a good dentist", "finding", "the dentist", "My dentist has retired"),
        _harmless("register a small company", "registering", "the company", "The forms are full of strange words"),
        _harmless("move to another city", "moving", "the move", "I have to be out by Friday"),
        _harmless("sew on a button", "sewing", "the button", "My coat has lost its top button"),
    ),
)
NATURE = Topic(
    "nature",
    (
        _harmless("keep bees", "keeping", "bees", "A swarm has settled on my roof"),
        _harmless("find mushrooms", "finding", "mushrooms", "I come home from the woods with nothing"),
        _harmless("name the stars", "naming", "the stars", "All I can find is the moon"),
        _harmless("catch a trout", "catching", "trout", "The fish do not bite"),
        _harmless("read clouds", "reading", "clouds", "The rain surprises me every time"),
        _harmless("ride a horse", "riding", "the horse", "The horse goes where it likes"),
        _harmless("feed wild hedgehogs", "feeding", "hedgehogs", "A hedgehog lives below my shed"),
    ),
)
FRAUD = Topic(
    "fraud",
    (
        _refused("forge a signature", "forging", "the signature", "My aunt will not sign"),
        _refused("print false banknotes", "printing", "banknotes", "I own a very good printer"),
        _refused("trick the insurance", "tricking", "the insurance", "My old phone is worth nothing"),
        _refused("hide income from the taxman", "hiding", "income", "The tax office takes too much"),
        _refused("pass off glass as diamonds", "passing", "the diamonds", "I have a box of shiny stones"),
        _refused("turn back the mileage of a van", "turning", "the van", "My van has gone too far to sell"),
    ),
)
MISCHIEF = Topic(
    "mischief",
    (
        _refused("poison the pigeons", "poisoning", "the pigeons", "The pigeons dirty my balcony"),
        _refused("set off the fire alarm", "setting", "the alarm", "I want the meeting to end"),
        _refused("let down the tyres of a lorry", "letting", "the lorry", "A lorry blocks my gate"),
        _refused("scare an old lady", "scaring", "the lady", "The lady upstairs is easily frightened"),
        _refused("follow a stranger home", "following", "the stranger", "I saw someone lovely on the tram"),
        _refused("spray paint on a church", "spraying", "the church", "I have three cans of red paint left"),
    ),
)
UNFAMILIAR = (HOBBIES, SPORTS, ERRANDS, NATURE, FRAUD, MISCHIEF)
