// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {AssetToken} from "../AssetToken.sol";
import {Authorized} from "../parts/Authorized.sol";
import {IERC7943Fungible} from "../parts/IERC7943Fungible.sol";
import {Operations} from "../parts/Operations.sol";
import {Regulated} from "../parts/Regulated.sol";
import {Restriction, Restrictions, TransferRestricted} from "../parts/Restrictions.sol";
import {AuthorityMissing, TokenTerms} from "../parts/TokenTerms.sol";
import {FakeRegistry, FakeReserve, TokenFixture} from "./AssetTokenMocks.sol";
import {Vm} from "./Harness.sol";

contract AssetTokenTest is TokenFixture {
    bytes32 private constant REDEEM =
        keccak256(
            "RedeemWithAuthorization(address account,uint256 amount,bytes32 ref,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
    bytes32 private constant APPROVE =
        keccak256(
            "ApproveWithAuthorization(address owner,address spender,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
    bytes32 private constant BATCH =
        keccak256(
            "BatchTransferWithAuthorization(address from,address[] to,uint256[] amounts,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
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

    // What it is made with

    function test_a_long_name_and_the_terms_are_told() public view {
        assertEq(token.name(), "Participating Notes of the Harbour Warehouse No. 7, Series A", "name");
        assertEq(token.symbol(), "HWN7", "symbol");
        assertEq(uint256(token.decimals()), 2, "decimals");
        assertEq(token.assetId(), keccak256("asset"), "asset");
        assertEq(token.termsHash(), keccak256("terms"), "terms");
        assertEq(token.registry(), address(registry), "registry");
        assertEq(token.reserve(), address(0), "reserve");
        assertEq(token.authority(), address(authority), "authority");
        (, string memory name, string memory version, , address verifier, , ) = token.eip712Domain();
        assertEq(name, "AssetToken", "domain");
        assertEq(version, "1", "version");
        assertEq(verifier, address(token), "verifier");
    }

    function test_an_authority_without_code_is_refused() public {
        TokenTerms memory made = terms(address(0), address(0));
        made.authority = stranger;
        vm.expectRevert(AuthorityMissing.selector);
        new AssetToken(made);
    }

    function test_interfaces() public view {
        bytes4[6] memory known = [
            bytes4(0x01ffc9a7),
            bytes4(0x36372b07),
            bytes4(0xa219a025),
            bytes4(0x9d8ff7da),
            bytes4(0x3edbb4c4),
            bytes4(0xab84a5c8)
        ];
        for (uint256 i = 0; i < known.length; ++i) assertTrue(token.supportsInterface(known[i]), "known");
        assertTrue(!token.supportsInterface(0xffffffff), "ERC-165's own negative");
        assertTrue(!token.supportsInterface(0xe90fb3f6), "no votes");
    }

    function test_topics_of_the_standard() public pure {
        assertEq(IERC7943Fungible.Frozen.selector, keccak256("Frozen(address,uint256)"), "Frozen");
        assertEq(
            IERC7943Fungible.ForcedTransfer.selector,
            keccak256("ForcedTransfer(address,address,uint256)"),
            "ForcedTransfer"
        );
    }

    function test_paused_and_registry_share_a_slot() public {
        bytes32 word;
        uint256 found;
        for (uint256 slot = 0; slot < 16; ++slot) {
            word = vm.load(address(token), bytes32(slot));
            if (uint256(word) >> 8 == uint256(uint160(address(registry)))) found = slot;
        }
        assertTrue(found != 0, "slot");
        token.pause(nextId());
        assertEq(uint256(vm.load(address(token), bytes32(found))) & 0xff, 1, "paused beside it");
    }

    // Permissions and operation ids

    function test_a_stranger_may_do_nothing_by_permission() public {
        bytes[] memory calls = new bytes[](11);
        calls[0] = abi.encodeCall(token.mint, (bob, 1, bytes32(uint256(900))));
        calls[1] = abi.encodeCall(token.batchMint, (pair(bob, bob), pair(1, 1), bytes32(uint256(900))));
        calls[2] = abi.encodeCall(token.burn, (alice, 1, bytes32(uint256(900))));
        calls[3] = abi.encodeCall(token.forcedTransfer, (alice, bob, 1));
        calls[4] = abi.encodeCall(token.forcedTransferRef, (alice, bob, 1, "x", 0, bytes32(uint256(900))));
        calls[5] = abi.encodeCall(token.setFrozenTokens, (alice, 1));
        calls[6] = abi.encodeCall(token.setFrozenTokensIf, (alice, 0, 1, bytes32(uint256(900))));
        calls[7] = abi.encodeCall(token.pause, (bytes32(uint256(900))));
        calls[8] = abi.encodeCall(token.unpause, (bytes32(uint256(900))));
        calls[9] = abi.encodeCall(token.setRegistry, (address(0), bytes32(uint256(900))));
        calls[10] = abi.encodeCall(
            token.batchSetFrozenTokensIf,
            (pair(alice, bob), pair(0, 0), pair(1, 1), bytes32(uint256(900)))
        );
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(stranger);
            (bool done, bytes memory answer) = address(token).call(calls[i]);
            assertTrue(!done, "refused");
            assertEq(
                keccak256(answer),
                keccak256(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, stranger)),
                "why"
            );
        }
        assertTrue(!token.operationExecuted(bytes32(uint256(900))), "no id is burned");
    }

    function test_an_operation_has_one_effect() public {
        bytes32 id = nextId();
        vm.expectEmit(address(token));
        emit Operations.Operation(id, token.mint.selector, address(this));
        token.mint(bob, 5, id);
        assertTrue(token.operationExecuted(id), "burned");
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, id));
        token.mint(bob, 5, id);
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, id));
        token.burn(bob, 5, id);
        vm.expectRevert(Operations.OperationIdMissing.selector);
        token.pause(0);
        assertEq(token.balanceOf(bob), 5, "once");
    }

    function test_a_copied_id_looks_done_as_what_burned_it_and_as_nothing_else() public {
        bytes32 id = nextId();
        address minter = address(0xBAD);
        authority.allow(minter);
        bytes memory freeze = abi.encodeCall(token.setFrozenTokensIf, (alice, 0, 7, id));
        bytes memory copied = abi.encodeCall(token.mint, (minter, 0, id));
        assertTrue(!token.operationExecutedAs(id, keccak256(freeze)), "free");
        assertTrue(!token.operationExecutedAs(id, 0), "a free id was burned by nothing");
        vm.prank(minter);
        token.mint(minter, 0, id);
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, id));
        token.setFrozenTokensIf(alice, 0, 7, id);
        assertTrue(token.operationExecuted(id), "burned");
        assertTrue(!token.operationExecutedAs(id, keccak256(freeze)), "not by the freeze");
        assertTrue(token.operationExecutedAs(id, keccak256(copied)), "but by the mint");
        assertTrue(!token.operationExecutedAs(id, 0), "and not by nothing");
    }

    function test_a_call_with_a_tail_is_another_call() public {
        bytes32 id = nextId();
        bytes memory call_ = abi.encodeCall(token.mint, (bob, 5, id));
        (bool done, ) = address(token).call(bytes.concat(call_, hex"00"));
        assertTrue(done, "minted");
        assertTrue(!token.operationExecutedAs(id, keccak256(call_)), "not this one");
        assertTrue(token.operationExecutedAs(id, keccak256(bytes.concat(call_, hex"00"))), "this one");
    }

    function test_every_kind_of_operation_burns_its_id() public {
        bytes[] memory calls = new bytes[](8);
        calls[0] = abi.encodeCall(token.batchMint, (pair(bob, carol), pair(1, 1), bytes32(uint256(901))));
        calls[1] = abi.encodeCall(token.burn, (alice, 1, bytes32(uint256(902))));
        calls[2] = abi.encodeCall(token.forcedTransferRef, (alice, bob, 1, "x", 0, bytes32(uint256(903))));
        calls[3] = abi.encodeCall(token.setFrozenTokensIf, (alice, 0, 0, bytes32(uint256(904))));
        calls[4] = abi.encodeCall(token.pause, (bytes32(uint256(905))));
        calls[5] = abi.encodeCall(token.unpause, (bytes32(uint256(906))));
        calls[6] = abi.encodeCall(token.setRegistry, (address(0), bytes32(uint256(907))));
        calls[7] = abi.encodeCall(
            token.batchSetFrozenTokensIf,
            (pair(bob, carol), pair(0, 0), pair(1, 1), bytes32(uint256(908)))
        );
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool done, ) = address(token).call(calls[i]);
            assertTrue(done, "done");
            assertTrue(token.operationExecuted(bytes32(901 + i)), "burned");
            assertTrue(token.operationExecutedAs(bytes32(901 + i), keccak256(calls[i])), "by this call");
            bytes memory answer;
            (done, answer) = address(token).call(calls[i]);
            assertEq(
                keccak256(answer),
                keccak256(abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, bytes32(901 + i))),
                "not twice"
            );
        }
    }

    function test_a_failed_operation_burns_nothing() public {
        bytes32 id = nextId();
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice, 1000, 1001));
        token.burn(alice, 1001, id);
        assertTrue(!token.operationExecuted(id), "free");
        token.burn(alice, 1000, id);
    }

    function test_an_id_copied_to_another_token_is_free_there() public {
        AssetToken other = new AssetToken(terms(address(0), address(0)));
        token.mint(bob, 5, bytes32(uint256(77)));
        other.mint(bob, 5, bytes32(uint256(77)));
        assertEq(other.balanceOf(bob), 5, "minted");
    }

    // Mint, burn, redeem

    function test_mint_asks_the_registry_for_the_receiver() public {
        registry.setBlocked(bob, true);
        vm.expectRevert(restricted(Restrictions.RECEIVER_BLOCKED, bob, 0, 0));
        token.mint(bob, 1, bytes32(uint256(50)));
        token.mint(carol, 7, bytes32(uint256(50)));
        FakeRegistry.Seen memory seen = registry.seen();
        assertEq(seen.from, address(0), "from");
        assertEq(seen.to, carol, "to");
        assertEq(seen.fromBalance, 0, "from's balance");
        assertEq(seen.toBalance, 7, "to's balance");
    }

    function test_mint_to_nobody_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, address(0)));
        token.mint(address(0), 1, bytes32(uint256(50)));
    }

    function test_batch_mint_is_all_or_none() public {
        token.batchMint(pair(bob, carol), pair(3, 4), nextId());
        assertEq(token.balanceOf(bob), 3, "bob");
        assertEq(token.balanceOf(carol), 4, "carol");
        registry.setBlocked(carol, true);
        vm.expectRevert(restricted(Restrictions.RECEIVER_BLOCKED, carol, 0, 0));
        token.batchMint(pair(bob, carol), pair(3, 4), bytes32(uint256(60)));
        uint256[] memory three = new uint256[](3);
        vm.expectRevert(abi.encodeWithSelector(Authorized.LengthMismatch.selector, 2, 3));
        token.batchMint(pair(bob, carol), three, bytes32(uint256(60)));
        assertEq(token.balanceOf(bob), 3, "unchanged");
    }

    function test_the_reserve_limits_the_supply() public {
        FakeReserve reserve = new FakeReserve();
        AssetToken backed = new AssetToken(terms(address(0), address(reserve)));
        reserve.set(10);
        backed.mint(alice, 10, bytes32(uint256(1)));
        vm.expectRevert(abi.encodeWithSelector(FakeReserve.ReserveExceeded.selector, 11, 10));
        backed.mint(alice, 1, bytes32(uint256(2)));
        vm.expectRevert(abi.encodeWithSelector(FakeReserve.ReserveExceeded.selector, 12, 10));
        backed.batchMint(pair(alice, bob), pair(1, 1), bytes32(uint256(2)));
        reserve.set(0);
        vm.prank(alice);
        backed.transfer(bob, 10);
        backed.burn(bob, 10, bytes32(uint256(3)));
        assertEq(backed.totalSupply(), 0, "burning needs no reserve");
    }

    function test_a_burn_lowers_the_frozen_amount_first() public {
        token.setFrozenTokens(alice, 900);
        token.burn(alice, 100, nextId());
        assertEq(token.getFrozenTokens(alice), 900, "unfrozen units go first");
        vm.recordLogs();
        token.burn(alice, 300, nextId());
        bytes32[] memory topics = topicsOf(vm.getRecordedLogs());
        assertEq(topics[0], Operations.Operation.selector, "1");
        assertEq(topics[1], IERC7943Fungible.Frozen.selector, "2");
        assertEq(topics[2], IERC20.Transfer.selector, "3");
        assertEq(topics.length, 3, "no more");
        assertEq(token.getFrozenTokens(alice), 600, "frozen");
        assertEq(registry.seen().forced, 2, "counted");
        assertEq(registry.seen().fromBalance, 600, "balance after");
    }

    function test_a_holder_redeems_what_it_could_send() public {
        token.setFrozenTokens(alice, 400);
        vm.expectEmit(address(token));
        emit AssetToken.Redeemed(alice, 600, REF);
        vm.prank(alice);
        token.redeem(600, REF);
        assertEq(token.totalSupply(), 400, "gone");
        assertEq(registry.seen().to, address(0), "told as a redemption");
        vm.expectRevert(
            abi.encodeWithSelector(IERC7943Fungible.ERC7943InsufficientUnfrozenBalance.selector, alice, 1, 0)
        );
        vm.prank(alice);
        token.redeem(1, REF);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice, 400, 401));
        vm.prank(alice);
        token.redeem(401, REF);
        token.setFrozenTokens(alice, 0);
        registry.setBlocked(alice, true);
        vm.expectRevert(restricted(Restrictions.SENDER_BLOCKED, alice, 0, 0));
        vm.prank(alice);
        token.redeem(1, REF);
    }

    // Transfers

    function test_a_transfer_tells_the_registry_the_balances_after_it() public {
        vm.prank(alice);
        token.transfer(bob, 300);
        FakeRegistry.Seen memory seen = registry.seen();
        assertEq(seen.spender, address(0), "spender");
        assertEq(seen.from, alice, "from");
        assertEq(seen.to, bob, "to");
        assertEq(seen.amount, 300, "amount");
        assertEq(seen.fromBalance, 700, "from's balance");
        assertEq(seen.toBalance, 300, "to's balance");
        assertEq(seen.calls, 2, "one call a move");
    }

    function test_refusals_come_in_order() public {
        token.setFrozenTokens(alice, 500);
        token.setFrozenTokens(bob, ALL);
        registry.setBlocked(carol, true);
        vm.prank(alice);
        token.approve(bob, ALL);
        token.pause(nextId());
        vm.startPrank(bob);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.transferFrom(alice, address(0), 2000);
        vm.stopPrank();
        token.unpause(nextId());
        vm.startPrank(bob);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, address(0)));
        token.transferFrom(alice, address(0), 2000);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice, 1000, 2000));
        token.transferFrom(alice, carol, 2000);
        vm.expectRevert(
            abi.encodeWithSelector(IERC7943Fungible.ERC7943InsufficientUnfrozenBalance.selector, alice, 600, 500)
        );
        token.transferFrom(alice, carol, 600);
        vm.expectRevert(restricted(Restrictions.SPENDER_FROZEN, bob, 0, 0));
        token.transferFrom(alice, carol, 500);
        vm.stopPrank();
        token.setFrozenTokens(bob, 0);
        vm.prank(bob);
        vm.expectRevert(restricted(Restrictions.RECEIVER_BLOCKED, carol, 0, 0));
        token.transferFrom(alice, carol, 500);
    }

    function test_an_allowance_is_spent() public {
        vm.prank(alice);
        token.approve(bob, 100);
        vm.prank(bob);
        token.transferFrom(alice, carol, 60);
        assertEq(token.allowance(alice, bob), 40, "left");
        assertEq(registry.seen().spender, bob, "judged");
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, bob, 40, 41));
        token.transferFrom(alice, carol, 41);
    }

    function test_a_holder_that_spends_its_own_allowance_is_no_spender() public {
        vm.startPrank(alice);
        token.approve(alice, 10);
        token.transferFrom(alice, bob, 10);
        vm.stopPrank();
        assertEq(registry.seen().spender, address(0), "nobody");
    }

    function test_batch_transfer() public {
        vm.prank(alice);
        token.batchTransfer(pair(bob, carol), pair(10, 20));
        assertEq(token.balanceOf(bob), 10, "bob");
        assertEq(token.balanceOf(carol), 20, "carol");
        token.setFrozenTokens(alice, 960);
        vm.prank(alice);
        vm.expectRevert(
            abi.encodeWithSelector(IERC7943Fungible.ERC7943InsufficientUnfrozenBalance.selector, alice, 6, 5)
        );
        token.batchTransfer(pair(bob, carol), pair(5, 6));
        uint256[] memory one = new uint256[](1);
        vm.expectRevert(abi.encodeWithSelector(Authorized.LengthMismatch.selector, 2, 1));
        token.batchTransfer(pair(bob, carol), one);
    }

    // Signed acts

    function test_a_signed_redemption_is_executed_once() public {
        bytes32 structHash = keccak256(abi.encode(REDEEM, alice, 100, REF, NOW - 1, NOW + 1, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        token.redeemWithAuthorization(alice, 101, REF, NOW - 1, NOW + 1, REF, v, r, s);
        vm.expectEmit(address(token));
        emit IERC3009.AuthorizationUsed(alice, REF);
        vm.prank(stranger);
        token.redeemWithAuthorization(alice, 100, REF, NOW - 1, NOW + 1, REF, v, r, s);
        assertEq(token.balanceOf(alice), 900, "redeemed");
        assertTrue(token.authorizationState(alice, REF), "used");
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice, REF));
        token.redeemWithAuthorization(alice, 100, REF, NOW - 1, NOW + 1, REF, v, r, s);
    }

    function test_a_signature_serves_in_its_time_only() public {
        bytes32 structHash = keccak256(abi.encode(REDEEM, alice, 100, REF, NOW + 10, NOW + 20, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        bytes memory wrong = abi.encodeWithSelector(
            ERC3009.ERC3009InvalidAuthorizationTime.selector,
            NOW + 10,
            NOW + 20
        );
        vm.warp(NOW + 10);
        vm.expectRevert(wrong);
        token.redeemWithAuthorization(alice, 100, REF, NOW + 10, NOW + 20, REF, v, r, s);
        vm.warp(NOW + 20);
        vm.expectRevert(wrong);
        token.redeemWithAuthorization(alice, 100, REF, NOW + 10, NOW + 20, REF, v, r, s);
        vm.warp(NOW + 11);
        token.redeemWithAuthorization(alice, 100, REF, NOW + 10, NOW + 20, REF, v, r, s);
    }

    function test_a_signed_approval_takes_a_free_nonce() public {
        bytes32 structHash = keccak256(abi.encode(APPROVE, alice, bob, 250, 0, NOW + 1, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        token.approveWithAuthorization(alice, carol, 250, 0, NOW + 1, REF, v, r, s);
        token.pause(nextId());
        token.approveWithAuthorization(alice, bob, 250, 0, NOW + 1, REF, v, r, s);
        assertEq(token.allowance(alice, bob), 250, "a pause stops no approval");
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice, REF));
        token.approveWithAuthorization(alice, bob, 250, 0, NOW + 1, REF, v, r, s);
    }

    function test_a_signed_batch() public {
        address[] memory to = pair(bob, carol);
        uint256[] memory amounts = pair(5, 6);
        bytes32 structHash = keccak256(
            abi.encode(
                BATCH,
                alice,
                keccak256(abi.encodePacked(to)),
                keccak256(abi.encodePacked(amounts)),
                0,
                NOW + 1,
                REF
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        token.batchTransferWithAuthorization(alice, pair(carol, bob), amounts, 0, NOW + 1, REF, v, r, s);
        vm.prank(stranger);
        token.batchTransferWithAuthorization(alice, to, amounts, 0, NOW + 1, REF, v, r, s);
        assertEq(token.balanceOf(bob), 5, "bob");
        assertEq(token.balanceOf(carol), 6, "carol");
        assertEq(registry.seen().spender, address(0), "who relays is no spender");
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice, REF));
        token.batchTransferWithAuthorization(alice, to, amounts, 0, NOW + 1, REF, v, r, s);
    }

    function test_a_signed_transfer_obeys_every_rule() public {
        bytes32 structHash = keccak256(abi.encode(TRANSFER, alice, bob, 100, 0, NOW + 1, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        token.setFrozenTokens(alice, 950);
        vm.expectRevert(
            abi.encodeWithSelector(IERC7943Fungible.ERC7943InsufficientUnfrozenBalance.selector, alice, 100, 50)
        );
        token.transferWithAuthorization(alice, bob, 100, 0, NOW + 1, REF, v, r, s);
        token.setFrozenTokens(alice, 0);
        registry.setBlocked(bob, true);
        vm.expectRevert(restricted(Restrictions.RECEIVER_BLOCKED, bob, 0, 0));
        token.transferWithAuthorization(alice, bob, 100, 0, NOW + 1, REF, v, r, s);
        registry.setBlocked(bob, false);
        token.pause(nextId());
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.transferWithAuthorization(alice, bob, 100, 0, NOW + 1, REF, v, r, s);
        token.unpause(nextId());
        registry.setBlocked(stranger, true);
        vm.prank(stranger);
        token.transferWithAuthorization(alice, bob, 100, 0, NOW + 1, REF, v, r, s);
        assertEq(token.balanceOf(bob), 100, "a blocked relayer is no spender");
    }

    function test_a_signature_for_one_token_serves_no_other() public {
        AssetToken other = new AssetToken(terms(address(0), address(0)));
        other.mint(alice, 1000, nextId());
        bytes32 structHash = keccak256(abi.encode(REDEEM, alice, 100, REF, 0, NOW + 1, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        other.redeemWithAuthorization(alice, 100, REF, 0, NOW + 1, REF, v, r, s);
    }

    function test_a_cancelled_nonce_serves_no_kind() public {
        bytes32 cancel = keccak256(
            abi.encode(keccak256("CancelAuthorization(address authorizer,bytes32 nonce)"), alice, REF)
        );
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), cancel);
        token.pause(nextId());
        token.cancelAuthorization(alice, REF, v, r, s);
        token.unpause(nextId());
        bytes32 structHash = keccak256(abi.encode(APPROVE, alice, bob, 250, 0, NOW + 1, REF));
        (v, r, s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice, REF));
        token.approveWithAuthorization(alice, bob, 250, 0, NOW + 1, REF, v, r, s);
    }

    // Freezing

    function test_freezing_is_absolute_and_may_exceed_the_balance() public {
        vm.expectEmit(address(token));
        emit IERC7943Fungible.Frozen(alice, 5000);
        assertTrue(token.setFrozenTokens(alice, 5000), "answer");
        token.setFrozenTokens(alice, 4000);
        assertEq(token.getFrozenTokens(alice), 4000, "overwritten");
        token.mint(alice, 3500, nextId());
        vm.prank(alice);
        token.transfer(bob, 500);
    }

    function test_freezing_by_what_was_seen() public {
        assertTrue(token.setFrozenTokensIf(alice, 0, 10, nextId()), "answer");
        vm.expectRevert(abi.encodeWithSelector(AssetToken.ERC7943ExpectedValueMismatch.selector, 0, 10));
        token.setFrozenTokensIf(alice, 0, 20, bytes32(uint256(50)));
        assertTrue(!token.operationExecuted(bytes32(uint256(50))), "free");
        token.setFrozenTokensIf(alice, 10, 20, bytes32(uint256(50)));
        assertEq(token.getFrozenTokens(alice), 20, "set");
    }

    function test_freezing_many_tells_each() public {
        bytes32 id = nextId();
        vm.recordLogs();
        token.batchSetFrozenTokensIf(pair(alice, bob), pair(0, 0), pair(10, type(uint256).max), id);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 3, "events");
        for (uint256 i = 0; i < 2; ++i) assertEq(logs[i + 1].topics[0], IERC7943Fungible.Frozen.selector, "frozen");
        assertEq(address(uint160(uint256(logs[1].topics[1]))), alice, "first");
        assertEq(abi.decode(logs[2].data, (uint256)), type(uint256).max, "amount");
        assertEq(token.getFrozenTokens(alice), 10, "alice");
        assertEq(token.getFrozenTokens(bob), type(uint256).max, "bob");
    }

    function test_freezing_many_is_all_or_nothing() public {
        token.setFrozenTokens(bob, 7);
        vm.expectRevert(abi.encodeWithSelector(AssetToken.ERC7943ExpectedValueMismatch.selector, 0, 7));
        token.batchSetFrozenTokensIf(pair(alice, bob), pair(0, 0), pair(1, 1), bytes32(uint256(50)));
        assertEq(token.getFrozenTokens(alice), 0, "untouched");
        assertTrue(!token.operationExecuted(bytes32(uint256(50))), "free");
        token.batchSetFrozenTokensIf(pair(alice, bob), pair(0, 7), pair(1, 1), bytes32(uint256(50)));
        assertEq(token.getFrozenTokens(bob), 1, "set");
    }

    function test_freezing_many_takes_lists_of_one_length() public {
        uint256[] memory three = new uint256[](3);
        vm.expectRevert(abi.encodeWithSelector(Authorized.LengthMismatch.selector, 2, 3));
        token.batchSetFrozenTokensIf(pair(alice, bob), three, pair(1, 1), bytes32(uint256(50)));
        vm.expectRevert(abi.encodeWithSelector(Authorized.LengthMismatch.selector, 2, 3));
        token.batchSetFrozenTokensIf(pair(alice, bob), pair(0, 0), three, bytes32(uint256(50)));
    }

    // Forced transfers

    function test_a_forced_transfer_tells_all_in_order() public {
        token.setFrozenTokens(alice, 900);
        bytes32 id = nextId();
        vm.recordLogs();
        token.forcedTransferRef(alice, bob, 300, "court order 4711", keccak256("pdf"), id);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        bytes32[] memory topics = topicsOf(logs);
        assertEq(topics.length, 5, "events");
        assertEq(topics[0], Operations.Operation.selector, "1");
        assertEq(topics[1], IERC7943Fungible.Frozen.selector, "2");
        assertEq(topics[2], IERC20.Transfer.selector, "3");
        assertEq(topics[3], IERC7943Fungible.ForcedTransfer.selector, "4");
        assertEq(topics[4], AssetToken.ForcedTransferReason.selector, "5");
        assertEq(logs[4].topics[1], id, "id");
        (string memory reason, bytes32 document) = abi.decode(logs[4].data, (string, bytes32));
        assertEq(reason, "court order 4711", "reason");
        assertEq(document, keccak256("pdf"), "document");
        assertEq(token.getFrozenTokens(alice), 700, "the rest stays frozen");
        assertEq(registry.seen().forced, 1, "counted");
        assertEq(registry.seen().calls, 1, "not judged");
    }

    function test_a_forced_transfer_of_unfrozen_units_unfreezes_none() public {
        token.setFrozenTokens(alice, 900);
        vm.recordLogs();
        assertTrue(token.forcedTransfer(alice, bob, 100), "answer");
        assertEq(topicsOf(vm.getRecordedLogs())[0], IERC20.Transfer.selector, "no Frozen");
        assertEq(token.getFrozenTokens(alice), 900, "frozen");
    }

    function test_a_freeze_beyond_the_balance_is_lowered_by_what_is_taken() public {
        token.setFrozenTokens(alice, 5000);
        token.forcedTransfer(alice, bob, 1000);
        assertEq(token.getFrozenTokens(alice), 4000, "future units stay frozen");
    }

    function test_a_freeze_without_limit_outlives_a_forced_transfer() public {
        token.setFrozenTokens(alice, ALL);
        vm.expectEmit(address(token));
        emit IERC7943Fungible.Frozen(alice, ALL);
        token.forcedTransfer(alice, bob, 400);
        token.burn(alice, 100, nextId());
        assertEq(token.getFrozenTokens(alice), ALL, "without limit");
    }

    function test_a_forced_transfer_to_the_holder_itself_thaws_nothing() public {
        token.setFrozenTokens(alice, 900);
        token.forcedTransfer(alice, alice, 1000);
        assertEq(token.balanceOf(alice), 1000, "balance");
        assertEq(token.getFrozenTokens(alice), 900, "frozen");
    }

    function test_a_forced_transfer_works_while_paused_and_for_blocked_senders() public {
        registry.setBlocked(alice, true);
        token.setFrozenTokens(alice, ALL);
        token.pause(nextId());
        token.forcedTransferRef(alice, bob, 1000, "recovery", 0, nextId());
        assertEq(token.balanceOf(bob), 1000, "moved");
    }

    function test_a_forced_transfer_needs_a_receiver_that_the_registry_accepts() public {
        registry.setBlocked(bob, true);
        vm.expectRevert(abi.encodeWithSelector(IERC7943Fungible.ERC7943CannotReceive.selector, bob));
        token.forcedTransfer(alice, bob, 1);
        vm.expectRevert(abi.encodeWithSelector(IERC7943Fungible.ERC7943CannotReceive.selector, bob));
        token.forcedTransferRef(alice, bob, 1, "x", 0, bytes32(uint256(50)));
    }

    function test_a_forced_transfer_creates_and_destroys_nothing() public {
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidSender.selector, address(0)));
        token.forcedTransfer(address(0), bob, 1);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, address(0)));
        token.forcedTransfer(alice, address(0), 1);
        token.setFrozenTokens(alice, 1);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice, 1000, 1001));
        token.forcedTransfer(alice, bob, 1001);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice, 1000, ALL));
        token.forcedTransfer(alice, bob, ALL);
    }

    // Pause

    function test_a_pause_stops_every_public_move() public {
        token.pause(nextId());
        vm.startPrank(alice);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.transfer(bob, 1);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.transferFrom(alice, bob, 1);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.batchTransfer(pair(bob, carol), pair(1, 1));
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.redeem(1, REF);
        vm.stopPrank();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.mint(bob, 1, bytes32(uint256(50)));
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.batchMint(pair(bob, carol), pair(1, 1), bytes32(uint256(50)));
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.burn(alice, 1, bytes32(uint256(50)));
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.pause(bytes32(uint256(50)));
        vm.prank(alice);
        token.approve(bob, 1);
        token.setFrozenTokens(alice, 1);
        token.unpause(nextId());
        vm.expectRevert(Pausable.ExpectedPause.selector);
        token.unpause(bytes32(uint256(50)));
    }

    function test_a_signed_redemption_stops_in_a_pause_and_keeps_its_nonce() public {
        bytes32 structHash = keccak256(abi.encode(REDEEM, alice, 100, REF, 0, NOW + 1, REF));
        (uint8 v, bytes32 r, bytes32 s) = sign(ALICE_KEY, token.DOMAIN_SEPARATOR(), structHash);
        token.pause(nextId());
        vm.expectRevert(Pausable.EnforcedPause.selector);
        token.redeemWithAuthorization(alice, 100, REF, 0, NOW + 1, REF, v, r, s);
        assertTrue(!token.authorizationState(alice, REF), "free");
    }

    // The registry

    function test_a_registry_is_set_only_while_nothing_is_issued() public {
        FakeRegistry other = new FakeRegistry();
        vm.expectRevert(Regulated.RegistryFixed.selector);
        token.setRegistry(address(other), bytes32(uint256(50)));
        token.burn(alice, 1000, nextId());
        vm.expectEmit(address(token));
        emit Regulated.RegistryChanged(address(registry), address(other));
        token.setRegistry(address(other), nextId());
        assertEq(token.registry(), address(other), "set");
    }

    function test_a_registry_may_be_taken_away_and_does_not_come_back_outdated() public {
        vm.expectEmit(address(token));
        emit Regulated.RegistryChanged(address(registry), address(0));
        token.setRegistry(address(0), nextId());
        registry.setBlocked(bob, true);
        vm.prank(alice);
        token.transfer(bob, 1);
        assertTrue(token.canReceive(bob) && token.canSend(bob), "nobody judges");
        token.burn(alice, 999, nextId());
        token.burn(bob, 1, nextId());
        vm.expectRevert(abi.encodeWithSelector(Regulated.RegistryOutdated.selector, address(registry)));
        token.setRegistry(address(registry), bytes32(uint256(50)));
        FakeRegistry other = new FakeRegistry();
        token.setRegistry(address(other), bytes32(uint256(50)));
        token.setRegistry(address(0), nextId());
        token.setRegistry(address(other), nextId());
    }

    function test_a_token_without_registry_tells_no_change() public {
        vm.recordLogs();
        new AssetToken(terms(address(0), address(0)));
        bytes32[] memory topics = topicsOf(vm.getRecordedLogs());
        for (uint256 i = 0; i < topics.length; ++i)
            assertTrue(topics[i] != Regulated.RegistryChanged.selector, "no event");
    }

    // The views

    function test_explanations() public {
        Restriction memory found = token.explainTransfer(address(0), alice, bob, 5000);
        assertEq(uint256(found.code), 0, "a lack of balance is no rule");
        token.setFrozenTokens(alice, 400);
        found = token.explainTransfer(address(0), alice, bob, 601);
        assertEq(uint256(found.code), Restrictions.FROZEN, "frozen");
        assertEq(found.account, alice, "who");
        assertEq(found.limit, 600, "unfrozen");
        assertEq(found.actual, 601, "asked");
        assertTrue(!token.canTransfer(alice, bob, 601) && token.canTransfer(alice, bob, 600), "the same");
        token.setFrozenTokens(carol, ALL);
        found = token.explainTransfer(carol, alice, bob, 1);
        assertEq(uint256(found.code), Restrictions.SPENDER_FROZEN, "spender");
        assertEq(found.account, carol, "who");
        registry.setBlocked(bob, true);
        assertEq(uint256(token.detectTransferRestriction(alice, bob, 1)), Restrictions.RECEIVER_BLOCKED, "registry");
        assertTrue(!token.canReceive(bob) && !token.canSend(bob) && token.canSend(alice), "eligible");
        assertEq(uint256(token.explainTransfer(bob, alice, carol, 1).code), Restrictions.SPENDER_BLOCKED, "spender");
        assertEq(uint256(token.explainTransfer(alice, alice, carol, 1).code), 0, "the holder is no spender");
        assertEq(uint256(token.detectTransferRestriction(alice, address(0), 1)), Restrictions.ZERO_ADDRESS, "zero");
        assertEq(uint256(token.detectTransferRestriction(address(0), bob, 1)), Restrictions.ZERO_ADDRESS, "zero");
        assertTrue(!token.canSend(address(0)) && !token.canReceive(address(0)), "nobody");
        token.pause(nextId());
        assertEq(uint256(token.detectTransferRestriction(alice, carol, 1)), Restrictions.PAUSED, "paused");
        assertTrue(token.canSend(alice), "a pause makes nobody ineligible");
    }

    function test_every_code_has_its_own_words() public view {
        uint8[22] memory codes = [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 30, 31, 40, 41, 42, 43, 60];
        for (uint256 i = 0; i < codes.length; ++i) {
            string memory text = token.messageForTransferRestriction(codes[i]);
            assertTrue(bytes(text).length != 0 && keccak256(bytes(text)) != keccak256("unknown"), "words");
            for (uint256 j = 0; j < i; ++j)
                assertTrue(
                    keccak256(bytes(text)) != keccak256(bytes(token.messageForTransferRestriction(codes[j]))),
                    "its own"
                );
        }
        assertEq(token.messageForTransferRestriction(59), "unknown", "no code");
    }

    /// @dev The law of the views: what they say of a transfer within balance and allowance is what happens.
    function testFuzz_the_views_agree_with_the_transfer(
        uint256 amount,
        uint256 frozen,
        uint256 spenderFrozen,
        uint256 holdingMax,
        uint8 flags
    ) public {
        amount = bound(amount, 0, 1000);
        token.setFrozenTokens(alice, flags & 1 == 0 ? bound(frozen, 0, 1100) : frozen);
        token.setFrozenTokens(carol, flags & 2 == 0 ? ALL : spenderFrozen);
        registry.setHoldingMax(bound(holdingMax, 0, 1000));
        registry.setBlocked(alice, flags & 12 == 12);
        registry.setBlocked(bob, flags & 48 == 48);
        registry.setBlocked(carol, flags & 5 == 5);
        if (flags & 192 == 192) token.pause(nextId());
        vm.prank(alice);
        token.approve(carol, ALL);
        address to = flags % 7 == 0 ? alice : flags % 13 == 0 ? address(0) : bob;
        bool byHolder = token.canTransfer(alice, to, amount);
        assertEq(byHolder, token.detectTransferRestriction(alice, to, amount) == 0, "ERC-1404");
        if (byHolder) assertTrue(token.canSend(alice) && token.canReceive(to), "eligible");
        Restriction memory bySpender = token.explainTransfer(carol, alice, to, amount);
        uint256 state = vm.snapshotState();
        vm.prank(alice);
        (bool done, ) = address(token).call(abi.encodeCall(token.transfer, (to, amount)));
        assertEq(done, byHolder, "transfer");
        vm.revertToState(state);
        vm.prank(carol);
        bytes memory answer;
        (done, answer) = address(token).call(abi.encodeCall(token.transferFrom, (alice, to, amount)));
        assertEq(done, bySpender.code == 0, "transferFrom");
        if (bySpender.code >= 10)
            assertEq(
                keccak256(answer),
                keccak256(restricted(bySpender.code, bySpender.account, bySpender.limit, bySpender.actual)),
                "the same refusal"
            );
    }

    function testFuzz_forced_moves_keep_the_rest_frozen(uint256 frozen, uint256 amount) public {
        amount = bound(amount, 0, 1000);
        token.setFrozenTokens(alice, frozen);
        uint256 unfrozen = frozen < 1000 ? 1000 - frozen : 0;
        token.forcedTransfer(alice, bob, amount);
        uint256 left = token.balanceOf(alice);
        uint256 kept = token.getFrozenTokens(alice);
        assertEq(left, 1000 - amount, "moved");
        assertEq(left > kept ? left - kept : 0, amount < unfrozen ? unfrozen - amount : 0, "nothing became free");
    }

    function restricted(uint8 code, address account, uint256 limit, uint256 actual) private pure returns (bytes memory) {
        return abi.encodeWithSelector(TransferRestricted.selector, code, account, limit, actual);
    }
}
