"""Words that may stand for each other in a caption: the same thing in another English, or its short or long name.

A thesaurus is too generous for this. Its lists mix senses and associations (of "cat": gossip, lash, meow), and of its
true synonyms many are narrower or wider ("puppy", "vehicle"): put into a caption they say something that the picture
does not show. This table holds nothing but equals. An arrow means that only one direction is safe, because the other
word has more meanings: every flashlight is a torch, but not the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

_BOTH_WAYS = """
airplane, aeroplane | automobile, car | baby, infant | ballpoint pen, biro
bell pepper, capsicum | bow tie, bowtie | cell phone, mobile phone | cilantro, coriander
couch, sofa | cougar, puma, mountain lion | doughnut, donut | dressing gown, bathrobe | eggplant, aubergine
fire engine, fire truck | garbage can, trash can, rubbish bin | gas station, petrol station | hair dryer, blow dryer
hippopotamus, hippo | ladybug, ladybird | laptop, laptop computer | mailbox, postbox | microwave, microwave oven
motorboat, motor boat | motorcycle, motorbike | movie theater, cinema | necktie, neck tie | orca, killer whale
parking lot, car park | pedestrian crossing, crosswalk | pickup, pickup truck
popsicle, ice lolly | railway, railroad | reindeer, caribou | refrigerator, fridge | rhinoceros, rhino
saxophone, sax | seashell, sea shell | semi-trailer truck, articulated lorry
stroller, pushchair | swimsuit, bathing suit, swimming costume | t-shirt, tee shirt
television, TV, television set | train station, railway station | tram, streetcar
wind turbine, wind generator | wrench, spanner | zucchini, courgette | zeppelin, dirigible
"""
_ONE_WAY = """
airplane > plane | aeroplane > plane | bicycle > bike | candy > sweet | child > kid | elevator > lift | faucet > tap
flashlight > torch | hamburger > burger | lorry > truck | maize > corn | pavement > sidewalk
photocopier > copier | sailing boat > sailboat | spectacles > glasses | taxi > cab | teddy bear > teddy
unidentified flying object > UFO
"""


@cache
def equivalents() -> Mapping[str, tuple[str, ...]]:
    """The nouns that may be put in a noun's place, singular.

    >>> equivalents()["automobile"], equivalents()["flashlight"], "torch" in equivalents()
    (('car',), ('torch',), False)
    """
    found: dict[str, list[str]] = {}
    for group in _entries(_BOTH_WAYS):
        words = group.split(", ")
        for word in words:
            found.setdefault(word, []).extend(other for other in words if other != word)
    for arrow in _entries(_ONE_WAY):
        word, other = arrow.split(" > ")
        found.setdefault(word, []).append(other)
    return {word: tuple(others) for word, others in found.items()}


def _entries(table: str) -> list[str]:
    return [entry.strip() for line in table.strip().splitlines() for entry in line.split(" | ")]
