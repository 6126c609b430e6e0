"""What can go wrong while a file is made."""

from service.errors import Problem


class BlockReplaced(Problem):
    """The file's block left the chain while it was read, or was made anew here, so nothing more of it is told."""

    slug, title, status = "block-replaced", "The block of this file was replaced", 409
