"""What can be wrong with a batch."""

from service.errors import Problem


class BatchInvalid(Problem):
    """Rows are malformed or too many, and nothing was sent; `errors` points at each, and `errors_count` counts all."""

    slug, title, status = "batch-invalid", "Rows of the batch are not valid", 422


class BatchRefused(Problem):
    """The contract refuses rows as things are, and nothing was sent; `rows` tells which and why."""

    slug, title, status = "batch-refused", "The contract refuses rows of the batch", 422


class BatchNotFound(Problem):
    """There is no such batch of this issuer."""

    slug, title, status = "batch-not-found", "No such batch", 404
