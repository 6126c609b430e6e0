// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IERC4906} from "@openzeppelin/contracts/interfaces/IERC4906.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC2981} from "@openzeppelin/contracts/token/common/ERC2981.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {DeedToken} from "../DeedToken.sol";
import {DeedTerms} from "../parts/DeedTerms.sol";
import {IERC7943NonFungible} from "../parts/IERC7943NonFungible.sol";
import {Operations} from "../parts/Operations.sol";
import {Regulated} from "../parts/Regulated.sol";
import {Restriction, Restrictions} from "../parts/Restrictions.sol";
import {AuthorityMissing} from "../parts/TokenTerms.sol";
import {DeedTokenFixture, Receiver, RegistryMock} from "./DeedTokenMocks.sol";
import {Vm} from "./Harness.sol";

contract DeedTokenTest is DeedTokenFixture {
    // --- Making it ---

    function test_terms_and_domain() public {
        assertEq(token.name(), LONG_NAME, "a name over 31 bytes");
        assertEq(token.symbol(), "DEED", "symbol");
        assertEq(token.authority(), address(authority), "authority");
        assertEq(token.registry(), address(registry), "registry");
        assertEq(token.assetId(), ASSET, "assetId");
        assertEq(token.termsHash(), TERMS, "termsHash");
        assertEq(token.totalSupply(), 0, "no deeds");
        (, string memory name, string memory version, uint256 chain, address verifier, , ) = token.eip712Domain();
        assertEq(name, "DeedToken", "domain name");
        assertEq(version, "1", "domain version");
        assertEq(chain, block.chainid, "chain");
        assertEq(verifier, address(token), "verifier");
        assertEq(make(address(0), false).registry(), address(0), "no registry");
    }

    function test_an_authority_is_a_contract() public {
        vm.expectRevert(AuthorityMissing.selector);
        new DeedToken(DeedTerms("n", "s", address(0), address(0), 0, 0, false));
        vm.expectRevert(AuthorityMissing.selector);
        new DeedToken(DeedTerms("n", "s", alice, address(0), 0, 0, false));
    }

    function test_interfaces() public {
        DeedToken bound_ = make(address(0), true);
        bytes4[7] memory ids = [
            bytes4(0x01ffc9a7),
            0x80ac58cd,
            0x5b5e139f,
            0x2a55205a,
            0xbf1ef5fe,
            0x49064906,
            0xb45a3c0e
        ];
        for (uint256 i = 0; i < ids.length; ++i) {
            assertEq(token.supportsInterface(ids[i]), i != 6, "an ordinary token");
            assertTrue(bound_.supportsInterface(ids[i]), "a soulbound token");
        }
        assertTrue(!token.supportsInterface(0xffffffff), "never");
        assertTrue(!token.supportsInterface(0x3edbb4c4), "not the fungible kind");
        assertTrue(!token.supportsInterface(0x36372b07), "not ERC-20");
        assertEq(bytes32(type(IERC7943NonFungible).interfaceId), bytes32(bytes4(0xbf1ef5fe)), "ERC-7943's id");
    }

    // --- Permissions and operation ids ---

    /// @dev Every write by permission that takes an id, which is its last argument.
    function _writes(bytes32 operationId) private view returns (bytes[] memory calls) {
        calls = new bytes[](10);
        calls[0] = abi.encodeCall(DeedToken.mintDeed, (bob, 9, "u", HASH, operationId));
        calls[1] = abi.encodeCall(DeedToken.setURI, (1, "u", HASH, operationId));
        calls[2] = abi.encodeCall(DeedToken.setRoyalty, (1, bob, 5, operationId));
        calls[3] = abi.encodeCall(DeedToken.setDefaultRoyalty, (bob, 5, operationId));
        calls[4] = abi.encodeCall(DeedToken.forcedTransferRef, (alice, bob, 1, "r", HASH, operationId));
        calls[5] = abi.encodeCall(DeedToken.setFrozenTokensIf, (alice, 1, false, true, operationId));
        calls[6] = abi.encodeCall(DeedToken.setRegistry, (address(0), operationId));
        calls[7] = abi.encodeCall(DeedToken.pause, (operationId));
        calls[8] = abi.encodeCall(DeedToken.unpause, (operationId));
        calls[9] = abi.encodeCall(DeedToken.retire, (1, "r", operationId));
    }

    function test_a_stranger_writes_nothing() public {
        mint(token, alice, 1);
        bytes[] memory calls = _writes(bytes32("op"));
        bytes memory refusal = abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, alice);
        vm.startPrank(alice);
        for (uint256 i = 0; i < calls.length; ++i) refused(address(token), calls[i], refusal);
        refused(address(token), abi.encodeCall(DeedToken.forcedTransfer, (alice, bob, 1)), refusal);
        refused(address(token), abi.encodeCall(DeedToken.setFrozenTokens, (alice, 1, true)), refusal);
        vm.stopPrank();
        assertTrue(!token.operationExecuted(bytes32("op")), "no id is burned");
    }

    function test_an_operation_has_one_effect() public {
        mint(token, alice, 1);
        bytes memory missing = abi.encodeWithSelector(Operations.OperationIdMissing.selector);
        bytes[] memory calls = _writes(0);
        for (uint256 i = 0; i < calls.length; ++i) refused(address(token), calls[i], missing);
        uint256 start = vm.snapshotState();
        for (uint256 i = 0; i < calls.length; ++i) {
            bytes32 op = keccak256(abi.encode("op", i));
            if (i == 8) token.pause(bytes32("before"));
            bytes memory call = _writes(op)[i];
            vm.expectEmit(address(token));
            emit Operations.Operation(op, bytes4(call), address(this));
            (bool done, ) = address(token).call(call);
            assertTrue(done, "once");
            assertTrue(token.operationExecuted(op), "burned");
            bytes memory used = abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, op);
            // An id is burned for every function, not only for the one that burned it.
            bytes[] memory again = _writes(op);
            for (uint256 j = 0; j < again.length; ++j) refused(address(token), again[j], used);
            vm.revertToState(start);
        }
    }

    function test_an_id_copied_to_another_token_works_there() public {
        token.mintDeed(alice, 1, "u", HASH, bytes32("op"));
        DeedToken other = make(address(0), false);
        other.mintDeed(alice, 1, "u", HASH, bytes32("op"));
        assertEq(other.ownerOf(1), alice, "issued");
    }

    // --- Issue ---

    function test_mint() public {
        vm.expectEmit(address(token));
        emit IERC721.Transfer(address(0), alice, 7);
        vm.expectEmit(address(token));
        emit IERC4906.MetadataUpdate(7);
        vm.expectEmit(address(token));
        emit DeedToken.DeedIssued(7, alice, "ipfs://seven", HASH);
        token.mintDeed(alice, 7, "ipfs://seven", HASH, id());
        assertEq(token.ownerOf(7), alice, "holder");
        assertEq(token.balanceOf(alice), 1, "balance");
        assertEq(token.totalSupply(), 1, "supply");
        assertEq(token.tokenURI(7), "ipfs://seven", "uri");
        assertEq(token.documentHash(7), HASH, "document");
        assertTrue(!token.locked(7), "not soulbound");
        _told(address(0), address(0), alice, 0, 1);
        assertEq(registry.judged(), 1, "judged once");
        mint(token, alice, 8);
        _told(address(0), address(0), alice, 0, 2);
    }

    function test_mint_refusals() public {
        mint(token, alice, 1);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0)));
        token.mintDeed(address(0), 2, "u", HASH, bytes32("zero"));
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidSender.selector, address(0)));
        token.mintDeed(bob, 1, "u", HASH, bytes32("there"));
        registry.block_(bob, true);
        vm.expectRevert(restricted(Restrictions.RECEIVER_BLOCKED, bob, 0, 0));
        token.mintDeed(bob, 2, "u", HASH, bytes32("blocked"));
        registry.limit(1);
        vm.expectRevert(restricted(Restrictions.HOLDING_MAX, alice, 1, 2));
        token.mintDeed(alice, 2, "u", HASH, bytes32("more"));
        token.pause(id());
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.mintDeed(alice, 2, "u", HASH, bytes32("paused"));
        assertTrue(!token.operationExecuted(bytes32("paused")), "a refusal burns no id");
        assertEq(token.totalSupply(), 1, "supply");
    }

    function test_a_receiver_is_not_called_at_the_issue() public {
        Receiver receiver = new Receiver();
        mint(token, address(receiver), 1);
        assertEq(receiver.called(), 0, "not called");
        // Nor need it know of deeds at all.
        mint(token, address(registry), 2);
        assertEq(token.ownerOf(2), address(registry), "issued");
    }

    function test_a_soulbound_deed_says_so() public {
        DeedToken bound_ = make(address(0), true);
        vm.expectEmit(address(bound_));
        emit DeedToken.DeedIssued(1, alice, "ipfs://deed", HASH);
        vm.expectEmit(address(bound_));
        emit DeedToken.Locked(1);
        mint(bound_, alice, 1);
        assertTrue(bound_.locked(1), "locked");
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 2));
        bound_.locked(2);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 2));
        token.locked(2);
        vm.recordLogs();
        mint(token, alice, 1);
        assertEq(_count(vm.getRecordedLogs(), DeedToken.Locked.selector), 0, "not of an ordinary deed");
    }

    // --- Documents and royalties ---

    function test_another_document() public {
        mint(token, alice, 1);
        vm.expectEmit(address(token));
        emit IERC4906.MetadataUpdate(1);
        vm.expectEmit(address(token));
        emit DeedToken.DeedDocument(1, "ipfs://new", bytes32("new"));
        token.setURI(1, "ipfs://new", bytes32("new"), id());
        assertEq(token.tokenURI(1), "ipfs://new", "uri");
        assertEq(token.documentHash(1), bytes32("new"), "document");
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 2));
        token.setURI(2, "u", HASH, id());
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 2));
        token.tokenURI(2);
        assertEq(token.documentHash(2), 0, "none");
    }

    function test_royalties() public {
        mint(token, alice, 1);
        mint(token, alice, 2);
        _royalty(1, address(0), 0);
        vm.expectEmit(address(token));
        emit DeedToken.DefaultRoyaltySet(carol, 250);
        token.setDefaultRoyalty(carol, 250, id());
        vm.expectEmit(address(token));
        emit DeedToken.RoyaltySet(1, bob, 1000);
        token.setRoyalty(1, bob, 1000, id());
        _royalty(1, bob, 1000);
        _royalty(2, carol, 250);
        vm.expectEmit(address(token));
        emit DeedToken.RoyaltySet(1, address(0), 0);
        token.setRoyalty(1, address(0), 0, id());
        _royalty(1, carol, 250);
        vm.expectEmit(address(token));
        emit DeedToken.DefaultRoyaltySet(address(0), 0);
        token.setDefaultRoyalty(address(0), 0, id());
        _royalty(1, address(0), 0);
    }

    function test_royalty_refusals() public {
        mint(token, alice, 1);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 2));
        token.setRoyalty(2, bob, 1, id());
        vm.expectRevert(abi.encodeWithSelector(ERC2981.ERC2981InvalidTokenRoyalty.selector, 1, 10_001, 10_000));
        token.setRoyalty(1, bob, 10_001, id());
        vm.expectRevert(abi.encodeWithSelector(ERC2981.ERC2981InvalidTokenRoyaltyReceiver.selector, 1, address(0)));
        token.setRoyalty(1, address(0), 1, id());
        vm.expectRevert(abi.encodeWithSelector(ERC2981.ERC2981InvalidDefaultRoyalty.selector, 10_001, 10_000));
        token.setDefaultRoyalty(bob, 10_001, id());
        vm.expectRevert(abi.encodeWithSelector(ERC2981.ERC2981InvalidDefaultRoyaltyReceiver.selector, address(0)));
        token.setDefaultRoyalty(address(0), 1, id());
        token.setRoyalty(1, bob, 10_000, id());
    }

    // --- Retirement ---

    function test_retire() public {
        mint(token, alice, 1);
        mint(token, alice, 2);
        vm.prank(alice);
        token.approve(bob, 1);
        vm.expectEmit(address(token));
        emit IERC721.Transfer(alice, address(0), 1);
        vm.expectEmit(address(token));
        emit DeedToken.Retired(1, "merged");
        token.retire(1, "merged", id());
        assertEq(token.totalSupply(), 1, "supply");
        assertEq(token.balanceOf(alice), 1, "balance");
        assertEq(registry.forced(), 1, "counted");
        assertEq(registry.judged(), 2, "not judged");
        _told(address(0), alice, address(0), 1, 0);
        assertEq(token.documentHash(1), HASH, "the proof of it stays");
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 1));
        token.ownerOf(1);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 1));
        token.tokenURI(1);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 1));
        token.transferFrom(alice, bob, 1);
    }

    function test_a_retired_id_is_never_issued_again() public {
        mint(token, alice, 1);
        token.retire(1, "r", id());
        vm.expectRevert(abi.encodeWithSelector(DeedToken.DeedRetired.selector, 1));
        token.mintDeed(alice, 1, "u", HASH, id());
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 1));
        token.retire(1, "r", id());
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 2));
        token.retire(2, "r", id());
    }

    function test_a_frozen_deed_is_released_before_it_is_retired() public {
        mint(token, alice, 1);
        token.setFrozenTokens(alice, 1, true);
        vm.recordLogs();
        token.retire(1, "r", id());
        _order(vm.getRecordedLogs(), IERC7943NonFungible.Frozen.selector, IERC721.Transfer.selector);
        assertTrue(!token.getFrozenTokens(alice, 1), "released");
    }

    function test_a_pause_stops_a_retirement() public {
        mint(token, alice, 1);
        token.pause(id());
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.retire(1, "r", id());
    }

    function test_a_soulbound_or_blocked_deed_is_retired() public {
        DeedToken bound_ = make(address(0), true);
        mint(bound_, alice, 1);
        bound_.retire(1, "r", id());
        assertEq(bound_.totalSupply(), 0, "soulbound");
        mint(token, alice, 1);
        registry.block_(alice, true);
        token.retire(1, "r", id());
        assertEq(token.totalSupply(), 0, "blocked");
    }

    // --- Transfers ---

    function test_a_holder_transfers() public {
        mint(token, alice, 1);
        mint(token, alice, 2);
        vm.prank(alice);
        vm.expectEmit(address(token));
        emit IERC721.Transfer(alice, bob, 1);
        token.transferFrom(alice, bob, 1);
        assertEq(token.ownerOf(1), bob, "holder");
        assertEq(token.totalSupply(), 2, "supply");
        _told(address(0), alice, bob, 1, 1);
        assertEq(registry.judged(), 3, "judged once");
    }

    function test_each_public_path_is_judged_once() public {
        Receiver receiver = new Receiver();
        mint(token, alice, 1);
        mint(token, alice, 2);
        mint(token, alice, 3);
        uint256 judged = registry.judged();
        vm.startPrank(alice);
        token.safeTransferFrom(alice, address(receiver), 1);
        assertEq(registry.judged(), judged + 1, "safeTransferFrom of three");
        token.safeTransferFrom(alice, address(receiver), 2, "data");
        assertEq(registry.judged(), judged + 2, "safeTransferFrom of four");
        token.transferFrom(alice, address(receiver), 3);
        assertEq(registry.judged(), judged + 3, "transferFrom");
        vm.stopPrank();
        assertEq(receiver.called(), 2, "the safe ones call the receiver");
        assertEq(token.balanceOf(address(receiver)), 3, "all there");
    }

    function test_a_safe_transfer_needs_a_receiver_that_takes_deeds() public {
        mint(token, alice, 1);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(registry)));
        token.safeTransferFrom(alice, address(registry), 1);
        assertEq(token.ownerOf(1), alice, "unmoved");
    }

    function test_spenders_are_told_to_the_registry() public {
        mint(token, alice, 1);
        mint(token, alice, 2);
        vm.startPrank(alice);
        token.approve(carol, 1);
        token.setApprovalForAll(stranger, true);
        vm.stopPrank();
        vm.prank(carol);
        token.transferFrom(alice, bob, 1);
        _told(carol, alice, bob, 1, 1);
        assertEq(token.getApproved(1), address(0), "an approval ends with the transfer");
        vm.prank(stranger);
        token.safeTransferFrom(alice, bob, 2);
        _told(stranger, alice, bob, 0, 2);
    }

    function test_a_transfer_to_oneself() public {
        mint(token, alice, 1);
        vm.prank(alice);
        token.transferFrom(alice, alice, 1);
        assertEq(token.balanceOf(alice), 1, "balance");
        _told(address(0), alice, alice, 1, 1);
    }

    function test_base_refusals() public {
        mint(token, alice, 1);
        vm.startPrank(bob);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InsufficientApproval.selector, bob, 1));
        token.transferFrom(alice, bob, 1);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 2));
        token.transferFrom(alice, bob, 2);
        vm.stopPrank();
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721IncorrectOwner.selector, bob, 1, alice));
        token.transferFrom(bob, carol, 1);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0)));
        token.transferFrom(alice, address(0), 1);
        vm.stopPrank();
    }

    /// @dev Each rule is broken at once; one after the other is mended, and the next one shows.
    function test_order_of_refusals() public {
        mint(token, alice, 1);
        token.setFrozenTokens(alice, 1, true);
        registry.block_(alice, true);
        registry.block_(bob, true);
        registry.block_(carol, true);
        token.pause(id());
        vm.startPrank(carol);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.transferFrom(alice, address(0), 1);
        _detect(Restrictions.PAUSED, alice, address(0));
        vm.stopPrank();
        token.unpause(id());
        vm.startPrank(carol);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0)));
        token.transferFrom(alice, address(0), 1);
        _detect(Restrictions.ZERO_ADDRESS, alice, address(0));
        _detect(Restrictions.ZERO_ADDRESS, address(0), bob);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InsufficientApproval.selector, carol, 1));
        token.transferFrom(alice, bob, 1);
        vm.stopPrank();
        vm.prank(alice);
        token.approve(carol, 1);
        vm.startPrank(carol);
        vm.expectRevert(
            abi.encodeWithSelector(IERC7943NonFungible.ERC7943InsufficientUnfrozenBalance.selector, alice, 1)
        );
        token.transferFrom(alice, bob, 1);
        _detect(Restrictions.FROZEN, alice, bob);
        vm.stopPrank();
        token.setFrozenTokens(alice, 1, false);
        vm.startPrank(carol);
        vm.expectRevert(restricted(Restrictions.SPENDER_BLOCKED, carol, 0, 0));
        token.transferFrom(alice, bob, 1);
        registry.block_(carol, false);
        vm.expectRevert(restricted(Restrictions.SENDER_BLOCKED, alice, 0, 0));
        token.transferFrom(alice, bob, 1);
        _detect(Restrictions.SENDER_BLOCKED, alice, bob);
        registry.block_(alice, false);
        vm.expectRevert(restricted(Restrictions.RECEIVER_BLOCKED, bob, 0, 0));
        token.transferFrom(alice, bob, 1);
        _detect(Restrictions.RECEIVER_BLOCKED, alice, bob);
        registry.block_(bob, false);
        token.transferFrom(alice, bob, 1);
        vm.stopPrank();
    }

    function test_a_soulbound_deed_stays() public {
        DeedToken bound_ = make(address(0), true);
        mint(bound_, alice, 1);
        // Soulbound comes first: a frozen deed would be released one day, and stay all the same.
        bound_.setFrozenTokens(alice, 1, true);
        bytes memory refusal = restricted(Restrictions.SOULBOUND, alice, 0, 1);
        vm.startPrank(alice);
        bound_.approve(bob, 1);
        vm.expectRevert(refusal);
        bound_.transferFrom(alice, bob, 1);
        vm.expectRevert(refusal);
        bound_.safeTransferFrom(alice, bob, 1);
        vm.expectRevert(refusal);
        bound_.safeTransferFrom(alice, bob, 1, "");
        vm.stopPrank();
        vm.prank(bob);
        vm.expectRevert(refusal);
        bound_.transferFrom(alice, bob, 1);
        assertEq(uint256(bound_.detectTransferRestriction(alice, bob, 1)), Restrictions.SOULBOUND, "code");
        assertTrue(!bound_.canTransfer(alice, bob, 1), "canTransfer");
        bound_.forcedTransfer(alice, bob, 1);
        assertEq(bound_.ownerOf(1), bob, "but for enforcement");
    }

    // --- Freezing ---

    function test_freezing() public {
        mint(token, alice, 1);
        vm.expectEmit(address(token));
        emit IERC7943NonFungible.Frozen(alice, 1, true);
        assertTrue(token.setFrozenTokens(alice, 1, true), "answer");
        assertTrue(token.getFrozenTokens(alice, 1), "frozen");
        assertTrue(!token.getFrozenTokens(alice, 2), "only this deed");
        assertTrue(!token.getFrozenTokens(bob, 1), "only in these hands");
        // A deed that an account does not hold yet may be frozen there: it can still arrive, and then stays.
        token.setFrozenTokens(bob, 2, true);
        mint(token, alice, 2);
        vm.prank(alice);
        token.transferFrom(alice, bob, 2);
        vm.prank(bob);
        vm.expectRevert(
            abi.encodeWithSelector(IERC7943NonFungible.ERC7943InsufficientUnfrozenBalance.selector, bob, 2)
        );
        token.transferFrom(bob, alice, 2);
    }

    function test_freezing_if_unchanged() public {
        vm.expectRevert(abi.encodeWithSelector(DeedToken.ERC7943ExpectedValueMismatch.selector, true, false));
        token.setFrozenTokensIf(alice, 1, true, false, bytes32("op"));
        vm.expectEmit(address(token));
        emit IERC7943NonFungible.Frozen(alice, 1, true);
        assertTrue(token.setFrozenTokensIf(alice, 1, false, true, bytes32("op")), "answer");
        vm.expectRevert(abi.encodeWithSelector(DeedToken.ERC7943ExpectedValueMismatch.selector, false, true));
        token.setFrozenTokensIf(alice, 1, false, false, bytes32("op2"));
        assertTrue(token.setFrozenTokensIf(alice, 1, true, false, bytes32("op2")), "back");
        assertTrue(!token.getFrozenTokens(alice, 1), "released");
    }

    function test_frozen_event_has_four_topics_and_no_data() public {
        vm.recordLogs();
        token.setFrozenTokens(alice, 1, true);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 1, "one event");
        assertEq(logs[0].topics.length, 4, "topics");
        assertEq(logs[0].data.length, 0, "data");
    }

    // --- Enforcement ---

    function test_forced_transfer() public {
        mint(token, alice, 1);
        vm.prank(alice);
        token.approve(carol, 1);
        vm.expectEmit(address(token));
        emit IERC721.Transfer(alice, bob, 1);
        vm.expectEmit(address(token));
        emit IERC7943NonFungible.ForcedTransfer(alice, bob, 1);
        assertTrue(token.forcedTransfer(alice, bob, 1), "answer");
        assertEq(token.ownerOf(1), bob, "holder");
        assertEq(token.getApproved(1), address(0), "the approval ended");
        assertEq(registry.forced(), 1, "counted");
        assertEq(registry.judged(), 1, "not judged");
        _told(address(0), alice, bob, 0, 1);
    }

    function test_a_forced_transfer_to_the_same_account_lifts_no_freeze() public {
        mint(token, alice, 1);
        token.setFrozenTokens(alice, 1, true);
        token.forcedTransfer(alice, alice, 1);
        assertTrue(token.getFrozenTokens(alice, 1), "frozen");
    }

    function test_nobody_is_not_eligible_without_a_registry() public {
        DeedToken bare = make(address(0), false);
        assertTrue(!bare.canSend(address(0)) && !bare.canReceive(address(0)), "nobody");
    }

    function test_forced_transfer_with_its_reason() public {
        mint(token, alice, 1);
        bytes32 op = id();
        vm.expectEmit(address(token));
        emit IERC7943NonFungible.ForcedTransfer(alice, bob, 1);
        vm.expectEmit(address(token));
        emit DeedToken.ForcedTransferReason(op, "court order 7", HASH);
        token.forcedTransferRef(alice, bob, 1, "court order 7", HASH, op);
        assertEq(token.ownerOf(1), bob, "holder");
    }

    function test_enforcement_asks_for_no_rule_but_the_receivers() public {
        mint(token, alice, 1);
        registry.block_(alice, true);
        registry.limit(1);
        mint(token, bob, 2);
        token.setFrozenTokens(alice, 1, true);
        token.pause(id());
        vm.recordLogs();
        token.forcedTransferRef(alice, bob, 1, "r", HASH, id());
        Vm.Log[] memory logs = vm.getRecordedLogs();
        _order(logs, IERC7943NonFungible.Frozen.selector, IERC721.Transfer.selector);
        _order(logs, IERC721.Transfer.selector, IERC7943NonFungible.ForcedTransfer.selector);
        _order(logs, IERC7943NonFungible.ForcedTransfer.selector, DeedToken.ForcedTransferReason.selector);
        assertEq(token.balanceOf(bob), 2, "over the limit");
        assertTrue(!token.getFrozenTokens(alice, 1), "released");
    }

    function test_a_deed_that_was_not_frozen_tells_no_release() public {
        mint(token, alice, 1);
        vm.recordLogs();
        token.forcedTransfer(alice, bob, 1);
        assertEq(_count(vm.getRecordedLogs(), IERC7943NonFungible.Frozen.selector), 0, "no event");
    }

    function test_a_freeze_awaiting_a_deed_survives_its_forced_arrival() public {
        mint(token, alice, 1);
        token.setFrozenTokens(bob, 1, true);
        token.forcedTransfer(alice, bob, 1);
        assertTrue(token.getFrozenTokens(bob, 1), "still frozen");
    }

    function test_forced_transfer_refusals() public {
        mint(token, alice, 1);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0)));
        token.forcedTransfer(alice, address(0), 1);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721IncorrectOwner.selector, bob, 1, alice));
        token.forcedTransfer(bob, carol, 1);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 2));
        token.forcedTransfer(alice, bob, 2);
        registry.block_(bob, true);
        vm.expectRevert(abi.encodeWithSelector(IERC7943NonFungible.ERC7943CannotReceive.selector, bob));
        token.forcedTransfer(alice, bob, 1);
        vm.expectRevert(abi.encodeWithSelector(IERC7943NonFungible.ERC7943CannotReceive.selector, bob));
        token.forcedTransferRef(alice, bob, 1, "r", HASH, bytes32("op"));
        assertTrue(!token.operationExecuted(bytes32("op")), "a refusal burns no id");
        assertEq(token.ownerOf(1), alice, "unmoved");
    }

    // --- Pause ---

    function test_pause() public {
        mint(token, alice, 1);
        token.pause(id());
        assertTrue(token.paused(), "paused");
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.pause(bytes32("twice"));
        vm.startPrank(alice);
        // Approvals move nothing, so a holder may give and take them.
        token.approve(bob, 1);
        token.setApprovalForAll(carol, true);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.transferFrom(alice, bob, 1);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.safeTransferFrom(alice, bob, 1);
        vm.stopPrank();
        token.setURI(1, "u", HASH, id());
        token.setFrozenTokens(alice, 1, true);
        token.unpause(id());
        vm.expectRevert(Pausable.ExpectedPause.selector);
        token.unpause(bytes32("twice"));
    }

    // --- Registry ---

    function test_a_registry_is_set_only_before_the_first_deed() public {
        DeedToken bare = make(address(0), false);
        vm.expectEmit(address(bare));
        emit Regulated.RegistryChanged(address(0), address(registry));
        bare.setRegistry(address(registry), id());
        mint(bare, alice, 1);
        RegistryMock other = new RegistryMock();
        vm.expectRevert(Regulated.RegistryFixed.selector);
        bare.setRegistry(address(other), id());
        registry.block_(alice, true);
        assertTrue(!bare.canTransfer(alice, bob, 1), "judged");
        vm.expectEmit(address(bare));
        emit Regulated.RegistryChanged(address(registry), address(0));
        bare.setRegistry(address(0), id());
        assertTrue(bare.canTransfer(alice, bob, 1), "not judged any more");
        vm.prank(alice);
        bare.transferFrom(alice, bob, 1);
        vm.expectRevert(Regulated.RegistryFixed.selector);
        bare.setRegistry(address(registry), id());
        bare.retire(1, "r", id());
        bare.setRegistry(address(other), id());
        assertEq(bare.registry(), address(other), "nothing is issued again");
    }

    function test_without_a_registry_everybody_may() public {
        DeedToken bare = make(address(0), false);
        mint(bare, alice, 1);
        assertTrue(bare.canSend(alice) && bare.canReceive(bob) && bare.canTransfer(alice, bob, 1), "may");
        vm.prank(alice);
        bare.transferFrom(alice, bob, 1);
        bare.forcedTransfer(bob, carol, 1);
        bare.retire(1, "r", id());
    }

    // --- Views ---

    function test_eligibility_is_the_registrys() public {
        assertTrue(token.canSend(alice) && token.canReceive(alice), "may");
        registry.block_(alice, true);
        assertTrue(!token.canSend(alice) && !token.canReceive(alice), "may not");
    }

    function test_explanations() public {
        mint(token, alice, 1);
        registry.block_(carol, true);
        Restriction memory found = token.explainTransfer(carol, alice, bob, 1);
        assertEq(uint256(found.code), Restrictions.SPENDER_BLOCKED, "spender");
        assertEq(found.account, carol, "who");
        found = token.explainTransfer(carol, carol, bob, 1);
        assertEq(uint256(found.code), Restrictions.SENDER_BLOCKED, "the holder is no spender");
        registry.limit(1);
        mint(token, bob, 2);
        found = token.explainTransfer(address(0), alice, bob, 1);
        assertEq(uint256(found.code), Restrictions.HOLDING_MAX, "holding");
        assertEq(found.limit, 1, "limit");
        assertEq(found.actual, 2, "actual");
        token.setFrozenTokens(alice, 1, true);
        found = token.explainTransfer(address(0), alice, bob, 1);
        assertEq(uint256(found.code), Restrictions.FROZEN, "frozen");
        assertEq(token.messageForTransferRestriction(found.code), Restrictions.text(Restrictions.FROZEN), "text");
        assertEq(token.messageForTransferRestriction(0), Restrictions.text(0), "text");
        // Who holds the deed is not asked.
        assertTrue(token.canTransfer(bob, alice, 99) == false, "alice holds her one deed");
        registry.limit(0);
        assertTrue(token.canTransfer(bob, alice, 99), "a deed that is not there");
    }

    /// @dev What `explainTransfer` says of a spender is what the transfer does, whatever is broken.
    function testFuzz_explanations_hold(uint256 seed) public {
        bool soulbound = seed % 8 == 0;
        DeedToken any = make(seed % 5 == 0 ? address(0) : address(registry), soulbound);
        address[4] memory people = [alice, bob, carol, stranger];
        address from = people[(seed >> 8) % 4];
        address to = (seed >> 16) % 9 == 0 ? address(0) : people[(seed >> 24) % 4];
        address spender = people[(seed >> 32) % 4];
        mint(any, from, 1);
        vm.prank(from);
        if (seed & (1 << 40) == 0) any.approve(spender, 1);
        else any.setApprovalForAll(spender, true);
        if ((seed >> 41) % 4 == 0) any.setFrozenTokens(from, 1, true);
        if ((seed >> 44) % 4 == 0) any.setFrozenTokens(to, 1, true);
        if ((seed >> 47) % 6 == 0) any.pause(id());
        if ((seed >> 50) % 4 == 0) registry.block_(from, true);
        if ((seed >> 53) % 4 == 0) registry.block_(to, true);
        if ((seed >> 56) % 4 == 0) registry.block_(spender, true);
        if ((seed >> 59) % 4 == 0) registry.limit(1);
        if ((seed >> 62) % 2 == 0 && to != address(0) && !any.paused()) {
            (bool minted, ) = address(any).call(abi.encodeCall(DeedToken.mintDeed, (to, 2, "u", HASH, id())));
            minted;
        }
        Restriction memory found = any.explainTransfer(spender, from, to, 1);
        assertEq(any.canTransfer(from, to, 1), any.detectTransferRestriction(from, to, 1) == 0, "the two views");
        if (spender == from) assertEq(any.canTransfer(from, to, 1), found.code == 0, "the holder");
        if (any.canTransfer(from, to, 1))
            assertTrue(any.canSend(from) && any.canReceive(to), "a transfer needs both accounts");
        vm.prank(spender);
        (bool done, bytes memory why) = address(any).call(abi.encodeCall(any.transferFrom, (from, to, 1)));
        assertEq(done, found.code == 0, "as explained");
        if (done) {
            assertEq(any.ownerOf(1), to, "moved");
            return;
        }
        assertEq(any.ownerOf(1), from, "unmoved");
        bytes memory expected;
        if (found.code == Restrictions.PAUSED) expected = abi.encodeWithSelector(Pausable.EnforcedPause.selector);
        else if (found.code == Restrictions.ZERO_ADDRESS)
            expected = abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0));
        else if (found.code == Restrictions.FROZEN)
            expected = abi.encodeWithSelector(IERC7943NonFungible.ERC7943InsufficientUnfrozenBalance.selector, from, 1);
        else expected = restricted(found.code, found.account, found.limit, found.actual);
        assertEq(keccak256(why), keccak256(expected), "the refusal is the one explained");
    }

    // --- Helpers ---

    function _told(address spender, address from, address to, uint256 left, uint256 got) private view {
        RegistryMock.Told memory told = registry.last();
        assertEq(told.spender, spender, "spender");
        assertEq(told.from, from, "from");
        assertEq(told.to, to, "to");
        assertEq(told.amount, 1, "amount");
        assertEq(told.fromBalance, left, "fromBalance");
        assertEq(told.toBalance, got, "toBalance");
    }

    function _royalty(uint256 deed, address receiver, uint256 basisPoints) private view {
        (address who, uint256 amount) = token.royaltyInfo(deed, 1_000_000);
        assertEq(who, receiver, "receiver");
        assertEq(amount, basisPoints * 100, "amount");
    }

    function _detect(uint8 code, address from, address to) private view {
        assertEq(uint256(token.detectTransferRestriction(from, to, 1)), code, "code");
        assertTrue(!token.canTransfer(from, to, 1), "canTransfer");
    }

    function _count(Vm.Log[] memory logs, bytes32 topic) private pure returns (uint256 found) {
        for (uint256 i = 0; i < logs.length; ++i) if (logs[i].topics[0] == topic) ++found;
    }

    function _order(Vm.Log[] memory logs, bytes32 first, bytes32 second) private pure {
        assertEq(_count(logs, first), 1, "the first is there once");
        assertEq(_count(logs, second), 1, "the second is there once");
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] == first) return;
            assertTrue(logs[i].topics[0] != second, "out of order");
        }
    }
}
