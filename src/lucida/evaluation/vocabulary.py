"""Which objects a caption says are there.

A caption names an object by its noun, its plural or a synonym; the longest wording wins ("hot dog" is no dog). A noun
that is denied ("no dogs", "without a dog") or part of a known phrase for something else ("dog house") is no mention.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from lucida.core.errors import LucidaError
from lucida.data.kinds import plural

# Facts about English, by name of COCO's 80 categories; a name without synonyms stands alone.
_COCO = """
person: man, woman, boy, girl, child, kid, baby, toddler, infant, lady, guy, gentleman, player, skier, snowboarder,
  surfer, skateboarder, batter, catcher, umpire, rider, cyclist, biker, motorcyclist, pedestrian, passenger, driver,
  cook, chef, waiter, worker, officer, police officer, policeman, policemen, fireman, firemen, soldier, student,
  teacher, tourist, bride, groom, adult, teenager, male, female, human, mother, father, son, daughter, friend,
  spectator
bicycle: bike, cycle, tandem
car: autosedan, suv, minivan, van, jeep, taxi, cab, hatchback, convertible, police car
motorcycle: motorbike, scooter, moped, motor scooter, vespa, motor bike, motor cycle
airplane: plane, aeroplane, aircraft, jet, jetliner, airliner, biplane, seaplane, fighter jet
bus: minibus, double decker, school bus, tour bus
train: locomotive, subway train, steam train, passenger train, freight train, tram, trolley car, train car, train
  engine
truck: lorry, pickup, pick up truck, pickup truck, fire truck, fire engine, dump truck, tow truck, food truck,
  trailer
boat: ship, sailboat, canoe, kayak, yacht, ferry, rowboat, motorboat, speedboat, barge, gondola, raft, sailing boat,
  dinghy
traffic light: stoplight, traffic signal, stop light
fire hydrant: hydrant
stop sign:
parking meter: meter
bench: pew
bird: duck, goose, seagull, gull, pigeon, parrot, owl, eagle, hawk, swan, penguin, ostrich, chicken, rooster, hen,
  crow, sparrow, pelican, flamingo, peacock, robin, heron, stork, hummingbird, duckling
cat: kitten, kitty, feline, tabby
dog: puppy, pup, canine, poodle, terrier, retriever, labrador, bulldog, beagle, dachshund, husky, german shepherd,
  hound
