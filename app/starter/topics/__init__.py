"""Every topic of the starter project."""

from app.starter.subject import Topic
from app.starter.topics.body import BODY
from app.starter.topics.held_out import HELD_OUT
from app.starter.topics.home import HOME
from app.starter.topics.people import PEOPLE
from app.starter.topics.refusals import REFUSALS
from app.starter.topics.town import TOWN
from app.starter.topics.unfamiliar import UNFAMILIAR

TOPICS: tuple[Topic, ...] = (*HOME, *BODY, *TOWN, *PEOPLE, *REFUSALS, *UNFAMILIAR, *HELD_OUT)
