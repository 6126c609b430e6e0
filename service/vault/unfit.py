"""What the pure cores refuse: a stable reason and a sentence, never the value."""


class Unfit(ValueError):
    """A value, a key or a rule does not fit.

    `reason` is a stable kebab-case slug; the text says what would fit and holds no part of the value.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
