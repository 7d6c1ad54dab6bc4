"""Invented but plausible texts of markets: titles, slugs, labels, tags."""

from __future__ import annotations

import random
from typing import NamedTuple

TEAMS = (
    "Heat", "Raptors", "Bucks", "Pacers", "Lakers", "Celtics", "Mets", "Marlins", "Reds", "Phillies", "Orioles",
    "Yankees", "Jets", "Bills", "Arsenal", "São Paulo", "Atlético Madrid", "Bayern München", "Žalgiris", "Beşiktaş",
)  # fmt: skip
PEOPLE = ("Avery Stone", "Marek Novák", "Yuki Tanaka", "Dana O'Neil", "Ines Ferreira", "Lu Wei", "Olu Adeyemi")
OFFICES = ("mayor", "president", "governor", "party leader", "speaker")
COINS = ("Bitcoin", "Ethereum", "Solana", "XRP", "Dogecoin")
ODD_LABELS = (
    ('Dwayne "The Rock"', "Anyone else"),
    ("Team\tLiquid", "Team\tSpirit"),
    ("C:\\wins", "C:\\loses"),
    ("Ďáblice 🏆", "東京"),
    ("O'Brien, Jr.", "50% or less"),
    ("Yes\\N", "No\\N"),
    ("line\nbreak", "<b>bold</b> & more"),
)
ODD_ONE_IN = 40
"""Every so many markets the labels hold quotes, tabs, backslashes, line ends or other scripts."""


class Words(NamedTuple):
    """The texts of one market."""

    slug: str
    title: str
    labels: tuple[str, str]
    event_slug: str
    tags: tuple[str, ...]


def words(rng: random.Random, number: int, neg_risk: bool) -> Words:
    """Texts of market `number`; the number keeps slugs unique."""
    if neg_risk:
        return _election(rng, number)
    if number % ODD_ONE_IN == ODD_ONE_IN // 2:
        return _odd(rng, number)
    return rng.choice((_game, _coin, _headline))(rng, number)


def _election(rng: random.Random, number: int) -> Words:
    person, office = rng.choice(PEOPLE), rng.choice(OFFICES)
    event = f"{_slug(office)}-election-{number // 8}"
    title = f"Will {person} become {office} in race {number // 8}?"
    return Words(f"will-{_slug(person)}-become-{_slug(office)}-{number}", title, ("Yes", "No"), event, ("Politics",))


def _game(rng: random.Random, number: int) -> Words:
    home, away = rng.sample(TEAMS, 2)
    slug = f"game-{_slug(home)}-{_slug(away)}-{number}"
    return Words(slug, f"{home} vs. {away}", (home, away), slug, ("Sports", "Games"))


def _coin(rng: random.Random, number: int) -> Words:
    coin = rng.choice(COINS)
    slug = f"{_slug(coin)}-up-or-down-{number}"
    return Words(slug, f"{coin} Up or Down, round {number}", ("Up", "Down"), slug, ("Crypto", "Up or Down", coin))


def _headline(rng: random.Random, number: int) -> Words:
    person = rng.choice(PEOPLE)
    slug = f"will-{_slug(person)}-make-the-news-{number}"
    tags = () if rng.random() < 0.2 else ("Culture",)
    return Words(slug, f"Will {person} make the news on day {number}?", ("Yes", "No"), slug, tags)


def _odd(rng: random.Random, number: int) -> Words:
    labels = rng.choice(ODD_LABELS)
    slug = f"odd-labels-{number}"
    return Words(slug, f"{labels[0]} or {labels[1]}? No. {number}", labels, slug, ("Odd",))


def _slug(text: str) -> str:
    """Lower-case ASCII words joined by hyphens; other letters are dropped, as listings do."""
    kept = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower())
    return "-".join(kept.split())
