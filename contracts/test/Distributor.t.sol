// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Distributor} from "../Distributor.sol";
import {Operations} from "../parts/Operations.sol";
import {AuthorityMissing} from "../parts/TokenTerms.sol";
import {
    Currency,
    FalseCurrency,
    FeeCurrency,
    HookCurrency,
    ListCurrency,
    LyingCurrency,
    SilentCurrency,
    SurchargeCurrency
} from "./Currencies.sol";
import {Harness} from "./Harness.sol";

/// @dev A Merkle tree over a list whose length is a power of two, in the way of OpenZeppelin's library.
abstract contract Tree is Harness {
    function _leaf(uint256 index, address account, uint256 amount) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(index, account, amount))));
    }

    function _pair(bytes32 a, bytes32 b) private pure returns (bytes32) {
        return a < b ? keccak256(abi.encodePacked(a, b)) : keccak256(abi.encodePacked(b, a));
    }

    function _proof(bytes32[] memory row, uint256 place) internal pure returns (bytes32[] memory, bytes32 root) {
        uint256 depth;
        while (1 << depth < row.length) ++depth;
        bytes32[] memory proof = new bytes32[](depth);
        for (uint256 level; level < depth; ++level) {
            proof[level] = row[place ^ 1];
            bytes32[] memory above = new bytes32[](row.length / 2);
            for (uint256 i; i < above.length; ++i) above[i] = _pair(row[2 * i], row[2 * i + 1]);
            row = above;
            place >>= 1;
        }
        return (proof, row[0]);
    }

    function _row(address[] memory accounts, uint256[] memory amounts) internal pure returns (bytes32[] memory row) {
        row = new bytes32[](accounts.length);
        for (uint256 i; i < row.length; ++i) row[i] = _leaf(i, accounts[i], amounts[i]);
    }
}

