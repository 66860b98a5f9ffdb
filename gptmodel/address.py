"""Addresses as they may be shown and stored: without what lets somebody in."""

import re

# What stands between // and an @. After a name, a colon and what is no port, it is the last @ of the address, since a
# password may hold an @ and a slash, where a reader of URLs would see it end. Else it is the last @ before the path.
PASSWORD = r"[^/?#:@\[]*:(?!\d*(?:[/?#]|$))"
LOGIN = re.compile(rf"://(?:{PASSWORD}\S*@|[^/?#]*@|{PASSWORD}.*@)")
SECRET = re.compile(r"([?&][^=&#\s]*(?:pass|pw|token|key|secret|sig|auth|cred)[^=&#\s]*=)[^&#\s]+", re.IGNORECASE)


def without_password(text: str) -> str:
    """Return an address, or a line that holds one, without its login and without the values of secret settings."""
    return SECRET.sub(r"\1...", LOGIN.sub("://", text))
