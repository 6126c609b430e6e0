// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {AssetToken} from "../AssetToken.sol";
import {IERC7943Fungible} from "../parts/IERC7943Fungible.sol";
import {Regulated} from "../parts/Regulated.sol";
import {Restrictions, TransferRestricted} from "../parts/Restrictions.sol";
import {FakeRegistry, TokenFixture} from "./AssetTokenMocks.sol";
import {Vm} from "./Harness.sol";

contract AssetTokenAttacksTest is TokenFixture {
    bytes32 private constant TRANSFER =
        keccak256(
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
    uint256 private constant ALL = type(uint256).max;

    AssetToken private token;
    FakeRegistry private registry;

    function setUp() public {
        vm.warp(NOW);
        registry = new FakeRegistry();
        token = new AssetToken(terms(address(registry), address(0)));
        token.mint(alice, 1000, nextId());
    }

    // Spenders with old allowances

    function test_a_frozen_spender_moves_nothing_by_an_allowance_without_limit() public {
        vm.prank(alice);
        token.approve(bob, ALL);
        vm.prank(bob);
        token.transferFrom(alice, carol, 1);
        token.setFrozenTokens(bob, ALL);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(TransferRestricted.selector, Restrictions.SPENDER_FROZEN, bob, 0, 0));
        token.transferFrom(alice, carol, 1);
        token.forcedTransfer(alice, bob, 10);
        token.forcedTransfer(bob, alice, 10);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(TransferRestricted.selector, Restrictions.SPENDER_FROZEN, bob, 0, 0));
        token.transferFrom(alice, carol, 1);
    }

    function test_a_blocked_spender_moves_nothing_by_an_allowance_without_limit() public {
        vm.prank(alice);
        token.approve(bob, ALL);
        registry.setBlocked(bob, true);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(TransferRestricted.selector, Restrictions.SPENDER_BLOCKED, bob, 0, 0));
        token.transferFrom(alice, carol, 0);
    }

    // Broken registries

    function test_no_broken_registry_stops_an_enforcement() public {
        token.setFrozenTokens(alice, 1000);
        for (uint256 mode = 1; mode <= 7; ++mode) {
            registry.fail(FakeRegistry.Mode(mode));
            // A registry that answers nonsense to a question may still take a count without complaint.
            bool counts = mode == 3 || mode == 4 || mode == 5 || mode == 6;
            uint256 held = token.balanceOf(bob);
            vm.recordLogs();
            token.forcedTransferRef{gas: 3_000_000}(alice, bob, 10, "order", 0, nextId());
            assertEq(skips(), counts ? 0 : 1, "forcedTransferRef");
            vm.recordLogs();
            token.forcedTransfer{gas: 3_000_000}(alice, bob, 10);
            assertEq(skips(), counts ? 0 : 1, "forcedTransfer");
            vm.recordLogs();
            token.burn{gas: 3_000_000}(bob, 5, nextId());
            assertEq(skips(), counts ? 0 : 1, "burn");
            assertEq(token.balanceOf(bob), held + 15, "done");
        }
    }

    function test_a_registry_without_code_stops_no_enforcement() public {
        vm.etch(address(registry), "");
        vm.recordLogs();
        token.forcedTransferRef(alice, bob, 10, "order", 0, nextId());
        assertEq(skips(), 1, "told");
        assertEq(uint256(token.detectTransferRestriction(alice, bob, 1)), Restrictions.REGISTRY_FAILED, "view");
        vm.prank(alice);
        vm.expectRevert();
        token.transfer(bob, 1);
        token.setRegistry(address(0), nextId());
        vm.prank(alice);
        token.transfer(bob, 1);
    }

    function test_a_broken_registry_makes_no_view_revert_and_lets_nothing_pass() public {
        for (uint256 mode = 1; mode <= 7; ++mode) {
            registry.fail(FakeRegistry.Mode(mode));
            assertTrue(!token.canSend{gas: 1_000_000}(alice), "canSend");
            assertTrue(!token.canReceive{gas: 1_000_000}(bob), "canReceive");
            assertTrue(!token.canTransfer{gas: 1_000_000}(alice, bob, 1), "canTransfer");
            assertEq(
                uint256(token.detectTransferRestriction{gas: 1_000_000}(alice, bob, 1)),
                Restrictions.REGISTRY_FAILED,
                "code"
            );
        }
        for (uint256 mode = 1; mode <= 2; ++mode) {
            registry.fail(FakeRegistry.Mode(mode));
            vm.prank(alice);
            (bool done, ) = address(token).call{gas: 1_000_000}(abi.encodeCall(token.transfer, (bob, 1)));
            assertTrue(!done, "transfer");
        }
    }

    /// @dev Whatever gas the sender gives, an enforcement is counted or does not take place.
    function test_too_little_gas_never_looks_like_a_broken_registry() public {
        uint256 done;
        uint256 refused;
        for (uint256 given = 40_000; given < 700_000; given += 7_001) {
            uint256 counted = registry.seen().forced;
            vm.recordLogs();
            (bool success, bytes memory answer) = address(token).call{gas: given}(
                abi.encodeCall(token.forcedTransfer, (alice, bob, 1))
            );
            assertEq(skips(), 0, "never skipped");
            assertEq(registry.seen().forced - counted, success ? 1 : 0, "counted");
            if (success) ++done;
            else if (bytes4(answer) == Regulated.HookGasTooLow.selector) ++refused;
        }
        assertTrue(done != 0 && refused != 0, "both were seen");
        registry.setBlocked(bob, true);
        for (uint256 given = 40_000; given < 700_000; given += 7_001) {
            (bool success, ) = address(token).call{gas: given}(abi.encodeCall(token.forcedTransfer, (alice, bob, 1)));
            assertTrue(!success, "a refused receiver gets nothing");
        }
        counts_or_refuses_burns();
    }

    function counts_or_refuses_burns() private {
        for (uint256 given = 40_000; given < 700_000; given += 7_001) {
            uint256 counted = registry.seen().forced;
            (bool success, ) = address(token).call{gas: given}(
                abi.encodeCall(token.burn, (alice, 1, bytes32(given)))
            );
            assertEq(registry.seen().forced - counted, success ? 1 : 0, "burn");
        }
    }

    // A registry that calls back

    function test_a_registry_that_calls_back_moves_no_frozen_unit() public {
        vm.prank(alice);
        token.approve(address(registry), ALL);
        token.setFrozenTokens(alice, 900);
        registry.callBack(address(token), abi.encodeCall(token.transferFrom, (alice, carol, 51)));
        vm.prank(alice);
        token.transfer(bob, 50);
        assertTrue(!registry.calledBack(), "51 of the 50 left");
        assertEq(token.balanceOf(alice), 950, "kept");
        registry.callBack(address(token), abi.encodeCall(token.transferFrom, (alice, carol, 1)));
        token.forcedTransfer(alice, bob, 100);
        assertTrue(!registry.calledBack(), "nothing is unfrozen within a forced transfer");
        assertEq(token.getFrozenTokens(alice), 850, "lowered by what was frozen");
        assertEq(token.balanceOf(alice), 850, "and all of the rest is");
    }

    function test_a_registry_that_calls_back_spends_no_allowance_twice() public {
        vm.prank(alice);
        token.approve(address(registry), 100);
        registry.callBack(address(token), abi.encodeCall(token.transferFrom, (alice, carol, 1)));
        vm.prank(address(registry));
        token.transferFrom(alice, bob, 100);
        assertTrue(!registry.calledBack(), "spent before the call");
    }

    function test_a_registry_that_calls_back_uses_no_signature_twice() public {
        bytes32 structHash = keccak256(abi.encode(TRANSFER, alice, bob, 100, 0, NOW + 1, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        bytes memory data = abi.encodeCall(
            token.transferWithAuthorization,
            (alice, bob, 100, 0, NOW + 1, REF, v, r, s)
        );
        registry.callBack(address(token), data);
        token.transferWithAuthorization(alice, bob, 100, 0, NOW + 1, REF, v, r, s);
        assertTrue(!registry.calledBack(), "used before the call");
        assertEq(token.balanceOf(bob), 100, "once");
    }

    function test_a_registry_that_calls_back_repeats_no_operation() public {
        authority.allow(address(registry));
        bytes32 id = nextId();
        registry.callBack(address(token), abi.encodeCall(token.mint, (bob, 5, id)));
        token.mint(bob, 5, id);
        assertTrue(!registry.calledBack(), "burned before the call");
        assertEq(token.balanceOf(bob), 5, "once");
    }

    function test_a_pause_in_the_midst_of_a_batch_stops_the_whole_of_it() public {
        authority.allow(address(registry));
        registry.callBack(address(token), abi.encodeCall(token.pause, (nextId())));
        vm.prank(alice);
        vm.expectRevert();
        token.batchTransfer(pair(bob, carol), pair(1, 1));
        assertEq(token.balanceOf(bob), 0, "nothing");
        assertTrue(!token.paused(), "not even the pause");
    }

    // Signatures

    function test_a_mirrored_signature_is_refused() public {
        bytes32 structHash = keccak256(abi.encode(TRANSFER, alice, bob, 100, 0, NOW + 1, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes32 mirrored = bytes32(order - uint256(s));
        vm.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureS.selector, mirrored));
        token.transferWithAuthorization(alice, bob, 100, 0, NOW + 1, REF, v == 27 ? 28 : 27, r, mirrored);
    }

    function test_nobody_signs_for_the_zero_address() public {
        vm.expectRevert(ECDSA.ECDSAInvalidSignature.selector);
        token.redeemWithAuthorization(address(0), 0, REF, 0, NOW + 1, REF, 27, 0, 0);
        vm.expectRevert(ECDSA.ECDSAInvalidSignature.selector);
        token.approveWithAuthorization(address(0), bob, 1, 0, NOW + 1, REF, 27, 0, 0);
    }

    function test_another_key_signs_for_nobody() public {
        bytes32 structHash = keccak256(abi.encode(TRANSFER, alice, bob, 100, 0, NOW + 1, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(BOB_KEY, token.DOMAIN_SEPARATOR(), structHash);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        token.transferWithAuthorization(alice, bob, 100, 0, NOW + 1, REF, v, r, s);
    }

    function test_a_holder_steals_nothing_by_a_batch_to_itself() public {
        vm.prank(alice);
        token.batchTransfer(pair(alice, alice), pair(1000, 1000));
        assertEq(token.balanceOf(alice), 1000, "the same");
        token.setFrozenTokens(alice, 1000);
        vm.prank(alice);
        vm.expectRevert(
            abi.encodeWithSelector(IERC7943Fungible.ERC7943InsufficientUnfrozenBalance.selector, alice, 1, 0)
        );
        token.transfer(alice, 1);
    }

    function skips() private returns (uint256 count) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] == Regulated.RegistrySkipped.selector) ++count;
        }
    }
}
