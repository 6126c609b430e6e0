// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {DeedToken} from "../DeedToken.sol";
import {IERC7943NonFungible} from "../parts/IERC7943NonFungible.sol";
import {Regulated} from "../parts/Regulated.sol";
import {Restriction, Restrictions} from "../parts/Restrictions.sol";
import {
    DeedTokenFixture,
    GasEatingRegistry,
    LongAnswerRegistry,
    NonsenseRegistry,
    Receiver,
    ReentrantRegistry,
    RevertingRegistry,
    ShortAnswerRegistry
} from "./DeedTokenMocks.sol";
import {Vm} from "./Harness.sol";

contract DeedTokenAttacksTest is DeedTokenFixture {
    // --- A receiver that acts in the middle of a safe transfer ---

    function _arm(bytes memory attack) private returns (Receiver receiver) {
        receiver = new Receiver();
        receiver.arm(address(token), attack);
        mint(token, alice, 1);
    }

    function _send(Receiver receiver) private {
        vm.prank(alice);
        token.safeTransferFrom(alice, address(receiver), 1);
        assertEq(receiver.called(), 1, "called once");
    }

    function test_a_receiver_cannot_take_the_deed_twice() public {
        Receiver receiver = new Receiver();
        receiver.arm(address(token), abi.encodeCall(token.transferFrom, (alice, address(receiver), 2)));
        mint(token, alice, 1);
        mint(token, alice, 2);
        vm.prank(alice);
        token.approve(address(receiver), 1);
        _send(receiver);
        assertTrue(!receiver.worked(), "the approval was for the other deed");
        assertEq(token.ownerOf(2), alice, "unmoved");
    }

    function test_a_receivers_own_transfer_is_judged_like_any() public {
        Receiver receiver = new Receiver();
        receiver.arm(address(token), abi.encodeCall(token.transferFrom, (address(receiver), bob, 1)));
        mint(token, alice, 1);
        registry.block_(bob, true);
        uint256 judged = registry.judged();
        _send(receiver);
        assertTrue(!receiver.worked(), "refused");
        assertEq(token.ownerOf(1), address(receiver), "stays");
        assertEq(registry.judged(), judged + 1, "one move");
    }

    function test_a_receiver_that_passes_the_deed_on_leaves_whole_books() public {
        Receiver receiver = new Receiver();
        receiver.arm(address(token), abi.encodeCall(token.transferFrom, (address(receiver), bob, 1)));
        mint(token, alice, 1);
        _send(receiver);
        assertTrue(receiver.worked(), "it holds the deed by then");
        assertEq(token.ownerOf(1), bob, "holder");
        assertEq(token.balanceOf(alice) + token.balanceOf(address(receiver)), 0, "none left behind");
        assertEq(token.balanceOf(bob), token.totalSupply(), "one deed");
        assertEq(registry.holding(bob), 1, "counted");
        assertEq(registry.holding(address(receiver)), 0, "counted");
    }

    function test_a_receiver_cannot_undo_a_freeze_that_awaits_it() public {
        Receiver receiver = new Receiver();
        receiver.arm(address(token), abi.encodeCall(token.transferFrom, (address(receiver), bob, 1)));
        token.setFrozenTokens(address(receiver), 1, true);
        mint(token, alice, 1);
        _send(receiver);
        assertTrue(!receiver.worked(), "frozen in its hands");
    }

    function test_a_receiver_calls_nothing_by_permission() public {
        Receiver receiver = _arm(abi.encodeCall(DeedToken.retire, (1, "r", bytes32("op"))));
        _send(receiver);
        assertTrue(!receiver.worked(), "refused");
        assertTrue(!token.operationExecuted(bytes32("op")), "no id is burned");
    }

    // --- A registry that acts from its hook ---

    function _reentrant() private returns (DeedToken any, ReentrantRegistry evil) {
        evil = new ReentrantRegistry();
        any = make(address(evil), false);
        mint(any, alice, 1);
    }

    function test_a_registry_moves_nothing_by_itself() public {
        (DeedToken any, ReentrantRegistry evil) = _reentrant();
        bytes[4] memory attacks = [
            abi.encodeCall(any.transferFrom, (bob, address(evil), 1)),
            abi.encodeCall(any.transferFrom, (alice, address(evil), 1)),
            abi.encodeCall(any.forcedTransfer, (bob, address(evil), 1)),
            abi.encodeCall(any.setRegistry, (address(0), bytes32("op")))
        ];
        for (uint256 i = 0; i < attacks.length; ++i) {
            evil.arm(address(any), 1, attacks[i]);
            vm.prank(alice);
            any.transferFrom(alice, bob, 1);
            assertTrue(!evil.worked(), "refused");
            assertEq(evil.holderSeen(), bob, "the hook saw the move done");
            evil.arm(address(any), 1, attacks[i]);
            any.forcedTransferRef(bob, alice, 1, "back", HASH, id());
            assertTrue(!evil.worked(), "refused");
            assertEq(evil.holderSeen(), alice, "the hook saw the move done");
        }
        assertEq(any.ownerOf(1), alice, "holder");
    }

    function test_a_registry_that_is_an_operator_leaves_whole_books() public {
        (DeedToken any, ReentrantRegistry evil) = _reentrant();
        vm.prank(bob);
        any.setApprovalForAll(address(evil), true);
        evil.arm(address(any), 1, abi.encodeCall(any.transferFrom, (bob, carol, 1)));
        vm.prank(alice);
        any.transferFrom(alice, bob, 1);
        assertTrue(evil.worked(), "bob let it");
        assertEq(any.ownerOf(1), carol, "holder");
        assertEq(any.balanceOf(carol), any.totalSupply(), "one deed");
        assertEq(any.balanceOf(alice) + any.balanceOf(bob), 0, "none left behind");
    }

    function test_a_registry_cannot_issue_a_deed_again_from_its_retirement() public {
        (DeedToken any, ReentrantRegistry evil) = _reentrant();
        evil.arm(address(any), 1, abi.encodeCall(any.transferFrom, (alice, address(evil), 1)));
        any.retire(1, "r", id());
        assertTrue(!evil.worked(), "gone by then");
        assertEq(any.totalSupply(), 0, "none");
    }

    /// @dev What reads as frozen while it moves is a lie: the release comes first.
    function test_a_frozen_deed_is_released_when_the_hook_looks() public {
        (DeedToken any, ReentrantRegistry evil) = _reentrant();
        any.setFrozenTokens(alice, 1, true);
        vm.prank(bob);
        any.setApprovalForAll(address(evil), true);
        evil.arm(address(any), 1, abi.encodeCall(any.transferFrom, (bob, alice, 1)));
        any.forcedTransfer(alice, bob, 1);
        assertTrue(evil.worked(), "bob let it");
        assertTrue(!any.getFrozenTokens(alice, 1), "released");
        assertEq(any.ownerOf(1), alice, "holder");
    }

    // --- A spender approved long ago ---

    function test_an_old_operator_is_judged_as_it_is_now() public {
        mint(token, alice, 1);
        mint(token, alice, 2);
        vm.startPrank(alice);
        token.setApprovalForAll(carol, true);
        token.approve(stranger, 2);
        vm.stopPrank();
        vm.warp(block.timestamp + 3650 days);
        registry.block_(carol, true);
        registry.block_(stranger, true);
        vm.startPrank(carol);
        vm.expectRevert(restricted(Restrictions.SPENDER_BLOCKED, carol, 0, 0));
        token.transferFrom(alice, bob, 1);
        vm.expectRevert(restricted(Restrictions.SPENDER_BLOCKED, carol, 0, 0));
        token.safeTransferFrom(alice, bob, 1);
        vm.expectRevert(restricted(Restrictions.SPENDER_BLOCKED, carol, 0, 0));
        token.safeTransferFrom(alice, bob, 1, "x");
        vm.stopPrank();
        vm.prank(stranger);
        vm.expectRevert(restricted(Restrictions.SPENDER_BLOCKED, stranger, 0, 0));
        token.transferFrom(alice, bob, 2);
        assertEq(token.balanceOf(alice), 2, "unmoved");
    }

    // --- A registry that is out of order ---

    /// @dev The code of each kind of failure; empty for an address without code.
    function _broken() private returns (bytes[6] memory) {
        return [
            address(new RevertingRegistry()).code,
            address(new GasEatingRegistry()).code,
            address(new NonsenseRegistry()).code,
            address(new ShortAnswerRegistry()).code,
            address(new LongAnswerRegistry()).code,
            bytes("")
        ];
    }

    function test_a_broken_registry_stops_no_enforcement() public {
        bytes[6] memory broken = _broken();
        for (uint256 i = 0; i < broken.length; ++i) {
            uint256 deed = 2 * i + 1;
            mint(token, alice, deed);
            mint(token, alice, deed + 1);
            bytes memory working = address(registry).code;
            vm.etch(address(registry), broken[i]);
            token.setFrozenTokens(alice, deed, true);
            vm.recordLogs();
            token.forcedTransferRef(alice, bob, deed, "order", HASH, id());
            // Two of them answer the hook with a success; nobody can tell that they did not count.
            _skipped(vm.getRecordedLogs(), i != 2 && i != 3);
            assertEq(token.ownerOf(deed), bob, "moved");
            assertTrue(token.forcedTransfer(bob, alice, deed), "moved back");
            vm.recordLogs();
            token.retire(deed, "r", id());
            _skipped(vm.getRecordedLogs(), i != 2 && i != 3);
            vm.etch(address(registry), working);
        }
    }

    function test_a_broken_registry_lets_no_public_transfer_pass() public {
        bytes[6] memory broken = _broken();
        bytes memory working = address(registry).code;
        mint(token, alice, 1);
        bytes memory signed = signTransfer(ALICE_KEY, address(token), bob, 1, bytes32("nonce"));
        for (uint256 i = 0; i < broken.length; ++i) {
            vm.etch(address(registry), broken[i]);
            assertTrue(!token.canTransfer(alice, bob, 1), "canTransfer");
            assertTrue(!token.canSend(alice) && !token.canReceive(bob), "eligibility");
            Restriction memory found = token.explainTransfer(carol, alice, bob, 1);
            assertEq(uint256(found.code), Restrictions.REGISTRY_FAILED, "code");
            assertEq(found.account, address(registry), "who");
            // Those that answer the hook with a success cannot be told from one that judged: see the next test.
            if (i != 2 && i != 3) {
                vm.prank(alice);
                (bool moved, ) = address(token).call{gas: 5_000_000}(
                    abi.encodeCall(token.transferFrom, (alice, bob, 1))
                );
                assertTrue(!moved, "no transfer");
                (moved, ) = address(token).call{gas: 5_000_000}(signed);
                assertTrue(!moved, "no signed transfer");
                (moved, ) = address(token).call{gas: 5_000_000}(
                    abi.encodeCall(token.mintDeed, (bob, 2, "u", HASH, bytes32("op")))
                );
                assertTrue(!moved, "no issue");
            }
            assertEq(token.ownerOf(1), alice, "unmoved");
            vm.etch(address(registry), working);
        }
        // The way out is to take it away.
        vm.etch(address(registry), broken[0]);
        token.setRegistry(address(0), id());
        vm.prank(alice);
        token.transferFrom(alice, bob, 1);
    }

    function test_too_little_gas_is_no_failure_of_the_registry() public {
        mint(token, alice, 1);
        bytes memory call = abi.encodeCall(DeedToken.forcedTransferRef, (alice, bob, 1, "r", HASH, bytes32("op")));
        uint256 passed;
        for (uint256 gas = 60_000; gas <= 700_000; gas += 20_000) {
            uint256 before = vm.snapshotState();
            vm.recordLogs();
            (bool done, ) = address(token).call{gas: gas}(call);
            if (done) {
                ++passed;
                _skipped(vm.getRecordedLogs(), false);
                assertEq(registry.holding(bob), 1, "counted");
            }
            vm.revertToState(before);
        }
        assertTrue(passed != 0, "enough is enough");
        (bool low, bytes memory why) = address(token).call{gas: 350_000}(call);
        assertTrue(!low, "refused");
        assertEq(bytes32(bytes4(why)), bytes32(Regulated.HookGasTooLow.selector), "and says so");
    }

    function test_a_blocked_receiver_is_not_a_failure() public {
        mint(token, alice, 1);
        registry.block_(bob, true);
        (bool done, ) = address(token).call(
            abi.encodeCall(DeedToken.forcedTransferRef, (alice, bob, 1, "r", HASH, bytes32("op")))
        );
        assertTrue(!done, "a no is a no");
    }

    // --- Others ---

    function test_nobody_changes_the_authority() public {
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, alice));
        token.setAuthority(address(registry));
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, address(this)));
        token.setAuthority(address(registry));
    }

    function test_an_approval_does_not_outlive_a_forced_transfer_and_its_return() public {
        mint(token, alice, 1);
        vm.prank(alice);
        token.approve(carol, 1);
        token.forcedTransfer(alice, bob, 1);
        token.forcedTransfer(bob, alice, 1);
        vm.prank(carol);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InsufficientApproval.selector, carol, 1));
        token.transferFrom(alice, carol, 1);
    }

    function test_a_freeze_is_not_shaken_off_by_a_transfer_to_oneself() public {
        mint(token, alice, 1);
        token.setFrozenTokens(alice, 1, true);
        vm.startPrank(alice);
        vm.expectRevert(
            abi.encodeWithSelector(IERC7943NonFungible.ERC7943InsufficientUnfrozenBalance.selector, alice, 1)
        );
        token.transferFrom(alice, alice, 1);
        vm.stopPrank();
    }

    function _skipped(Vm.Log[] memory logs, bool expected) private pure {
        bool found;
        for (uint256 i = 0; i < logs.length; ++i)
            if (logs[i].topics[0] == Regulated.RegistrySkipped.selector) found = true;
        assertEq(found, expected, "skipped");
    }
}
