// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {ComplianceRegistry} from "../ComplianceRegistry.sol";
import {DeedToken} from "../DeedToken.sol";
import {IssuerAuthority} from "../IssuerAuthority.sol";
import {DeedTerms} from "../parts/DeedTerms.sol";
import {Restriction, Restrictions, TransferRestricted} from "../parts/Restrictions.sol";
import {Harness} from "./Harness.sol";

/// @dev Deeds with the registry and the authority that they are deployed with.
contract DeedTokenRegistryTest is Harness {
    address private _alice = address(0xA11CE);
    address private _bob = address(0xB0B);
    address private _carol = address(0xCA401);
    bytes32 private constant ALICE = keccak256("alice");
    bytes32 private constant BOB = keccak256("bob");
    bytes32 private constant CAROL = keccak256("carol");

    IssuerAuthority private _authority = new IssuerAuthority(address(this), 0, address(0));
    ComplianceRegistry private _registry = new ComplianceRegistry(address(_authority));
    DeedToken private _token =
        new DeedToken(DeedTerms("Deeds", "DEED", address(_authority), address(_registry), "asset", "terms", false));
    uint256 private _ids;

    function setUp() public {
        ComplianceRegistry.Policy memory policy = ComplianceRegistry.Policy(1, 1, 10, 10, 2);
        uint16[] memory countries = new uint16[](1);
        countries[0] = 276;
        _registry.setPolicy(address(_token), policy, countries, _id());
        _know(_alice, ALICE, 276);
        _know(_bob, BOB, 276);
        _know(_carol, CAROL, 276);
        for (uint256 deed = 1; deed <= 2; ++deed) _token.mintDeed(_alice, deed, "ipfs://deed", "hash", _id());
    }

    function test_moves_are_judged_and_counted() public {
        _holdings(2, 0, 1);
        vm.prank(_alice);
        _token.transferFrom(_alice, _bob, 1);
        _holdings(1, 1, 2);
        _token.forcedTransferRef(_alice, _bob, 2, "order", "hash", _id());
        _holdings(0, 2, 1);
        _token.mintDeed(_carol, 3, "u", "hash", _id());
        vm.prank(_carol);
        _refused(abi.encodeCall(_token.transferFrom, (_carol, _bob, 3)), Restrictions.HOLDING_MAX, _carol, _bob, 3);
        // Enforcement is bound by no limit.
        _token.forcedTransfer(_carol, _bob, 3);
        _holdings(0, 3, 1);
        _token.retire(3, "r", _id());
        _holdings(0, 2, 1);
    }

    function test_an_operator_whose_investor_is_blocked_moves_nothing() public {
        vm.prank(_alice);
        _token.setApprovalForAll(_carol, true);
        vm.prank(_carol);
        _token.transferFrom(_alice, _bob, 1);
        _registry.setBlocked(CAROL, true, "reason", _id());
        assertEq(
            uint256(_token.explainTransfer(_carol, _alice, _bob, 2).code),
            Restrictions.SPENDER_BLOCKED,
            "explained"
        );
        assertTrue(_token.canTransfer(_alice, _bob, 2), "the holder may");
        vm.prank(_carol);
        vm.expectPartialRevert(TransferRestricted.selector);
        _token.transferFrom(_alice, _bob, 2);
        vm.prank(_alice);
        _token.transferFrom(_alice, _bob, 2);
    }

    function test_who_is_not_admitted_neither_sends_nor_receives() public {
        address stranger = address(0x5714);
        assertTrue(!_token.canReceive(stranger), "unknown");
        vm.prank(_alice);
        _refused(
            abi.encodeCall(_token.transferFrom, (_alice, stranger, 1)),
            Restrictions.RECEIVER_UNIDENTIFIED,
            _alice,
            stranger,
            1
        );
        vm.expectPartialRevert(TransferRestricted.selector);
        _token.mintDeed(stranger, 9, "u", "hash", bytes32("op"));
        (bool done, ) = address(_token).call(abi.encodeCall(_token.forcedTransfer, (_alice, stranger, 1)));
        assertTrue(!done, "not by order either");
        _registry.setBlocked(ALICE, true, "reason", _id());
        assertTrue(!_token.canSend(_alice), "blocked");
        vm.prank(_alice);
        _refused(abi.encodeCall(_token.transferFrom, (_alice, _bob, 1)), Restrictions.SENDER_BLOCKED, _alice, _bob, 1);
        _token.forcedTransfer(_alice, _bob, 1);
    }

    function test_each_write_has_its_role() public {
        vm.startPrank(_alice);
        bytes memory refusal = abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, _alice);
        vm.expectRevert(refusal);
        _token.mintDeed(_alice, 9, "u", "hash", bytes32("op"));
        vm.expectRevert(refusal);
        _token.forcedTransfer(_bob, _alice, 1);
        vm.stopPrank();
        bytes4[12] memory selectors = [
            _token.mintDeed.selector,
            _token.setURI.selector,
            _token.retire.selector,
            _token.setRoyalty.selector,
            _token.setDefaultRoyalty.selector,
            _token.setFrozenTokens.selector,
            _token.setFrozenTokensIf.selector,
            _token.forcedTransfer.selector,
            _token.forcedTransferRef.selector,
            _token.pause.selector,
            _token.unpause.selector,
            _token.setRegistry.selector
        ];
        uint8[12] memory roles = [2, 1, 1, 1, 1, 3, 3, 4, 4, 5, 5, 0];
        for (uint256 i = 0; i < selectors.length; ++i)
            assertEq(_authority.getTargetFunctionRole(address(_token), selectors[i]), roles[i], "role");
    }

    function _refused(bytes memory call, uint8 code, address from, address to, uint256 deed) private {
        // The prank is for the call, so the question comes after it.
        (bool done, bytes memory why) = address(_token).call(call);
        Restriction memory found = _token.explainTransfer(address(0), from, to, deed);
        assertTrue(!done, "refused");
        assertEq(uint256(found.code), code, "code");
        bytes memory expected = abi.encodeWithSelector(
            TransferRestricted.selector,
            code,
            found.account,
            found.limit,
            found.actual
        );
        assertEq(keccak256(why), keccak256(expected), "as explained");
    }

    function _holdings(uint256 alice, uint256 bob, uint256 holders) private view {
        assertEq(_registry.holding(address(_token), ALICE), alice, "alice");
        assertEq(_registry.holding(address(_token), BOB), bob, "bob");
        assertEq(uint256(_registry.holders(address(_token))), holders, "holders");
        assertEq(_token.balanceOf(_alice), alice, "alice's balance");
        assertEq(_token.balanceOf(_bob), bob, "bob's balance");
    }

    function _know(address wallet, bytes32 investor, uint16 country) private {
        _registry.setIdentity(investor, country, 1, 0, new address[](0), _id());
        _registry.linkWallet(wallet, investor, new address[](0), _id());
    }

    function _id() private returns (bytes32) {
        return bytes32(++_ids);
    }
}
