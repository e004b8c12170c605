from hostenv_provider import dns


def test_addresses_of_an_address_and_of_nonsense() -> None:
    assert dns.addresses_of("127.0.0.1") == {"127.0.0.1"}
    assert dns.addresses_of("a" * 70 + ".invalid") == set()


def test_a_name_without_an_address_proves_nothing() -> None:
    assert dns.names_of("a" * 70 + ".invalid") == set()
