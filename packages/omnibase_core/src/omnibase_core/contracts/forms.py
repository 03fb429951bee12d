"""The forms that names of a contract have: their patterns, and how a message describes them."""

from collections.abc import Mapping

from omnibase_core.topics import SLUG_PATTERN

SLUG = rf"^{SLUG_PATTERN}$"
VERSION = r"^(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})$"
IDENTIFIER = r"^[a-z][a-z0-9_]{0,62}$"
FUNCTION = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
PACKAGE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"

MEANINGS: Mapping[str, str] = {
    SLUG: "lower-case words joined by hyphens, such as price-order",
    VERSION: "three numbers, such as 1.0.0",
    IDENTIFIER: "lower-case words joined by underscores, such as get_user, at most 63 characters",
    FUNCTION: "a function as package.module:function",
    PACKAGE: "a package as package or package.module",
}