contract DistributorTest is Tree {
    bytes32 private constant ID = "dividend";
    address private constant TOKEN = address(0x70CE);

    AccessManager private authority;
    Distributor private distributor;
    Currency private currency;
    address[] private accounts;
    uint256[] private amounts;
    uint64 private deadline;
    uint256 private operations;

    function setUp() public {
        vm.warp(1_000_000);
        vm.roll(5000);
        deadline = 1_000_100;
        authority = new AccessManager(address(this));
        distributor = new Distributor(address(authority));
        currency = new Currency();
        for (uint160 i; i < 4; ++i) {
            accounts.push(address(0x1000 + i));
            amounts.push(100 * (i + 1));
        }
    }

    function _operation() private returns (bytes32) {
        return bytes32(++operations);
    }

    function _root() private view returns (bytes32 root) {
        (, root) = _proof(_row(accounts, amounts), 0);
    }

    function _proofOf(uint256 index) private view returns (bytes32[] memory proof) {
        (proof,) = _proof(_row(accounts, amounts), index);
    }

    function _create(Currency token, bytes32 id, uint256 total) private {
        token.mint(address(this), total);
        token.approve(address(distributor), total);
        distributor.create(id, TOKEN, address(token), total, _root(), 100, "hash", "digest", deadline, _operation());
    }

    function _createFails(bytes memory reason, bytes32 id, uint256 total, bytes32 root, uint64 until) private {
        currency.mint(address(this), total);
        currency.approve(address(distributor), total);
        vm.expectRevert(reason);
        distributor.create(id, TOKEN, address(currency), total, root, 100, "hash", "digest", until, "operation");
    }

    function _claim(uint256 index) private {
        bytes32[] memory proof = _proofOf(index);
        vm.prank(accounts[index]);
        distributor.claim(ID, index, amounts[index], proof);
    }

    function _claimFails(uint256 index, address caller, uint256 amount, bytes memory reason) private {
        bytes32[] memory proof = _proofOf(index);
        vm.expectRevert(reason);
        vm.prank(caller);
        distributor.claim(ID, index, amount, proof);
    }

    function _everyone()
        private
        view
        returns (uint256[] memory indexes, address[] memory to, uint256[] memory shares, bytes32[][] memory proofs)
    {
        indexes = new uint256[](accounts.length);
        proofs = new bytes32[][](accounts.length);
        for (uint256 i; i < indexes.length; ++i) (indexes[i], proofs[i]) = (i, _proofOf(i));
        return (indexes, accounts, amounts, proofs);
    }

    function _claimForAll() private {
        (uint256[] memory indexes, address[] memory to, uint256[] memory shares, bytes32[][] memory proofs) =
            _everyone();
        distributor.claimFor(ID, indexes, to, shares, proofs);
    }

    function _remainder(bytes32 id) private view returns (uint256 remainder) {
        (,,,,, remainder) = distributor.distributionOf(id);
    }

    function _notListed(
        bytes32 id,
        uint256 index,
        address account,
        uint256 amount
    ) private pure returns (bytes memory) {
        return abi.encodeWithSelector(Distributor.ProofInvalid.selector, id, index, account, amount);
    }

    // create

    function test_a_distribution_takes_its_sum_at_once() public {
        currency.mint(address(this), 1000);
        currency.approve(address(distributor), 1000);
        bytes32 root = _root();
        bytes32 known = blockhash(4990);
        vm.expectEmit(address(distributor));
        emit Operations.Operation("operation", Distributor.create.selector, address(this));
        vm.expectEmit(address(distributor));
        emit Distributor.DistributionCreated(
            ID, TOKEN, address(currency), address(this), 1000, root, 4990, known, "digest", deadline
        );
        distributor.create(
            ID, TOKEN, address(currency), 1000, root, 4990, known, "digest", deadline, "operation"
        );
        assertEq(currency.balanceOf(address(distributor)), 1000, "held");
        (address creator, address money, bytes32 stored, uint64 until, bool closed, uint256 remainder) =
            distributor.distributionOf(ID);
        assertEq(creator, address(this), "creator");
        assertEq(money, address(currency), "currency");
        assertEq(stored, root, "root");
        assertEq(uint256(until), deadline, "deadline");
        assertEq(closed, false, "open");
        assertEq(remainder, 1000, "remainder");
    }

    function test_a_record_block_that_is_still_to_come_is_refused() public {
        currency.mint(address(this), 1000);
        currency.approve(address(distributor), 1000);
        bytes32 root = _root();
        for (uint256 ahead = 0; ahead < 2; ++ahead) {
            uint64 number = uint64(block.number + ahead);
            vm.expectRevert(
                abi.encodeWithSelector(
                    Distributor.RecordBlockMismatch.selector, number, bytes32("guess"), bytes32(0)
                )
            );
            distributor.create(
                ID, TOKEN, address(currency), 1000, root, number, "guess", "digest", deadline, "operation"
            );
        }
    }

    function test_a_record_block_that_is_gone_is_refused() public {
        currency.mint(address(this), 1000);
        currency.approve(address(distributor), 1000);
        bytes32 root = _root();
        bytes32 known = blockhash(4990);
        assertTrue(known != 0, "the chain knows the block");
        vm.expectRevert(
            abi.encodeWithSelector(
                Distributor.RecordBlockMismatch.selector, uint64(4990), bytes32("orphan"), known
            )
        );
        distributor.create(
            ID, TOKEN, address(currency), 1000, root, 4990, "orphan", "digest", deadline, "operation"
        );
        // What the chain no longer knows is taken on trust.
        distributor.create(
            ID, TOKEN, address(currency), 1000, root, 100, "orphan", "digest", deadline, "operation"
        );
    }

    function test_what_a_distribution_needs() public {
        bytes32 root = _root();
        bytes memory empty = abi.encodeWithSelector(Distributor.DistributionEmpty.selector);
        _createFails(empty, ID, 0, root, deadline);
        _createFails(empty, ID, 1000, 0, deadline);
        _createFails(abi.encodeWithSelector(Distributor.DistributionIdMissing.selector), 0, 1000, root, deadline);
        _createFails(
            abi.encodeWithSelector(Distributor.DeadlinePassed.selector, uint64(block.timestamp)),
            ID,
            1000,
            root,
            uint64(block.timestamp)
        );
        assertEq(distributor.operationExecuted("operation"), false, "the id is free again");
    }

    function test_an_id_names_one_distribution_also_when_closed() public {
        _create(currency, ID, 1000);
        bytes memory exists = abi.encodeWithSelector(Distributor.DistributionExists.selector, ID);
        _createFails(exists, ID, 1000, _root(), deadline);
        vm.warp(deadline);
        distributor.close(ID, _operation());
        _createFails(exists, ID, 1000, _root(), deadline + 100);
    }

    function test_without_approval_there_is_no_distribution() public {
        currency.mint(address(this), 1000);
        bytes32 root = _root();
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(distributor), 0, 1000
            )
        );
        distributor.create(ID, TOKEN, address(currency), 1000, root, 100, "hash", "digest", deadline, "operation");
    }

    function test_a_currency_with_a_fee_is_refused() public {
        FeeCurrency fee = new FeeCurrency();
        fee.mint(address(this), 1000);
        fee.approve(address(distributor), 1000);
        bytes32 root = _root();
        vm.expectRevert(abi.encodeWithSelector(Distributor.AmountNotExact.selector, 1000, 999));
        distributor.create(ID, TOKEN, address(fee), 1000, root, 100, "hash", "digest", deadline, "operation");
    }

    function test_a_currency_that_lies_is_refused() public {
        LyingCurrency liar = new LyingCurrency();
        liar.mint(address(this), 1000);
        liar.approve(address(distributor), 1000);
        liar.lie();
        bytes32 root = _root();
        vm.expectRevert(abi.encodeWithSelector(Distributor.AmountNotExact.selector, 1000, 0));
        distributor.create(ID, TOKEN, address(liar), 1000, root, 100, "hash", "digest", deadline, "operation");
    }

    function test_a_currency_without_code_is_refused() public {
        bytes32 root = _root();
        vm.expectRevert();
        distributor.create(ID, TOKEN, address(0xE0A), 1000, root, 100, "hash", "digest", deadline, "operation");
    }

    function test_only_the_permitted_create_and_close(address caller) public {
        vm.assume(caller != address(this));
        _create(currency, ID, 1000);
        vm.warp(deadline);
        bytes32 root = _root();
        bytes memory reason =
            abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller);
        vm.expectRevert(reason);
        vm.prank(caller);
        distributor.create("b", TOKEN, address(currency), 1000, root, 100, "hash", "digest", deadline + 1, "b");
        vm.expectRevert(reason);
        vm.prank(caller);
        distributor.close(ID, "b");
    }

    function test_an_operation_has_one_effect() public {
        _create(currency, ID, 1000);
        bytes memory used =
            abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, bytes32(uint256(1)));
        bytes32 root = _root();
        vm.expectRevert(used);
        distributor.create(
            "b", TOKEN, address(currency), 1000, root, 100, "hash", "digest", deadline, bytes32(uint256(1))
        );
        vm.warp(deadline);
        vm.expectRevert(used);
        distributor.close(ID, bytes32(uint256(1)));
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationIdMissing.selector));
        distributor.close(ID, 0);
    }

    function test_an_authority_without_code_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(AuthorityMissing.selector));
        new Distributor(address(0xE0A));
    }

    // claim

    function test_a_holder_claims_its_share() public {
        _create(currency, ID, 1000);
        bytes32[] memory proof = _proofOf(2);
        assertEq(distributor.isClaimed(ID, 2), false, "not yet");
        vm.expectEmit(address(distributor));
        emit Distributor.Claimed(ID, accounts[2], 2, 300);
        vm.prank(accounts[2]);
        distributor.claim(ID, 2, 300, proof);
        assertEq(currency.balanceOf(accounts[2]), 300, "paid");
        assertEq(_remainder(ID), 700, "remainder");
        assertTrue(distributor.isClaimed(ID, 2), "claimed");
        assertEq(distributor.isClaimed(ID, 3), false, "the neighbour is not");
    }

    function test_a_share_is_paid_once() public {
        _create(currency, ID, 1000);
        _claim(2);
        _claimFails(2, accounts[2], 300, abi.encodeWithSelector(Distributor.AlreadyClaimed.selector, ID, 2));
    }

    function test_only_what_is_in_the_list(address caller, uint256 index, uint256 amount) public {
        vm.assume(caller != accounts[1] || index != 1 || amount != 200);
        _create(currency, ID, 1000);
        bytes32[] memory proof = _proofOf(1);
        vm.expectRevert(_notListed(ID, index, caller, amount));
        vm.prank(caller);
        distributor.claim(ID, index, amount, proof);
    }

    function test_a_way_of_another_length_proves_nothing() public {
        _create(currency, ID, 1000);
        bytes32[] memory proof = _proofOf(0);
        bytes32[] memory shorter = new bytes32[](1);
        shorter[0] = proof[0];
        bytes32[] memory longer = new bytes32[](3);
        (longer[0], longer[1], longer[2]) = (proof[0], proof[1], proof[1]);
        vm.startPrank(accounts[0]);
        vm.expectRevert(_notListed(ID, 0, accounts[0], 100));
        distributor.claim(ID, 0, 100, shorter);
        vm.expectRevert(_notListed(ID, 0, accounts[0], 100));
        distributor.claim(ID, 0, 100, longer);
        vm.expectRevert(_notListed(ID, 0, accounts[0], 100));
        distributor.claim(ID, 0, 100, new bytes32[](0));
        vm.stopPrank();
    }

    function test_an_unknown_distribution_pays_nothing() public {
        _claimFails(
            1, accounts[1], 200, abi.encodeWithSelector(Distributor.DistributionUnknown.selector, ID)
        );
        vm.expectRevert(abi.encodeWithSelector(Distributor.DistributionUnknown.selector, ID));
        _claimForAll();
        vm.expectRevert(abi.encodeWithSelector(Distributor.DistributionUnknown.selector, ID));
        distributor.close(ID, "a");
    }

    function test_shares_beyond_the_sum_are_not_paid_by_another_distribution() public {
        _create(currency, "other", 5000);
        _create(currency, ID, 350);
        _claim(2);
        _claimFails(
            1, accounts[1], 200, abi.encodeWithSelector(Distributor.RemainderExceeded.selector, ID, 200, 50)
        );
        assertEq(_remainder("other"), 5000, "the other keeps its own");
    }

    function test_a_claim_is_good_until_the_end_also_after_the_deadline() public {
        _create(currency, ID, 1000);
        vm.warp(uint256(deadline) + 1000);
        _claim(0);
        distributor.close(ID, _operation());
        _claimFails(1, accounts[1], 200, abi.encodeWithSelector(Distributor.DistributionClosed.selector, ID));
        vm.expectRevert(abi.encodeWithSelector(Distributor.DistributionClosed.selector, ID));
        _claimForAll();
        vm.expectRevert(abi.encodeWithSelector(Distributor.DistributionClosed.selector, ID));
        distributor.close(ID, "again");
    }

    function test_a_refused_holder_claims_in_vain_and_keeps_the_share() public {
        ListCurrency list = new ListCurrency();
        _create(list, ID, 1000);
        list.list(accounts[1], true);
        _claimFails(1, accounts[1], 200, abi.encodeWithSelector(ListCurrency.Listed.selector, accounts[1]));
        assertEq(distributor.isClaimed(ID, 1), false, "kept");
        list.list(accounts[1], false);
        _claim(1);
    }

    // claimFor

    function test_anyone_brings_the_shares() public {
        _create(currency, ID, 1000);
        (uint256[] memory indexes, address[] memory to, uint256[] memory shares, bytes32[][] memory proofs) =
            _everyone();
        vm.prank(address(0xBAD));
        distributor.claimFor(ID, indexes, to, shares, proofs);
        for (uint256 i; i < 4; ++i) assertEq(currency.balanceOf(accounts[i]), amounts[i], "paid");
        assertEq(_remainder(ID), 0, "all");
    }

    function test_who_claimed_first_spoils_nothing() public {
        _create(currency, ID, 1000);
        _claim(1);
        _claimForAll();
        for (uint256 i; i < 4; ++i) assertEq(currency.balanceOf(accounts[i]), amounts[i], "paid once");
        _claimForAll();
        assertEq(_remainder(ID), 0, "a repetition pays nothing");
    }

    function test_a_share_twice_in_one_batch_is_paid_once() public {
        _create(currency, ID, 1000);
        (uint256[] memory indexes, address[] memory to, uint256[] memory shares, bytes32[][] memory proofs) =
            _everyone();
        (indexes[0], to[0], shares[0], proofs[0]) = (indexes[3], to[3], shares[3], proofs[3]);
        distributor.claimFor(ID, indexes, to, shares, proofs);
        assertEq(currency.balanceOf(accounts[3]), 400, "once");
        assertEq(_remainder(ID), 100, "the first one's is left");
    }

    function test_a_refused_holder_is_skipped_alone_and_claims_later(bool silent) public {
        ListCurrency list = new ListCurrency();
        _create(list, ID, 1000);
        list.list(accounts[1], true);
        vm.expectEmit(address(distributor));
        emit Distributor.PayeeSkipped(ID, accounts[1], 1, 200);
        _claimForAll();
        for (uint256 i; i < 4; ++i) assertEq(list.balanceOf(accounts[i]), i == 1 ? 0 : amounts[i], "others paid");
        assertEq(_remainder(ID), 200, "kept");
        assertEq(distributor.isClaimed(ID, 1), false, "still owed");
        list.list(accounts[1], false);
        if (silent) _claimForAll();
        else _claim(1);
        assertEq(list.balanceOf(accounts[1]), 200, "later");
    }

    function test_a_currency_that_answers_false_skips_too() public {
        FalseCurrency no = new FalseCurrency();
        _create(no, ID, 1000);
        no.refuse(true);
        _claimForAll();
        assertEq(_remainder(ID), 1000, "nobody was paid");
        no.refuse(false);
        _claimForAll();
        assertEq(_remainder(ID), 0, "everybody was");
    }

    function test_a_currency_that_answers_nothing_pays() public {
        SilentCurrency silent = new SilentCurrency();
        silent.mint(address(this), 1000);
        distributor.create(
            ID, TOKEN, address(silent), 1000, _root(), 100, "hash", "digest", deadline, _operation()
        );
        _claimForAll();
        assertEq(silent.balanceOf(accounts[3]), 400, "paid");
    }

    function test_one_wrong_share_refuses_the_batch() public {
        _create(currency, ID, 1000);
        (uint256[] memory indexes, address[] memory to, uint256[] memory shares, bytes32[][] memory proofs) =
            _everyone();
        shares[2] = 301;
        vm.expectRevert(_notListed(ID, 2, accounts[2], 301));
        distributor.claimFor(ID, indexes, to, shares, proofs);
        (shares[2], to[2]) = (300, address(this));
        vm.expectRevert(_notListed(ID, 2, address(this), 300));
        distributor.claimFor(ID, indexes, to, shares, proofs);
        assertEq(_remainder(ID), 1000, "nothing happened");
    }

    function test_lists_of_different_length_are_refused(uint8 which) public {
        _create(currency, ID, 1000);
        (uint256[] memory indexes, address[] memory to, uint256[] memory shares, bytes32[][] memory proofs) =
            _everyone();
        if (which % 3 == 0) to = new address[](3);
        if (which % 3 == 1) shares = new uint256[](5);
        if (which % 3 == 2) proofs = new bytes32[][](0);
        uint256 other = which % 3 == 0 ? 3 : which % 3 == 1 ? 5 : 0;
        vm.expectRevert(abi.encodeWithSelector(Distributor.LengthMismatch.selector, 4, other));
        distributor.claimFor(ID, indexes, to, shares, proofs);
    }

    function test_a_charge_on_top_never_takes_from_another_distribution() public {
        SurchargeCurrency charge = new SurchargeCurrency();
        _create(charge, "other", 5000);
        _create(charge, ID, 1000);
        charge.charge();
        _claimFails(0, accounts[0], 100, abi.encodeWithSelector(Distributor.AmountNotExact.selector, 100, 101));
        vm.expectRevert(abi.encodeWithSelector(Distributor.AmountNotExact.selector, 1000, 1004));
        _claimForAll();
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(Distributor.AmountNotExact.selector, 1000, 1001));
        distributor.close(ID, "a");
    }

    function test_a_currency_that_begins_to_lie_uses_up_no_share() public {
        LyingCurrency liar = new LyingCurrency();
        _create(liar, ID, 1000);
        liar.lie();
        _claimFails(0, accounts[0], 100, abi.encodeWithSelector(Distributor.AmountNotExact.selector, 100, 0));
        vm.expectRevert(abi.encodeWithSelector(Distributor.AmountNotExact.selector, 1000, 0));
        _claimForAll();
    }

    function test_nothing_is_claimed_in_the_middle_of_a_payment() public {
        HookCurrency hook = new HookCurrency();
        _create(hook, ID, 1000);
        (uint256[] memory indexes, address[] memory to, uint256[] memory shares, bytes32[][] memory proofs) =
            _everyone();
        bytes[3] memory calls = [
            abi.encodeCall(distributor.claimFor, (ID, indexes, to, shares, proofs)),
            abi.encodeCall(distributor.claim, (ID, 0, 100, proofs[0])),
            abi.encodeCall(distributor.close, (ID, "inner"))
        ];
        authority.grantRole(authority.ADMIN_ROLE(), address(hook), 0);
        vm.warp(deadline);
        for (uint256 i; i < calls.length; ++i) {
            hook.arm(address(distributor), calls[i]);
            _claim(i);
            assertEq(hook.entered(), false, "entered");
            assertEq(
                bytes32(hook.answer()),
                bytes32(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector),
                "why"
            );
        }
        _claimForAll();
        for (uint256 i; i < 4; ++i) assertEq(hook.balanceOf(accounts[i]), amounts[i], "paid once");
    }

    // close

    function test_the_remainder_returns_to_the_creator() public {
        _create(currency, ID, 1000);
        _claim(3);
        vm.warp(deadline - 1);
        vm.expectRevert(abi.encodeWithSelector(Distributor.DeadlineAhead.selector, deadline));
        distributor.close(ID, "close");
        vm.warp(deadline);
        vm.expectEmit(address(distributor));
        emit Distributor.Closed(ID, address(this), 600);
        distributor.close(ID, "close");
        assertEq(currency.balanceOf(address(this)), 600, "returned");
        (,,,, bool closed, uint256 remainder) = distributor.distributionOf(ID);
        assertTrue(closed && remainder == 0, "closed");
    }

    function test_another_closes_and_the_creator_gets_it() public {
        _create(currency, ID, 1000);
        authority.grantRole(authority.ADMIN_ROLE(), address(0xC105E), 0);
        vm.warp(deadline);
        vm.prank(address(0xC105E));
        distributor.close(ID, "close");
        assertEq(currency.balanceOf(address(this)), 1000, "the creator");
    }

    function test_a_distribution_that_paid_all_closes_too() public {
        _create(currency, ID, 1000);
        _claimForAll();
        vm.warp(deadline);
        distributor.close(ID, "close");
        assertEq(currency.balanceOf(address(distributor)), 0, "empty");
    }

    // the whole

    function test_any_list_pays_its_holders(uint256[8] memory shares, uint8 claims, uint96 surplus) public {
        delete accounts;
        delete amounts;
        uint256 total = surplus;
        for (uint160 i; i < 8; ++i) {
            accounts.push(address(0x2000 + i));
            amounts.push(bound(shares[i], 0, 1e24));
            total += amounts[i];
        }
        if (total == 0) return;
        _create(currency, ID, total);
        uint256 paid;
        for (uint256 i; i < 8; ++i) {
            if (claims & (1 << i) == 0) continue;
            _claim(i);
            paid += amounts[i];
            assertEq(currency.balanceOf(accounts[i]), amounts[i], "share");
        }
        assertEq(paid + _remainder(ID), total, "claims and remainder are the sum");
        vm.warp(deadline);
        distributor.close(ID, _operation());
        assertEq(currency.balanceOf(address(this)), total - paid, "returned");
    }

    function test_gas_of_a_hundred_payees() public {
        delete accounts;
        delete amounts;
        for (uint160 i; i < 128; ++i) {
            accounts.push(address(0x3000 + i));
            amounts.push(1e18 + i);
        }
        _create(currency, ID, 128 * 1e18 + 128 * 64);
        (uint256[] memory indexes, address[] memory to, uint256[] memory shares, bytes32[][] memory proofs) =
            _everyone();
        uint256 gas = gasleft();
        distributor.claimFor(ID, indexes, to, shares, proofs);
        assertTrue((gas - gasleft()) / 128 < 60_000, "each payee costs less than 60,000");
    }
}

