"""Ratings become data: what a snapshot makes of them, whoever gave them."""

import json
import os
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.ratings import MONDAY, a_rating
from trainer.feedback import (
    GIVEN,
    Reason,
    Rules,
    Snapshot,
    SnapshotError,
    key_of,
    prune,
    take_snapshot,
)

CURATORS = ("curator 1", "curator 2")
MINUTE = timedelta(minutes=1)


def value_of(snapshot, poem, rater=0):
    [found] = [
        example.value
        for example in snapshot.examples
        if (example.poem, example.rater) == (key_of(poem), rater)
    ]
    return found


def of_rater(snapshot, rater):
    """The examples of a rater by number."""
    return [example for example in snapshot.examples if example.rater == rater]


@st.composite
def many_ratings(draw):
    """Ratings of few people, poems and chats, in a dense time, by some curators too."""
    pairs = draw(
        st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=80, unique=True)
    )
    return [
        a_rating(
            f"tg:{poem}",
            rater=(f"curator {rater}" if rater < 3 else f"person {rater:02}"),
            vote=draw(st.sampled_from([1, -1, None])),
            stars=draw(st.integers(1, 5)),
            curator=rater < 3,
            chat=f"chat {draw(st.integers(0, 2))}",
            opening=draw(st.sampled_from(["", "月", "月落空江夜風吹遠樹秋故"])),
            at=MONDAY + draw(st.integers(0, 3000)) * MINUTE,
        )
        for poem, rater in pairs
    ]


# --- whatever the ratings ---


@given(ratings=many_ratings(), shuffled=st.randoms())
def test_a_snapshot_depends_on_the_ratings_alone_and_accounts_for_each(ratings, shuffled):
    rules = Rules(burst_most=3, burst_within=600 * MINUTE, brigade_most=4)
    snapshot = take_snapshot(ratings, rules)
    again = shuffled.sample(ratings, len(ratings))
    assert take_snapshot(iter(again), rules) == snapshot
    assert len(snapshot.examples) + sum(snapshot.left_out.values()) == len(ratings)
    assert all(example.weight > 0 for example in snapshot.examples)
    assert set(snapshot.quality) == {example.poem for example in snapshot.examples}


@given(ratings=many_ratings())
def test_no_person_and_no_chat_outweighs_its_cap(ratings):
    # Nobody is left out, so that numbers tell who is who.
    ratings = [replace(rating, opening="") for rating in ratings]
    rules = Rules(least_base=8.0, burst_most=99, brigade_most=99, gold_prior=1e9)
    snapshot = take_snapshot(ratings, rules)
    names = sorted({rating.rater for rating in ratings})
    chat_of = {(key_of(rating.poem), rating.rater): rating.chat for rating in ratings}
    by_rater, by_chat = defaultdict(list), defaultdict(list)
    for example in snapshot.examples:
        if example.curator:
            assert example.weight == rules.curator_weight
        else:
            by_rater[example.rater].append(example.weight)
            by_chat[chat_of[example.poem, names[example.rater]]].append(example.weight)
    base = max(rules.least_base, fsum(example.weight for example in snapshot.examples))
    # Half a unit of the last decimal for every weight.
    slack = 1e-6 * (len(ratings) + 1)
    assert all(fsum(weights) <= rules.rater_share * base + slack for weights in by_rater.values())
    assert all(fsum(weights) <= rules.chat_share * base + slack for weights in by_chat.values())


def test_of_nothing_comes_an_empty_snapshot():
    nothing = take_snapshot([])
    assert (nothing.examples, nothing.quality, nothing.left_out) == ((), {}, {})


# --- values ---


