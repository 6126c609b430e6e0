// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {DocumentRegistry} from "../DocumentRegistry.sol";
import {Operations} from "../parts/Operations.sol";
import {AuthorityMissing} from "../parts/TokenTerms.sol";
import {Harness} from "./Harness.sol";

contract DocumentAuthority {
    address private immutable _maker = msg.sender;

    function canCall(address caller, address, bytes4) external view returns (bool, uint32) {
        return (caller == _maker, 0);
    }
}

contract DocumentRegistryTest is Harness {
    address private constant SUBJECT = address(0xA55E7);
    bytes32 private constant NAME = bytes32("prospectus");

    DocumentAuthority private _authority = new DocumentAuthority();
    DocumentRegistry private _registry = new DocumentRegistry(address(_authority));
    uint256 private _ids;

    function _id() private returns (bytes32) {
        return bytes32(++_ids);
    }

    function test_an_authority_is_a_contract() public {
        vm.expectRevert(AuthorityMissing.selector);
        new DocumentRegistry(address(0));
        vm.expectRevert(AuthorityMissing.selector);
        new DocumentRegistry(address(0xE0A));
        assertEq(_registry.authority(), address(_authority), "authority");
    }

    function test_a_stranger_writes_nothing() public {
        vm.startPrank(SUBJECT);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, SUBJECT));
        _registry.setDocument(SUBJECT, NAME, "uri", bytes32("hash"), 1, bytes32("id"));
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, SUBJECT));
        _registry.removeDocument(SUBJECT, NAME, bytes32("id"));
        vm.stopPrank();
        assertTrue(!_registry.operationExecuted(bytes32("id")), "no id is burned");
    }

    function test_an_operation_has_one_effect() public {
        bytes32 used = bytes32("id");
        vm.expectEmit(address(_registry));
        emit Operations.Operation(used, DocumentRegistry.setDocument.selector, address(this));
        _registry.setDocument(SUBJECT, NAME, "uri", bytes32("hash"), 1, used);
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, used));
        _registry.setDocument(SUBJECT, NAME, "uri", bytes32("hash"), 1, used);
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, used));
        _registry.removeDocument(SUBJECT, NAME, used);
        vm.expectRevert(Operations.OperationIdMissing.selector);
        _registry.setDocument(SUBJECT, NAME, "uri", bytes32("hash"), 1, 0);
        vm.expectRevert(Operations.OperationIdMissing.selector);
        _registry.removeDocument(SUBJECT, NAME, 0);
        assertEq(uint256(_registry.versions(SUBJECT, NAME)), 1, "one version");
        // The list of ids is each contract's own.
        DocumentRegistry other = new DocumentRegistry(address(_authority));
        other.setDocument(SUBJECT, NAME, "uri", bytes32("hash"), 1, used);
    }

    function test_a_document_without_a_hash_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(DocumentRegistry.DocumentHashMissing.selector, SUBJECT, NAME));
        _registry.setDocument(SUBJECT, NAME, "uri", 0, 1, bytes32("id"));
        assertTrue(!_registry.operationExecuted(bytes32("id")), "a refusal burns no id");
        assertEq(uint256(_registry.versions(SUBJECT, NAME)), 0, "no version");
    }

    function test_versions_count_up_and_none_is_rewritten() public {
        vm.expectEmit(address(_registry));
        emit DocumentRegistry.DocumentSet(SUBJECT, NAME, 1, "ipfs://one", bytes32("one"), 100);
        _registry.setDocument(SUBJECT, NAME, "ipfs://one", bytes32("one"), 100, _id());
        vm.expectEmit(address(_registry));
        emit DocumentRegistry.DocumentSet(SUBJECT, NAME, 2, "ipfs://two", bytes32("two"), 50);
        _registry.setDocument(SUBJECT, NAME, "ipfs://two", bytes32("two"), 50, _id());
        _expectCurrent(NAME, "ipfs://two", bytes32("two"), 50, 2);
        _expectVersion(NAME, 1, "ipfs://one", bytes32("one"), 100);
        _expectVersion(NAME, 2, "ipfs://two", bytes32("two"), 50);
    }

    function test_the_same_document_again_is_a_version_too() public {
        _registry.setDocument(SUBJECT, NAME, "u", bytes32("h"), 1, _id());
        _registry.setDocument(SUBJECT, NAME, "u", bytes32("h"), 1, _id());
        assertEq(uint256(_registry.versions(SUBJECT, NAME)), 2, "two versions");
    }

    function test_a_removal_leaves_the_history() public {
        _registry.setDocument(SUBJECT, NAME, "ipfs://one", bytes32("one"), 100, _id());
        _registry.setDocument(SUBJECT, NAME, "ipfs://two", bytes32("two"), 200, _id());
        vm.expectEmit(address(_registry));
        emit DocumentRegistry.DocumentRemoved(SUBJECT, NAME, 2);
        _registry.removeDocument(SUBJECT, NAME, _id());
        _expectCurrent(NAME, "", 0, 0, 0);
        _expectVersion(NAME, 1, "ipfs://one", bytes32("one"), 100);
        _expectVersion(NAME, 2, "ipfs://two", bytes32("two"), 200);
        assertEq(uint256(_registry.versions(SUBJECT, NAME)), 2, "the count stays");
        // A number is never given twice, even after a removal.
        _registry.setDocument(SUBJECT, NAME, "ipfs://three", bytes32("three"), 300, _id());
        _expectCurrent(NAME, "ipfs://three", bytes32("three"), 300, 3);
        _expectVersion(NAME, 2, "ipfs://two", bytes32("two"), 200);
    }

    function test_what_is_not_there_is_not_removed() public {
        vm.expectRevert(abi.encodeWithSelector(DocumentRegistry.DocumentMissing.selector, SUBJECT, NAME));
        _registry.removeDocument(SUBJECT, NAME, bytes32("none"));
        _registry.setDocument(SUBJECT, NAME, "u", bytes32("h"), 1, _id());
        _registry.removeDocument(SUBJECT, NAME, _id());
        vm.expectRevert(abi.encodeWithSelector(DocumentRegistry.DocumentMissing.selector, SUBJECT, NAME));
        _registry.removeDocument(SUBJECT, NAME, bytes32("twice"));
    }

    function test_a_version_that_never_was_is_refused() public {
        _registry.setDocument(SUBJECT, NAME, "u", bytes32("h"), 1, _id());
        uint32[3] memory missing = [uint32(0), 2, type(uint32).max];
        for (uint256 i = 0; i < missing.length; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(DocumentRegistry.DocumentVersionMissing.selector, SUBJECT, NAME, missing[i])
            );
            _registry.getDocumentVersion(SUBJECT, NAME, missing[i]);
        }
    }

    function test_subjects_and_names_are_apart() public {
        _registry.setDocument(SUBJECT, NAME, "u", bytes32("h"), 1, _id());
        assertEq(uint256(_registry.versions(SUBJECT, bytes32("terms"))), 0, "another name");
        assertEq(uint256(_registry.versions(address(1), NAME)), 0, "another subject");
        _registry.setDocument(SUBJECT, bytes32("terms"), "t", bytes32("t"), 1, _id());
        _registry.removeDocument(SUBJECT, NAME, _id());
        _expectCurrent(bytes32("terms"), "t", bytes32("t"), 1, 1);
    }

    /// @dev Any sequence of writes and removals, beside a model: the count, the current version and every version.
    function testFuzz_history_is_append_only(uint256 seed) public {
        uint32 count;
        uint32 current;
        for (uint256 i = 0; i < 24; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            if (seed % 3 == 0) {
                if (current == 0) vm.expectPartialRevert(DocumentRegistry.DocumentMissing.selector);
                _registry.removeDocument(SUBJECT, NAME, _id());
                current = 0;
            } else {
                current = ++count;
                bytes32 mark = keccak256(abi.encode(current));
                _registry.setDocument(SUBJECT, NAME, string(abi.encode(mark)), mark, uint64(uint256(mark)), _id());
            }
            assertEq(uint256(_registry.versions(SUBJECT, NAME)), count, "count");
            (, , , uint32 found) = _registry.getDocument(SUBJECT, NAME);
            assertEq(uint256(found), current, "current");
        }
        for (uint32 version = 1; version <= count; ++version) {
            bytes32 mark = keccak256(abi.encode(version));
            _expectVersion(NAME, version, string(abi.encode(mark)), mark, uint64(uint256(mark)));
        }
    }

    function _expectCurrent(bytes32 name, string memory uri, bytes32 hash, uint64 from, uint32 version) private view {
        (string memory u, bytes32 h, uint64 f, uint32 v) = _registry.getDocument(SUBJECT, name);
        assertEq(u, uri, "uri");
        assertEq(h, hash, "hash");
        assertEq(uint256(f), from, "effectiveFrom");
        assertEq(uint256(v), version, "version");
    }

    function _expectVersion(bytes32 name, uint32 version, string memory uri, bytes32 hash, uint64 from) private view {
        (string memory u, bytes32 h, uint64 f) = _registry.getDocumentVersion(SUBJECT, name, version);
        assertEq(u, uri, "uri");
        assertEq(h, hash, "hash");
        assertEq(uint256(f), from, "effectiveFrom");
    }
}
