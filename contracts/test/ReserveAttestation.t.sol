// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {ReserveAttestation} from "../ReserveAttestation.sol";
import {Operations} from "../parts/Operations.sol";
import {AuthorityMissing} from "../parts/TokenTerms.sol";
import {Wallet} from "./Currencies.sol";
import {Harness} from "./Harness.sol";

contract ReserveAttestationTest is Harness {
    uint256 private constant KEY = 0xA77E57;
    address private constant TOKEN = address(0x70CE);
    address private constant OTHER = address(0x07E2);

    AccessManager private authority;
    ReserveAttestation private reserve;
    address private attester;
    uint64 private start = 1_000_000;

    function setUp() public {
        vm.warp(start);
        authority = new AccessManager(address(this));
        reserve = new ReserveAttestation(address(authority));
        attester = vm.addr(KEY);
        reserve.setAttester(TOKEN, attester, "set");
        vm.warp(++start);
    }

    function _signature(
        ReserveAttestation to,
        uint256 key,
        address token,
        uint256 amount,
        uint64 issuedAt,
        uint64 expiresAt
    ) private view returns (bytes memory) {
        (,,, uint256 chain, address self,,) = to.eip712Domain();
        return _signatureOn(chain, self, key, abi.encode(token, amount, issuedAt, expiresAt));
    }

    function _signatureOn(
        uint256 chain,
        address self,
        uint256 key,
        bytes memory fields
    ) private pure returns (bytes memory) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("ReserveAttestation"),
                keccak256("1"),
                chain,
                self
            )
        );
        bytes32 type_ =
            keccak256("ReserveAttestation(address token,uint256 amount,uint64 issuedAt,uint64 expiresAt)");
        bytes32 struct_ = keccak256(bytes.concat(type_, fields));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked(hex"1901", domain, struct_)));
        return abi.encodePacked(r, s, v);
    }

    function _attest(uint256 amount, uint64 issuedAt, uint64 expiresAt) private {
        reserve.attest(
            TOKEN, amount, issuedAt, expiresAt, _signature(reserve, KEY, TOKEN, amount, issuedAt, expiresAt)
        );
    }

    function _requireBacked(uint256 supply) private {
        vm.prank(TOKEN);
        reserve.requireBacked(supply);
    }

    function _refused(uint256 supply, bytes memory reason) private {
        vm.expectRevert(reason);
        vm.prank(TOKEN);
        reserve.requireBacked(supply);
    }

    function test_anyone_brings_the_attesters_word() public {
        bytes memory signature = _signature(reserve, KEY, TOKEN, 500, start, start + 100);
        vm.expectEmit(address(reserve));
        emit ReserveAttestation.ReserveAttested(TOKEN, 500, start, start + 100, attester);
        vm.prank(address(0xBAD));
        reserve.attest(TOKEN, 500, start, start + 100, signature);
        (uint256 amount, uint64 issuedAt, uint64 expiresAt, address by) = reserve.attestation(TOKEN);
        assertEq(amount, 500, "amount");
        assertEq(uint256(issuedAt), start, "issuedAt");
        assertEq(uint256(expiresAt), start + 100, "expiresAt");
        assertEq(by, attester, "attester");
    }

    function test_a_supply_is_backed_up_to_the_amount(uint256 amount, uint256 supply) public {
        _attest(amount, start, start + 100);
        if (supply <= amount) _requireBacked(supply);
        else _refused(supply, abi.encodeWithSelector(ReserveAttestation.ReserveExceeded.selector, supply, amount));
    }

    function test_the_caller_is_the_token() public {
        _attest(500, start, start + 100);
        vm.expectRevert(abi.encodeWithSelector(ReserveAttestation.ReserveMissing.selector));
        vm.prank(OTHER);
        reserve.requireBacked(0);
    }

    function test_without_a_word_nothing_is_backed_not_even_nothing() public {
        _refused(0, abi.encodeWithSelector(ReserveAttestation.ReserveMissing.selector));
    }

    function test_a_word_expires(uint64 later) public {
        _attest(500, start, start + 100);
        vm.warp(start + 99);
        _requireBacked(500);
        vm.warp(bound(later, start + 100, type(uint64).max));
        _refused(1, abi.encodeWithSelector(ReserveAttestation.ReserveExpired.selector, start + 100));
    }

    function test_a_newer_word_replaces_the_older_also_downwards() public {
        _attest(500, start, start + 100);
        vm.warp(start + 10);
        _attest(300, start + 1, start + 50);
        _requireBacked(300);
        _refused(301, abi.encodeWithSelector(ReserveAttestation.ReserveExceeded.selector, 301, 300));
    }

    function test_an_old_word_never_returns(uint64 issuedAt) public {
        vm.warp(start + 10);
        _attest(300, start + 5, start + 50);
        issuedAt = uint64(bound(issuedAt, 0, start + 5));
        bytes memory signature = _signature(reserve, KEY, TOKEN, 500, issuedAt, start + 100);
        vm.expectRevert(
            abi.encodeWithSelector(ReserveAttestation.AttestationStale.selector, issuedAt, start + 5)
        );
        reserve.attest(TOKEN, 500, issuedAt, start + 100, signature);
    }

    function test_a_word_from_the_future_is_refused(uint64 issuedAt) public {
        issuedAt = uint64(bound(issuedAt, start + 1, type(uint64).max));
        bytes memory signature = _signature(reserve, KEY, TOKEN, 500, issuedAt, type(uint64).max);
        vm.expectRevert(abi.encodeWithSelector(ReserveAttestation.AttestationFromFuture.selector, issuedAt));
        reserve.attest(TOKEN, 500, issuedAt, type(uint64).max, signature);
    }

    function test_an_expired_word_is_refused(uint64 expiresAt) public {
        expiresAt = uint64(bound(expiresAt, 0, start));
        bytes memory signature = _signature(reserve, KEY, TOKEN, 500, start, expiresAt);
        vm.expectRevert(abi.encodeWithSelector(ReserveAttestation.ReserveExpired.selector, expiresAt));
        reserve.attest(TOKEN, 500, start, expiresAt, signature);
    }

    function test_only_the_attester_signs(uint256 key) public {
        key = bound(key, 1, 2 ** 128);
        vm.assume(key != KEY);
        bytes memory signature = _signature(reserve, key, TOKEN, 500, start, start + 100);
        vm.expectRevert(abi.encodeWithSelector(ReserveAttestation.AttestationInvalid.selector, attester));
        reserve.attest(TOKEN, 500, start, start + 100, signature);
    }

    function test_no_figure_changes_after_signing(uint256 amount, uint64 expiresAt) public {
        expiresAt = uint64(bound(expiresAt, start + 1, type(uint64).max));
        vm.assume(amount != 500 || expiresAt != start + 100);
        bytes memory signature = _signature(reserve, KEY, TOKEN, 500, start, start + 100);
        vm.expectRevert(abi.encodeWithSelector(ReserveAttestation.AttestationInvalid.selector, attester));
        reserve.attest(TOKEN, amount, start, expiresAt, signature);
    }

    function test_a_word_holds_for_one_token_contract_and_chain() public {
        bytes memory invalid = abi.encodeWithSelector(ReserveAttestation.AttestationInvalid.selector, attester);
        reserve.setAttester(OTHER, attester, "other");
        vm.warp(++start);
        bytes memory signature = _signature(reserve, KEY, TOKEN, 500, start, start + 100);
        vm.expectRevert(invalid);
        reserve.attest(OTHER, 500, start, start + 100, signature);

        signature = _signature(
            new ReserveAttestation(address(authority)), KEY, TOKEN, 500, start, start + 100
        );
        vm.expectRevert(invalid);
        reserve.attest(TOKEN, 500, start, start + 100, signature);

        bytes memory fields = abi.encode(TOKEN, uint256(500), start, start + 100);
        signature = _signatureOn(block.chainid + 1, address(reserve), KEY, fields);
        vm.expectRevert(invalid);
        reserve.attest(TOKEN, 500, start, start + 100, signature);

        signature = _signatureOn(block.chainid, address(reserve), KEY, fields);
        reserve.attest(TOKEN, 500, start, start + 100, signature);
    }

    function test_an_attester_may_be_a_contract() public {
        Wallet wallet = new Wallet(attester);
        reserve.setAttester(TOKEN, address(wallet), "wallet");
        vm.warp(++start);
        bytes memory bad = _signature(reserve, KEY + 1, TOKEN, 500, start, start + 100);
        vm.expectRevert(abi.encodeWithSelector(ReserveAttestation.AttestationInvalid.selector, address(wallet)));
        reserve.attest(TOKEN, 500, start, start + 100, bad);
        _attest(500, start, start + 100);
        _requireBacked(500);
    }

    function test_without_an_attester_there_is_no_word() public {
        reserve.setAttester(TOKEN, address(0), "nobody");
        vm.expectRevert(abi.encodeWithSelector(ReserveAttestation.AttesterMissing.selector, TOKEN));
        reserve.attest(TOKEN, 500, start, start + 100, new bytes(65));
    }

    function test_changing_the_attester_voids_the_word_for_good() public {
        bytes memory signature = _signature(reserve, KEY, TOKEN, 500, start, start + 100);
        reserve.attest(TOKEN, 500, start, start + 100, signature);
        vm.expectEmit(address(reserve));
        emit ReserveAttestation.AttesterSet(TOKEN, OTHER);
        reserve.setAttester(TOKEN, OTHER, "second");
        _refused(1, abi.encodeWithSelector(ReserveAttestation.ReserveMissing.selector));
        (uint256 amount, uint64 issuedAt, uint64 expiresAt,) = reserve.attestation(TOKEN);
        assertEq(amount + expiresAt, 0, "voided");
        assertEq(uint256(issuedAt), start, "the second of the naming");

        // The first one comes back, its voided word does not.
        reserve.setAttester(TOKEN, attester, "third");
        vm.expectRevert(abi.encodeWithSelector(ReserveAttestation.AttestationStale.selector, start, start));
        reserve.attest(TOKEN, 500, start, start + 100, signature);
        vm.warp(start + 1);
        _attest(400, start + 1, start + 100);
        _requireBacked(400);
    }

    function test_a_word_signed_before_the_naming_and_never_brought_is_void(uint64 issuedAt) public {
        _attest(100, start, start + 1 days);
        uint64 named = start + 1 hours;
        issuedAt = uint64(bound(issuedAt, start + 1, named));
        bytes memory kept = _signature(reserve, KEY, TOKEN, 1_000_000, issuedAt, start + 1 days);
        vm.warp(named);
        reserve.setAttester(TOKEN, attester, "again");
        bytes memory stale = abi.encodeWithSelector(ReserveAttestation.AttestationStale.selector, issuedAt, named);
        vm.expectRevert(stale);
        reserve.attest(TOKEN, 1_000_000, issuedAt, start + 1 days, kept);
        vm.warp(named + 1);
        vm.expectRevert(stale);
        reserve.attest(TOKEN, 1_000_000, issuedAt, start + 1 days, kept);
        _attest(200, named + 1, start + 1 days);
        _requireBacked(200);
    }

    function test_naming_the_same_attester_again_voids_too() public {
        _attest(500, start, start + 100);
        reserve.setAttester(TOKEN, attester, "again");
        _refused(1, abi.encodeWithSelector(ReserveAttestation.ReserveMissing.selector));
    }

    function test_only_the_permitted_name_attesters(address caller) public {
        vm.assume(caller != address(this));
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller));
        vm.prank(caller);
        reserve.setAttester(TOKEN, caller, "mine");
    }

    function test_an_operation_has_one_effect() public {
        assertTrue(reserve.operationExecuted("set"), "burned");
        vm.expectRevert(
            abi.encodeWithSelector(Operations.OperationAlreadyExecuted.selector, bytes32("set"))
        );
        reserve.setAttester(TOKEN, OTHER, "set");
        vm.expectRevert(abi.encodeWithSelector(Operations.OperationIdMissing.selector));
        reserve.setAttester(TOKEN, OTHER, 0);
        vm.expectEmit(address(reserve));
        emit Operations.Operation("new", ReserveAttestation.setAttester.selector, address(this));
        reserve.setAttester(TOKEN, OTHER, "new");
    }

    function test_an_authority_without_code_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(AuthorityMissing.selector));
        new ReserveAttestation(address(0xE0A));
    }
}
