"""What can go wrong while a file is made."""

from service.errors import Problem


class BlockReplaced(Problem):
    """The block that the file describes left the chain while it was read, so nothing more of it is told."""

    slug, title, status = "block-replaced", "The block of this file was replaced", 409