horse: pony, foal, mare, stallion, colt, mule
sheep: lamb, ram, ewe
cow: cattle, bull, calf, ox, heifer, bovine
elephant:
bear: grizzly, polar bear, grizzly bear, brown bear, black bear, panda bear, bear cub
zebra:
giraffe:
backpack: rucksack, knapsack, back pack, bookbag
umbrella: parasol
handbag: purse, hand bag, shoulder bag, pocketbook
tie: necktie, bow tie, bowtie, neck tie
suitcase: luggage, suit case, baggage
frisbee: flying disc, disc golf disc
skis: ski
snowboard: snow board
sports ball: ball, baseball, basketball, soccer ball, tennis ball, football, volleyball, softball, golf ball
kite: parafoil
baseball bat: bat
baseball glove: mitt, catcher's mitt, baseball mitt
skateboard: skate board, longboard
surfboard: surf board, boogie board, body board
tennis racket: racket, racquet, tennis racquet
bottle: water bottle, wine bottle, beer bottle
wine glass: goblet, wineglass, champagne glass, glass of wine
cup: mug, teacup, coffee cup, tea cup
fork:
knife: butter knife, steak knife, pocket knife
spoon: teaspoon, tablespoon, ladle
bowl:
banana:
apple:
sandwich: burger, hamburger, cheeseburger, panini, hoagie, blt
orange: tangerine, clementine, mandarin
broccoli: broccoli floret
carrot:
hot dog: hotdog, chili dog, corn dog
pizza: pizza pie, slice of pizza
donut: doughnut, bagel
cake: cupcake, birthday cake, wedding cake, cheesecake
chair: armchair, arm chair, stool, recliner, rocking chair, lawn chair, desk chair, high chair
couch: sofa, loveseat, love seat, settee, futon
potted plant: houseplant, house plant
bed: bunk bed, mattress, crib
dining table: table, kitchen table, dinner table, desk, coffee table, picnic table
toilet: urinal, commode, toilet bowl
tv: television, television set, tv set, monitor, flat screen, computer monitor, computer screen
laptop: laptop computer, notebook computer, macbook, computer
mouse: computer mouse, wireless mouse
remote: remote control, wii remote, game controller, controller, wii controller
keyboard: computer keyboard
cell phone: cellphone, mobile phone, smartphone, phone, smart phone, iphone, telephone
microwave: microwave oven
oven: stove, stovetop, stove top
toaster:
sink: washbasin, basin, wash basin
refrigerator: fridge, freezer
book: novel, textbook, magazine, notebook
clock: alarm clock, clock tower, wall clock, clock face
vase: flower vase
scissors: scissor, shears
teddy bear: teddy, stuffed bear, stuffed animal bear
hair drier: hair dryer, hairdryer, blow dryer, blow drier
toothbrush: tooth brush
"""

# Wordings that mean something else than their last or first word does, unless they are names themselves.
_PHRASES = ("hot dog", "teddy bear", "computer mouse", "baseball bat", "sea horse", "guinea pig", "bean bag")

# After a noun in the singular these make it a mere description: a "dog house" or a "train station" shows neither. Verbs
# in their third person ("the dog stands") are left out.
_HEAD_WORDS = """
house home park bowl food foods bath cage feeder feeders collar leash toy toys station stations stop track tracks
yard depot terminal dock ramp wash door doors window windows paper lid shelf shelves case cases box cutter juice pie
pies tree trees bread peel booth booths pole poles stand pad show game games field fields player players uniform
uniforms cap caps diamond court courts match shoe shoes team course slope lift resort cloth holder handle lane lanes
crossing trailer shop store market rack sign painting drawing picture photo poster statue sculpture logo costume
"""
_HEADS = frozenset(_HEAD_WORDS.split())

_MORE_PLURALS: Mapping[str, str] = {
    "cactus": "cacti",
    "octopus": "octopi",
    "hippopotamus": "hippopotami",
    "mango": "mangos",
    "scarf": "scarfs",
    "fish": "fishes",
    "squid": "squids",
    "volcano": "volcanos",
    "person": "persons",
    "calf": "calves",
    "hoof": "hooves",
    "loaf": "loafs",
    "dwarf": "dwarves",
    "police": "police",
}
_NO_SINGULAR = frozenset(("glasses", "sunglasses", "news", "lens", "series", "species", "pants", "jeans", "gas"))
_DENIALS = frozenset(("no", "not", "without", "neither", "nor", "never", "cannot", "lacks", "lacking"))
_DENIAL_REACH = 3  # words of its own meaning that a denial reaches over: "no big brown dog"
_NOT_DENYING = frozenset(("only", "just", "merely", "far", "sure"))
_SMALL_WORDS = frozenset(("a", "an", "the", "any", "of", "sign", "signs", "other"))
_LISTING = frozenset(("or", "nor"))
# Past these a denial has nothing to say any more: "not looking at the dog" shows a dog.
_REACH_END_WORDS = "at on in to with by near from for and who which that under behind beside"
_REACH_ENDS = frozenset(_REACH_END_WORDS.split())

# Before another noun of the vocabulary these only describe it: "an orange cat", "a baby elephant".
_ADJECTIVE_WORDS = "orange rose peach lemon plum cherry baby adult male female mother father child human toy"
_ADJECTIVES = frozenset(_ADJECTIVE_WORDS.split())
_SUFFIX_WORDS = "shaped themed patterned printed print coloured colored flavoured flavored"
_SUFFIXES = frozenset(_SUFFIX_WORDS.split())

_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[.,;:!?\n]")
_CLAUSE_ENDS = frozenset((".", ",", ";", ":", "!", "?", "\n", "but", "however", "although", "though"))


def words(text: str) -> list[str]:
    """Lower-case words and clause ends; hyphens part words, accents and possessives are dropped.

    >>> words("The dog’s hot-dog, a piñata!")
    ['the', 'dog', 'hot', 'dog', ',', 'a', 'pinata', '!']
    """
    text = unicodedata.normalize("NFKD", text.replace("’", "'")).casefold()
    text = "".join(c for c in text if not unicodedata.combining(c))
    return [token.removesuffix("'s") for token in _TOKEN.findall(text)]


def forms(noun: str) -> tuple[str, ...]:
    """A noun, its plurals, and its singular if it is a plural itself.

    >>> forms("cherry"), forms("skis"), forms("cactus")
    (('cherry', 'cherries'), ('skis', 'ski'), ('cactus', 'cactuses', 'cacti'))
    """
    start, space, last = noun.rpartition(" ")
    found = [noun, plural(noun)]
    if last in _MORE_PLURALS:
        found.append(start + space + _MORE_PLURALS[last])
    if last not in _NO_SINGULAR and last.endswith("s") and not last.endswith(("ss", "us")):
        stems = [last[:-1], last[:-2], last[:-3] + "y"]
        singular = next((stem for stem in stems if len(stem) > 2 and plural(stem) == last), None)
        found += [start + space + singular] if singular else []
    return tuple(dict.fromkeys(found))


def coco_synonyms() -> dict[str, tuple[str, ...]]:
    """COCO's 80 category names, in COCO's order, with the usual other nouns for each (a list of our own)."""
    entries = re.sub(r"\n +", " ", _COCO.strip()).split("\n")
    table = (entry.partition(":") for entry in entries)
    return {name: tuple(noun.strip() for noun in nouns.split(",") if noun.strip()) for name, _, nouns in table}


def general_synonyms(names: Sequence[str]) -> dict[str, list[str]]:
    """The wordings that captions of lucida's own pictures know for these names."""
    from lucida.data.captions import vocabulary  # loaded here: a table of names alone does not need the scenes

    synonyms: dict[str, list[str]] = {}
    for surface, name in vocabulary(names).items():
        synonyms.setdefault(name, []).append(surface)
    return synonyms