def test_values_are_those_of_the_formula():
    votes = [("tg:1", "a", 1), ("tg:2", "a", 1), ("tg:3", "a", -1), ("tg:1", "b", 1)]
    snapshot = take_snapshot(a_rating(*vote) for vote in votes)
    # Everybody: m = 3/4, s² = 3/16. Of a: x = 2/3, S = 2/3; mean = (5 m + 3 x) / 8 = 23/32 and
    # variance = (5 s² + S + 15 (x - m)² / 8) / 8 = 0.202148.
    assert value_of(snapshot, "tg:1") == pytest.approx((1 - 23 / 32) / 0.202148**0.5, abs=1e-5)
    assert value_of(snapshot, "tg:3") == pytest.approx((0 - 23 / 32) / 0.202148**0.5, abs=1e-5)
    both = value_of(snapshot, "tg:1", 0) + value_of(snapshot, "tg:1", 1)
    assert snapshot.quality[key_of("tg:1")] == pytest.approx(both / (2 + 3), abs=1e-5)


@pytest.mark.parametrize("vote", [1, -1])
def test_who_says_the_same_of_everything_says_nothing(vote):
    others = [a_rating(f"tg:{poem}", "other", 1 if poem % 2 else -1) for poem in range(20)]
    same = [a_rating(f"tg:{poem}", "a", vote) for poem in range(20)]
    snapshot = take_snapshot(others + same)
    assert {example.value for example in of_rater(snapshot, 0)} == {0.0}
    assert all(example.value * (example.worth - 0.5) > 0 for example in of_rater(snapshot, 1))


def test_the_first_ratings_of_a_person_are_read_as_everybody_s():
    others = [a_rating(f"tg:{poem}", "other", 1 if poem % 4 else -1) for poem in range(40)]
    snapshot = take_snapshot([*others, a_rating("tg:1", "a", 1), a_rating("tg:2", "b", -1)])
    assert 0 < value_of(snapshot, "tg:1", 0) < -value_of(snapshot, "tg:2", 1)


def test_who_likes_much_says_less_by_liking_than_who_likes_little():
    generous = [a_rating(f"tg:{poem}", "a", -1 if poem < 2 else 1) for poem in range(20)]
    strict = [a_rating(f"tg:{poem}", "b", -1 if poem < 18 else 1) for poem in range(20)]
    snapshot = take_snapshot(generous + strict)
    assert 0 < value_of(snapshot, "tg:19", 0) < value_of(snapshot, "tg:19", 1)
    assert value_of(snapshot, "tg:0", 0) < value_of(snapshot, "tg:0", 1) < 0


def test_a_single_exception_is_not_worth_more_than_the_cut():
    ratings = [a_rating(f"tg:{poem}", "a", 1 if poem else -1) for poem in range(200)]
    assert value_of(take_snapshot(ratings), "tg:0") == -Rules().most_value


def test_more_who_like_a_poem_make_it_better_and_one_alone_hardly():
    others = [a_rating(f"tg:{poem}", "z", 1 if poem % 2 else -1) for poem in range(100, 140)]
    liked = [a_rating("tg:1", f"fan {number}", 1) for number in range(9)]
    few = take_snapshot([*others, *liked[:1]]).quality[key_of("tg:1")]
    many = take_snapshot(others + liked).quality[key_of("tg:1")]
    assert 0 < few < many / 2


# --- weights ---


def test_a_curator_weighs_more_and_has_no_cap():
    curator = [a_rating(f"tg:{poem}", CURATORS[0], curator=True) for poem in range(300)]
    person = [a_rating(f"tg:{poem}", "person") for poem in range(300)]
    snapshot = take_snapshot(curator + person)
    assert {example.weight for example in of_rater(snapshot, 0)} == {3.0}
    weight = fsum(example.weight for example in of_rater(snapshot, 1))
    # 900 of curators; p = 0.1 (900 + p).
    assert weight == pytest.approx(100, abs=0.001)


def test_rules_that_leave_a_rating_no_weight_leave_it_out():
    snapshot = take_snapshot([a_rating("tg:1", "a")], Rules(rater_share=0))
    assert (snapshot.examples, snapshot.left_out) == ((), {Reason.CAP: 1})


# --- trust ---


