"""Shares of a whole, exactly: integers in, decimal strings out, never a float; pure."""

PERCENT_DIGITS = 6
"""Digits after the point of a percentage."""

INDEX_DIGITS = 10
"""Digits after the point of a concentration index."""


def fixed(part: int, whole: int, digits: int) -> str:
    """`part / whole`, 0 or more, rounded half up to `digits` after the point; 0 where there is no whole."""
    scaled = (2 * part * 10**digits + whole) // (2 * whole) if whole else 0
    units, fraction = divmod(scaled, 10**digits)
    return f"{units}.{fraction:0{digits}d}"


def percent(part: int, whole: int) -> str:
    """What percentage of the whole a part is: `percent(1, 3)` is "33.333333"."""
    return fixed(100 * part, whole, PERCENT_DIGITS)
