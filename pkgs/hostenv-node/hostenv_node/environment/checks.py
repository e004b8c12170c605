"""The checks of an environment, as its entry holds them: `deploymentVerification` (contract 6)."""

from hostenv_core.checks import Check, constraint, is_path
from hostenv_core.json_value import Value


def parse_checks(document: Value | None) -> tuple[Check, ...]:
    """Raises InvalidData when `document` is no `deploymentVerification`."""
    return () if document is None else tuple(map(_check, document.member("checks", []).items()))


def _check(value: Value) -> Check:
    request = value.member("request")
    host = request.optional("virtualHost")
    return Check(
        name=value.member("name").string(),
        virtual_host=None if host is None else host.string(),
        path=request.member("path").named(is_path, "a path of a URL"),
        constraints=tuple(
            constraint(each.member("rule"), each.member("value"))
            for each in value.member("constraints").items()
        ),
    )
