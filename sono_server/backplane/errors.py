"""Why a backplane does not do what it is asked."""

from sono_core.messaging.lossless import BackplaneError


class UnusableError(BackplaneError):
    """The broker answers, and will not do: its version, its policy, a password, a permission."""

    temporary = False


class UnreadableError(BackplaneError):
    """What is in the broker has not been written by this version."""

    temporary = False


class CrowdedError(BackplaneError):
    """The members of a channel have too much public data already."""


class TooLargeError(BackplaneError):
    """A body has more bytes than the broker is to carry."""

    temporary = False
