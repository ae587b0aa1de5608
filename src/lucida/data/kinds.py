"""Kinds of object a scene may show: nouns with their plural, and the context each belongs to.

The table lists artwork whose name is a plain, countable English noun and whose picture is like no other of the table
(one of "cat", "black cat" and "cat face"). Contexts matter where a world is skewed: with co-occurrence skew, objects
of one context appear together, as forks appear beside plates in photographs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream

# One line a context. "concept=noun" where the artwork's own name is not the noun people use.
_CONTEXTS = {
    "farm": "dog, cat, cow, horse, pig, goat, rooster, duck, donkey, rabbit, goose, hamster, turkey, llama, "
    "tractor, mouse",
    "savannah": "lion, tiger, elephant, giraffe, zebra, hippopotamus, rhinoceros, gorilla, leopard, kangaroo, camel, "
    "crocodile, flamingo, bison, mammoth",
    "forest": "bear, wolf, fox, deer, moose, raccoon, badger, beaver, skunk, sloth, hedgehog, chipmunk=squirrel, owl, "
    "mushroom, evergreen tree=fir tree, bat, panda, koala, otter",
    "sea": "whale, dolphin, shark, octopus, crab, lobster, squid, tropical fish=fish, jellyfish, seal, turtle, "
    "spiral shell=shell, penguin, anchor, sailboat, ship",
    "garden": "butterfly, ant, honeybee=bee, lady beetle=ladybug, snail, spider, worm, scorpion, parrot, peacock, "
    "swan, tulip, rose, sunflower, cactus, hibiscus, potted plant, lizard, snake, frog",
    "market": "red apple=apple, pear, banana, lemon, watermelon, strawberry, peach, pineapple, mango, coconut, "
    "avocado, tomato, carrot, cucumber, bell pepper=pepper, potato, onion, eggplant",
    "bakery": "pizza, hamburger, hot dog, taco, sandwich, doughnut, cookie, cupcake, birthday cake=cake, pie, pretzel, "
    "croissant, bagel, waffle, burrito, lollipop, pancakes=pancake, egg",
    "house": "teapot, wine glass, spoon, chair, bed, bathtub, toilet, candle, door, mirror, light bulb, television, "
    "bucket, broom, basket, toothbrush, alarm clock=clock, couch and lamp=couch, key",
    "office": "pencil, paperclip, envelope, laptop, printer, telephone, mobile phone, camera, briefcase, microscope, "
    "telescope, radio, battery, open book=book, newspaper, magnet, floppy disk, scroll",
    "workshop": "hammer, screwdriver, wrench, axe, carpentry saw=saw, ladder, toolbox, gear, brick, bomb, shield, "
    "fire extinguisher, flashlight, hook, test tube, syringe, plunger",
    "music": "guitar, violin, trumpet, saxophone, drum, accordion, banjo, flute, microphone, bell, "
    "musical keyboard=piano, harp, trombone, loudspeaker",
    "sport": "soccer ball, basketball, baseball, volleyball, skateboard, kite, balloon, trophy, teddy bear, yo-yo, "
    "bullseye=target, boxing glove, sled, ice skate, tennis=tennis ball, ping pong=paddle, roller skate, "
    "american football=football",
    "wardrobe": "top hat, crown, t-shirt=shirt, dress, coat, scarf, backpack, handbag, ring, umbrella, "
    "hiking boot=boot, lipstick, running shoe=sneaker, billed cap=cap, kimono",
    "road": "automobile=car, bus, taxi, delivery truck=truck, bicycle, motorcycle, ambulance, fire engine, "
    "kick scooter=scooter, locomotive, vertical traffic light=traffic light, stop sign, fuel pump, wheel",
    "sky": "airplane, helicopter, rocket, parachute, flying saucer, satellite, star, crescent moon=moon, sun, comet, "
    "ringed planet=planet, cloud, rainbow, snowman, snowflake",
    "town": "house, castle, tent, hut, factory, church, fountain, palm tree, mountain, volcano, ferris wheel, "
    "moai=statue, barber pole, postbox=mailbox, treasure chest",
}

_IRREGULAR = {
    "sheep": "sheep",
    "fish": "fish",
    "moose": "moose",
    "deer": "deer",
    "bison": "bison",
    "squid": "squid",
    "jellyfish": "jellyfish",
    "goose": "geese",
    "mouse": "mice",
    "wolf": "wolves",
    "scarf": "scarves",
    "knife": "knives",
    "person": "people",
    "man": "men",
    "snowman": "snowmen",
    "woman": "women",
    "child": "children",
    "tomato": "tomatoes",
    "potato": "potatoes",
    "mango": "mangoes",
    "volcano": "volcanoes",
    "ox": "oxen",
    "die": "dice",
    "aircraft": "aircraft",
    "loaf": "loaves",
    "leaf": "leaves",
    "shelf": "shelves",
    "foot": "feet",
    "tooth": "teeth",
}

_PAIRS = ("binoculars", "glasses", "goggles", "jeans", "pants", "pliers", "scissors", "shorts", "skis", "sunglasses")


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    Attributes:
        name: the noun, singular, in lower case.
        concept: what the artwork is called in its corpus.
        context: the group of kinds it appears with in a skewed world.
    """

    name: str
    concept: str = ""
    context: str = ""

    def __post_init__(self) -> None:
        if not self.concept:
            object.__setattr__(self, "concept", self.name)

    @property
    def plural(self) -> str:
        """``"cats"``."""
        return plural(self.name)


