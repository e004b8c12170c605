"""The generator of hostile homes."""

from hostenv_scenarios.hostile import DEEDS, homes


def test_a_seed_makes_the_same_homes_and_says_what_they_are() -> None:
    made = homes(7, 20)
    assert made == homes(7, 20) != homes(8, 20)
    for home in made:
        assert 1 <= len(home.deeds) <= 3
        assert str(home).startswith(f"home {home.number} of seed 7: {home.deeds[0].name}")


def test_every_deed_comes_up_before_one_does_again() -> None:
    assert {deed for home in homes(1, len(DEEDS)) for deed in home.deeds} == set(DEEDS)


def test_a_home_says_what_its_jobs_must_say() -> None:
    for home in homes(3, 100):
        assert bool(home.refused) == any(deed.refused is not None for deed in home.deeds)
        assert bool(home.fails) == any(deed.fails is not None for deed in home.deeds)