def judged(stars, curators=CURATORS, poems=40):
    """Poems that each of `curators` gave so many stars, as many good ones as bad ones."""
    return [
        a_rating(f"tg:{poem}", curator, None, stars=given if poem % 2 else 6 - given, curator=True)
        for poem in range(poems)
        for curator, given in zip(curators, stars, strict=True)
    ]


def by_person(agreed, met, person="person"):
    """`met` votes on those poems, of which `agreed` are as the curators would have them."""
    return [
        a_rating(f"tg:{poem}", person, 1 if (poem % 2 == 1) == (poem < agreed) else -1)
        for poem in range(met)
    ]


def weights_of(ratings):
    """The weights of people who are no curators, where no cap changes them."""
    snapshot = take_snapshot(ratings, Rules(rater_share=1.0, chat_share=1.0))
    return {example.weight for example in snapshot.examples if not example.curator}


def test_who_agrees_with_curators_or_met_none_of_theirs_weighs_one():
    assert weights_of(judged((5, 4)) + by_person(40, 40)) == {1.0}
    assert weights_of([*judged((5, 4)), a_rating("tg:99", "person")]) == {1.0}


def test_who_contradicts_curators_weighs_less_and_in_the_end_nothing():
    gold = judged((5, 4))
    [once] = weights_of(gold + by_person(1, 2))
    [twice] = weights_of(gold + by_person(1, 3))
    assert 0 < twice < once < 1
    for agreed in (0, 20):  # always against them, and as often as chance has it
        snapshot = take_snapshot(gold + by_person(agreed, 40))
        assert snapshot.left_out == {Reason.DISTRUSTED: 40}


@pytest.mark.parametrize(
    ("stars", "curators", "is_gold"),
    [
        ((5, 4), CURATORS, True),
        ((5, 3), CURATORS, False),
        ((4, 3), CURATORS, False),
        ((5,), CURATORS[:1], True),
        ((4,), CURATORS[:1], False),
    ],
)
def test_gold_is_what_curators_are_sure_of(stars, curators, is_gold):
    snapshot = take_snapshot(judged(stars, curators) + by_person(0, 40))
    assert (snapshot.left_out == {Reason.DISTRUSTED: 40}) is is_gold


def test_the_stars_of_people_whom_the_operator_did_not_name_are_no_gold():
    admins = [replace(rating, curator=False) for rating in judged((5, 5))]
    assert take_snapshot(admins + by_person(0, 40)).left_out == {}


# --- quarantine ---


def paced(count, minutes, rater="a", begin=0, **fields):
    """`count` votes evenly over `minutes`."""
    return [
        a_rating(
            f"tg:{begin + number}",
            rater,
            -1 if number % 3 else 1,
            at=MONDAY + timedelta(days=begin) + number * minutes * MINUTE / (count - 1),
            **fields,
        )
        for number in range(count)
    ]


def test_who_rates_faster_than_one_reads_is_left_out_for_that_time_only():
    calm, burst = paced(30, 9.9), paced(31, 9.9, begin=100)
    assert take_snapshot(calm + burst).left_out == {Reason.BURST: 31}
    assert take_snapshot(calm + paced(31, 10, begin=100)).left_out == {}
    assert take_snapshot(replace(one, curator=True) for one in burst).left_out == {}


def test_newcomers_who_fill_a_chat_are_left_out_and_those_who_were_there_stay():
    old = [a_rating("tg:1", "old", chat="chat", at=MONDAY - timedelta(days=2))]
    old += [a_rating("tg:2", "old", -1, chat="chat", at=MONDAY)]
    new = [
        a_rating("tg:2", f"new {number}", -1, chat="chat", at=MONDAY + number * MINUTE)
        for number in range(41)
    ]
    assert take_snapshot(old + new).left_out == {Reason.BRIGADE: 41}
    assert take_snapshot(old + new[1:]).left_out == {}
    apart = [replace(one, chat=one.rater) for one in new]
    assert take_snapshot(old + apart).left_out == {}


# --- what a person gave ---


