"""Documents into the vault and out of it: in chunks, and on from where an upload was cut."""

import base64
import hashlib
import mimetypes
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from service.client.asking import Id, Noun, part, shaped
from service.client.exchange import PAUSE_FIRST_S, PAUSE_LAST_S, Request
from service.client.files import READ_BYTES, FilePart, digest_of, name_whole, part_of, require_new
from service.client.problems import ApiProblem, Away, Unusable
from service.client.shapes import Document
from service.client.signing import written_digest

PART_BYTES = 64 * 2**20
"""What one request sends at most: gateways refuse larger ones, and of smaller ones each costs a digest of its own."""

Progress = Callable[[int, int], None]
"""Is told how many bytes are there, and how many there will be."""


class Documents(Noun):
    """Files of up to 1 GiB under the vault's keys."""

    def upload(
        self,
        path: Path | str,
        *,
        policy: Id,
        name: str | None = None,
        media_type: str | None = None,
        subject: str | None = None,
        asset_token_id: Id | None = None,
        begun: Callable[[Document], None] = lambda _: None,
        progress: Progress = lambda _done, _all: None,
        idempotency_key: str | None = None,
    ) -> Document:
        """Register a file and send all of it; a connection that breaks is taken up again where it broke.

        Args:
            name: the file's own unless given; the vault keeps it sealed, as it does the media type and the digest.
            media_type: by the file's ending unless given.
            subject: the person whose erasure erases it, too.
            begun: is told the document before its content goes, so that `resume` can go on whatever happens.

        Raises:
            ApiProblem: the API refused it.
            Unusable: the file can't be read, or nobody answers; `resume` goes on.
        """
        file = Path(path)
        size = _size(file)
        digest = digest_of(file, 0, size)
        told = name or file.name
        body = {
            "policy": policy,
            "name": told,
            "media_type": media_type or mimetypes.guess_type(told)[0] or "application/octet-stream",
            "size_bytes": size,
            "subject": subject,
            "asset_token_id": asset_token_id,
            "sha256": base64.b64decode(digest.removeprefix("sha-256=:").removesuffix(":")).hex(),
        }
        document = shaped(Document, self._write("/v1/vault/documents", body, idempotency_key))
        begun(document)
        return self._send(document, file, digest, progress)

    def resume(self, document_id: Id, path: Path | str, *, progress: Progress = lambda _done, _all: None) -> Document:
        """Send what is left of a file; of a document that is whole already, nothing.

        Raises:
            ApiProblem: the API refused it; `digest-mismatch` where it is another file.
            Unusable: the file can't be read or is of another size, or nobody answers.
        """
        document, file = self.read(document_id), Path(path)
        size = _size(file)
        if size != document.size_bytes:
            raise Unusable(f"{file} has {size} bytes, and the document {document.size_bytes}: it is another file")
        return self._send(document, file, digest_of(file, 0, size), progress)

    def read(self, document_id: Id) -> Document:
        """What is known of a document, and how much of it came."""
        return self._read(Document, f"/v1/vault/documents/{part('document_id', document_id)}")

    def download(
        self,
        document_id: Id,
        path: Path | str,
        *,
        purpose: str,
        reason: str,
        progress: Progress = lambda _done, _all: None,
    ) -> Path:
        """Write a document's content to a new file that its owner alone may read.

        It has its name only once it is whole and has the digest that the vault keeps. Each time that it is asked for it
        spends what the policy allows, so it is asked once.

        Raises:
            ApiProblem: the API refused it.
            Unusable: there is no such file now; the sentence says why.
        """
        file = Path(path)
        require_new(file)
        body = {"purpose": purpose, "reason": reason}
        where = f"/v1/vault/documents/{part('document_id', document_id)}/reveal"
        asked = Request("POST", where, authorized=True, body=body, accept="*/*")
        with ExitStack() as kept:
            unnamed = part_of(file, kept)
            digest, done = hashlib.sha256(), 0
            with self._exchange.answer(asked) as incoming, unnamed.open("wb") as out:
                length = incoming.response.length or 0
                expected = incoming.header("Repr-Digest")
                for chunk in incoming.chunks(READ_BYTES):
                    digest.update(chunk)
                    try:
                        out.write(chunk)
                    except OSError as error:
                        raise Unusable(f"{file.parent} can't be written to ({error.strerror})") from None
                    done += len(chunk)
                    progress(done, length)
            if expected != written_digest(digest.digest()):
                raise Unusable("the content has not the digest that the vault keeps, and was not kept")
            name_whole(unnamed, file)
        return file

    def _send(self, document: Document, file: Path, digest: str, progress: Progress) -> Document:
        failed_s: float | None = None  # since when nothing more is kept
        pause_s, most = PAUSE_FIRST_S, document.received_bytes
        while not document.whole:
            progress(document.received_bytes, document.size_bytes)
            failure: ApiProblem | Unusable = Unusable(
                f"the vault takes what is sent of document {document.id}, and keeps none of it: resume it later"
            )
            wait_s = pause_s * random.uniform(0.5, 1)  # noqa: S311
            try:
                document = self._append(document, file, digest, progress)
            except (ApiProblem, Away) as error:
                if not _passing(error) or (error.retry_after_s or 0) > self._exchange.patience_s:
                    raise
                failure, wait_s = error, max(wait_s, error.retry_after_s or 0)
            if document.received_bytes <= most:
                time.sleep(wait_s)
                pause_s = min(pause_s * 2, PAUSE_LAST_S)
                document = self.read(document.id)
            if document.received_bytes > most:
                failed_s, pause_s, most = None, PAUSE_FIRST_S, document.received_bytes
            elif failed_s is None:
                # From here on: the vault waits longer for a body than most are patient.
                failed_s = time.monotonic()
            elif time.monotonic() - failed_s > self._exchange.patience_s:
                raise failure
        progress(document.received_bytes, document.size_bytes)
        return document

    def _append(self, document: Document, file: Path, digest: str, progress: Progress) -> Document:
        offset, size = document.received_bytes, document.size_bytes
        length = min(PART_BYTES, size - offset)
        part_digest = digest if length == size else digest_of(file, offset, length)
        asked = Request(
            "PATCH",
            f"/v1/vault/documents/{part('document_id', document.id)}/content",
            authorized=True,
            file=FilePart(file, offset, length, part_digest, lambda done: progress(done, size)),
            media_type="application/partial-upload",
            headers={"Upload-Offset": str(offset), "Repr-Digest": digest},
        )
        return shaped(Document, self._exchange.ask(asked).content)


def _passing(failure: ApiProblem | Away) -> bool:
    """Whether another request may get on."""
    if isinstance(failure, Away):
        return failure.passing
    # A body stood still, or an answer was lost: what the vault has of it is kept.
    return failure.status in (408, 429) or failure.slug == "upload-offset-mismatch"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise Unusable(f"{file} can't be read ({error.strerror})") from None
