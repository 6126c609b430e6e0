// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {Operations} from "./parts/Operations.sol";
import {AuthorityMissing} from "./parts/TokenTerms.sol";

/// @title The documents of an issuer's assets, each version of them.
/// @notice A document is named by its subject, which is mostly a token, and by a name such as "prospectus". What is
/// written is never rewritten: a change is a new version, and a removal leaves the versions readable.
/// @dev Not upgradeable. The file lies elsewhere; the chain keeps where, and the hash that tells whether it is the one.
contract DocumentRegistry is AccessManaged, Operations {
    struct Version {
        string uri;
        bytes32 documentHash;
        uint64 effectiveFrom;
    }

    struct History {
        uint32 count;
        // The version in force for a reader; 0 before the first one and after a removal.
        uint32 current;
        mapping(uint32 version => Version) versions;
    }

    mapping(address subject => mapping(bytes32 name => History)) private _histories;

    /// @notice A document has a new version, which is now the current one.
    /// @param subject What the document is about.
    /// @param name Which of the subject's documents.
    /// @param version 1 for the first, and one more for each that follows, removals notwithstanding.
    /// @param uri Where the file is.
    /// @param documentHash The file's hash.
    /// @param effectiveFrom When it takes effect, in seconds since 1970; 0 if it says so itself.
    event DocumentSet(
        address indexed subject,
        bytes32 indexed name,
        uint32 version,
        string uri,
        bytes32 documentHash,
        uint64 effectiveFrom
    );

    /// @notice A document no longer has a current version.
    /// @param subject What the document was about.
    /// @param name Which of the subject's documents.
    /// @param version The version that was current until now.
    event DocumentRemoved(address indexed subject, bytes32 indexed name, uint32 version);

    /// @notice A document without a hash proves nothing.
    /// @param subject What the document is about.
    /// @param name Which of the subject's documents.
    error DocumentHashMissing(address subject, bytes32 name);

    /// @notice There is no current version to remove.
    /// @param subject What the document is about.
    /// @param name Which of the subject's documents.
    error DocumentMissing(address subject, bytes32 name);

    /// @notice There is no such version.
    /// @param subject What the document is about.
    /// @param name Which of the subject's documents.
    /// @param version The number asked for.
    error DocumentVersionMissing(address subject, bytes32 name, uint32 version);

    /// @notice Makes a registry without documents.
    /// @param authority_ The contract that says who may write.
    constructor(address authority_) AccessManaged(authority_) {
        require(authority_.code.length != 0, AuthorityMissing());
    }

    /// @notice Adds a version of a document and makes it the current one.
    /// @param subject What the document is about.
    /// @param name Which of the subject's documents.
    /// @param uri Where the file is.
    /// @param documentHash The file's hash; not zero.
    /// @param effectiveFrom When it takes effect, in seconds since 1970; the past and the future are both accepted.
    /// @param operationId The id to burn; not zero.
    function setDocument(
        address subject,
        bytes32 name,
        string calldata uri,
        bytes32 documentHash,
        uint64 effectiveFrom,
        bytes32 operationId
    ) external restricted once(operationId) {
        require(documentHash != 0, DocumentHashMissing(subject, name));
        History storage history = _histories[subject][name];
        uint32 version = history.count + 1;
        history.count = version;
        history.current = version;
        history.versions[version] = Version(uri, documentHash, effectiveFrom);
        emit DocumentSet(subject, name, version, uri, documentHash, effectiveFrom);
    }

    /// @notice Leaves a document without a current version; all its versions stay readable.
    /// @param subject What the document is about.
    /// @param name Which of the subject's documents.
    /// @param operationId The id to burn; not zero.
    function removeDocument(
        address subject,
        bytes32 name,
        bytes32 operationId
    ) external restricted once(operationId) {
        History storage history = _histories[subject][name];
        uint32 version = history.current;
        require(version != 0, DocumentMissing(subject, name));
        history.current = 0;
        emit DocumentRemoved(subject, name, version);
    }

    /// @notice The current version of a document, whether or not it has taken effect yet.
    /// @param subject What the document is about.
    /// @param name Which of the subject's documents.
    /// @return uri Where the file is; empty if there is no current version.
    /// @return documentHash The file's hash; 0 if there is no current version.
    /// @return effectiveFrom When it takes effect, in seconds since 1970.
    /// @return version Its number; 0 if there is no current version.
    function getDocument(
        address subject,
        bytes32 name
    ) external view returns (string memory uri, bytes32 documentHash, uint64 effectiveFrom, uint32 version) {
        History storage history = _histories[subject][name];
        version = history.current;
        Version storage found = history.versions[version];
        return (found.uri, found.documentHash, found.effectiveFrom, version);
    }

    /// @notice One version of a document, be it current, replaced or removed.
    /// @param subject What the document is about.
    /// @param name Which of the subject's documents.
    /// @param version Its number, from 1 to what `versions` says.
    /// @return uri Where the file is.
    /// @return documentHash The file's hash.
    /// @return effectiveFrom When it takes effect, in seconds since 1970.
    function getDocumentVersion(
        address subject,
        bytes32 name,
        uint32 version
    ) external view returns (string memory uri, bytes32 documentHash, uint64 effectiveFrom) {
        Version storage found = _histories[subject][name].versions[version];
        require(found.documentHash != 0, DocumentVersionMissing(subject, name, version));
        return (found.uri, found.documentHash, found.effectiveFrom);
    }

    /// @notice How many versions a document ever had.
    /// @param subject What the document is about.
    /// @param name Which of the subject's documents.
    /// @return The number of the newest version, which a removal does not lower.
    function versions(address subject, bytes32 name) external view returns (uint32) {
        return _histories[subject][name].count;
    }
}
