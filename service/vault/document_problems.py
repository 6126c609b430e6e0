"""What can be wrong with documents, commitments and disclosures. None of it repeats a name, a content or a value."""

from service.errors import Problem


class VaultDocumentNotFound(Problem):
    """The issuer has no such document: unknown, another issuer's, erased, or an upload that expired half-way."""

    slug, title, status = "vault-document-not-found", "No such document in the vault", 404


class DocumentTooLarge(Problem):
    """A document may have 1 GiB."""

    slug, title, status = "document-too-large", "The document is too large", 413


class DocumentOverrun(Problem):
    """More came than the size that was told when the document was registered; what was kept before stays."""

    slug, title, status = "document-overrun", "The content is longer than was told", 422


class DocumentIncomplete(Problem):
    """The document is not whole yet: `received_bytes` of it came."""

    slug, title, status = "document-incomplete", "The document is not whole yet", 409


class UploadOffsetMismatch(Problem):
    """The content does not begin where the last one ended: go on at `expected_offset`."""

    slug, title, status = "upload-offset-mismatch", "The upload goes on elsewhere", 409


class DigestMismatch(Problem):
    """What came has another SHA-256 than was claimed. `expected_offset` says from where to send it again."""

    slug, title, status = "digest-mismatch", "The content is not what was claimed", 422


class PolicyNotForDocuments(Problem):
    """Documents and attributes are kept under a policy of kind vault and class document."""

    slug, title, status = "policy-not-for-documents", "The policy is not for documents", 409


class CommitmentNotFound(Problem):
    """The issuer has no such commitment."""

    slug, title, status = "commitment-not-found", "No such commitment", 404


class AttributeNotFound(Problem):
    """A name is not among the attributes of the commitment; `position` says which of the names."""

    slug, title, status = "attribute-not-found", "No such attribute", 404