/// @dev Two distributions in one currency; everybody claims, brings, is listed and unlisted, and closes in any order.
contract DistributorHandler is Tree {
    AccessManager public authority = new AccessManager(address(this));
    Distributor public distributor = new Distributor(address(authority));
    ListCurrency public currency = new ListCurrency();
    bytes32[2] public ids = [bytes32("one"), "two"];
    uint256[2] public totals;
    uint256[2] public paid;
    uint256[2] public returned;
    uint256 public unlawful;
    address[] private _accounts;
    uint256[][2] private _amounts;
    mapping(bytes32 id => mapping(uint256 index => bool)) private _done;
    uint256 private _operations;
    uint64 private _deadline;

    constructor() {
        vm.roll(5000);
        _deadline = uint64(block.timestamp + 200);
        for (uint160 i; i < 4; ++i) _accounts.push(address(0x4000 + i));
        for (uint256 d; d < 2; ++d) {
            for (uint256 i; i < 4; ++i) {
                _amounts[d].push(10 ** (i + 2 * d) + i);
                totals[d] += _amounts[d][i];
            }
            // The second list promises more than it was given.
            totals[d] = d == 0 ? totals[d] + 7 : totals[d] - 1;
            currency.mint(address(this), totals[d]);
            currency.approve(address(distributor), totals[d]);
            (, bytes32 root) = _proof(_row(_accounts, _amounts[d]), 0);
            distributor.create(
                ids[d],
                address(1),
                address(currency),
                totals[d],
                root,
                1,
                0,
                0,
                _deadline + uint64(200 * d),
                bytes32(++_operations)
            );
        }
    }

    function claim(uint256 d, uint256 index, address caller) external {
        (d, index) = (d % 2, index % 4);
        (bytes32[] memory proof,) = _proof(_row(_accounts, _amounts[d]), index);
        if (uint160(caller) % 4 != 0) caller = _accounts[index];
        uint256 amount = _amounts[d][index];
        vm.prank(caller);
        distributor.claim(ids[d], index, amount, proof);
        if (_done[ids[d]][index] || caller != _accounts[index]) ++unlawful;
        _done[ids[d]][index] = true;
        paid[d] += amount;
    }

    function bring(uint256 d, uint256 first, uint256 second) external {
        d %= 2;
        uint256[] memory indexes = new uint256[](2);
        address[] memory accounts = new address[](2);
        uint256[] memory amounts = new uint256[](2);
        bytes32[][] memory proofs = new bytes32[][](2);
        (indexes[0], indexes[1]) = (first % 4, second % 4);
        for (uint256 i; i < 2; ++i) {
            accounts[i] = _accounts[indexes[i]];
            amounts[i] = _amounts[d][indexes[i]];
            (proofs[i],) = _proof(_row(_accounts, _amounts[d]), indexes[i]);
        }
        distributor.claimFor(ids[d], indexes, accounts, amounts, proofs);
        for (uint256 i; i < 2; ++i) {
            if (_done[ids[d]][indexes[i]] || !distributor.isClaimed(ids[d], indexes[i])) continue;
            _done[ids[d]][indexes[i]] = true;
            paid[d] += amounts[i];
        }
    }

    function list(uint256 index, bool on) external {
        currency.list(_accounts[index % 4], on);
    }

    function wait(uint256 time) external {
        vm.warp(block.timestamp + bound(time, 0, 100));
    }

    function close(uint256 d) external {
        d %= 2;
        uint256 before = currency.balanceOf(address(this));
        distributor.close(ids[d], bytes32(++_operations));
        if (block.timestamp < _deadline + 200 * d) ++unlawful;
        returned[d] = currency.balanceOf(address(this)) - before;
    }
}

contract DistributorInvariants is Harness {
    DistributorHandler private handler;

    function setUp() public {
        handler = new DistributorHandler();
        targetContract(address(handler));
        bytes4[] memory selectors = new bytes4[](5);
        selectors[0] = DistributorHandler.claim.selector;
        selectors[1] = DistributorHandler.bring.selector;
        selectors[2] = DistributorHandler.list.selector;
        selectors[3] = DistributorHandler.wait.selector;
        selectors[4] = DistributorHandler.close.selector;
        targetSelector(FuzzSelector(address(handler), selectors));
    }

    function invariant_claims_and_remainder_are_what_was_paid_in() public view {
        uint256 held;
        for (uint256 d; d < 2; ++d) {
            (,,,,, uint256 remainder) = handler.distributor().distributionOf(handler.ids(d));
            assertEq(handler.paid(d) + remainder + handler.returned(d), handler.totals(d), "the sum of one");
            held += remainder;
        }
        assertEq(handler.currency().balanceOf(address(handler.distributor())), held, "what is held");
        assertEq(handler.unlawful(), 0, "twice, by another or too early");
    }
}
