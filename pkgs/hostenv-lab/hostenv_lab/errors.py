"""The exceptions that a testScript may see."""


class TestScriptError(Exception):
    """The testScript failed, not the lab; the names below are the NixOS test driver's."""

    __test__ = False


class RequestedAssertionFailed(TestScriptError):
    """Something that the testScript demanded is not so."""


class MachineError(TestScriptError):
    """A machine did not do its part: it is not running, or does not answer."""


class PollingConditionError(TestScriptError):
    """A condition that must hold while other commands run no longer holds."""
