"""Parts of files that are sent, and files that have their name only once they are whole."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.client.problems import Unusable
from service.client.signing import written_digest

READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class FilePart:
    """A part of a file as the content of a request, which is never whole in memory. It can be sent several times.

    Args:
        digest: of the part, as Content-Digest has it.
        tell: is told where in the file the sending is, in bytes.
    """

    path: Path
    offset: int
    length: int
    digest: str
    tell: Callable[[int], None] = field(repr=False)

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for chunk in read_file(self.path, self.offset, self.length):
            yield chunk
            sent += len(chunk)
            self.tell(self.offset + sent)
        if sent < self.length:
            raise Unusable(f"{self.path} became shorter while it was sent")


def read_file(path: Path, offset: int, length: int) -> Iterator[bytes]:
    """Some of a file, in chunks.

    Raises:
        Unusable: it can't be read.
    """
    left = length
    try:
        with path.open("rb") as content:
            content.seek(offset)
            while left and (chunk := content.read(min(READ_BYTES, left))):
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise Unusable(f"{path} can't be read ({error.strerror})") from None


def digest_of(path: Path, offset: int, length: int) -> str:
    """The digest of a part of a file, as Content-Digest and Repr-Digest have it.

    Raises:
        Unusable: it can't be read.
    """
    digest = hashlib.sha256()
    for chunk in read_file(path, offset, length):
        digest.update(chunk)
    return written_digest(digest.digest())


def part_of(path: Path, kept: ExitStack) -> Path:
    """A file beside the one to be, which its owner alone may read, and which goes whatever happens.

    Raises:
        Unusable: there can be none.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise Unusable(f"{path} can't be written ({error.strerror})") from None
    os.close(handle)
    part = Path(name)

    def remove() -> None:
        with suppress(OSError):
            part.unlink()

    kept.callback(remove)
    return part


def require_new(path: Path) -> None:
    """Make sure that nothing has this name.

    Raises:
        Unusable: something has.
    """
    if path.exists():
        raise Unusable(f"{path} is there already, and nothing is written over: give another name")


def name_whole(part: Path, path: Path) -> None:
    """Give a part its name, unless something else has it by now.

    Raises:
        Unusable: it can't have it.
    """
    try:
        # A link, unlike a rename, never takes the place of what is there.
        os.link(part, path)
    except OSError as error:
        raise Unusable(f"{path} can't be written ({error.strerror})") from None
