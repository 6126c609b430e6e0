// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {AuditAnchor} from "../AuditAnchor.sol";
import {Operations} from "../parts/Operations.sol";
import {AuthorityMissing} from "../parts/TokenTerms.sol";
import {Harness} from "./Harness.sol";

contract AnchorAuthority {
    address private immutable _maker = msg.sender;

    function canCall(address caller, address, bytes4) external view returns (bool, uint32) {
        return (caller == _maker, 0);
    }
}

contract AuditAnchorTest is Harness {
    bytes32 private constant LOG = bytes32("log");

    AnchorAuthority private _authority = new AnchorAuthority();
    AuditAnchor private _anchor = new AuditAnchor(address(_authority));
    uint256 private _ids;

    function _id() private returns (bytes32) {
        return bytes32(++_ids);
    }

    function test_an_authority_is_a_contract() public {
        vm.expectRevert(AuthorityMissing.selector);
        new AuditAnchor(address(0));
        vm.expectRevert(AuthorityMissing.selector);
        new AuditAnchor(address(0xE0A));
    }

    function test_a_stranger_anchors_nothing() public {
        vm.prank(address(1));
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, address(1)));
        _anchor.anchor(LOG, 1, bytes32("root"), 0, 0, 0, bytes32("id"));
        assertTrue(!_anchor.operationExecuted(bytes32("id")), "no id is burned");
    }

    function test_an_operation_has_one_effect() public {
        _anchor.anchor(LOG, 1, bytes32("root"), 0, 0, 0, bytes32("id"));
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, bytes32("id")));
        _anchor.anchor(LOG, 2, bytes32("root"), 0, 0, 0, bytes32("id"));
        vm.expectRevert(Operations.OperationIdMissing.selector);
        _anchor.anchor(LOG, 2, bytes32("root"), 0, 0, 0, 0);
        AuditAnchor other = new AuditAnchor(address(_authority));
        other.anchor(LOG, 1, bytes32("root"), 0, 0, 0, bytes32("id"));
    }

    function test_an_anchor_is_told_and_kept() public {
        _expectLatest(LOG, 0, 0, 0, 0, 0);
        vm.expectEmit(address(_anchor));
        emit AuditAnchor.Anchored(LOG, 7, bytes32("root"), bytes32("mirror"), 123, bytes32("block"));
        _anchor.anchor(LOG, 7, bytes32("root"), bytes32("mirror"), 123, bytes32("block"), _id());
        _expectLatest(LOG, 7, bytes32("root"), bytes32("mirror"), 123, bytes32("block"));
    }

    function test_a_log_only_grows() public {
        vm.expectRevert(abi.encodeWithSelector(AuditAnchor.LogNotGrown.selector, LOG, 0, 0));
        _anchor.anchor(LOG, 0, bytes32("root"), 0, 0, 0, bytes32("zero"));
        _anchor.anchor(LOG, 5, bytes32("five"), 0, 0, 0, _id());
        vm.expectRevert(abi.encodeWithSelector(AuditAnchor.LogNotGrown.selector, LOG, 5, 5));
        _anchor.anchor(LOG, 5, bytes32("other"), 0, 0, 0, bytes32("same"));
        vm.expectRevert(abi.encodeWithSelector(AuditAnchor.LogNotGrown.selector, LOG, 5, 4));
        _anchor.anchor(LOG, 4, bytes32("other"), 0, 0, 0, bytes32("less"));
        assertTrue(!_anchor.operationExecuted(bytes32("less")), "a refusal burns no id");
        _anchor.anchor(LOG, type(uint64).max, bytes32("last"), 0, 0, 0, _id());
        vm.expectRevert(
            abi.encodeWithSelector(AuditAnchor.LogNotGrown.selector, LOG, type(uint64).max, type(uint64).max)
        );
        _anchor.anchor(LOG, type(uint64).max, bytes32("more"), 0, 0, 0, bytes32("more"));
    }

    function test_logs_are_apart() public {
        _anchor.anchor(LOG, 5, bytes32("five"), 0, 0, 0, _id());
        _anchor.anchor(bytes32("other"), 1, bytes32("one"), 0, 0, 0, _id());
        _expectLatest(LOG, 5, bytes32("five"), 0, 0, 0);
        _expectLatest(bytes32("other"), 1, bytes32("one"), 0, 0, 0);
    }

    function testFuzz_the_size_never_falls(uint64[12] memory sizes) public {
        uint64 last;
        for (uint256 i = 0; i < sizes.length; ++i) {
            if (sizes[i] <= last) {
                vm.expectRevert(abi.encodeWithSelector(AuditAnchor.LogNotGrown.selector, LOG, last, sizes[i]));
                _anchor.anchor(LOG, sizes[i], bytes32(i), 0, 0, 0, _id());
            } else {
                _anchor.anchor(LOG, sizes[i], bytes32(i), 0, 0, 0, _id());
                last = sizes[i];
            }
            assertEq(uint256(_anchor.latest(LOG).size), last, "size");
        }
    }

    // --- Inclusion. The tree here is the RFC's recursive definition (2.1.1, 2.1.3.1), not the walk under test. ---

    function test_published_roots() public view {
        // SHA-256 of a zero byte alone: the leaf hash of an empty entry, and the root of the log that holds only it.
        bytes32 empty = 0x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d;
        assertEq(_leaf(""), empty, "leaf hash");
        assertTrue(_anchor.verifyInclusion(empty, 0, 1, empty, new bytes32[](0)), "a log of one entry");
        // The entries and roots that implementations of RFC 6962 check each other with.
        bytes32[] memory leaves = new bytes32[](8);
        leaves[0] = _leaf("");
        leaves[1] = _leaf(hex"00");
        leaves[2] = _leaf(hex"10");
        leaves[3] = _leaf(hex"2021");
        leaves[4] = _leaf(hex"3031");
        leaves[5] = _leaf(hex"40414243");
        leaves[6] = _leaf(hex"5051525354555657");
        leaves[7] = _leaf(hex"606162636465666768696a6b6c6d6e6f");
        bytes32[4] memory roots = [
            bytes32(0xfac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125),
            0xaeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77,
            0xd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7,
            0x5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328
        ];
        uint8[4] memory sizes = [2, 3, 4, 8];
        for (uint256 i = 0; i < roots.length; ++i) {
            bytes32[] memory part = _part(leaves, 0, sizes[i]);
            assertEq(_root(part), roots[i], "root");
            for (uint256 index = 0; index < sizes[i]; ++index)
                assertTrue(
                    _anchor.verifyInclusion(roots[i], uint64(index), sizes[i], part[index], _path(index, part)),
                    "a published root"
                );
        }
    }

    function test_every_entry_of_every_size_is_proved() public view {
        for (uint256 size = 1; size <= 40; ++size) {
            bytes32[] memory leaves = _leaves(size);
            bytes32 root = _root(leaves);
            for (uint256 index = 0; index < size; ++index) {
                assertTrue(
                    _anchor.verifyInclusion(root, uint64(index), uint64(size), leaves[index], _path(index, leaves)),
                    "a true proof"
                );
            }
        }
    }

    function test_no_other_index_or_size() public view {
        for (uint256 size = 1; size <= 40; ++size) {
            bytes32[] memory leaves = _leaves(size);
            bytes32 root = _root(leaves);
            for (uint256 index = 0; index < size; ++index) {
                bytes32[] memory proof = _path(index, leaves);
                for (uint64 other = 0; other < size + 2; ++other) {
                    if (other != index)
                        assertTrue(
                            !_anchor.verifyInclusion(root, other, uint64(size), leaves[index], proof),
                            "another index"
                        );
                }
                assertTrue(!_anchor.verifyInclusion(root, uint64(index), 0, leaves[index], proof), "size 0");
                assertTrue(
                    !_anchor.verifyInclusion(root, type(uint64).max, type(uint64).max, leaves[index], proof),
                    "no place"
                );
            }
        }
    }

    function test_no_shorter_or_longer_proof() public view {
        for (uint256 size = 1; size <= 40; ++size) {
            bytes32[] memory leaves = _leaves(size);
            bytes32 root = _root(leaves);
            for (uint256 index = 0; index < size; ++index) {
                bytes32[] memory proof = _path(index, leaves);
                bytes32[] memory longer = new bytes32[](proof.length + 1);
                for (uint256 i = 0; i < proof.length; ++i) longer[i] = proof[i];
                _refused(root, index, size, leaves[index], longer, "longer");
                if (proof.length == 0) continue;
                bytes32[] memory shorter = new bytes32[](proof.length - 1);
                for (uint256 i = 0; i < shorter.length; ++i) shorter[i] = proof[i];
                _refused(root, index, size, leaves[index], shorter, "shorter");
            }
        }
    }

    function test_an_inner_node_is_no_leaf() public view {
        bytes32[] memory leaves = _leaves(4);
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = _parent(leaves[2], leaves[3]);
        bytes32 inner = _parent(leaves[0], leaves[1]);
        // It would be the first of a log of two entries with the same root; the size is what tells them apart.
        _refused(_root(leaves), 0, 4, inner, proof, "inner node");
    }

    // Each range of sizes is a test of its own, so that none needs more gas than a test may use.
    function test_altered_bytes_01_10() public view {
        _alter(1, 10);
    }

    function test_altered_bytes_11_15() public view {
        _alter(11, 15);
    }

    function test_altered_bytes_16_20() public view {
        _alter(16, 20);
    }

    function test_altered_bytes_21_25() public view {
        _alter(21, 25);
    }

    function test_altered_bytes_26_30() public view {
        _alter(26, 30);
    }

    function test_altered_bytes_31_35() public view {
        _alter(31, 35);
    }

    function test_altered_bytes_36_40() public view {
        _alter(36, 40);
    }

    function testFuzz_large_logs(uint256 size, uint256 index, uint256 bit) public view {
        size = bound(size, 41, 400);
        index = bound(index, 0, size - 1);
        bytes32[] memory leaves = _leaves(size);
        bytes32 root = _root(leaves);
        bytes32[] memory proof = _path(index, leaves);
        assertTrue(_anchor.verifyInclusion(root, uint64(index), uint64(size), leaves[index], proof), "a true proof");
        bit = bound(bit, 0, proof.length * 256 - 1);
        proof[bit / 256] ^= bytes32(1 << (bit % 256));
        _refused(root, index, size, leaves[index], proof, "an altered bit");
    }

    /// @dev Whatever is given, the check answers; a root made up by somebody is met by luck alone.
    function testFuzz_never_reverts(
        bytes32 root,
        uint64 index,
        uint64 size,
        bytes32 leaf,
        bytes32[] memory proof
    ) public view {
        if (index == 0 && size == 1) return;
        assertTrue(!_anchor.verifyInclusion(root, index, size, leaf, proof), "nonsense");
    }

    function _alter(uint256 first, uint256 last) private view {
        for (uint256 size = first; size <= last; ++size) {
            bytes32[] memory leaves = _leaves(size);
            bytes32 root = _root(leaves);
            for (uint256 index = 0; index < size; ++index) {
                bytes32[] memory proof = _path(index, leaves);
                for (uint256 place = 0; place < 32; ++place) {
                    // Another bit of the byte each time.
                    bytes32 flip = bytes32(1 << (8 * place + ((place + index) % 8)));
                    _refused(root ^ flip, index, size, leaves[index], proof, "root");
                    _refused(root, index, size, leaves[index] ^ flip, proof, "leaf");
                    for (uint256 i = 0; i < proof.length; ++i) {
                        proof[i] ^= flip;
                        _refused(root, index, size, leaves[index], proof, "proof");
                        proof[i] ^= flip;
                    }
                }
            }
        }
    }

    function _refused(
        bytes32 root,
        uint256 index,
        uint256 size,
        bytes32 leaf,
        bytes32[] memory proof,
        string memory what
    ) private view {
        assertTrue(!_anchor.verifyInclusion(root, uint64(index), uint64(size), leaf, proof), what);
    }

    function _leaf(bytes memory entry) private pure returns (bytes32) {
        return sha256(bytes.concat(hex"00", entry));
    }

    function _parent(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return sha256(bytes.concat(hex"01", left, right));
    }

    function _leaves(uint256 size) private pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) leaves[i] = _leaf(abi.encode("entry", i));
    }

    /// @dev The largest power of two below `size`, where the RFC cuts a tree in two.
    function _cut(uint256 size) private pure returns (uint256 cut) {
        cut = 1;
        while (cut * 2 < size) cut *= 2;
    }

    function _part(bytes32[] memory leaves, uint256 from, uint256 to) private pure returns (bytes32[] memory part) {
        part = new bytes32[](to - from);
        for (uint256 i = from; i < to; ++i) part[i - from] = leaves[i];
    }

    function _root(bytes32[] memory leaves) private pure returns (bytes32) {
        if (leaves.length == 1) return leaves[0];
        uint256 cut = _cut(leaves.length);
        return _parent(_root(_part(leaves, 0, cut)), _root(_part(leaves, cut, leaves.length)));
    }

    function _path(uint256 index, bytes32[] memory leaves) private pure returns (bytes32[] memory path) {
        if (leaves.length == 1) return path;
        uint256 cut = _cut(leaves.length);
        bytes32[] memory left = _part(leaves, 0, cut);
        bytes32[] memory right = _part(leaves, cut, leaves.length);
        bytes32[] memory below = index < cut ? _path(index, left) : _path(index - cut, right);
        path = new bytes32[](below.length + 1);
        for (uint256 i = 0; i < below.length; ++i) path[i] = below[i];
        path[below.length] = index < cut ? _root(right) : _root(left);
    }

    function _expectLatest(
        bytes32 logId,
        uint64 size,
        bytes32 root,
        bytes32 mirrorDigest,
        uint64 blockNumber,
        bytes32 blockHash
    ) private view {
        AuditAnchor.Anchor memory found = _anchor.latest(logId);
        assertEq(uint256(found.size), size, "size");
        assertEq(found.root, root, "root");
        assertEq(found.mirrorDigest, mirrorDigest, "mirrorDigest");
        assertEq(uint256(found.blockNumber), blockNumber, "blockNumber");
        assertEq(found.blockHash, blockHash, "blockHash");
    }
}