@pytest.mark.parametrize(
    ("opening", "first_two"),
    [
        ("", ("月落空江夜", "風吹遠樹秋")),
        ("月落", (f"{GIVEN}{GIVEN}空江夜", "風吹遠樹秋")),
        ("月□□□□風□□□□故□□□□一□□□□", (f"{GIVEN}落空江夜", f"{GIVEN}吹遠樹秋")),
        ("月落空江夜風吹遠樹秋□□□□□□□□□□", (GIVEN * 5, GIVEN * 5)),
    ],
)
def test_what_a_person_gave_is_blanked(opening, first_two):
    [example] = take_snapshot([a_rating("tg:1", "a", opening=opening)]).examples
    assert example.lines[:2] == first_two
    assert "".join(example.lines).count(GIVEN) == sum(char != "□" for char in opening)


@pytest.mark.parametrize("opening", ["月落空江夜風吹遠樹秋故", "日", "月" * 21, "x月"])
def test_a_poem_that_is_mostly_given_or_not_as_asked_is_left_out(opening):
    snapshot = take_snapshot([a_rating("tg:1", "a", opening=opening)])
    assert (snapshot.examples, snapshot.left_out) == ((), {Reason.GIVEN: 1})


def test_compatibility_glyphs_are_known_as_what_they_are():
    lines = ("樂落空江夜", *a_rating("tg:1", "a").lines[1:])
    [example] = take_snapshot([a_rating("tg:1", "a", opening="\uf914", lines=lines)]).examples
    assert example.lines[0] == f"{GIVEN}落空江夜"


# --- files ---


def some_snapshot(poems=20):
    return take_snapshot(
        a_rating(
            f"daily:secret:{poem}", f"pseudonym{poem % 3}", 1 if poem % 2 else -1, theme="邊塞"
        )
        for poem in range(poems)
    )


def test_a_file_gives_the_same_snapshot_and_the_same_snapshot_the_same_file(tmp_path):
    snapshot = some_snapshot()
    path = snapshot.save(tmp_path / "snapshots")
    assert path.stem == snapshot.digest[:16]
    before = path.read_bytes()
    assert Snapshot.load(path) == snapshot
    assert some_snapshot().save(path.parent) == path
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_holds_no_name_no_chat_no_time_and_nothing_that_a_person_typed(tmp_path):
    text = some_snapshot().save(tmp_path).read_text()
    assert not any(
        secret in text for secret in ("pseudonym", "chat", "secret", "2026", "邊塞", "月")
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"worth":1.0', '"worth":0.5', 1),
        lambda text: text[:-9],
        lambda text: text.replace('"version":1', '"version":2'),
        lambda text: json.dumps({"digest": "0"}),
        lambda text: "[]",
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(tmp_path, damage):
    path = some_snapshot().save(tmp_path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(SnapshotError, match=path.name):
        Snapshot.load(path)


def test_the_newest_files_are_kept_and_those_that_somebody_needs(tmp_path):
    snapshots = [some_snapshot(poems) for poems in range(1, 8)]
    paths = [snapshot.save(tmp_path) for snapshot in snapshots]
    for age, path in enumerate(reversed(paths)):
        moment = (MONDAY - age * MINUTE).timestamp()
        os.utime(path, (moment, moment))
    assert prune(tmp_path, keep={snapshots[1].digest}, newest=3) == 3
    assert set(tmp_path.iterdir()) == {paths[1], *paths[-3:]}
    assert prune(tmp_path / "none", keep=()) == 0


def test_one_poem_in_five_is_held_out_with_all_its_ratings():
    ratings = [a_rating(f"tg:{poem}", f"p{rater}") for poem in range(500) for rater in range(2)]
    snapshot = take_snapshot(ratings)
    held_out = {example.poem for example in snapshot.examples if example.held_out}
    assert 70 < len(held_out) < 130
    assert {one.poem for one in snapshot.examples if not one.held_out}.isdisjoint(held_out)
