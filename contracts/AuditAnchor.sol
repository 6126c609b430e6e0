// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {Operations} from "./parts/Operations.sol";
import {AuthorityMissing} from "./parts/TokenTerms.sol";

/// @title Where a log's tree heads are made public, so that its keeper cannot rewrite it unnoticed.
/// @notice Each anchor tells the size and the root of an append-only log (RFC 9162, SHA-256), and the digest of the
/// ledger's mirror at one block. A log only grows: a smaller or an equal size is refused.
/// @dev Not upgradeable. It keeps the newest anchor of each log; the former ones are in the events.
contract AuditAnchor is AccessManaged, Operations {
    /// @notice One log's state at one time.
    /// @param size How many entries the log had.
    /// @param blockNumber The block whose state `mirrorDigest` describes.
    /// @param root The root of the log's tree.
    /// @param mirrorDigest The digest of the mirror at that block.
    /// @param blockHash The block's hash, which tells forks apart.
    struct Anchor {
        uint64 size;
        uint64 blockNumber;
        bytes32 root;
        bytes32 mirrorDigest;
        bytes32 blockHash;
    }

    mapping(bytes32 logId => Anchor) private _latest;

    /// @notice A log has grown.
    /// @param logId Which log.
    /// @param size How many entries it has.
    /// @param root The root of its tree.
    /// @param mirrorDigest The digest of the mirror at the block.
    /// @param blockNumber The block whose state the digest describes.
    /// @param blockHash The block's hash.
    event Anchored(
        bytes32 indexed logId,
        uint64 size,
        bytes32 root,
        bytes32 mirrorDigest,
        uint64 blockNumber,
        bytes32 blockHash
    );

    /// @notice The log has not grown since its last anchor.
    /// @param logId Which log.
    /// @param anchored The size that is anchored; 0 if there is none.
    /// @param size The size given.
    error LogNotGrown(bytes32 logId, uint64 anchored, uint64 size);

    /// @notice Makes a contract without anchors.
    /// @param authority_ The contract that says who may write.
    constructor(address authority_) AccessManaged(authority_) {
        require(authority_.code.length != 0, AuthorityMissing());
    }

    /// @notice Makes a log's state public, for ever.
    /// @param logId Which log.
    /// @param size How many entries it has; more than at its last anchor.
    /// @param root The root of its tree.
    /// @param mirrorDigest The digest of the mirror at the block.
    /// @param blockNumber The block whose state the digest describes.
    /// @param blockHash The block's hash.
    /// @param operationId The id to burn; not zero.
    function anchor(
        bytes32 logId,
        uint64 size,
        bytes32 root,
        bytes32 mirrorDigest,
        uint64 blockNumber,
        bytes32 blockHash,
        bytes32 operationId
    ) external restricted once(operationId) {
        uint64 anchored = _latest[logId].size;
        require(size > anchored, LogNotGrown(logId, anchored, size));
        _latest[logId] = Anchor(size, blockNumber, root, mirrorDigest, blockHash);
        emit Anchored(logId, size, root, mirrorDigest, blockNumber, blockHash);
    }

    /// @notice A log's last anchor.
    /// @param logId Which log.
    /// @return All zeros if it was never anchored.
    function latest(bytes32 logId) external view returns (Anchor memory) {
        return _latest[logId];
    }

    /// @notice Whether an entry is in the log with this root and size (RFC 9162, section 2.1.3.2). The caller takes
    /// root and size from an anchor, and both from the same one.
    /// @param root The root of the tree.
    /// @param index The entry's place, from 0.
    /// @param size How many entries the tree has.
    /// @param leaf The entry's leaf hash: SHA-256 of a zero byte followed by the entry.
    /// @param proof The siblings on the way from the leaf to the root.
    /// @return True if the proof leads to the root and has the one length that this index and size allow.
    function verifyInclusion(
        bytes32 root,
        uint64 index,
        uint64 size,
        bytes32 leaf,
        bytes32[] calldata proof
    ) external pure returns (bool) {
        if (index >= size) return false;
        // The place of the node, and of the last node, on the level that the walk has reached.
        uint64 place = index;
        uint64 last = size - 1;
        bytes32 node = leaf;
        for (uint256 i = 0; i < proof.length; ++i) {
            if (last == 0) return false;
            if (place & 1 == 1 || place == last) {
                node = _parent(proof[i], node);
                // A last node without a sibling rises unchanged to the level where it has one, on its left.
                while (place & 1 == 0) {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                node = _parent(node, proof[i]);
            }
            place >>= 1;
            last >>= 1;
        }
        return last == 0 && node == root;
    }

    /// @dev The byte 1 keeps an inner node from ever being taken for a leaf.
    function _parent(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }
}