class Mention(NamedTuple):
    """An object that a text says is there: its name, and which of the text's :func:`words` name it."""

    name: str
    start: int
    stop: int


class Vocabulary:
    """Finds the objects a text names.

    Args:
        names: what may be named; matched in any case, singular and plural.
        synonyms: other nouns for a name; by default those of :func:`general_synonyms` and :func:`coco_synonyms`. A
            synonym that is itself a name stands for that one. One whose name is not in the vocabulary means something
            else: with the names ("dog",), a "hot dog" is no dog.

    Raises:
        LucidaError: no names, or two that read the same.

    >>> Vocabulary(["dog", "hot dog", "mouse"]).mentions("Two hot dogs, mice and no dog.")
    ['hot dog', 'mouse']
    """

    def __init__(self, names: Iterable[str], synonyms: Mapping[str, Sequence[str]] | None = None):
        self.names = tuple(dict.fromkeys(names))
        if not self.names:
            raise LucidaError("a vocabulary needs at least one name")
        self._by_words: dict[tuple[str, ...], str | None] = {}
        for name in self.names:
            taken = self._by_words.get(tuple(words(name)))
            if taken is not None:
                raise LucidaError(f"it reads the same as {taken!r}", where=f"vocabulary name {name!r}")
            if not any(c.isalnum() for c in name):
                raise LucidaError("it has no letters", where=f"vocabulary name {name!r}")
            self._by_words[tuple(words(name))] = name
        for surface, owner in self._surfaces(synonyms):
            self._by_words.setdefault(tuple(words(surface)), owner)
        plurals = {tuple(words(plural(" ".join(key)))) for key in self._by_words}
        self._singular = self._by_words.keys() - plurals
        self._longest = max(map(len, self._by_words))

    def _surfaces(self, synonyms: Mapping[str, Sequence[str]] | None) -> Iterable[tuple[str, str | None]]:
        """Wordings and whose they are, in the order in which they claim them: names, synonyms, other phrases."""
        for name in self.names:
            lower = name.lower()
            for form in forms(lower):
                yield form, name
                yield form.replace(" ", ""), name  # "hotdog"
        known = set(self.names)
        for table in (general_synonyms(self.names), coco_synonyms()) if synonyms is None else (synonyms,):
            for name, nouns in table.items():
                for form in (form for noun in (name, *nouns) for form in forms(noun.lower())):
                    yield form, name if name in known else None
        for form in (form for phrase in _PHRASES for form in forms(phrase)):
            yield form, None

    def canonical(self, noun: str) -> str | None:
        """The name that a noun stands for; None if it is none of the vocabulary's.

        >>> Vocabulary(["couch"]).canonical("Sofas")
        'couch'
        """
        return self._by_words.get(tuple(words(noun)))

    @cached_property
    def surfaces(self) -> Mapping[str, tuple[str, ...]]:
        """All wordings that stand for each name."""
        found: dict[str, list[str]] = {name: [] for name in self.names}
        for key, owner in self._by_words.items():
            if owner is not None:
                found[owner].append(" ".join(key))
        return {name: tuple(wordings) for name, wordings in found.items()}

    def mentions(self, text: str) -> list[str]:
        """The names of the objects a text says are there, in order, repeated where it repeats them."""
        return [mention.name for mention in self.located(words(text))]

    def located(self, tokens: Sequence[str]) -> list[Mention]:
        """The same of :func:`words`, with their places.

        >>> Vocabulary(["dog", "hot dog"]).located(words("A hot dog."))
        [Mention(name='hot dog', start=1, stop=3)]
        """
        found: list[Mention] = []
        at, denied_to = 0, -1
        while at < len(tokens):
            name, length = self._match(tokens, at)
            if name is not None and not self._describes(tokens, at, length):
                if self._denied(tokens, at, denied_to):
                    denied_to = at + length
                else:
                    found.append(Mention(name, at, at + length))
            at += length
        return found

    def _match(self, tokens: Sequence[str], at: int) -> tuple[str | None, int]:
        """The owner of the longest wording at a place, and its length; (None, 1) if there is none."""
        for length in range(min(self._longest, len(tokens) - at), 0, -1):
            key = tuple(tokens[at : at + length])
            if key in self._by_words:
                return self._by_words[key], length
        return None, 1

    @staticmethod
    def _denied(tokens: Sequence[str], at: int, denied_to: int) -> bool:
        """Whether a denial reaches the noun at a place; ``denied_to`` is where the last denied noun ended."""
        between = set(tokens[denied_to:at]) if denied_to >= 0 else set()
        if between & _LISTING and between <= _LISTING | _SMALL_WORDS:
            return True  # "no cats or dogs"
        meaning = 0
        for i in range(at - 1, -1, -1):
            if tokens[i] in _DENIALS or tokens[i].endswith("n't"):
                return tokens[i + 1] not in _NOT_DENYING
            meaning += tokens[i] not in _SMALL_WORDS
            if tokens[i] in _CLAUSE_ENDS or tokens[i] in _REACH_ENDS or meaning > _DENIAL_REACH:
                return False
        return False

    def _describes(self, tokens: Sequence[str], at: int, length: int) -> bool:
        """Whether the noun only describes what follows: "an orange cat", "a heart-shaped cake", "a dog house"."""
        after = at + length
        if after >= len(tokens):
            return False
        if tokens[after] in _SUFFIXES or (tokens[after] in _HEADS and (*tokens[at:after],) in self._singular):
            return True
        return length == 1 and tokens[at] in _ADJECTIVES and self._match(tokens, after)[0] is not None
