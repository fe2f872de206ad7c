"""What each role may do, and what a name and a password must be."""

import re
from typing import Literal, get_args

Role = Literal["viewer", "operator", "approver", "admin"]

# Each role may do what those before it may.
ROLES: tuple[Role, ...] = get_args(Role)

ROLE_MEANS: dict[Role, str] = {
    "viewer": "reads",
    "operator": "creates, cancels and retries tasks",
    "approver": "also approves applies and reviews",
    "admin": "also workers, keys, members and settings",
}

# The first underscore of a project's path separates the user's name from the project's, so names have none.
USER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
PASSWORD_LENGTH = 10
PASSWORD_LONGEST = 1000


def allows(role: Role, needed: Role) -> bool:
    return ROLES.index(role) >= ROLES.index(needed)


def name_problem(name: str) -> str | None:
    """Why this can't be a user's name, or None."""
    if USER_NAME.fullmatch(name):
        return None
    return "A name is 1 to 64 characters: small letters, digits and hyphens, with no hyphen at the ends."


def password_problem(password: str, name: str) -> str | None:
    """Why this can't be a password, or None. Length is what counts (NIST SP 800-63B)."""
    if len(password) < PASSWORD_LENGTH:
        return f"A password has at least {PASSWORD_LENGTH} characters."
    if len(password) > PASSWORD_LONGEST:
        return f"A password has at most {PASSWORD_LONGEST} characters."
    if name and name.lower() in password.lower():
        return "A password may not contain the name."
    return None
