"""Addresses as they may be shown and stored: without what lets somebody in."""

import re

# What stands between // and the last @ before the path. A password with a slash in it would end there for a reader of
# URLs: what follows a name and a colon and is no port is one all the same.
LOGIN = re.compile(r"://(?:[^/?#]*@|[^/?#:@\[]*:(?!\d*(?:[/?#]|$)).*@)")
SECRET = re.compile(r"([?&][^=&#\s]*(?:pass|pwd|token|key|secret|sig|auth|cred)[^=&#\s]*=)[^&#\s]+", re.IGNORECASE)


def without_password(text: str) -> str:
    """Return an address, or a line that holds one, without its login and without the values of secret settings."""
    return SECRET.sub(r"\1...", LOGIN.sub("://", text))