@cache
def plural(noun: str) -> str:
    """The plural of an English noun or noun phrase.

    >>> [plural(noun) for noun in ("cat", "bus", "cherry", "toy", "teddy bear", "wolf", "mobile phone", "fire box")]
    ['cats', 'buses', 'cherries', 'toys', 'teddy bears', 'wolves', 'mobile phones', 'fire boxes']
    """
    start, space, last = noun.rpartition(" ")
    if last in _PAIRS:
        return noun
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = f"{last[:-1]}ies"
    else:
        last += "s"
    return start + space + last


def article(noun: str) -> str:
    """``"a"`` or ``"an"``, by the sound of the first letters; ``"a pair of"`` what has no singular.

    >>> [article(noun) for noun in ("cat", "apple", "unicorn", "umbrella", "hour", "ewe", "scissors")]
    ['a', 'an', 'a', 'an', 'an', 'a', 'a pair of']
    """
    if noun.rpartition(" ")[2] in _PAIRS:
        return "a pair of"
    first = noun.lower()
    if first.startswith(("uni", "use", "usu", "eu", "ewe", "one", "ukulele", "ufo")):
        return "a"
    return "an" if first[:1] in "aeiou" or first.startswith(("hour", "heir", "honest", "x-ray")) else "a"


@cache
def all_kinds() -> tuple[Kind, ...]:
    """Every kind of the table, by context.

    >>> len(all_kinds()) == len({kind.name for kind in all_kinds()}) >= 240
    True
    """
    kinds = []
    for context, line in _CONTEXTS.items():
        for entry in line.split(", "):
            concept, _, name = entry.partition("=")
            kinds.append(Kind(name or concept, concept, context))
    return tuple(kinds)


def choose_kinds(concepts: Collection[str], n: int, seed: int, *, table: Sequence[Kind] | None = None) -> list[Kind]:
    """``n`` kinds whose artwork is among ``concepts``, seeded, the contexts as equally represented as they can be.

    Args:
        concepts: names of the artwork at hand.
        n: how many kinds.
        seed: of the choice.
        table: the kinds to choose from; :func:`all_kinds` unless given.

    Raises:
        LucidaError: fewer than ``n`` kinds have artwork.
    """
    known = set(concepts)
    by_context: dict[str, list[Kind]] = {}
    for kind in table or all_kinds():
        if kind.concept in known:
            by_context.setdefault(kind.context, []).append(kind)
    available = sum(map(len, by_context.values()))
    if available < n:
        raise LucidaError(f"{n} kinds of object asked, artwork for {available}", remedy=f"ask at most {available}")
    generator = stream(seed, "kinds")
    queues = [[kinds[i] for i in generator.permutation(len(kinds))] for kinds in by_context.values()]
    order: np.ndarray = generator.permutation(len(queues))
    chosen: list[Kind] = []
    while len(chosen) < n:
        for q in order:
            if queues[q] and len(chosen) < n:
                chosen.append(queues[q].pop())
    return sorted(chosen, key=lambda kind: kind.name)
